//! The first step of a pull alone: resolving which image it would build.

use ociget::{Digest, Request};

use super::handle::Store;
use super::offline;
use super::pulling::blocking;
use crate::caught::caught;
use crate::error::Error;
use crate::pull;

impl Store {
    /// Resolves which image [`pull_image`](Self::pull_image) would build, and builds nothing. Manifest and config are
    /// fetched and verified, so the image exists for the platform. With [`offline`](field@crate::StoreOptions::offline)
    /// no request is sent, and the store must hold an artifact or the documents of the image.
    ///
    /// The store is not changed. An archive that cannot be read in place is spooled to the directory of
    /// [`SpoolOptions`](crate::SpoolOptions), else to that of the store, else to the system's directory for temporary
    /// files.
    ///
    /// # Errors
    /// Returns the error with which the pull would fail before its first layer, except those of
    /// [`check_host_files`](crate::check_host_files()) and of the directory.
    pub async fn resolve(&self, image: &str, expected: Option<&Digest>) -> Result<Digest, Error> {
        caught(self.resolve_now(image, expected)).await
    }

    async fn resolve_now(&self, image: &str, expected: Option<&Digest>) -> Result<Digest, Error> {
        let request = Request::parse(image, expected)?;
        self.options().check()?;
        if self.is_offline(request.spec()) {
            let (store, image) = (self.clone(), image.to_owned());
            return blocking(move || store.resolve_offline(&image, request)).await;
        }
        let spool = match self.directory().is_dir() {
            true => self.directory().to_owned(),
            false => std::env::temp_dir(),
        };
        let source = pull::source(&request, &spool, self.options())?;
        let image = pull::resolve(&*source, request.pin(), self.options()).await?;
        Ok(image.identity.into_inner())
    }

    fn resolve_offline(&self, image: &str, request: Request) -> Result<Digest, Error> {
        let request = self.pinned_offline(image, request)?;
        let Some(digest) = request.pin() else {
            return Err(offline::lacking(image, "the manifest"));
        };
        // A damaged artifact is built again, and that needs the documents.
        let is_built = matches!(self.record(digest), Ok(Some(_)));
        match is_built || self.documents(digest).is_some() {
            true => Ok(digest.clone()),
            false => Err(offline::lacking(image, &format!("the manifest {digest}"))),
        }
    }
}
