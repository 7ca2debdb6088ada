//! Documents: a TOML file with its lines, and the syntax errors that were found in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::problem::{Problem, Report, Weight};

/// Most bytes of a configuration file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A file's text.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// A text that lies in no file.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Reads a file; what hinders is reported.
    pub(super) fn read(path: &Path, report: &Report) -> Option<Self> {
        let mut bytes = Vec::new();
        // One byte more than allowed, however long it says that it is: a device such as /dev/zero says nothing, and never ends.
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let message = format!("has more than {MAX_FILE_BYTES} bytes, the most that a configuration file may have");
            report.file_error(path, message, "check that this is the file you meant");
            return None;
        }
        match read.map(|_| String::from_utf8(bytes)) {
            Ok(Ok(text)) => Some(Self { path: path.into(), text }),
            Ok(Err(error)) => {
                let message = format!("is not UTF-8 behind byte {}", error.utf8_error().valid_up_to());
                report.file_error(path, message, "save it as UTF-8");
                None
            }
            Err(error) => {
                report.file_error(path, format!("cannot be read: {error}"), "check the path and its permissions");
                None
            }
        }
    }
}

/// A parsed file.
#[derive(Debug)]
pub(super) struct Document<'s> {
    path: &'s Path,
    /// The offset at which each line starts.
    starts: Vec<usize>,
    root: Spanned<DeTable<'s>>,
    /// Lines with syntax errors, about which nothing more is said.
    broken: BTreeSet<usize>,
}

impl<'s> Document<'s> {
    /// Parses a file; every syntax error is reported, and what could be read in spite of them is kept.
    pub(super) fn parse(source: &'s Source, report: &Report) -> Self {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        let starts = std::iter::once(0).chain(source.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut document = Self { path: &source.path, starts, root, broken: BTreeSet::new() };
        for error in errors {
            let line = error.span().map(|span| document.line(span.start));
            if line.is_none_or(|line| document.broken.insert(line)) {
                let message = format!("is not TOML here: {}", error.message());
                let remedy = "correct the syntax (text stands in double quotes)".into();
                let problem = Problem {
                    file: document.path.into(),
                    line,
                    key: String::new(),
                    message: trimmed(&message),
                    remedy,
                };
                report.add(Weight::Error, problem);
            }
        }
        document
    }

    /// The file's path.
    pub(super) fn path(&self) -> &'s Path {
        self.path
    }

    /// The file's name without its extension.
    pub(super) fn stem(&self) -> Option<&'s str> {
        self.path.file_stem().and_then(|stem| stem.to_str())
    }

    /// The table that the whole file is.
    pub(super) fn root(&self) -> &DeTable<'s> {
        self.root.get_ref()
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Whether the file has syntax errors, so that something may seem to be missing.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Reports a problem at an offset, unless its line is not even TOML.
    pub(super) fn add(&self, report: &Report, weight: Weight, place: Place<'_>, message: String, remedy: String) {
        let line = self.line(place.offset);
        if !self.broken.contains(&line) {
            let problem = Problem { file: self.path.into(), line: Some(line), key: place.key.into(), message, remedy };
            report.add(weight, problem);
        }
    }
}

/// A place in a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'k> {
    /// The byte at which it begins.
    pub(super) offset: usize,
    /// The key's path.
    pub(super) key: &'k str,
}

fn trimmed(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}
