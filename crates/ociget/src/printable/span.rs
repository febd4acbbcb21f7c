//! Time spans for people.

use std::fmt;
use std::time::Duration;

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

/// Returns a measured or configured time, with decimals if it is below a minute and has some.
pub(crate) fn exact(time: Duration) -> String {
    match time.subsec_millis() {
        0 => Span(time).to_string(),
        _ => format!("{:.2}", Span(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn exact_times_have_decimals_if_there_are_some() {
        for (millis, text) in [
            (150, "0.15s"),
            (2000, "2s"),
            (30_000, "30s"),
            (90_500, "1m30s"),
        ] {
            assert_eq!(exact(Duration::from_millis(millis)), text);
        }
    }
}
