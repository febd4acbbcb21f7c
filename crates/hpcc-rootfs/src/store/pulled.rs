//! The result of a pull.

use std::path::PathBuf;

use ociget::Digest;

use crate::artifact::Record;
use crate::summary::Summary;

/// An artifact that is in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The identity: the digest by which later calls to the store name the artifact.
    pub digest: Digest,
    /// The absolute path of the artifact.
    pub path: PathBuf,
    /// Its record.
    pub record: Record,
    /// The summary of the build, or `None` if the artifact existed already.
    pub built: Option<Summary>,
}
