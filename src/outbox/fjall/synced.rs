//! The file `synced`: how many batches are durable, at least.
//!
//! It is written behind each sync and not synced itself: what it says was true before it was said, and a power cut that
//! takes the last word leaves an earlier one. Sixteen bytes at the file's beginning are in one sector, and never half
//! written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const NAME: &str = "synced";
const NUMBER_BYTES: usize = 8;
const BYTES: usize = NUMBER_BYTES + 4;

/// The file, open for being written.
#[derive(Debug)]
pub(super) struct Synced {
    file: File,
    number: u64,
}

/// Why it is not believed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the file \"synced\" is missing or damaged, so that nobody can tell whether the store is whole; keep a copy of the directory, then \
     restore a backup"
)]
struct Unreadable;

impl Synced {
    /// Makes the file of a new store.
    pub(super) fn create(data: &Path) -> io::Result<()> {
        let file = File::create(data.join(NAME))?;
        file.write_all_at(&bytes(0), 0)?;
        file.sync_all()
    }

    /// Opens the file of a store.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, Unreadable);
        let file = OpenOptions::new().read(true).write(true).open(data.join(NAME));
        let file = file.map_err(|error| if error.kind() == io::ErrorKind::NotFound { unreadable() } else { error })?;
        let mut found = [0; BYTES];
        file.read_exact_at(&mut found, 0).map_err(|_| unreadable())?;
        let number = found.first_chunk().map(|number| u64::from_be_bytes(*number)).unwrap_or_default();
        if bytes(number) != found {
            return Err(unreadable());
        }
        Ok(Self { file, number })
    }

    /// How many batches were durable when the file was opened.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Says that so many batches are durable.
    pub(super) fn tell(&self, number: u64) -> io::Result<()> {
        self.file.write_all_at(&bytes(number), 0)
    }
}

fn bytes(number: u64) -> [u8; BYTES] {
    let number = number.to_be_bytes();
    let mut bytes = [0; BYTES];
    for (to, from) in bytes.iter_mut().zip(number.into_iter().chain(crc32fast::hash(&number).to_be_bytes())) {
        *to = from;
    }
    bytes
}
