//! A file that another command writes by the rules of exports: it appears under its name only when it is whole and on disk,
//! and nothing that is there is overwritten unasked.

use std::io::Write;
use std::path::Path;

use super::target::{Target, is_standard};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;

/// A file that vanishes unless it is finished.
pub(in crate::cli) struct WholeFile<'o>(Target<'o>);

impl<'o> WholeFile<'o> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it is there and may not be overwritten, cannot be written, or is standard output.
    pub(in crate::cli) fn begin(output: &'o Output, path: &Path, overwrite: bool) -> Result<Self, Failure> {
        if is_standard(path) {
            let why = "standard output is for the figures";
            return Err(Failure::new(Exit::Usage, "writing to -", why, "name a file"));
        }
        Target::open(output, path, overwrite).map(Self)
    }

    /// Begins a file, or writes to standard output.
    ///
    /// # Errors
    /// When the file is there and may not be overwritten, or cannot be written.
    pub(in crate::cli) fn begin_anywhere(output: &'o Output, path: &Path, overwrite: bool) -> Result<Self, Failure> {
        Target::open(output, path, overwrite).map(Self)
    }

    /// Something to write to, which is to be flushed before the file is finished.
    ///
    /// # Errors
    /// When the file cannot be shared.
    pub(in crate::cli) fn writer(&self) -> Result<Box<dyn Write + Send + 'o>, Failure> {
        self.0.writer()
    }

    /// Puts the file in its place once it is on disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::cli) fn finish(self) -> Result<(), Failure> {
        self.0.finish()
    }
}
