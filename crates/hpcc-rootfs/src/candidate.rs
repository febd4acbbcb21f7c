//! An artifact that an ambiguous name may refer to.

use ociget::Digest;
use ociget::printable::text;

/// An artifact that an ambiguous name may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its identity.
    pub digest: Digest,
    /// The reference that it was last built from, if known.
    pub source: Option<String>,
}

/// Largest number of candidates that a message lists.
const LISTED: usize = 10;

/// Returns the candidates as a message lists them.
pub(crate) fn listed(candidates: &[Candidate]) -> String {
    let each = candidates.iter().take(LISTED).map(|candidate| {
        let source = candidate.source.as_ref();
        let source = source.map_or(String::new(), |source| format!(" ({})", text(source)));
        format!("{}{source}", candidate.digest)
    });
    let mut list = each.collect::<Vec<_>>().join(", ");
    if candidates.len() > LISTED {
        list.push_str(&format!(" and {} more", candidates.len() - LISTED));
    }
    list
}
