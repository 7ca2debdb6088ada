//! Filters: what can be done to a value before it is written.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use md5::Md5;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rust_decimal::{Decimal, RoundingStrategy};
use sha2::{Digest, Sha256};

use super::error::TemplateError;
use super::expression::{Argument, Word};
use super::foreign;
use super::value::{Kind, Value};
use crate::domain::money::{Amount, Currency};
use crate::domain::nearest::nearest;

/// Most decimals that `fixed` gives.
const MAX_DECIMALS: u32 = 18;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    Default(Constant),
    Fixed(u32),
    Minor,
    Int,
    Abs,
    Neg,
    Upper,
    Lower,
    Trim,
    Map { entries: Vec<(String, Constant)>, otherwise: Option<Constant> },
    Unix,
    UnixMs,
    Iso,
    Date { format: String, zone: TimeZone },
    Sha256,
    Md5,
    Join(String),
    Json,
    UrlEncode,
}

/// A value that stands in a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Text(String),
    Number(Decimal),
    Bool(bool),
}

/// What a filter works on.
pub(super) struct Operand<'a> {
    /// The value.
    pub(super) value: Value<'a>,
    /// The currency of the event that it came from.
    pub(super) currency: Option<Currency>,
}

/// Why a filter cannot work on a value: the rest of a sentence that begins with the filter.
type Problem = &'static str;

/// The names of all filters.
pub(crate) const NAMES: [&str; 20] = [
    "default",
    "fixed",
    "minor",
    "int",
    "abs",
    "neg",
    "upper",
    "lower",
    "trim",
    "map",
    "unix",
    "unix_ms",
    "iso",
    "date",
    "sha256",
    "md5",
    "join",
    "json",
    "urlencode",
    "raw",
];

const NOT_A_NUMBER: Problem = "needs a number; the value is not a plain decimal such as 120.00";
const NOT_A_TIME: Problem = "needs a time; the value is not a time of RFC 3339";

impl Constant {
    /// Reads an argument: a number keeps its digits or stays text, `true` and `false` are booleans, quotes make text.
    fn of(word: &Word) -> Self {
        let text = || Self::Text(word.text.clone());
        if word.quoted {
            return text();
        }
        match word.text.as_str() {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            number => match Amount::parse(number) {
                Ok(amount) if amount.to_string() == number => Self::Number(amount.decimal()),
                Ok(_) | Err(_) => text(),
            },
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Number(number) => Value::Number(*number),
            Self::Bool(value) => Value::Bool(*value),
        }
    }
}

impl Filter {
    /// Finds a filter and checks its arguments.
    pub(super) fn compile(name: &str, arguments: &[Argument]) -> Result<Self, TemplateError> {
        let plain = match name {
            "minor" => Self::Minor,
            "int" => Self::Int,
            "abs" => Self::Abs,
            "neg" => Self::Neg,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "trim" => Self::Trim,
            "unix" => Self::Unix,
            "unix_ms" => Self::UnixMs,
            "iso" => Self::Iso,
            "sha256" => Self::Sha256,
            "md5" => Self::Md5,
            "json" => Self::Json,
            "urlencode" => Self::UrlEncode,
            "default" => return compile_default(arguments),
            "fixed" => return compile_fixed(arguments),
            "map" => return compile_map(arguments),
            "date" => return compile_date(arguments),
            "join" => return compile_join(arguments),
            unknown => return Err(unknown_filter(unknown)),
        };
        if arguments.is_empty() { Ok(plain) } else { Err(wrong(plain.name(), "takes no arguments")) }
    }

