//! How a file of events is written: by its name, or by its first line.

use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::Input;
use super::batch::Found;
use super::elements::Elements;
use super::lines::{Lines, MAX_ITEM_BYTES};
use super::rows::Rows;

/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file of events is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One object, or an array of them
    Json,
    /// An object a line
    Ndjson,
    /// A header and rows
    Csv,
}

/// The events of an input, as they are found.
pub(super) type FoundEvents = Box<dyn Iterator<Item = io::Result<Found>> + Send>;

/// Begins to read events.
///
/// # Errors
/// When the input cannot be read, or it is not clear how it is written.
pub(super) fn open(
    mut input: Box<dyn Read + Send>,
    named: Option<Format>,
    file: &Path,
    delimiter: u8,
) -> io::Result<FoundEvents> {
    let mut start = first_line(&mut input)?;
    if start.starts_with(BYTE_ORDER_MARK) {
        start.drain(..BYTE_ORDER_MARK.len());
    }
    let format = match named.or_else(|| by_name(file)) {
        Some(format) => format,
        None => by_start(&start)?,
    };
    let input: Input = BufReader::with_capacity(128 * 1024, Box::new(Cursor::new(start).chain(input)));
    Ok(match format {
        Format::Json => Box::new(Elements::new(input)),
        Format::Ndjson => Box::new(Lines::new(input)),
        Format::Csv => Box::new(Rows::open(input, delimiter)?),
    })
}

/// The bytes up to the end of the first line that is not blank.
fn first_line(input: &mut Box<dyn Read + Send>) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let mut chunk = [0; 8 * 1024];
    loop {
        let read = match input.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        start.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let begun = start.iter().position(|byte| !byte.is_ascii_whitespace());
        let ended = begun.is_some_and(|at| start.get(at..).unwrap_or_default().contains(&b'\n'));
        if read == 0 || ended || start.len() > MAX_ITEM_BYTES {
            return Ok(start);
        }
    }
}

fn by_name(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "csv" => Some(Format::Csv),
        // What is called .json is as often one document as one a line: its start tells.
        _ => None,
    }
}

fn by_start(start: &[u8]) -> io::Result<Format> {
    let line = start.trim_ascii_start();
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.first() {
        Some(b'{') if serde_json::from_slice::<Value>(line).is_ok() => Ok(Format::Ndjson),
        None | Some(b'[' | b'{') => Ok(Format::Json),
        Some(_) => {
            let why = "its first line does not tell how it is written; add --format json, ndjson or csv";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}
