//! The first step of a pull alone: resolving which image it would build.

use ociget::{Digest, Request};
use tracing::Instrument as _;

use super::handle::Store;
use super::offline;
use super::pulling::blocking;
use crate::error::Error;
use crate::pull;
use crate::recall::Documents;
use crate::staging::Stop;

impl Store {
    /// Resolves which image [`pull_image`](Self::pull_image) would build, and builds nothing. Manifest and config are
    /// fetched and verified, so the image exists for the platform. With [`offline`](field@crate::StoreOptions::offline)
    /// no request is sent: the store must hold the artifact that these options make, or the documents of the image for the
    /// platform.
    ///
    /// The work runs on threads of the store, so any executor may poll the future.
    ///
    /// The store is not changed. An archive that cannot be read in place is spooled to the directory of
    /// [`SpoolOptions`](crate::SpoolOptions), else to that of the store, else to the system's directory for temporary
    /// files.
    ///
    /// # Errors
    /// Returns the error with which the pull would fail before its first layer, except those of
    /// [`check_host_files`](crate::check_host_files()) and of the directory.
    pub async fn resolve(&self, image: &str, expected: Option<&Digest>) -> Result<Digest, Error> {
        let (store, image, expected) = (self.clone(), image.to_owned(), expected.cloned());
        let work = async move { store.resolve_now(&image, expected.as_ref()).await };
        self.inner
            .builds
            .drivers()
            .run(work.in_current_span())
            .await
    }

    async fn resolve_now(&self, image: &str, expected: Option<&Digest>) -> Result<Digest, Error> {
        let request = Request::parse(image, expected)?;
        self.options().check()?;
        if self.is_offline(request.spec()) {
            return self.resolve_offline(image, request).await;
        }
        let spool = match self.directory().is_dir() {
            true => self.directory().to_owned(),
            false => std::env::temp_dir(),
        };
        let source = pull::source(&request, &spool, self.options())?;
        let image = pull::resolve(&*source, request.pin(), self.options()).await?;
        Ok(image.identity.into_inner())
    }

    async fn resolve_offline(&self, image: &str, request: Request) -> Result<Digest, Error> {
        let (store, text) = (self.clone(), image.to_owned());
        let is_reusing = self.options().store.reuse;
        let stop = Stop::default();
        // Hashing continues after this future is dropped, unless it is stopped.
        let _stop = stop.on_drop();
        let looked = blocking(move || {
            let request = store.pinned_offline(&text, request)?;
            let Some(digest) = request.pin().cloned() else {
                return Err(offline::lacking(&text, "the manifest"));
            };
            let is_built = store.is_built(&digest, &stop);
            let documents = match is_reusing && !is_built {
                true => store.documents(&digest),
                false => Documents::default(),
            };
            Ok((digest, is_built, documents))
        });
        let (digest, is_built, documents) = looked.await?;
        if !is_built {
            let kept = documents.source(&self.options().platform);
            let resolved = pull::resolve(&kept, Some(&digest), self.options()).await;
            resolved.map_err(|error| offline::refused(image, error, is_reusing))?;
        }
        Ok(digest)
    }
}
