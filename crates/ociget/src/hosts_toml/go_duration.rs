//! Durations as Go writes them: `1m30s`, `1.5h`, `500ms`.

use std::time::Duration;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Parses a duration; `None` if it is none, is negative, or is longer than 290 years.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if !number.bytes().any(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds += number.parse::<f64>().ok()? * factor;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    // The most that Go's type holds: 2^63 nanoseconds.
    (seconds < 9_223_372_036.0).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Go's `time.ParseDuration`.
    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("1s", Some(1000)),
            ("300ms", Some(300)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("+5s", Some(5000)),
            ("1h1ms", Some(3_600_001)),
            (".5s", Some(500)),
            ("5.s", Some(5000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("3", None),
            ("-1s", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("3000000h", None),
        ] {
            let parsed = parse(text).map(|time| time.as_millis());
            assert_eq!(parsed, millis, "{text}");
        }
    }
}
