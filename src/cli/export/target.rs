//! Where an export goes: standard output, or a file that appears under its name only when it is whole and on disk.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;

/// Where an export goes.
pub(super) enum Target<'o> {
    /// To whoever reads standard output.
    Standard(&'o Output),
    /// To a file.
    File(Unfinished),
}

/// A file that is being written, beside where it is to stand. It vanishes unless it is finished.
pub(super) struct Unfinished {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    finished: bool,
}

/// Whether a path stands for standard output.
pub(super) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

impl<'o> Target<'o> {
    /// Opens where the export goes.
    ///
    /// # Errors
    /// When the file is there and may not be overwritten, or cannot be written.
    pub(super) fn open(output: &'o Output, path: &Path, overwrite: bool) -> Result<Self, Failure> {
        if is_standard(path) {
            return Ok(Self::Standard(output));
        }
        if !overwrite && path.symlink_metadata().is_ok() {
            let what = format!("exporting to {}", path.display());
            return Err(Failure::new(Exit::Refused, what, "the file is there already", "overwrite it with --yes"));
        }
        Unfinished::open(path).map(Self::File).map_err(|error| {
            let next = match error.kind() {
                io::ErrorKind::WouldBlock => "wait for the other export of this file, or name another file",
                _ => "name a file in a directory that you may write to",
            };
            Failure::new(Exit::Error, format!("exporting to {}", path.display()), error, next)
        })
    }

    /// Something to write the rows to.
    ///
    /// # Errors
    /// When the file cannot be shared.
    pub(super) fn writer(&self) -> Result<Box<dyn Write + Send + 'o>, Failure> {
        match self {
            Self::Standard(output) => Ok(Box::new(Standard(output))),
            Self::File(file) => Ok(Box::new(BufWriter::new(file.file.try_clone().map_err(unwritten)?))),
        }
    }

    /// Puts the file in its place once it is on disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Standard(output) => output.flush(),
            Self::File(mut file) => file.finish().map_err(unwritten),
        }
    }
}

impl Unfinished {
    fn open(path: &Path) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push(".partial");
        let partial = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&partial)?;
        // Only who holds the lock may cut off what an export that was killed has left, not one that is under way.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(0)?;
        Ok(Self { path: path.to_path_buf(), partial, file, finished: false })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.partial, &self.path)?;
        self.finished = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed is named so that nobody takes it for whole.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Standard output, by way of the one place that prints.
struct Standard<'o>(&'o Output);

impl Write for Standard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.raw(bytes).map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(io::Error::other)
    }
}

/// The failure of a write; one of standard output is told as it is.
pub(super) fn unwritten(error: io::Error) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::new(Exit::Error, "writing the export", error, "see whether the disk is full"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> io::Result<Unfinished> {
        Unfinished::open(path)
    }

    #[test]
    fn a_file_appears_only_when_it_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.csv");
        let names = || {
            let entries = std::fs::read_dir(directory.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let mut file = open(&path).unwrap();
        file.file.write_all(b"half").unwrap();
        assert_eq!(names(), ["x.csv.partial"]);
        assert_eq!(open(&path).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock), "one at a time");
        drop(file);
        assert_eq!(names(), Vec::<String>::new());

        std::fs::write(directory.path().join("x.csv.partial"), "what a killed export has left behind").unwrap();
        let mut file = open(&path).unwrap();
        file.file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        drop(file);
        assert_eq!(names(), ["x.csv"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }
}
