//! An artifact that an ambiguous name may refer to.

use ociget::Digest;

/// An artifact that an ambiguous name may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its identity.
    pub digest: Digest,
    /// The reference that it was last built from, if known.
    pub source: Option<String>,
}
