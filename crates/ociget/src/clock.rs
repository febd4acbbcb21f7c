//! Times as servers write them: HTTP dates and RFC 3339.

use std::time::{Duration, SystemTime};

/// A point in time, for people: `2021-01-01 12:00:00 UTC`.
pub(crate) fn shown(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let days = i64::try_from(since.as_secs() / 86_400).unwrap_or(i64::MAX / 2);
    let second = since.as_secs() % 86_400;
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of a number of days since 1970 in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March have their leap day at the end; 400 of them have 146097 days.
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (month, turn) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + turn, month, day)
}

/// `Retry-After`: seconds, or a date, of which the time from `now` on counts. 0 and a date that has
/// passed are no advice. A number that is too large for the type is the largest one.
pub(crate) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = match is_number {
        true => Duration::from_secs(text.parse().unwrap_or(u64::MAX)),
        false => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).ok()?
        }
    };
    (!pause.is_zero()).then_some(pause)
}

/// `2026-01-31T08:30:00.5Z`, `2026-01-31T10:30:00+02:00`; fractions are left out.
pub(crate) fn rfc3339(text: &str) -> Option<SystemTime> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let is = |at: usize, wanted: &[u8]| {
        let found = text.as_bytes().get(at);
        found.is_some_and(|found| wanted.contains(found))
    };
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let sane = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sane {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let seconds = days(year, month, day) * 86_400
        + i64::from(hour) * 3600
        + i64::from(minute) * 60
        + i64::from(second)
        - offset(zone)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Days since 1970 in the Gregorian calendar.
fn days(year: u32, month: u32, day: u32) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = match month {
        1 | 2 => (i64::from(year) - 1, i64::from(month) + 9),
        _ => (i64::from(year), i64::from(month) - 3),
    };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (month * 306 + 5) / 10 + i64::from(day) - 1 - 719_468
}

/// `Z` or `+02:00`, in seconds.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2024-02-29T12:00:00.123456Z", Some(1_709_208_000)),
            ("2026-01-31T10:30:00+02:00", Some(1_769_848_200)),
            ("2026-01-31T08:30:00Z", Some(1_769_848_200)),
            ("1970-01-01T00:00:00+01:00", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-31", None),
            ("2026-01-31T08:30:00", None),
            ("yesterday", None),
            ("2026-01-31T08:30:0é", None),
            ("", None),
        ] {
            let found = rfc3339(text).map(|time| {
                let since = time.duration_since(SystemTime::UNIX_EPOCH);
                since.unwrap().as_secs()
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn times_are_shown_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_609_502_400, "2021-01-01 12:00:00 UTC"),
            (1_709_208_000, "2024-02-29 12:00:00 UTC"),
            (4_102_444_799, "2099-12-31 23:59:59 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(shown(time), expected);
        }
    }

    // httpx-retries#13
    #[test]
    fn retry_after_has_two_forms() {
        // Tue, 15 Nov 1994 08:12:31 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_887_151);
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", None),
            ("Tue, 15 Nov 1994 08:12:41 GMT", Some(10)),
            ("Tue, 15 Nov 1994 08:12:31 GMT", None),
            ("Tue, 15 Nov 1994 08:12:21 GMT", None),
            // RFC 9110, 10.2.3: any number of digits
            ("99999999999999999999999", Some(u64::MAX)),
            ("000000000000000000000000007", Some(7)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let found = retry_after(text, now).map(|pause| pause.as_secs());
            assert_eq!(found, expected, "{text}");
        }
    }
}
