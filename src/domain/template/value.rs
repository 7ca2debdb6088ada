//! The typed values that expressions work on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::encode;
use super::scope::MASK;
use crate::domain::event::ParamValue;
use crate::domain::money::Amount;

/// A value of one event, for one attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// Not there.
    Missing,
    /// Text.
    Text(Cow<'a, str>),
    /// An exact number.
    Number(Decimal),
    /// True or false.
    Bool(bool),
    /// A time; its text is that of RFC 3339 in UTC.
    Time(Timestamp),
    /// A time that counts as its number of seconds since 1970.
    Seconds(Timestamp),
    /// The affiliate's markers by name.
    SubIds(&'a BTreeMap<String, String>),
    /// The parameters by name.
    Params(&'a BTreeMap<String, ParamValue>),
    /// A secret or signature that is not for the record.
    Masked,
}

/// The type of a value as far as it is known when a template is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A time.
    Time,
    /// A time that counts as a number.
    Seconds,
    /// Several values by name.
    Object,
    /// Known only when the event is.
    Any,
}

impl Value<'_> {
    /// Whether it is missing, the empty text, or an object without entries.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Text(text) => text.is_empty(),
            Self::SubIds(entries) => entries.is_empty(),
            Self::Params(entries) => entries.is_empty(),
            Self::Number(_) | Self::Bool(_) | Self::Time(_) | Self::Seconds(_) | Self::Masked => false,
        }
    }

    /// The value as text; objects come out as JSON.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Missing => Cow::Borrowed(""),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Time(time) => Cow::Owned(time.to_string()),
            Self::Seconds(time) => Cow::Owned(time.as_second().to_string()),
            Self::SubIds(_) | Self::Params(_) => {
                let mut json = String::new();
                self.push_json(&mut json);
                Cow::Owned(json)
            }
            Self::Masked => Cow::Borrowed(MASK),
        }
    }

    /// The value as a number, where it is one or its text is one.
    pub(crate) fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => Amount::parse(text).ok().map(Amount::decimal),
            Self::Seconds(time) => Some(Decimal::from(time.as_second())),
            Self::Missing | Self::Bool(_) | Self::Time(_) | Self::SubIds(_) | Self::Params(_) | Self::Masked => None,
        }
    }

    /// The value as a time, where it is one or its text is one of RFC 3339.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Time(time) | Self::Seconds(time) => Some(*time),
            Self::Text(text) => text.parse().ok(),
            Self::Missing | Self::Number(_) | Self::Bool(_) | Self::SubIds(_) | Self::Params(_) | Self::Masked => None,
        }
    }

    /// Appends the value as JSON of its own type; what is missing becomes the empty text, never `null`.
    pub(crate) fn push_json(&self, out: &mut String) {
        match self {
            Self::Number(_) | Self::Bool(_) | Self::Seconds(_) => out.push_str(&self.text()),
            Self::Missing | Self::Text(_) | Self::Time(_) | Self::Masked => push_json_text(&self.text(), out),
            Self::SubIds(entries) => {
                push_json_object(entries.iter().map(|(key, value)| (key, Value::Text(Cow::Borrowed(value)))), out);
            }
            Self::Params(entries) => {
                push_json_object(entries.iter().map(|(key, value)| (key, Value::of_param(value))), out);
            }
        }
    }

    fn of_param(value: &ParamValue) -> Value<'_> {
        match value {
            ParamValue::Text(text) => Value::Text(Cow::Borrowed(text)),
            ParamValue::Number(number) => Value::Number(number.decimal()),
            ParamValue::Boolean(value) => Value::Bool(*value),
        }
    }

    /// Each text of the value on its own.
    pub(crate) fn texts(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::SubIds(entries) => entries.values().map(|value| Cow::Borrowed(value.as_str())).collect(),
            Self::Params(entries) => {
                entries.values().map(|value| Cow::Owned(Value::of_param(value).text().into_owned())).collect()
            }
            Self::Missing
            | Self::Text(_)
            | Self::Number(_)
            | Self::Bool(_)
            | Self::Time(_)
            | Self::Seconds(_)
            | Self::Masked => vec![self.text()],
        }
    }
}

fn push_json_text(text: &str, out: &mut String) {
    out.push('"');
    encode::push_json(text, out);
    out.push('"');
}

fn push_json_object<'v>(entries: impl Iterator<Item = (&'v String, Value<'v>)>, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_json_text(key, out);
        let _ = out.write_char(':');
        value.push_json(out);
    }
    out.push('}');
}
