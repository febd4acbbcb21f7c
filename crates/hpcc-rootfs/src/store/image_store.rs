//! The store as its users see it: four calls, whatever is behind them.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use ociget::Digest;

use super::handle::Store;
use super::pulled::Pulled;
use crate::error::Error;

/// The answer of a [`ImageStore::pull_image`] to come. Dropping it gives up waiting.
pub type Pulling<'a> = Pin<Box<dyn Future<Output = Result<Pulled, Error>> + Send + 'a>>;

/// What a worker needs of a store. It is object-safe, so that a worker's own tests can do without
/// registries and squashfs; [`Store`] is the real one.
///
/// ```
/// fn worker(_store: &dyn hpcc_rootfs::ImageStore) {}
/// ```
pub trait ImageStore: Send + Sync {
    /// The digests of all finished artifacts, sorted.
    ///
    /// # Errors
    /// [`Error::Store`] if the directory can't be read.
    fn existing_images(&self) -> Result<Vec<Digest>, Error>;

    /// Makes sure that the artifact of an image is there. See [`Store::pull_image`].
    fn pull_image<'a>(&'a self, image: &'a str, expected: Option<&'a Digest>) -> Pulling<'a>;

    /// The absolute path of the artifact of an image, whether it is built or not.
    fn path_for(&self, digest: &Digest) -> PathBuf;

    /// Removes an artifact; a missing one is fine. Returns whether it was there.
    ///
    /// # Errors
    /// [`Error::Store`] if it can't be removed.
    fn untag_image(&self, digest: &Digest) -> Result<bool, Error>;
}

impl ImageStore for Store {
    fn existing_images(&self) -> Result<Vec<Digest>, Error> {
        self.existing_images()
    }

    fn pull_image<'a>(&'a self, image: &'a str, expected: Option<&'a Digest>) -> Pulling<'a> {
        Box::pin(self.pull_image(image, expected))
    }

    fn path_for(&self, digest: &Digest) -> PathBuf {
        self.path_for(digest)
    }

    fn untag_image(&self, digest: &Digest) -> Result<bool, Error> {
        self.untag_image(digest)
    }
}