    /// Its name in a template.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Default(_) => "default",
            Self::Fixed(_) => "fixed",
            Self::Minor => "minor",
            Self::Int => "int",
            Self::Abs => "abs",
            Self::Neg => "neg",
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Trim => "trim",
            Self::Map { .. } => "map",
            Self::Unix => "unix",
            Self::UnixMs => "unix_ms",
            Self::Iso => "iso",
            Self::Date { .. } => "date",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
            Self::Join(_) => "join",
            Self::Json => "json",
            Self::UrlEncode => "urlencode",
        }
    }

    /// Checks that it can work on values of this type at all.
    pub(super) fn check(&self, kind: Kind) -> Result<(), TemplateError> {
        let problem = match self {
            Self::Join(_) if kind != Kind::Object => "joins several values: sub_ids or params",
            Self::Join(_) | Self::Json | Self::Default(_) => return Ok(()),
            _ if kind == Kind::Object => "works on one value; use join or json on sub_ids and params",
            Self::Fixed(_) | Self::Minor | Self::Int | Self::Abs | Self::Neg if kind == Kind::Time => {
                "works on numbers, not on times; put unix or unix_ms before it"
            }
            Self::Unix | Self::UnixMs | Self::Iso | Self::Date { .. } if matches!(kind, Kind::Number | Kind::Text) => {
                "works on times, such as occurred_at and timestamp"
            }
            Self::Fixed(_)
            | Self::Minor
            | Self::Int
            | Self::Abs
            | Self::Neg
            | Self::Upper
            | Self::Lower
            | Self::Trim
            | Self::Map { .. }
            | Self::Unix
            | Self::UnixMs
            | Self::Iso
            | Self::Date { .. }
            | Self::Sha256
            | Self::Md5
            | Self::UrlEncode => return Ok(()),
        };
        Err(wrong(self.name(), problem))
    }

    /// The type of its result.
    pub(super) fn result(&self, kind: Kind) -> Kind {
        match self {
            Self::Default(_) | Self::Map { .. } => match kind {
                Kind::Object => Kind::Object,
                Kind::Text | Kind::Number | Kind::Time | Kind::Seconds | Kind::Any => Kind::Any,
            },
            Self::Fixed(_) | Self::Minor | Self::Int | Self::Abs | Self::Neg | Self::Unix | Self::UnixMs => {
                Kind::Number
            }
            Self::Upper
            | Self::Lower
            | Self::Trim
            | Self::Iso
            | Self::Date { .. }
            | Self::Sha256
            | Self::Md5
            | Self::Join(_)
            | Self::Json
            | Self::UrlEncode => Kind::Text,
        }
    }

    /// Applies it to a value; what is missing or empty passes through all but `default`.
    pub(super) fn apply<'a>(&'a self, operand: Operand<'a>) -> Result<Value<'a>, Problem> {
        let Operand { value, currency } = operand;
        if value.is_empty() {
            return Ok(if let Self::Default(constant) = self { constant.value() } else { value });
        }
        let text = |text: String| Ok(Value::Text(Cow::Owned(text)));
        match self {
            Self::Default(_) => Ok(value),
            Self::Fixed(_) | Self::Minor | Self::Int | Self::Abs | Self::Neg => self.compute(&value, currency),
            Self::Upper => text(value.text().to_uppercase()),
            Self::Lower => text(value.text().to_lowercase()),
            Self::Trim => text(value.text().trim().to_owned()),
            Self::Map { entries, otherwise } => look_up(&value.text(), entries, otherwise.as_ref()),
            Self::Unix | Self::UnixMs | Self::Iso | Self::Date { .. } => {
                let time = value.time().ok_or(NOT_A_TIME)?;
                self.write_time(time)
            }
            Self::Sha256 => text(hex::encode(Sha256::digest(value.text().as_bytes()))),
            Self::Md5 => text(hex::encode(Md5::digest(value.text().as_bytes()))),
            Self::Join(separator) => text(value.texts().join(separator)),
            Self::Json => {
                let mut json = String::new();
                value.push_json(&mut json);
                text(json)
            }
            Self::UrlEncode => {
                const RESERVED: &percent_encoding::AsciiSet =
                    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
                text(utf8_percent_encode(&value.text(), RESERVED).to_string())
            }
        }
    }

    fn compute<'a>(&self, value: &Value<'_>, currency: Option<Currency>) -> Result<Value<'a>, Problem> {
        let number = value.number().ok_or(NOT_A_NUMBER)?;
        let number = match self {
            Self::Fixed(decimals) => {
                let mut rounded = number.round_dp_with_strategy(*decimals, RoundingStrategy::MidpointNearestEven);
                rounded.rescale(*decimals);
                if rounded.scale() != *decimals {
                    return Err("has no room for so many decimals of so large a number");
                }
                rounded
            }
            Self::Minor => {
                let currency = currency.ok_or("needs the event's currency, which is missing")?;
                currency.to_minor(Amount::from(number)).ok_or("has no room for so large a number")?
            }
            Self::Int => number.trunc(),
            Self::Abs => number.abs(),
            Self::Neg => -number,
            _ => number,
        };
        let mut number = number;
        if number.is_zero() {
            number.set_sign_positive(true);
        }
        Ok(Value::Number(number))
    }

    fn write_time<'a>(&self, time: Timestamp) -> Result<Value<'a>, Problem> {
        Ok(match self {
            Self::Unix => Value::Number(Decimal::from(time.as_second())),
            Self::UnixMs => Value::Number(Decimal::from(time.as_millisecond())),
            Self::Date { format, zone } => {
                let written = strtime::format(format.as_bytes(), &time.to_zoned(zone.clone()));
                Value::Text(Cow::Owned(written.map_err(|_| "cannot write this time in its format")?))
            }
            _ => Value::Text(Cow::Owned(format!("{time:.0}"))),
        })
    }
}

