//! What `enqueue` finds in a file, for fuzzing.

use std::io::{Cursor, Read};
use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use super::batch::{Found, body};
use super::format::{self, Format};

/// How the file is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Written {
    /// One object, or an array of them.
    Json,
    /// An object a line.
    Ndjson,
    /// A header and rows.
    Csv {
        /// What divides the cells.
        delimiter: u8,
    },
}

/// What is found in a file, in order: events, and `None` where something else stands.
pub(crate) fn found(written: Written, text: &[u8]) -> Vec<Option<Value>> {
    let (format, delimiter) = match written {
        Written::Json => (Format::Json, b','),
        Written::Ndjson => (Format::Ndjson, b','),
        Written::Csv { delimiter } => (Format::Csv, delimiter),
    };
    let input: Box<dyn Read + Send> = Box::new(Cursor::new(text.to_vec()));
    let Ok(events) = format::open(input, Some(format), Path::new("-"), delimiter) else { return Vec::new() };
    let (mut bytes, mut line, mut items, mut values) = (0, 0, Vec::new(), Vec::new());
    for event in events {
        let (found_line, found_bytes, value) = match event {
            Ok(Found::Event(item)) => {
                let value: Value = serde_json::from_str(&item.text).unwrap_or_default();
                assert!(value.is_object(), "no object is taken for an event: {}", item.text);
                let named = ["transaction_id", "reverses"].map(|field| value.get(field).and_then(Value::as_str));
                assert_eq!(item.transactions, named.into_iter().flatten().collect::<Vec<_>>(), "{value}");
                let place = (item.line, item.bytes);
                items.push(item);
                (place.0, place.1, Some(value))
            }
            Ok(Found::Malformed(malformed)) => {
                assert!(!malformed.why.is_empty(), "refused without a reason: {malformed:?}");
                (malformed.line, malformed.bytes, None)
            }
            Err(_) => break,
        };
        assert!(found_line >= line, "line {found_line} comes behind line {line}");
        line = found_line;
        bytes += found_bytes;
        values.push(value);
        assert!(values.len() <= text.len() + 1, "more is found than is written");
    }
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    assert!(bytes <= length, "{bytes} bytes are read of {length}");
    if !items.is_empty() {
        let body = body(&items);
        let handed_over: Vec<&RawValue> = serde_json::from_slice(&body).unwrap_or_default();
        let handed_over: Vec<_> = handed_over.into_iter().map(RawValue::get).collect();
        assert_eq!(handed_over, items.iter().map(|item| item.text.as_str()).collect::<Vec<_>>(), "what is handed over");
    }
    values
}

/// An event that was found in CSV, written as CSV and read again.
pub(crate) fn read_again(event: &Value, delimiter: u8) -> Value {
    let Value::Object(fields) = event else { return Value::Null };
    let (mut header, mut row) = (Vec::new(), Vec::new());
    let mut put = |path: String, value: &Value| {
        let (kind, cell) = match value {
            Value::Bool(value) => ("boolean", value.to_string()),
            Value::Number(number) => ("number", number.to_string()),
            Value::String(text) => ("text", text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => panic!("a cell became {value}"),
        };
        header.push(format!("{path}:{kind}"));
        row.push(cell);
    };
    for (name, value) in fields {
        match value {
            Value::Object(nested) => nested.iter().for_each(|(key, value)| put(format!("{name}.{key}"), value)),
            other => put(name.clone(), other),
        }
    }
    if header.is_empty() {
        return event.clone();
    }
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    let written = writer.write_record(&header).and_then(|()| writer.write_record(&row));
    let text = writer.into_inner().unwrap_or_default();
    assert!(written.is_ok(), "{written:?}");
    found(Written::Csv { delimiter }, &text).into_iter().flatten().next().unwrap_or_default()
}
