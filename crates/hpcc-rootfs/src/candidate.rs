//! An artifact that an ambiguous name may mean.

use ociget::Digest;

/// An artifact that an ambiguous name may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its identity.
    pub digest: Digest,
    /// The reference that it was last built from, if that is known.
    pub source: Option<String>,
}
