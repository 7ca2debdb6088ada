//! A JSON document: an array of events or events one behind the other, cut apart without being held whole.
//!
//! Only strings and brackets are understood here; whether a piece is JSON is decided on the piece alone.

use std::io::{self, BufRead};

use super::Input;
use super::batch::{Found, Malformed};
use super::lines::MAX_ITEM_BYTES;

/// The events of a JSON document.
pub(super) struct Elements {
    input: Input,
    line: u64,
    place: Place,
}

/// Where in the document we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before its first byte.
    Start,
    /// Between values that stand one behind the other.
    Top,
    /// Inside the array.
    Array,
    /// Behind the array.
    Behind,
    /// Nothing more will come.
    End,
}

/// A piece while it grows.
#[derive(Debug, Default)]
struct Piece {
    text: Vec<u8>,
    bytes: u64,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Piece {
    fn take(&mut self, byte: u8) {
        self.bytes += 1;
        if self.text.len() <= MAX_ITEM_BYTES {
            self.text.push(byte);
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn is_open(&self) -> bool {
        self.in_string || self.depth > 0
    }
}

impl Elements {
    /// The events of an input.
    pub(super) fn new(input: Input) -> Self {
        Self { input, line: 1, place: Place::Start }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(chunk) => return Ok(chunk.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn consume(&mut self, byte: u8) {
        self.input.consume(1);
        if byte == b'\n' {
            self.line += 1;
        }
    }

    fn found(&mut self) -> io::Result<Option<Found>> {
        loop {
            let Some(byte) = self.peek()? else {
                let open = self.place == Place::Array;
                self.place = Place::End;
                return Ok(open.then(|| self.fault("the file ends before the array does")));
            };
            match (self.place, byte) {
                (Place::End, _) => return Ok(None),
                (_, b' ' | b'\t' | b'\r' | b'\n') | (Place::Array, b',') => self.consume(byte),
                (Place::Start, b'[') => {
                    self.consume(byte);
                    self.place = Place::Array;
                }
                (Place::Array, b']') => {
                    self.consume(byte);
                    self.place = Place::Behind;
                }
                (Place::Behind, _) => {
                    self.place = Place::End;
                    return Ok(Some(self.fault("there is text behind the end of the array, which was not read")));
                }
                (Place::Start | Place::Top, _) => {
                    self.place = Place::Top;
                    return self.piece().map(Some);
                }
                (Place::Array, _) => return self.piece().map(Some),
            }
        }
    }

    fn piece(&mut self) -> io::Result<Found> {
        let line = self.line;
        let mut piece = Piece::default();
        while let Some(byte) = self.peek()? {
            let ends_before = match self.place {
                Place::Array => matches!(byte, b',' | b']'),
                _ => byte == b'\n' && !piece.text.starts_with(b"{") && !piece.text.starts_with(b"["),
            };
            if ends_before && !piece.is_open() {
                break;
            }
            self.consume(byte);
            piece.take(byte);
            let closed = matches!(byte, b'}' | b']') && !piece.is_open();
            if closed && self.place == Place::Top {
                break;
            }
        }
        Ok(Found::json(line, piece.text.trim_ascii().to_vec(), piece.bytes))
    }

    fn fault(&self, why: &str) -> Found {
        Found::Malformed(Malformed { line: self.line, text: String::new(), why: why.into(), bytes: 0 })
    }
}

impl Iterator for Elements {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<io::Result<Found>> {
        self.found().transpose()
    }
}
