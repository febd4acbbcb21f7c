//! The four calls of a store that a worker uses, as a trait.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use ociget::Digest;

use super::handle::Store;
use super::pulled::Pulled;
use crate::error::Error;

/// The future of [`ImageStore::pull_image`]. Dropping it gives up waiting.
pub type Pulling<'a> = Pin<Box<dyn Future<Output = Result<Pulled, Error>> + Send + 'a>>;

/// The calls of a store that a worker needs. The trait is object-safe, so that a worker's own tests can do without
/// registries and squashfs. [`Store`] is the real implementation.
///
/// ```
/// fn worker(_store: &dyn hpcc_rootfs::ImageStore) {}
/// ```
pub trait ImageStore: Send + Sync {
    /// Returns the digests of all finished artifacts, sorted.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the directory cannot be read.
    fn existing_images(&self) -> Result<Vec<Digest>, Error>;

    /// Makes sure that the artifact of an image exists. See [`Store::pull_image`].
    fn pull_image<'a>(&'a self, image: &'a str, expected: Option<&'a Digest>) -> Pulling<'a>;

    /// Returns the absolute path of the artifact of an image, whether it is built or not.
    fn path_for(&self, digest: &Digest) -> PathBuf;

    /// Removes an artifact. Returns whether it existed; a missing one is not an error.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if it cannot be removed.
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
