//! Snapshot files that sled left unfinished.
//!
//! On opening, sled writes what it recovered to `snap.N.generating`, syncs it, and renames it to `snap.N`; the older ones
//! go only after that. When the disk is full or the process is killed in between, a torn `.generating` stays behind, and
//! sled 0.34.7 takes it for the newest snapshot at the next start: the store would never open again, though nothing of it
//! is lost. Such a file goes before sled sees it. A torn file under a finished name cannot come from that: it is damage,
//! and for a person to decide on.
//!
//! A snapshot ends in the length of what was written (8 bytes) and the CRC-32 of what stands before both (4 bytes,
//! little-endian).

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const PREFIX: &str = "snap.";
const UNFINISHED: &str = ".generating";
/// Bytes behind the content: its length and its checksum.
const TRAILER_BYTES: u64 = 12;
const CHECKSUM_BYTES: usize = 4;

/// A finished snapshot whose checksum does not match.
#[derive(Debug, thiserror::Error)]
#[error(
    "the snapshot {} is damaged, which only a failing disk does; the data beside it may be whole: copy the directory, then move this \
     file out of it and start again, so that it is made anew", .0.display()
)]
struct Damaged(PathBuf);

/// The snapshots that do not check out, each with whether it was finished.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub(super) fn torn(data: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut torn = Vec::new();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && !is_intact(&path)? {
            torn.push((path, !name.ends_with(UNFINISHED)));
        }
    }
    Ok(torn)
}

/// Deletes unfinished snapshots that are torn, unless somebody has the store open: theirs may only not be finished yet.
///
/// # Errors
/// When the directory cannot be read or changed, or a finished snapshot is damaged.
pub(super) fn discard_torn(data: &Path) -> io::Result<()> {
    let Some(_lock) = lock(data)? else { return Ok(()) };
    let mut discarded = false;
    for (path, was_finished) in torn(data)? {
        if was_finished {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Damaged(path)));
        }
        tracing::warn!(file = %path.display(), "outbox.torn_snapshot_discarded");
        fs::remove_file(&path)?;
        discarded = true;
    }
    if discarded { File::open(data)?.sync_all() } else { Ok(()) }
}

/// The lock that sled takes on its data; `None` where there is no data, or another has it.
fn lock(data: &Path) -> io::Result<Option<File>> {
    match crate::outbox::place::lock(&data.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        locked => locked,
    }
}

fn is_intact(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let Some(content) = file.metadata()?.len().checked_sub(TRAILER_BYTES).filter(|content| *content > 0) else {
        return Ok(false);
    };
    let mut reader = BufReader::new(file);
    let mut checksum = crc32fast::Hasher::new();
    let mut rest = content;
    let mut buffer = [0; 8 * 1024];
    while rest > 0 {
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let read = reader.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if read == 0 {
            return Ok(false);
        }
        checksum.update(buffer.get(..read).unwrap_or_default());
        rest -= read as u64;
    }
    let mut length = [0; 8];
    let mut written = [0; CHECKSUM_BYTES];
    reader.read_exact(&mut length)?;
    reader.read_exact(&mut written)?;
    Ok(u32::from_le_bytes(written) == checksum.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::engine::{Batch, Engine};
    use crate::outbox::sled::SledEngine;

    const CACHE_BYTES: u64 = 1 << 20;

    fn filled(path: &Path) {
        let engine = SledEngine::open(path, CACHE_BYTES).unwrap();
        let writes = (0..500_u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![7; 100]))).collect();
        engine.apply(Batch { writes }).unwrap();
        engine.sync().unwrap();
    }

    fn snapshots(path: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(path.join("sled")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(PREFIX)).collect()
    }

    fn stored(path: &Path) -> usize {
        let engine = SledEngine::open(path, CACHE_BYTES).unwrap();
        engine.scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).map(Result::unwrap).count()
    }

    #[test]
    fn a_store_opens_beside_a_snapshot_that_a_full_disk_cut_off_at_any_byte() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        assert_eq!(stored(directory.path()), 500);
        let whole = fs::read(&snapshots(directory.path())[0]).unwrap();
        for length in [0, 1, 11, 12, 13, whole.len() / 2, whole.len() - 1] {
            let torn = directory.path().join("sled").join(format!("snap.7FFFFFFFFFFFFFFF{UNFINISHED}"));
            fs::write(&torn, &whole[..length]).unwrap();
            assert_eq!(stored(directory.path()), 500, "cut off at {length}");
            assert!(!torn.exists());
        }
    }

    #[test]
    fn a_snapshot_that_another_is_writing_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        let _other = SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
        let unfinished = directory.path().join("sled").join(format!("snap.7FFFFFFFFFFFFFFF{UNFINISHED}"));
        fs::write(&unfinished, "only begun").unwrap();
        let error = SledEngine::open(directory.path(), CACHE_BYTES).unwrap_err();
        assert!(matches!(error, crate::outbox::EngineError::InUse { .. }), "{error}");
        assert!(unfinished.exists());
    }

    #[test]
    fn a_finished_snapshot_is_taken_also_when_its_name_was_not_made_durable() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        assert_eq!(stored(directory.path()), 500);
        let [finished] = &snapshots(directory.path())[..] else { panic!("one snapshot") };
        let mut unfinished = finished.clone().into_os_string();
        unfinished.push(UNFINISHED);
        fs::rename(finished, &unfinished).unwrap();
        assert_eq!(stored(directory.path()), 500);
    }

    #[test]
    fn damage_of_a_finished_snapshot_is_named_and_nothing_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        assert_eq!(stored(directory.path()), 500);
        let finished = snapshots(directory.path()).remove(0);
        let mut bytes = fs::read(&finished).unwrap();
        bytes[3] ^= 1;
        fs::write(&finished, &bytes).unwrap();
        let error = SledEngine::open(directory.path(), CACHE_BYTES).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(&finished.display().to_string()), "{source}");
        // What the message advises works.
        fs::rename(&finished, directory.path().join("aside")).unwrap();
        assert_eq!(stored(directory.path()), 500);
    }
}
