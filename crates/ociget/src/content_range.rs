//! `Content-Range`: the part of a blob that a server declares to send.

/// `bytes 5-9/10`, or with `*` for a total that is not known (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentRange {
    /// Position of the first byte.
    pub first: u64,
    /// Position of the last byte, not below the first.
    pub last: u64,
    /// Bytes of the whole, above the last position.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses a header. Returns `None` for an invalid range.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once(' ')?;
        // RFC 9110, 14.1: names of units are case-insensitive.
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = range.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self {
            first: number(first)?,
            last: number(last)?,
            total: match total {
                "*" => None,
                total => Some(number(total)?),
            },
        };
        let holds = range.first <= range.last && range.total.is_none_or(|total| range.last < total);
        holds.then_some(range)
    }

    /// Returns whether the range continues after the first `offset` of `size` bytes.
    #[must_use]
    pub fn continues(&self, offset: u64, size: u64) -> bool {
        self.first == offset && self.last < size && self.total.is_none_or(|total| total == size)
    }
}

/// Digits alone: a sign is not one.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_range_continues() {
        for (range, expected) in [
            ("bytes 5-9/10", true),
            ("bytes 5-9/*", true),
            // RFC 9110, 14.1
            ("Bytes 5-9/10", true),
            ("BYTES  5-9/10", true),
            ("byte 5-9/10", false),
            ("bytes5-9/10", false),
            ("bytes 5-7/10", true),
            ("bytes 4-9/10", false),
            ("bytes 6-9/10", false),
            ("bytes 5-10/10", false),
            ("bytes 5-10/*", false),
            ("bytes 5-9/11", false),
            ("bytes 5-4/10", false),
            ("bytes */10", false),
            ("bytes 5-9", false),
            ("5-9/10", false),
            ("bytes -5-9/10", false),
            ("", false),
        ] {
            let found = ContentRange::parse(range).is_some_and(|range| range.continues(5, 10));
            assert_eq!(found, expected, "{range}");
        }
    }

    #[test]
    fn ranges_that_reach_their_total_are_refused() {
        for (range, is_range) in [
            ("bytes 0-9/10", true),
            ("bytes 0-10/10", false),
            ("bytes 0-0/1", true),
            ("bytes 0-0/0", false),
        ] {
            assert_eq!(ContentRange::parse(range).is_some(), is_range, "{range}");
        }
    }
}
