//! Items: one value of a document, read as the type that is expected of it.
//!
//! Each reader gives `None` when the value does not fit, and has then reported why.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, Place};
use super::problem::{Report, Weight};
use super::quantity;
use super::section::Section;
use crate::domain::nearest::nearest;

/// Most characters of a value that a message repeats.
const MAX_QUOTED: usize = 80;

/// One value with its place.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) report: &'a Report,
    pub(super) value: &'a Spanned<DeValue<'a>>,
    /// The key's path, such as `postback[0].url`.
    pub(super) path: String,
}

impl<'a> Item<'a> {
    fn add(&self, weight: Weight, message: impl Into<String>, remedy: impl Into<String>) {
        let place = Place { offset: self.value.span().start, key: &self.path };
        self.document.add(self.report, weight, place, message.into(), remedy.into());
    }

    /// Reports an error in this value.
    pub(super) fn fault(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Weight::Error, message, remedy);
    }

    /// Reports what is most likely a mistake in this value.
    pub(super) fn warn(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Weight::Warning, message, remedy);
    }

    fn wrong_type(&self, expected: &str, remedy: &str) {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(format!("must be {expected}, found {found}"), remedy);
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type("a text", "write it in double quotes");
        }
        text
    }

    /// A text that is not blank.
    pub(super) fn filled_text(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.fault("is empty", "write something, or remove the key");
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type("true or false", "write true or false without quotes");
        }
        value
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.wrong_type("a whole number", "write it in digits, without quotes");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let found = number.filter(|number| bounds.contains(number));
        if found.is_none() {
            let message = format!("is {integer}, out of bounds");
            self.fault(message, format!("use a number from {} to {}", bounds.start(), bounds.end()));
        }
        found
    }

    /// A number that is no amount of money, such as a factor, within bounds.
    pub(super) fn factor(&self, bounds: RangeInclusive<f64>) -> Option<f64> {
        let text = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => {
                self.wrong_type("a number", "write it in digits, without quotes");
                return None;
            }
        };
        let found = text.parse::<f64>().ok().filter(|number| bounds.contains(number));
        if found.is_none() {
            let remedy = format!("use a number from {:.1} to {:.1}", bounds.start(), bounds.end());
            self.fault(format!("is {text}, out of bounds"), remedy);
        }
        found
    }

    /// A text that a parser accepts; its error is the message.
    pub(super) fn parsed<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        let text = self.text()?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(format!("{} {error}", quoted(text)), remedy);
                None
            }
        }
    }

    /// One of several words.
    pub(super) fn choose<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let remedy = match nearest(text, names.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("use one of {}", names.join(", ")),
            };
            self.fault(format!("{} is not known here", quoted(text)), remedy);
        }
        found
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.wrong_type("a duration", "write it with a unit, such as \"5s\", \"250ms\", \"6h\" or \"90d\"");
            return None;
        };
        let Some(duration) = quantity::duration(text) else {
            let remedy = "write a number and its unit, such as \"5s\", \"250ms\", \"1h30m\" or \"90d\"";
            self.fault(format!("{} is not a duration", quoted(text)), remedy);
            return None;
        };
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| quantity::show_duration(*bound));
        self.fault(format!("is {text}, out of bounds"), format!("use a duration from {least} to {most}"));
        None
    }

    /// A size within bounds.
    pub(super) fn size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.wrong_type("a size", "write it with a unit, such as \"64KiB\" or \"256MiB\"");
            return None;
        };
        let Some(size) = quantity::size(text) else {
            let remedy = "write a number and its unit, such as \"64KiB\", \"256MiB\" or \"1GiB\"";
            self.fault(format!("{} is not a size", quoted(text)), remedy);
            return None;
        };
        if bounds.contains(&size) {
            return Some(size);
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| quantity::show_size(*bound));
        self.fault(format!("is {text}, out of bounds"), format!("use a size from {least} to {most}"));
        None
    }

    /// A list's entries.
    pub(super) fn list(&self) -> Option<Vec<Item<'a>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            self.wrong_type("a list", "write it in square brackets");
            return None;
        };
        Some(array.iter().enumerate().map(|(index, value)| self.inner(value, format!("[{index}]"))).collect())
    }

    /// A list with at least one entry.
    pub(super) fn filled_list(&self) -> Option<Vec<Item<'a>>> {
        let entries = self.list()?;
        if entries.is_empty() {
            self.fault("is an empty list", "name at least one, or remove the key");
            return None;
        }
        Some(entries)
    }

    /// Whether it is a table, where something else would do, too.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// A table.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let section = Section::of(self);
        if section.is_none() {
            self.wrong_type("a table", "write it as { key = value }, or under a header of its own");
        }
        section
    }

    /// A value inside of this one.
    pub(super) fn inner(&self, value: &'a Spanned<DeValue<'a>>, step: impl Display) -> Item<'a> {
        Item { document: self.document, report: self.report, value, path: format!("{}{step}", self.path) }
    }
}

/// A value for a message: in quotes, cut short.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