fn look_up<'a>(
    text: &str,
    entries: &'a [(String, Constant)],
    otherwise: Option<&'a Constant>,
) -> Result<Value<'a>, Problem> {
    let found = entries.iter().find(|(key, _)| key == text).map(|(_, constant)| constant);
    found.or(otherwise).map(Constant::value).ok_or("has no entry for the value; add one, or else=…")
}

fn wrong(filter: &'static str, problem: impl Into<String>) -> TemplateError {
    TemplateError::Argument { filter, problem: problem.into() }
}

fn unknown_filter(name: &str) -> TemplateError {
    let near = nearest(&name.to_ascii_lowercase(), NAMES);
    let hint = near.map(|near| format!("; did you mean {near:?}?"));
    TemplateError::UnknownFilter {
        name: name.into(),
        hint: hint.unwrap_or_else(|| format!("; there are {}", NAMES.join(", "))),
    }
}

/// Takes a constant that will be sent; a macro that somebody forgot must not be sent as one.
fn constant(filter: &'static str, word: &Word) -> Result<Constant, TemplateError> {
    match foreign::unfilled(&word.text) {
        Some(what) => Err(wrong(filter, format!("would send {:?}, which looks like {what}", word.text))),
        None => Ok(Constant::of(word)),
    }
}

fn compile_default(arguments: &[Argument]) -> Result<Filter, TemplateError> {
    match arguments {
        [Argument { key: None, value }] => constant("default", value).map(Filter::Default),
        _ => Err(wrong("default", "takes one value: default(0)")),
    }
}

fn compile_fixed(arguments: &[Argument]) -> Result<Filter, TemplateError> {
    let decimals = match arguments {
        [Argument { key: None, value }] => value.text.parse().ok().filter(|decimals| *decimals <= MAX_DECIMALS),
        _ => None,
    };
    let problem = || wrong("fixed", format!("takes a number of decimals from 0 to {MAX_DECIMALS}: fixed(2)"));
    decimals.map(Filter::Fixed).ok_or_else(problem)
}

fn compile_map(arguments: &[Argument]) -> Result<Filter, TemplateError> {
    let mut entries: Vec<(String, Constant)> = Vec::new();
    let mut otherwise = None;
    for argument in arguments {
        let Some(key) = &argument.key else {
            return Err(wrong(
                "map",
                format!("takes pairs such as approved=1; {:?} has no \"=\"", argument.value.text),
            ));
        };
        let value = constant("map", &argument.value)?;
        let is_else = key.text == "else" && !key.quoted;
        let twice = if is_else { otherwise.is_some() } else { entries.iter().any(|(known, _)| *known == key.text) };
        if twice {
            return Err(wrong("map", format!("has two entries for {:?}", key.text)));
        }
        if is_else {
            otherwise = Some(value);
        } else {
            entries.push((key.text.clone(), value));
        }
    }
    if entries.is_empty() {
        return Err(wrong("map", "takes pairs: map(approved=1, rejected=2, else=3)"));
    }
    Ok(Filter::Map { entries, otherwise })
}

fn compile_date(arguments: &[Argument]) -> Result<Filter, TemplateError> {
    let (format, zone) = match arguments {
        [Argument { key: None, value: format }] => (format, "UTC"),
        [Argument { key: None, value: format }, Argument { key: None, value: zone }] => (format, zone.text.as_str()),
        _ => return Err(wrong("date", "takes a format and a time zone: date('%Y-%m-%d', 'Europe/Berlin')")),
    };
    let unknown = |_| wrong("date", format!("does not know the time zone {zone:?}; use a name such as Europe/Berlin"));
    let zone = TimeZoneDatabase::bundled().get(zone).map_err(unknown)?;
    let sample = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
    match strtime::format(format.text.as_bytes(), &sample) {
        Ok(text) if !text.trim().is_empty() => Ok(Filter::Date { format: format.text.clone(), zone }),
        Ok(_) => Err(wrong("date", "takes a format that writes something, such as %Y-%m-%d")),
        Err(error) => Err(wrong("date", format!("cannot use the format {:?}: {error}", format.text))),
    }
}

fn compile_join(arguments: &[Argument]) -> Result<Filter, TemplateError> {
    match arguments {
        [Argument { key: None, value }] => Ok(Filter::Join(value.text.clone())),
        _ => Err(wrong("join", "takes a separator: join(\"|\")")),
    }
}
