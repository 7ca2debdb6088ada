//! Dates and times as other platforms write them.
//!
//! `03/04/2026` is two different days; which of them is asked of the whole column, and of nobody's habits.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime;
use jiff::tz::{Offset, TimeZone};

use super::clue::Clue;

/// Which comes first in a date that ends in its year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayOrder {
    /// `31/12/2026`
    Day,
    /// `12/31/2026`
    Month,
}

/// How the times of a report are written.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// The zone of times that name none.
    pub zone: TimeZone,
    /// Which comes first in a date that ends in its year.
    pub order: DayOrder,
    /// A format of `strptime`, instead of what is known here.
    pub format: Option<String>,
}

/// A time of their report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time; of a date alone its first moment.
    pub at: Timestamp,
    /// Whether it is a date alone.
    pub day_only: bool,
}

/// The three numbers of a date as they stand, and what stands behind them.
struct Numbers<'c> {
    parts: [&'c str; 3],
    divider: char,
    behind: &'c str,
}

/// What a cell says about the order of day and month in its column.
pub fn clue(cell: &str) -> Clue<DayOrder> {
    let Some(Numbers { parts: [first, second, _], divider: '/' | '-', .. }) = numbers(cell.trim()) else {
        return Clue::Nothing;
    };
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() <= 2);
    match (number(first), number(second)) {
        (Some(first), Some(second)) if first > 12 && second <= 12 => Clue::Says(DayOrder::Day),
        (Some(first), Some(second)) if second > 12 && first <= 12 => Clue::Says(DayOrder::Month),
        (Some(first), Some(second)) if first != second && first <= 12 && second <= 12 => Clue::Either,
        _ => Clue::Nothing,
    }
}

/// Reads a cell.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(cell: &str, calendar: &Calendar) -> Result<Moment, String> {
    let cell = cell.trim();
    let found = match &calendar.format {
        Some(format) => by_format(cell, format, &calendar.zone),
        None => known(cell, calendar),
    };
    found.ok_or_else(|| match &calendar.format {
        Some(format) => format!("{cell:?} is no time in the format {format:?}"),
        None => format!("{cell:?} is no time that is known; say how to read it with --date-format"),
    })
}

fn by_format(cell: &str, format: &str, zone: &TimeZone) -> Option<Moment> {
    let parsed = strtime::parse(format, cell).ok()?;
    if let Ok(at) = parsed.to_timestamp() {
        return Some(Moment { at, day_only: false });
    }
    match parsed.to_datetime() {
        Ok(civil) if parsed.hour().is_some() => moment(civil, zone, false),
        _ => moment(parsed.to_date().ok()?.to_datetime(Time::midnight()), zone, true),
    }
}

fn known(cell: &str, calendar: &Calendar) -> Option<Moment> {
    if let Ok(at) = cell.parse::<Timestamp>() {
        return Some(Moment { at, day_only: false });
    }
    if !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit()) {
        return of_digits(cell, &calendar.zone);
    }
    let Numbers { parts: [first, second, third], divider, behind } = numbers(cell)?;
    let (year, month, day) = match (first.len(), divider, calendar.order) {
        (4, ..) => (first, second, third),
        (_, '.', _) | (_, _, DayOrder::Day) => (third, second, first),
        (_, _, DayOrder::Month) => (third, first, second),
    };
    let short = if year.len() == 2 { 2000 } else { 0 };
    let date = Date::new(short + year.parse::<i16>().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    let behind = behind.trim_start_matches([' ', 'T', ',']);
    if behind.is_empty() {
        return moment(date.to_datetime(Time::midnight()), &calendar.zone, true);
    }
    let (clock, zone) = zoned(behind, &calendar.zone)?;
    moment(date.to_datetime(time(clock)?), &zone, false)
}

/// Seconds or milliseconds since 1970, or a date without dividers.
fn of_digits(digits: &str, zone: &TimeZone) -> Option<Moment> {
    let number: i64 = digits.parse().ok()?;
    let at = match digits.len() {
        8 => {
            let (year, rest) = digits.split_at_checked(4)?;
            let (month, day) = rest.split_at_checked(2)?;
            let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
            return moment(date.to_datetime(Time::midnight()), zone, true);
        }
        9..=11 => Timestamp::from_second(number).ok()?,
        12..=14 => Timestamp::from_millisecond(number).ok()?,
        _ => return None,
    };
    Some(Moment { at, day_only: false })
}

fn moment(civil: DateTime, zone: &TimeZone, day_only: bool) -> Option<Moment> {
    Some(Moment { at: civil.to_zoned(zone.clone()).ok()?.timestamp(), day_only })
}

fn numbers(cell: &str) -> Option<Numbers<'_>> {
    let divider = cell.chars().find(|c| !c.is_ascii_digit()).filter(|c| matches!(c, '/' | '-' | '.'))?;
    let (first, rest) = cell.split_once(divider)?;
    let (second, rest) = rest.split_once(divider)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (third, behind) = rest.split_at_checked(end)?;
    let parts = [first, second, third];
    let plain = |text: &&str| (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    parts.iter().all(plain).then_some(Numbers { parts, divider, behind })
}

