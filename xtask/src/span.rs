//! Spans of time in arguments.

use std::time::Duration;

/// Parses a number with s, m or h after it; without a unit it is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    digits
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is not a number with s, m or h after it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("2h", Some(7200)),
            ("", None),
            ("m", None),
            ("1d", None),
            ("99999999999999999h", None),
        ] {
            let parsed = parse(text).ok();
            assert_eq!(parsed, seconds.map(Duration::from_secs), "{text}");
        }
    }
}
