//! Numbers for people: sizes, counts, time spans, and digests that are short enough for a line.

use std::fmt;
use std::iter::Sum;

use ociget::Digest;
pub use ociget::printable::Span;

/// Number of hex digits of a digest that are shown where the whole one does not fit.
const SHORT: usize = 12;

/// A number of bytes for people, in powers of 1024: `0B`, `1023B`, `1.5K`, `12.3M`, `1.0G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0 {
            0..1024 => return f.pad(&format!("{}B", self.0)),
            1024..1_048_576 => ('K', 10),
            1_048_576..1_073_741_824 => ('M', 20),
            1_073_741_824..1_099_511_627_776 => ('G', 30),
            _ => ('T', 40),
        };
        // One decimal, in integers, because a float would need a cast that loses bits.
        let tenths = (u128::from(self.0) * 10) >> shift;
        f.pad(&format!("{}.{}{unit}", tenths / 10, tenths % 10))
    }
}

/// The sum of sizes, at most `u64::MAX`. Sparse files may say any size, so a sum of two may be too large for a `u64`.
impl Sum<u64> for Size {
    fn sum<I: Iterator<Item = u64>>(sizes: I) -> Self {
        Self(sizes.fold(0, u64::saturating_add))
    }
}

/// A number of things for people: `1 entry`, `2 entries`. The noun is in the singular, and its last word has a regular
/// plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<'a>(pub u64, pub &'a str);

impl Count<'_> {
    /// Counts the elements of a collection, by its length.
    #[must_use]
    pub fn of(length: usize, noun: &str) -> Count<'_> {
        Count(u64::try_from(length).unwrap_or(u64::MAX), noun)
    }
}

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = self;
        match (*number, noun.strip_suffix('y')) {
            (1, _) => write!(f, "1 {noun}"),
            (_, Some(stem)) => write!(f, "{number} {stem}ies"),
            (_, None) => write!(f, "{number} {noun}s"),
        }
    }
}

/// A digest with its first 12 hex digits: `sha256:0123456789ab`.
#[derive(Clone, Copy, Debug)]
pub struct ShortDigest<'a>(pub &'a Digest);

impl fmt::Display for ShortDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.to_string();
        let (algorithm, hex) = all.split_once(':').unwrap_or_default();
        let short = hex.get(..SHORT).unwrap_or(hex);
        f.pad(&format!("{algorithm}:{short}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_one_letter() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (1_600_000, "1.5M"),
            (1 << 30, "1.0G"),
            (u64::MAX, "16777215.9T"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>6}|{:<6}", Size(1024), Size(7)), "  1.0K|7B    ");
    }

    /// A sum of sizes that wrapped (containers/podman#20942).
    #[test]
    fn sum_of_sizes_ends_at_the_largest_number() {
        let sum = |sizes: [u64; 3]| sizes.into_iter().sum::<Size>().0;
        assert_eq!(sum([1, 2, 3]), 6);
        assert_eq!(sum([u64::MAX / 2; 3]), u64::MAX);
    }

    #[test]
    fn one_thing_is_singular_and_others_plural() {
        for (count, text) in [
            (Count(0, "entry"), "0 entries"),
            (Count(1, "entry"), "1 entry"),
            (Count(2, "leftover file"), "2 leftover files"),
            (Count::of(1, "layer"), "1 layer"),
        ] {
            assert_eq!(count.to_string(), text);
        }
    }

    #[test]
    fn short_digest_keeps_its_algorithm() {
        let digest = Digest::of(b"");
        assert_eq!(ShortDigest(&digest).to_string(), "sha256:e3b0c44298fc");
    }
}
