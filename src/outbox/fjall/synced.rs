//! The file `synced`: how many batches are durable, at least.
//!
//! It is written behind each sync and not synced itself: what it says was true before it was said, and a power cut that
//! takes the last word leaves an earlier one. It may also leave half of it: there are two places, and before the other one
//! is written to, what stands in this one is made durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const NAME: &str = "synced";
const NUMBER_BYTES: usize = 8;
const BYTES: usize = NUMBER_BYTES + 4;
/// Where the two places begin: in sectors of their own.
const PLACES: [u64; 2] = [0, 4_096];
/// How often a place is written to before the other one is.
const TURN: u64 = 1_024;

/// The file, open for being written.
#[derive(Debug)]
pub(super) struct Synced {
    file: File,
    number: u64,
    /// How often it was written to, counted so that the first time is at the place that does not hold the number.
    told: AtomicU64,
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
        for place in PLACES {
            file.write_all_at(&bytes(0), place)?;
        }
        file.sync_all()
    }

    /// Opens the file of a store.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, Unreadable);
        let file = OpenOptions::new().read(true).write(true).open(data.join(NAME));
        let file = file.map_err(|error| if error.kind() == io::ErrorKind::NotFound { unreadable() } else { error })?;
        let read = |place: u64| {
            let mut found = [0; BYTES];
            file.read_exact_at(&mut found, place).ok()?;
            let number = found.first_chunk().map(|number| u64::from_be_bytes(*number))?;
            (bytes(number) == found).then_some(number)
        };
        let [first, second] = PLACES.map(read);
        let number = first.max(second).ok_or_else(unreadable)?;
        // Behind a kill it may be in memory only.
        file.sync_data()?;
        let told = AtomicU64::new(if first == Some(number) { TURN } else { 0 });
        Ok(Self { file, number, told })
    }

    /// How many batches were durable when the file was opened.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Says that so many batches are durable.
    pub(super) fn tell(&self, number: u64) -> io::Result<()> {
        let told = self.told.fetch_add(1, Ordering::Relaxed);
        if told > 0 && told.is_multiple_of(TURN) {
            self.file.sync_data()?;
        }
        let [first, second] = PLACES;
        self.file.write_all_at(&bytes(number), if (told / TURN).is_multiple_of(2) { first } else { second })
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
