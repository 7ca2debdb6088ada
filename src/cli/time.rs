//! Times and durations as people type and read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::ops::clock::{Clock, SystemClock};

/// Longest duration that can be typed: about a hundred years.
pub(super) const LONGEST_SECONDS: u64 = 100 * 366 * 86_400;

/// Reads `90s`, `2h`, `1h30m`, `7d`, `2w` or `500ms`.
///
/// # Errors
/// Says what a duration looks like.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 2h, 1h30m or 7d");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(letters).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        total += Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?);
        if total.as_secs() > LONGEST_SECONDS {
            return Err(wrong());
        }
        rest = behind;
    }
    Ok(total)
}

/// Reads a moment: `2h` (ago), `2026-11-20T10:00:00Z`, `2026-11-20` (midnight UTC) or `now`.
///
/// # Errors
/// Says what a moment looks like.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_at(text, SystemClock.now())
}

pub(super) fn moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<Date>() {
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok(midnight.timestamp());
    }
    let wrong = || format!("{text:?} is not a time such as 2h (ago), 2026-11-20T10:00:00Z or 2026-11-20");
    let ago = duration(text).map_err(|_| wrong())?;
    now.checked_sub(ago).map_err(|_| wrong())
}

/// A moment for people: to the millisecond, UTC.
pub(super) fn shown(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A duration in microseconds for people.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, seconds) in [("90s", 90), ("2h", 7_200), ("1h30m", 5_400), ("7d", 604_800), ("1w", 604_800)] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for wrong in ["", "2", "h", "2x", "-2h", "2 h", "1h30", "99999999999999999999s", "9999999w", "2hours ago"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn moments_are_ago_or_absolute() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let expected = [
            ("2h", "2026-11-20T08:00:00Z"),
            ("2026-11-19T10:00:00+01:00", "2026-11-19T09:00:00Z"),
            ("2026-11-19", "2026-11-19T00:00:00Z"),
            ("now", "2026-11-20T10:00:00Z"),
        ];
        for (text, at) in expected {
            assert_eq!(moment_at(text, now).unwrap(), at.parse().unwrap(), "{text}");
        }
        for wrong in ["yesterday", "2026-13-01", ""] {
            assert!(moment_at(wrong, now).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn micros_are_shown_in_a_unit_that_fits() {
        assert_eq!(micros(900), "900 µs");
        assert_eq!(micros(12_345), "12.3 ms");
        assert_eq!(micros(1_234_567), "1.23 s");
    }
}
