//! Numbers, sizes and time spans, as options take them and as people read them. Every printed value can be given to an
//! option.

use std::ops::RangeInclusive;
use std::time::Duration;

use hpcc_rootfs::Size;
pub(crate) use hpcc_rootfs::Span;

/// The form of a size.
const SIZE: &str = "expected a number of bytes, with B or with K, M, G or T for powers of 1024, less than \
                    16777216T, such as 4096 or 1.5G";
/// The form of a time span.
const SPAN: &str =
    "expected numbers with w, d, h, m or s in this order, or seconds, such as 90, 15m, 1h30m or 1w";

/// Returns a parser for whole numbers of a range. `what` is the counted thing, for the error.
pub(crate) fn whole<T: TryFrom<u64>>(
    what: &'static str,
    range: RangeInclusive<u64>,
    example: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = digits(text).filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("expected {what}, a whole number from {least} to {most}, such as {example}")
        })
    }
}

/// Parses a number of decimal digits and nothing else.
fn digits(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Parses bytes, with K, M, G or T for powers of 1024. Fractions of a byte are cut off.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(number.len()..).unwrap_or_default() {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        "T" | "t" | "TiB" => 40,
        _ => return Err(SIZE.into()),
    };
    let (whole, part) = match number.split_once('.') {
        // Half a byte is none.
        Some((_, part)) if shift == 0 || part.is_empty() => return Err(SIZE.into()),
        Some((whole, part)) => (whole, part),
        None => (number, ""),
    };
    // Nine digits are less than a byte of any unit but T, of which they are a thousandth of a MiB.
    let (part, scale) = match part.get(..9) {
        Some(most) if part.bytes().all(|byte| byte.is_ascii_digit()) => (most, 9),
        Some(_) => return Err(SIZE.into()),
        None => (part, part.len()),
    };
    let scale = u32::try_from(scale).map_err(|_| SIZE)?;
    let part = if part.is_empty() {
        Some(0)
    } else {
        digits(part)
    };
    let part = part
        .and_then(|part| u128::from(part).checked_mul(1 << shift))
        .map(|part| part / 10_u128.pow(scale))
        .and_then(|part| u64::try_from(part).ok());
    digits(whole)
        .and_then(|number| number.checked_mul(1 << shift))
        .zip(part)
        .and_then(|(whole, part)| whole.checked_add(part))
        .ok_or_else(|| SIZE.into())
}

/// Parses the size of a data block.
pub(crate) fn block_size(text: &str) -> Result<u32, String> {
    let size = size(text).ok().and_then(|size| u32::try_from(size).ok());
    let is_one = |size: &u32| size.is_power_of_two() && (4 << 10..=1 << 20).contains(size);
    size.filter(is_one)
        .ok_or_else(|| "expected a power of two from 4K to 1M, such as 128K".to_owned())
}

/// Returns a number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    Size(bytes).to_string()
}

/// Parses a time span that is not zero, for a limit.
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time limit of 1s or more, such as 30s".to_owned()),
        limit => Ok(limit),
    }
}

/// Returns a time in seconds since 1970 as a date with the time of day.
pub(crate) fn date(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // Whole cycles of the calendar, so that no time takes long.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC",
        days + 1
    )
}

/// Parses a time span: numbers with w, d, h, m or s, the largest unit first. A lone number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let number = |text: &str| Some(text).filter(|text| !text.is_empty()).and_then(digits);
    if let Some(seconds) = number(text) {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut rest, mut units, mut total) = (text, Span::UNITS.iter(), 0_u64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(SPAN)?;
        let (count, unit) = rest.split_at_checked(end).ok_or(SPAN)?;
        let mut after = unit.chars();
        let unit = after.next().ok_or(SPAN)?;
        let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or(SPAN)?;
        let span = number(count).and_then(|count| count.checked_mul(*seconds));
        total = span.and_then(|span| total.checked_add(span)).ok_or(SPAN)?;
        rest = after.as_str();
    }
    if text.is_empty() {
        return Err(SPAN.into());
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_have_suffixes() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("2h", Some(7200)),
            ("30d", Some(2_592_000)),
            ("1w", Some(604_800)),
            ("1h30m", Some(5400)),
            ("1w2d3h4m5s", Some(788_645)),
            ("", None),
            ("d", None),
            ("30m1h", None),
            ("1h30", None),
            ("1h1h", None),
            ("1.5h", None),
            ("-1d", None),
            ("1 h", None),
            ("1ä", None),
            ("999999999999999999d", None),
            ("18446744073709551615s1s", None),
        ] {
            let found = duration(text).ok().map(|span| span.as_secs());
            assert_eq!(found, seconds, "{text}");
        }
    }

    #[test]
    fn printed_spans_have_two_units_and_are_options() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (65, "1m5s"),
            (5400, "1h30m"),
            (7205, "2h"),
            (86_400, "1d"),
            (93_600, "1d2h"),
            (604_800, "1w"),
            (900_000, "1w3d"),
        ] {
            let shown = Span(Duration::from_secs(seconds)).to_string();
            assert_eq!(shown, text);
            let parsed = duration(&shown).unwrap();
            assert!(parsed.as_secs() <= seconds, "{shown}");
            assert_eq!(Span(parsed).to_string(), shown);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_735_689_600, "2025-01-01 00:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (12_622_780_800, "2370-01-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn sizes_have_suffixes_and_fractions() {
        for (text, bytes) in [
            ("4096", Some(4096)),
            ("4096B", Some(4096)),
            ("128K", Some(131_072)),
            ("1MiB", Some(1 << 20)),
            ("16G", Some(16 << 30)),
            ("1.5G", Some(3 << 29)),
            ("0.25K", Some(256)),
            ("0.1K", Some(102)),
            ("1.0000000000000000000001K", Some(1024)),
            ("", None),
            ("K", None),
            (".5K", None),
            ("1.K", None),
            ("1.5", None),
            ("1.5B", None),
            ("1.5.5K", None),
            ("1.00000000000x1K", None),
            ("1,5G", None),
            ("1.5GB", None),
            ("-1", None),
            ("+1", None),
            ("99999999T", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn block_sizes_are_powers_of_two_in_the_range() {
        for (text, size) in [
            ("4K", Some(4096)),
            ("128K", Some(131_072)),
            ("1M", Some(1 << 20)),
            ("2K", None),
            ("2M", None),
            ("5000", None),
            ("0", None),
            ("1T", None),
        ] {
            assert_eq!(block_size(text).ok(), size, "{text}");
        }
    }

    #[test]
    fn printed_sizes_are_options() {
        for shift in 0..64 {
            for number in [(1_u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let parsed = size(&bytes(number)).unwrap();
                assert!(parsed <= number && number / 10 * 9 <= parsed, "{number}");
            }
        }
    }

    #[test]
    fn whole_numbers_have_digits_and_a_range() {
        let level = whole::<i32>("a level", 0..=22, 3);
        assert_eq!(level("22"), Ok(22));
        for text in [
            "",
            "23",
            "-1",
            "+1",
            "1.5",
            "0x1",
            "x",
            "99999999999999999999999",
        ] {
            assert_eq!(
                level(text).unwrap_err(),
                "expected a level, a whole number from 0 to 22, such as 3"
            );
        }
        assert_eq!(whole::<u8>("a count", 0..=999, 1)("256").ok(), None);
    }
}
