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

/// Returns what distinguishes the candidates for a name: more digits, if it is the beginning of their digests.
pub(crate) fn advice(name: &str, candidates: &[Candidate]) -> &'static str {
    let digits = name.split_once(':').map_or(name, |(_, digits)| digits);
    let mut all = candidates.iter();
    match all.all(|candidate| candidate.digest.hex().starts_with(digits)) {
        true => "give more digits of the digest",
        false => "nothing tells which of them it was pulled to last; name a digest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_digits_are_advised_for_beginnings_of_digests_alone() {
        let candidate = |digits: &str| Candidate {
            digest: format!("sha256:{digits:0<64}").parse().unwrap(),
            source: None,
        };
        let all = [candidate("abcdef1"), candidate("abcdef2")];
        for (name, says) in [
            ("abcdef", "more digits"),
            ("sha256:abcdef", "more digits"),
            ("debian:12", "name a digest"),
            ("debian", "name a digest"),
        ] {
            assert!(advice(name, &all).contains(says), "{name}");
        }
    }
}
