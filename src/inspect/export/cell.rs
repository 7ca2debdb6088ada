//! Cells of exports: typed values, and how they are written so that nothing is lost or rounded.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An exact decimal amount, written with every digit that it was given with.
    Money,
    /// A moment: RFC 3339, UTC, with microseconds.
    Time,
    /// A whole number.
    Number,
    /// True or false.
    Flag,
    /// A JSON document as text.
    Json,
}

impl Kind {
    /// The kind's name on the page about exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Money => "decimal",
            Self::Time => "time",
            Self::Number => "integer",
            Self::Flag => "boolean",
            Self::Json => "JSON text",
        }
    }
}

/// A column of an export. Its name is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means.
    pub meaning: &'static str,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// There is nothing.
    Empty,
    /// Text, an amount or JSON.
    Text(String),
    /// A moment.
    Time(Timestamp),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

/// A value that is not what its column holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} is no {kind}: {value}")]
pub struct UnlikeColumn {
    column: &'static str,
    kind: &'static str,
    value: String,
}

impl Cell {
    pub(super) fn of(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    pub(super) fn maybe(text: Option<impl fmt::Display>) -> Self {
        text.map_or(Self::Empty, Self::of)
    }

    pub(super) fn number(number: impl TryInto<i64>) -> Self {
        Self::Number(number.try_into().unwrap_or(i64::MAX))
    }

    pub(super) fn json(document: &impl Serialize) -> Self {
        serde_json::to_string(document).map_or(Self::Empty, Self::Text)
    }

    /// The cell as text; `None` where there is nothing.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Empty => None,
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Time(at) => Some(Cow::Owned(format!("{at:.6}"))),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Flag(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        }
    }

    /// Reads a cell of a column as [`line`] wrote it.
    ///
    /// # Errors
    /// When it is not what the column holds.
    pub fn parse(column: &Column, value: &Value) -> Result<Self, UnlikeColumn> {
        let read = match (column.kind, value) {
            (_, Value::Null) => Some(Self::Empty),
            (Kind::Text | Kind::Money | Kind::Json, Value::String(text)) => Some(Self::Text(text.clone())),
            (Kind::Time, Value::String(text)) => text.parse().ok().map(Self::Time),
            (Kind::Number, Value::Number(number)) => number.as_i64().map(Self::Number),
            (Kind::Flag, Value::Bool(flag)) => Some(Self::Flag(*flag)),
            (Kind::Text | Kind::Money | Kind::Time | Kind::Number | Kind::Flag | Kind::Json, _) => None,
        };
        let unlike = || UnlikeColumn { column: column.name, kind: column.kind.name(), value: value.to_string() };
        read.ok_or_else(unlike)
    }

    /// Bytes of its content, roughly.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Empty | Self::Time(_) | Self::Number(_) | Self::Flag(_) => size_of::<i64>(),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Empty | Self::Text(_) | Self::Time(_) => match self.text() {
                Some(text) => serializer.serialize_str(&text),
                None => serializer.serialize_none(),
            },
        }
    }
}

/// A row as one JSON object, its members in the order of the columns.
struct Object<'r> {
    columns: &'r [Column],
    row: &'r [Cell],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, cell) in self.columns.iter().zip(self.row) {
            map.serialize_entry(column.name, cell)?;
        }
        map.end()
    }
}

/// A row as a line of NDJSON, with its line end.
///
/// # Errors
/// When there is no memory for it.
pub fn line(columns: &[Column], row: &[Cell]) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Object { columns, row })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn column(kind: Kind) -> Column {
        Column { name: "x", kind, meaning: "" }
    }

    #[test]
    fn cells_are_read_as_they_were_written() {
        let at: Timestamp = "2026-11-20T10:00:00.000001Z".parse().unwrap();
        let cells = [
            (Kind::Text, Cell::Text("=1+1".into()), r#"{"x":"=1+1"}"#),
            (Kind::Money, Cell::Text("120.00".into()), r#"{"x":"120.00"}"#),
            (Kind::Time, Cell::Time(at), r#"{"x":"2026-11-20T10:00:00.000001Z"}"#),
            (Kind::Number, Cell::Number(-7), r#"{"x":-7}"#),
            (Kind::Flag, Cell::Flag(true), r#"{"x":true}"#),
            (Kind::Json, Cell::Text("[]".into()), r#"{"x":"[]"}"#),
            (Kind::Time, Cell::Empty, r#"{"x":null}"#),
        ];
        for (kind, cell, written) in cells {
            let column = column(kind);
            let line = line(&[column], std::slice::from_ref(&cell)).unwrap();
            assert_eq!(std::str::from_utf8(&line).unwrap(), format!("{written}\n"));
            let value: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(Cell::parse(&column, &value["x"]), Ok(cell));
        }
        assert!(Cell::parse(&column(Kind::Number), &Value::String("7".into())).is_err());
        assert!(Cell::parse(&column(Kind::Time), &Value::String("yesterday".into())).is_err());
    }

    #[test]
    fn times_always_have_microseconds() {
        let at: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        assert_eq!(Cell::Time(at).text().unwrap(), "2026-11-20T10:00:00.000000Z");
    }
}
