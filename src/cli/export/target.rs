//! Where an export goes: standard output, or a file that appears under its name only when it is whole and on disk.
//!
//! Whoever else may write to the directory can neither lead the export into another file nor read along: what stands
//! at the name of the unfinished file is written to only where it is a plain file of the same user with no other name.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;

/// The unfinished file is for its user alone, and so is the finished one until he says otherwise.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
/// How often a file is opened anew that another export has finished in between.
const TRIES: usize = 3;

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
    overwrite: bool,
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
            return Err(there_already(path));
        }
        Unfinished::open(path, overwrite).map(Self::File).map_err(|error| {
            let next = match error.kind() {
                io::ErrorKind::WouldBlock => "wait for the other export of this file, or name another file",
                io::ErrorKind::InvalidInput => {
                    "see what stands at that name with .partial behind it, or name another file"
                }
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
            Self::Standard(output) => Ok(Box::new(Standard { output, line: Vec::new() })),
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
            Self::File(mut file) => file.finish().map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => there_already(&file.path),
                _ => unwritten(error),
            }),
        }
    }
}

fn there_already(path: &Path) -> Failure {
    let what = format!("exporting to {}", path.display());
    Failure::new(Exit::Refused, what, "the file is there already", "overwrite it with --yes")
}

impl Unfinished {
    fn open(path: &Path, overwrite: bool) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push(".partial");
        let partial = PathBuf::from(name);
        for _ in 0..TRIES {
            if let Some(file) = claim(&partial)? {
                return Ok(Self { path: path.to_path_buf(), partial, file, overwrite, finished: false });
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.overwrite {
            std::fs::rename(&self.partial, &self.path)?;
        } else {
            rename_to_free_name(&self.partial, &self.path)?;
        }
        self.finished = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Opens an unfinished file, locked and empty; `None` where its name stands for another one by then.
fn claim(partial: &Path) -> io::Result<Option<File>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(PRIVATE.as_raw_mode()).custom_flags(flags);
    let file = options.open(partial).map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => foreign(),
        _ => error,
    })?;
    let opened = file.metadata()?;
    let own = opened.uid() == rustix::process::geteuid().as_raw();
    if !opened.is_file() || !own || opened.nlink() > 1 {
        return Err(foreign());
    }
    // Only who holds the lock may cut off what an export that was killed has left, not one that is under way.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Who held it before may have finished: this would be the whole file under its own name.
    if !is_named(&file, partial)? {
        return Ok(None);
    }
    rustix::fs::fchmod(&file, PRIVATE)?;
    file.set_len(0)?;
    Ok(Some(file))
}

fn foreign() -> io::Error {
    let why = "the unfinished file is none that an export has left: it is no plain file, somebody else's, or has \
               another name, too";
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Whether a file that is open stands at a name.
fn is_named(file: &File, name: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match name.symlink_metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renames a file unless something stands at its new name.
fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return Ok(renamed?),
        }
    }
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
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
struct Standard<'o> {
    output: &'o Output,
    /// The beginning of a line that a terminal is still to be shown: it is escaped by whole characters.
    line: Vec<u8>,
}

impl Write for Standard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.output.is_at_terminal() {
            return self.output.raw(bytes).map(|()| bytes.len()).map_err(io::Error::other);
        }
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.output.data(&lines).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.data(&std::mem::take(&mut self.line)).map_err(io::Error::other)?;
        self.output.flush().map_err(io::Error::other)
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
    use crate::cli::output::{Form, Person};

    #[test]
    fn a_terminal_obeys_nothing_that_a_receiver_wrote() {
        let rows = "id,said\n1,\"\u{1b}[2J\u{9b}2J\rü\"\n2,é";
        let (piped, exact) = Output::captured(Form::People, Person::Absent);
        let (shown, escaped) = Output::captured(Form::People, Person::Absent);
        for output in [piped, shown.at_terminal()] {
            let mut standard = Standard { output: &output, line: Vec::new() };
            // By single bytes, so that characters are cut.
            rows.bytes().for_each(|byte| standard.write_all(&[byte]).unwrap());
            standard.flush().unwrap();
        }
        assert_eq!(exact.data(), rows);
        assert_eq!(escaped.data(), "id,said\n1,\"\\u001b[2J\\u009b2J\\u000dü\"\n2,é");
    }

    fn open(path: &Path) -> io::Result<Unfinished> {
        Unfinished::open(path, false)
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
    #[test]
    fn nobody_else_reads_along_or_leads_an_export_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let (path, partial) = (directory.path().join("x.csv"), directory.path().join("x.csv.partial"));
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        std::fs::write(&partial, "left behind").unwrap();
        std::fs::set_permissions(&partial, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let mut file = open(&path).unwrap();
        assert_eq!(mode(&partial), 0o600, "also what was there before");
        file.finish().unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::remove_file(&path).unwrap();

        let precious = directory.path().join("precious");
        std::fs::write(&precious, "kept").unwrap();
        std::os::unix::fs::symlink(&precious, &partial).unwrap();
        assert_eq!(open(&path).err().map(|error| error.kind()), Some(io::ErrorKind::InvalidInput));
        std::fs::remove_file(&partial).unwrap();
        std::fs::hard_link(&precious, &partial).unwrap();
        assert_eq!(open(&path).err().map(|error| error.kind()), Some(io::ErrorKind::InvalidInput));
        assert_eq!(std::fs::read(&precious).unwrap(), b"kept");
    }

    #[test]
    fn a_file_that_has_come_meanwhile_is_not_overwritten_by_accident() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.csv");
        let mut file = open(&path).unwrap();
        std::fs::write(&path, "somebody's").unwrap();
        assert_eq!(file.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
        assert!(!directory.path().join("x.csv.partial").exists());
        let mut file = Unfinished::open(&path, true).unwrap();
        file.finish().unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn an_export_that_was_finished_meanwhile_is_not_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let (path, partial) = (directory.path().join("x.csv"), directory.path().join("x.csv.partial"));
        let mut first = open(&path).unwrap();
        first.file.write_all(b"whole").unwrap();
        // Another export has opened the file, and waits to be let at it.
        let waiting = || File::options().write(true).open(&partial).unwrap();
        let second = waiting();
        first.finish().unwrap();
        drop(first);
        assert!(!is_named(&second, &partial).unwrap(), "the name is free");
        std::fs::write(&partial, "another one's").unwrap();
        assert!(!is_named(&second, &partial).unwrap(), "the name is another file's");
        assert!(is_named(&waiting(), &partial).unwrap());
    }
}
