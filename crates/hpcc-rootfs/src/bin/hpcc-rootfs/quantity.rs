//! Sizes and time spans, as options have them and as people read them.

use std::time::Duration;

/// What a size looks like.
const SIZE: &str =
    "a size is a number of bytes, with K, M, G or T for powers of 1024, such as 4096 or 1.5G";
/// What a time span looks like.
const SPAN: &str =
    "a time span is numbers with w, d, h, m or s in this order, such as 90, 15m, 1h30m or 1w";

/// Parses bytes, with K, M, G or T for powers of 1024. What is less than a byte is cut off.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        "T" | "t" | "TiB" => 40,
        _ => return Err(SIZE.into()),
    };
    let (whole, part) = match digits.split_once('.') {
        // Half a byte is none.
        Some((_, part)) if shift == 0 || part.is_empty() => return Err(SIZE.into()),
        Some((whole, part)) => (whole, part),
        None => (digits, ""),
    };
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
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
        number(part)
    };
    let part = part
        .and_then(|part| u128::from(part).checked_mul(1 << shift))
        .map(|part| part / 10_u128.pow(scale))
        .and_then(|part| u64::try_from(part).ok());
    number(whole)
        .and_then(|number| number.checked_mul(1 << shift))
        .zip(part)
        .and_then(|(whole, part)| whole.checked_add(part))
        .ok_or_else(|| SIZE.into())
}

/// Parses a time span: numbers with w, d, h, m or s, the largest unit first. A lone number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(char, u64); 5] = [
        ('w', 604_800),
        ('d', 86_400),
        ('h', 3600),
        ('m', 60),
        ('s', 1),
    ];
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(text) {
        let seconds = text.parse().map_err(|_| SPAN)?;
        return Ok(Duration::from_secs(seconds));
    }
    let (mut rest, mut units, mut total) = (text, UNITS.iter(), 0_u64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(SPAN)?;
        let (number, unit) = rest.split_at_checked(end).ok_or(SPAN)?;
        let mut after = unit.chars();
        let unit = after.next().ok_or(SPAN)?;
        let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or(SPAN)?;
        let number: u64 = Some(number)
            .filter(|number| is_number(number))
            .and_then(|number| number.parse().ok())
            .ok_or(SPAN)?;
        let span = number.checked_mul(*seconds).ok_or(SPAN)?;
        total = total.checked_add(span).ok_or(SPAN)?;
        rest = after.as_str();
    }
    if text.is_empty() {
        return Err(SPAN.into());
    }
    Ok(Duration::from_secs(total))
}

/// Returns a number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
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
    fn sizes_have_suffixes_and_fractions() {
        for (text, bytes) in [
            ("4096", Some(4096)),
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
}