/// Divides a time from the zone behind it: `Z`, `UTC`, `GMT`, `+0100`, `+01:00`.
fn zoned<'c>(text: &'c str, default: &TimeZone) -> Option<(&'c str, TimeZone)> {
    for name in ["Z", "UTC", "GMT"] {
        if let Some(clock) = text.strip_suffix(name) {
            return Some((clock.trim_end(), TimeZone::UTC));
        }
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, default.clone())) };
    let (clock, offset) = text.split_at_checked(at)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes: i32 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    let seconds = sign * (hours.parse::<i32>().ok()? * 60 + minutes) * 60;
    Some((clock.trim_end(), TimeZone::fixed(Offset::from_seconds(seconds).ok()?)))
}

/// Reads `15:04`, `15:04:05.123` or `3:04 PM`.
fn time(text: &str) -> Option<Time> {
    let upper = text.to_ascii_uppercase();
    let (clock, afternoon) = match (upper.strip_suffix("AM"), upper.strip_suffix("PM")) {
        (Some(clock), _) => (clock.trim_end(), Some(false)),
        (_, Some(clock)) => (clock.trim_end(), Some(true)),
        (None, None) => (upper.as_str(), None),
    };
    let mut parts = clock.split(':');
    let hour: i8 = parts.next()?.parse().ok()?;
    let minute: i8 = parts.next()?.parse().ok()?;
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() || (afternoon.is_some() && !(1..=12).contains(&hour)) {
        return None;
    }
    let hour = match afternoon {
        Some(true) if hour < 12 => hour + 12,
        Some(false) if hour == 12 => 0,
        _ => hour,
    };
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Time::new(hour, minute, second.parse().ok()?, nanos.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(zone: &str, order: DayOrder, format: Option<&str>) -> Calendar {
        Calendar { zone: TimeZone::get(zone).unwrap(), order, format: format.map(ToOwned::to_owned) }
    }

    fn read(cell: &str, calendar: &Calendar) -> String {
        parse(cell, calendar).map_or_else(
            |_| "refused".into(),
            |moment| format!("{}{}", moment.at, if moment.day_only { " (day)" } else { "" }),
        )
    }

    #[test]
    fn times_are_read_as_platforms_write_them() {
        let malta = calendar("Europe/Malta", DayOrder::Day, None);
        let cases = [
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00Z"),
            ("2026-11-20 10:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20 10:00:05.25", "2026-11-20T09:00:05.25Z"),
            ("2026-07-20 10:00:05", "2026-07-20T08:00:05Z"),
            ("2026-11-20 10:00:00 UTC", "2026-11-20T10:00:00Z"),
            ("2026-11-20 10:00:00 +0100", "2026-11-20T09:00:00Z"),
            ("2026/11/20 10:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z (day)"),
            ("20261120", "2026-11-19T23:00:00Z (day)"),
            ("20.11.2026 10:00", "2026-11-20T09:00:00Z"),
            ("3/4/26 1:05 PM", "2026-04-03T11:05:00Z"),
            ("03-04-2026, 12:05 am", "2026-04-02T22:05:00Z"),
            ("1795168800", "2026-11-20T10:00:00Z"),
            ("1795168800123", "2026-11-20T10:00:00.123Z"),
        ];
        for (cell, expected) in cases {
            assert_eq!(read(cell, &malta), expected, "{cell:?}");
        }
        let american = calendar("America/New_York", DayOrder::Month, None);
        assert_eq!(read("03/04/2026 10:00", &american), "2026-03-04T15:00:00Z");
        assert_eq!(read("04.03.2026 10:00", &american), "2026-03-04T15:00:00Z", "points are never American");
    }

    #[test]
    fn a_format_of_strptime_overrules() {
        let day = calendar("UTC", DayOrder::Day, Some("%d %b %Y"));
        assert_eq!(read("20 Nov 2026", &day), "2026-11-20T00:00:00Z (day)");
        let whole = calendar("Europe/Malta", DayOrder::Day, Some("%m-%d-%Y %H:%M"));
        assert_eq!(read("11-20-2026 10:00", &whole), "2026-11-20T09:00:00Z");
        let offset = calendar("Europe/Malta", DayOrder::Day, Some("%Y-%m-%d %H:%M:%S %z"));
        assert_eq!(read("2026-11-20 10:00:00 +0000", &offset), "2026-11-20T10:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let utc = calendar("UTC", DayOrder::Day, None);
        let wrong = [
            "",
            "yesterday",
            "31/31/2026",
            "2026-13-01",
            "13:00 PM",
            "2026-11-20 25:00",
            "20 Nov 2026",
            "123",
            "2026-11-20 13:00 PM",
        ];
        for cell in wrong {
            assert_eq!(read(cell, &utc), "refused", "{cell:?}");
        }
    }

    #[test]
    fn a_date_says_its_order_or_that_it_can_be_read_twice() {
        let cases = [
            ("31/12/2026", Clue::Says(DayOrder::Day)),
            ("12/31/2026 10:00", Clue::Says(DayOrder::Month)),
            ("03/04/2026", Clue::Either),
            ("04/04/2026", Clue::Nothing),
            ("03.04.2026", Clue::Nothing),
            ("2026-03-04", Clue::Nothing),
            ("1795168800", Clue::Nothing),
        ];
        for (cell, expected) in cases {
            assert_eq!(clue(cell), expected, "{cell:?}");
        }
    }
}
