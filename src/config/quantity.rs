//! Quantities as people write them: durations, sizes, rates and percentages.
//!
//! Each has a unit; a bare number is refused, because half of its readers would guess another unit.

use std::time::Duration;

use crate::domain::affiliate::Rate;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads `5s`, `250ms`, `10m`, `6h`, `90d` or a sum such as `1h30m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (count, behind) = leading_number(rest)?;
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let seconds = |each: u64| count.checked_mul(each).map(Duration::from_secs);
        let part = match unit.trim() {
            "ms" => Some(Duration::from_millis(count)),
            "s" => seconds(1),
            "m" => seconds(MINUTE),
            "h" => seconds(HOUR),
            "d" => seconds(DAY),
            _ => None,
        }?;
        total = total.checked_add(part)?;
        rest = next;
    }
    Some(total)
}

/// Writes a duration the way [`duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s")];
    let whole = units.iter().find(|(seconds, _)| millis > 0 && millis.is_multiple_of(u128::from(*seconds) * 1000));
    match whole {
        Some((seconds, unit)) => format!("{}{unit}", millis / (u128::from(*seconds) * 1000)),
        None if millis == 0 => "0s".into(),
        None => format!("{millis}ms"),
    }
}

/// Reads `512B`, `64KiB`, `8MiB`, `1GiB`, or the decimal `KB`, `MB`, `GB`, as bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (count, unit) = leading_number(text.trim())?;
    let each: u64 = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    count.checked_mul(each)
}

/// Writes a size the way [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// Reads `50/s`, `600/m` or `10/h`; at least one.
pub(super) fn rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.trim().split_once('/')?;
    let count = count.trim().parse().ok().filter(|count| *count > 0)?;
    let per = match unit.trim() {
        "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    Some(Rate { count, per: Duration::from_secs(per) })
}

/// Reads `20%` as 0.2; from 0 to 100.
pub(super) fn percent(text: &str) -> Option<f64> {
    let number = text.trim().strip_suffix('%')?.trim();
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let part: f64 = number.parse().ok().filter(|_| plain)?;
    (0.0..=100.0).contains(&part).then_some(part / 100.0)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_add_up() {
        let read = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("250ms"), Some(250));
        assert_eq!(read("5s"), Some(5_000));
        assert_eq!(read("1h30m"), Some(5_400_000));
        assert_eq!(read("90d"), Some(90 * 86_400_000));
        for text in ["", "5", "s", "5 sec", "-5s", "1.5s", "5s!", "99999999999999999999s", "999999999999999999d"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for text in ["250ms", "5s", "90s", "10m", "6h", "90d", "0s"] {
            let read = duration(text).unwrap();
            assert_eq!(duration(&show_duration(read)), Some(read), "{text}");
        }
        for text in ["512B", "64KiB", "8MiB", "1GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("256MiB"), Some(256 << 20));
        assert_eq!(size("2 GB"), Some(2_000_000_000));
        for text in ["", "5", "MiB", "5mb", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn rates_and_percentages() {
        assert_eq!(rate("600/m"), Some(Rate { count: 600, per: Duration::from_mins(1) }));
        for text in ["0/s", "50", "50/d", "/s", "-1/s"] {
            assert_eq!(rate(text), None, "{text:?}");
        }
        assert_eq!(percent("20%"), Some(0.2));
        for text in ["20", "101%", "-1%", "%", "inf%", "1e1%"] {
            assert_eq!(percent(text), None, "{text:?}");
        }
    }
}
