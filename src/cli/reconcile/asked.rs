//! What `reconcile` was asked, and what that means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::report::{Encoding, Notation, parse_map};
use crate::cli::exit::{Exit, Failure};
use crate::cli::time;
use crate::domain::money::{Amount, Currency};
use crate::domain::reconcile::amount::DecimalSign;
use crate::domain::reconcile::moment::{Calendar, DayOrder};
use crate::domain::reconcile::{Period, Statuses, Types};

/// Their conversions against ours.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ReconcileArgs {
    /// The affiliate whose report it is
    #[arg(long, value_name = "ID")]
    pub(super) affiliate: String,

    /// Only what this postback of the affiliate told; an event counts once otherwise
    #[arg(long, value_name = "NAME")]
    pub(super) postback: Option<String>,

    /// Their report: CSV with a header; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) report: PathBuf,

    /// Which columns of theirs are ours: `transaction_id`, `click_id`, amount, currency, status, time, type
    #[arg(long, value_name = "OURS=THEIRS,…", required = true, value_delimiter = ',')]
    map: Vec<String>,

    /// Their words for statuses, such as approved=A|paid,rejected=D
    #[arg(long, value_name = "OURS=THEIRS|…,…", value_parser = Statuses::parse)]
    statuses: Option<Statuses>,

    /// Their words for types, such as ftd=2|deposit
    #[arg(long, value_name = "OURS=THEIRS|…,…", value_parser = Types::parse)]
    types: Option<Types>,

    /// Conversions from then on: 30d (ago), 2026-11-01 (in --time-zone) or a time [default: their first day]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Conversions before then [default: behind their last day]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// The zone of their times, such as Europe/Malta
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    pub(super) time_zone: TimeZone,

    /// How their times are written, by strptime, such as '%d/%m/%Y %H:%M' [default: recognised]
    #[arg(long, value_name = "FORMAT")]
    date_format: Option<String>,

    /// How far outside of the period conversions may lie that are the same
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = time::duration)]
    margin: Duration,

    /// What takes longer is late: until we had posted it, or until they say they had it
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = time::duration)]
    late: Duration,

    /// By how much amounts may differ
    #[arg(long, value_name = "AMOUNT", default_value = "0", value_parser = tolerance)]
    pub(super) tolerance: Decimal,

    /// Their decimal sign [default: recognised]
    #[arg(long, value_name = "SIGN")]
    decimal: Option<Sign>,

    /// Their amounts are in minor units (cents)
    #[arg(long)]
    minor: bool,

    /// The currency of amounts that name none
    #[arg(long, value_name = "CODE", value_parser = Currency::parse)]
    currency: Option<Currency>,

    /// What divides their columns: comma, semicolon, tab or pipe [default: recognised]
    #[arg(long, value_name = "NAME")]
    delimiter: Option<Delimiter>,

    /// The encoding of their report
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    encoding: Encoding,

    /// Write every line to this CSV file
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,

    /// Write a page for people to this file
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,

    /// Write what they miss to this file, for `replay --ids`
    #[arg(long, value_name = "FILE")]
    pub(super) missing: Option<PathBuf>,

    /// Overwrite files that are there
    #[arg(long)]
    pub(super) yes: bool,

    /// Sort in this directory; needs about a kilobyte for each conversion
    #[arg(long, value_name = "DIRECTORY", env = "TMPDIR", default_value = "/tmp")]
    pub(super) temporary: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sign {
    Point,
    Comma,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Delimiter {
    Comma,
    Semicolon,
    Tab,
    Pipe,
}

impl Delimiter {
    fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }
}

impl ReconcileArgs {
    /// How their report is to be read.
    ///
    /// # Errors
    /// When the map makes no sense.
    pub(super) fn notation(&self) -> Result<Notation, Failure> {
        let map = parse_map(&self.map);
        let map = map.map_err(|why| Failure::new(Exit::Usage, "--map", why, "see `postbackd reconcile --help`"))?;
        let zone = self.time_zone.clone();
        Ok(Notation {
            map,
            delimiter: self.delimiter.map(Delimiter::byte),
            encoding: self.encoding,
            decimal: self.decimal.map(|sign| match sign {
                Sign::Point => DecimalSign::Point,
                Sign::Comma => DecimalSign::Comma,
            }),
            minor: self.minor,
            currency: self.currency,
            calendar: Calendar { zone, order: DayOrder::Day, format: self.date_format.clone() },
            statuses: self.statuses.clone().unwrap_or_default(),
            types: self.types.clone().unwrap_or_default(),
        })
    }

    /// The period: as it was said, else the days of their rows.
    ///
    /// # Errors
    /// When it was not said and their rows have no times, or when it is empty.
    pub(super) fn period(&self, theirs: Option<(Timestamp, Timestamp)>) -> Result<Period, Failure> {
        let said = |name: &str, text: &Option<String>| {
            text.as_deref().map(|text| moment(text, &self.time_zone)).transpose().map_err(|why| usage(name, why))
        };
        let unsaid = || {
            let why = "their rows have no times that would say which period they are about";
            usage("the period", why.to_owned())
        };
        let since = match said("--since", &self.since)? {
            Some(since) => since,
            None => self.midnight(theirs.ok_or_else(unsaid)?.0, 0)?,
        };
        let until = match said("--until", &self.until)? {
            Some(until) => until,
            None => self.midnight(theirs.ok_or_else(unsaid)?.1, 1)?,
        };
        if since >= until {
            return Err(usage("the period", format!("it begins at {since} and ends at {until}")));
        }
        Ok(Period { since, until })
    }

    /// The beginning of a day in their zone, or of one so many days later.
    fn midnight(&self, at: Timestamp, later: i64) -> Result<Timestamp, Failure> {
        let day = at.to_zoned(self.time_zone.clone()).date();
        let midnight = day.checked_add(SignedDuration::from_hours(24 * later));
        let midnight = midnight.and_then(|day| day.to_zoned(self.time_zone.clone()));
        midnight.map(|zoned| zoned.timestamp()).map_err(|error| usage("the period", error.to_string()))
    }

    /// Which ends of the period were not said, and are those of their rows: the first, the last.
    pub(super) fn ends_unsaid(&self) -> (bool, bool) {
        (self.since.is_none(), self.until.is_none())
    }

    /// How far outside of the period is looked.
    pub(super) fn margin(&self) -> SignedDuration {
        SignedDuration::try_from(self.margin).unwrap_or(SignedDuration::MAX)
    }

    /// What is late.
    pub(super) fn late(&self) -> SignedDuration {
        SignedDuration::try_from(self.late).unwrap_or(SignedDuration::MAX)
    }
}

fn usage(what: &str, why: String) -> Failure {
    Failure::new(Exit::Usage, what, why, "say --since and --until, such as --since 2026-11-01 --until 2026-12-01")
}

fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    match text.trim().parse::<Date>() {
        Ok(date) if text.trim().len() <= "2026-11-20".len() => {
            date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
        }
        _ => time::moment(text),
    }
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| format!("{text:?} is no time zone such as Europe/Malta or UTC"))
}

fn tolerance(text: &str) -> Result<Decimal, String> {
    let amount = Amount::parse(text).map_err(|error| error.to_string())?.decimal();
    if amount.is_sign_negative() { Err("must not be negative".into()) } else { Ok(amount) }
}
