//! The answer to a pull.

use std::path::PathBuf;

use ociget::Digest;

use crate::artifact::Record;
use crate::summary::Summary;

/// An artifact that is in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The identity: the digest to ask the store for from now on.
    pub digest: Digest,
    /// The absolute path of the artifact.
    pub path: PathBuf,
    /// What its record says.
    pub record: Record,
    /// What the build did, or `None` if the artifact was there already.
    pub built: Option<Summary>,
}
