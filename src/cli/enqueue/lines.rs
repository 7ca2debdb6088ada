//! NDJSON: an event a line. A line that is none is told, and the rest goes on.

use std::io::{self, BufRead};

use super::Input;
use super::batch::Found;

/// Most bytes of an event as written; far more than the daemon takes.
pub(super) const MAX_ITEM_BYTES: usize = 256 * 1024;

/// The events of NDJSON.
pub(super) struct Lines {
    input: Input,
    line: u64,
}

impl Lines {
    /// The events of an input.
    pub(super) fn new(input: Input) -> Self {
        Self { input, line: 0 }
    }

    /// The next line without its end, and whether it is whole; `None` at the end.
    fn line(&mut self) -> io::Result<Option<(Vec<u8>, u64)>> {
        let mut line = Vec::new();
        let mut length = 0;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(if length == 0 { None } else { Some((line, length)) });
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(chunk.len(), |at| at + 1);
            let room = (MAX_ITEM_BYTES + 1).saturating_sub(line.len());
            line.extend_from_slice(chunk.get(..used.min(room)).unwrap_or_default());
            length += u64::try_from(used).unwrap_or(u64::MAX);
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some((line, length)));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<io::Result<Found>> {
        loop {
            let (line, length) = match self.line() {
                Ok(found) => found?,
                Err(error) => return Some(Err(error)),
            };
            self.line += 1;
            if !line.trim_ascii().is_empty() {
                return Some(Ok(Found::json(self.line, line.trim_ascii().to_vec(), length)));
            }
        }
    }
}
