//! What the disk allows: an append and an `fdatasync` of the same bytes, in groups of the same size.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::BenchError;
use super::figure::Measured;
use crate::ops::clock::monotonic;

/// Appends `events` times `bytes`, with an `fdatasync` behind each `group` of them.
pub(super) fn append(directory: &Path, bytes: usize, group: usize, events: usize) -> Result<Measured, BenchError> {
    let mut file = Appending::create(directory)?;
    let rounds = (events / group).max(1);
    let mut times = Vec::with_capacity(rounds);
    let started = monotonic();
    for _ in 0..rounds {
        let begun = monotonic();
        file.append(bytes * group)?;
        times.push(monotonic().duration_since(begun));
    }
    Ok(Measured { count: rounds * group, took: monotonic().duration_since(started), times })
}

/// A file that only grows; it goes away with this.
#[derive(Debug)]
pub(super) struct Appending {
    path: PathBuf,
    file: File,
    block: Vec<u8>,
}

impl Appending {
    pub(super) fn create(directory: &Path) -> Result<Self, BenchError> {
        let path = directory.join("baseline");
        let created = std::fs::create_dir_all(directory).and_then(|()| File::create(&path));
        match created {
            Ok(file) => Ok(Self { path, file, block: Vec::new() }),
            Err(source) => Err(BenchError::Disk { path, source }),
        }
    }

    /// Appends so many bytes, and makes them durable.
    pub(super) fn append(&mut self, bytes: usize) -> Result<(), BenchError> {
        self.block.resize(bytes, 0x5a);
        let written = self.file.write_all(&self.block).and_then(|()| self.file.sync_data());
        written.map_err(|source| BenchError::Disk { path: self.path.clone(), source })
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        // The whole directory goes away in the end.
        let _ = std::fs::remove_file(&self.path);
    }
}
