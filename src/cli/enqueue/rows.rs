//! CSV: a header and an event a row. A row that is none is told, and the rest goes on.

use std::io;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::Input;
use super::batch::{Found, Malformed};

/// The fields that have fields of their own.
const NESTED: [&str; 2] = ["sub_ids", "params"];

/// The events of CSV.
pub(super) struct Rows {
    reader: Reader<Input>,
    columns: Vec<Column>,
    read: u64,
}

/// Where the cells of a column go, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    parent: Option<String>,
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Boolean,
}

impl Column {
    fn parse(header: &str) -> Result<Self, String> {
        let header = header.trim();
        let (path, kind) = match header.rsplit_once(':') {
            Some((path, "number")) => (path, Kind::Number),
            Some((path, "boolean")) => (path, Kind::Boolean),
            Some((path, "text")) => (path, Kind::Text),
            _ => (header, Kind::Text),
        };
        let nested = path.split_once('.').filter(|(parent, _)| NESTED.contains(parent));
        let (parent, name) = match nested {
            Some((parent, name)) => (Some(parent.to_owned()), name),
            None => (None, path),
        };
        if name.is_empty() {
            return Err("a column of the header has no name".into());
        }
        // Where files were joined there may be one, which nobody sees.
        if header.contains('\u{feff}') {
            let shown = header.replace('\u{feff}', "");
            return Err(format!("the column {shown:?} of the header has a byte order mark in it: remove it"));
        }
        Ok(Self { parent, name: name.to_owned(), kind })
    }

    fn value(&self, cell: &str) -> Result<Value, String> {
        let wrong = |what: &str| format!("column {}: {cell:?} is no {what}", self.name);
        match self.kind {
            Kind::Text => Ok(Value::String(cell.to_owned())),
            Kind::Number => {
                let number = serde_json::from_str(cell).ok().filter(Value::is_number);
                number.ok_or_else(|| wrong("number"))
            }
            Kind::Boolean => match cell {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(wrong("boolean: write true or false")),
            },
        }
    }
}

impl Rows {
    /// Reads the header.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub(super) fn open(input: Input, delimiter: u8) -> io::Result<Self> {
        let mut reader = ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(input);
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let header = reader.headers().map_err(|error| wrong(format!("the header: {error}")))?;
        let columns = header.iter().map(Column::parse).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        for (at, column) in columns.iter().enumerate() {
            let same = |other: &Column| other.name == column.name && other.parent == column.parent;
            if columns.iter().take(at).any(same) {
                return Err(wrong(format!("the header has the column {:?} twice", column.name)));
            }
        }
        Ok(Self { reader, columns, read: 0 })
    }

    fn event(&self, row: &ByteRecord) -> Result<String, String> {
        if row.len() != self.columns.len() {
            return Err(format!("the row has {} cells, the header has {}", row.len(), self.columns.len()));
        }
        let mut event = Map::new();
        for (column, cell) in self.columns.iter().zip(row) {
            let cell = std::str::from_utf8(cell).map_err(|_| format!("column {}: not UTF-8", column.name))?.trim();
            if cell.is_empty() {
                continue;
            }
            let value = column.value(cell)?;
            match &column.parent {
                None => event.insert(column.name.clone(), value),
                Some(parent) => match event.entry(parent.as_str()).or_insert_with(|| Value::Object(Map::new())) {
                    Value::Object(nested) => nested.insert(column.name.clone(), value),
                    _ => return Err(format!("there is a column {parent} beside {parent}.{}", column.name)),
                },
            };
        }
        Ok(Value::Object(event).to_string())
    }
}

impl Iterator for Rows {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<io::Result<Found>> {
        let mut row = ByteRecord::new();
        match self.reader.read_byte_record(&mut row) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => {
                return Some(Err(match error.into_kind() {
                    ErrorKind::Io(error) => error,
                    other => io::Error::other(format!("{other:?}")),
                }));
            }
        }
        let line = row.position().map_or(0, csv::Position::line);
        let at = self.reader.position().byte();
        let bytes = at.saturating_sub(self.read);
        self.read = at;
        Some(Ok(match self.event(&row) {
            Ok(text) => Found::json(line, text.into_bytes(), bytes),
            Err(why) => {
                let cells: Vec<_> = row.iter().map(String::from_utf8_lossy).collect();
                Found::Malformed(Malformed { line, text: cells.join(","), why, bytes })
            }
        }))
    }
}
