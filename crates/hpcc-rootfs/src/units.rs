//! Numbers for people: sizes, counts, time spans, and digests that are short enough for a line.

use std::fmt;
use std::time::Duration;

use ociget::Digest;

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

/// A time span for people, in its largest unit and the next smaller one: `9s`, `1m5s`, `1h30m`, `1d2h`, `1w`. Smaller
/// units are cut off. A precision adds decimals to a span of less than a minute: `{:.1}` prints `0.3s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The letters of the units and their lengths in seconds, the longest first.
    pub const UNITS: [(char, u64); 5] = [
        ('w', 604_800),
        ('d', 86_400),
        ('h', 3600),
        ('m', 60),
        ('s', 1),
    ];
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if let (Some(decimals), 0..60) = (f.precision(), seconds) {
            return write!(f, "{:.decimals$}s", self.0.as_secs_f64());
        }
        let mut units = Self::UNITS.iter().skip_while(|(_, unit)| *unit > seconds);
        let Some((letter, unit)) = units.next() else {
            return f.pad("0s");
        };
        let mut text = format!("{}{letter}", seconds / unit);
        if let Some((letter, next)) = units.next()
            && let more @ 1.. = seconds % unit / next
        {
            text.push_str(&format!("{more}{letter}"));
        }
        write!(f, "{text:>0$}", f.width().unwrap_or_default())
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
    fn spans_have_two_units_and_short_ones_decimals_on_request() {
        for (millis, whole, precise) in [
            (0, "0s", "0.0s"),
            (310, "0s", "0.3s"),
            (59_000, "59s", "59.0s"),
            (65_500, "1m5s", "1m5s"),
            (5_400_000, "1h30m", "1h30m"),
            (604_800_000, "1w", "1w"),
        ] {
            let span = Span(Duration::from_millis(millis));
            assert_eq!(span.to_string(), whole);
            assert_eq!(format!("{span:.1}"), precise);
        }
        assert_eq!(format!("{:>5}", Span(Duration::from_secs(7))), "   7s");
    }

    #[test]
    fn short_digest_keeps_its_algorithm() {
        let digest = Digest::of(b"");
        assert_eq!(ShortDigest(&digest).to_string(), "sha256:e3b0c44298fc");
    }
}
