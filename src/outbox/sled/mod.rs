//! sled 0.34 as the engine, made durable.
//!
//! sled's own `flush` ends in `sync_file_range`, which survives neither a power cut nor a kernel crash.
//! Every [`Engine::sync`] therefore ends in `fdatasync` of the `db` file, and creation fsyncs the files and
//! the directories that name them. A new store is made beside its place and moved there once it is whole: sled writes
//! its settings without a sync, and does not open where a power cut has left half of them. Values stay far below sled's
//! blob threshold, so that nothing durable ever lives in a file of its own.

mod snapshot;

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::engine::{Batch, Engine, EngineError, Pairs};
use crate::planted::{Bug, planted};

/// A page holds up to about 17 values and must fit a quarter of a segment to stay out of `blobs/`: this
/// leaves 30 KiB a value, and records are bounded below that (`codec::MAX_RECORD_BYTES`).
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// How long a locked store is waited for, and how often it is asked for meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Where sled has its files.
const DATA: &str = "sled";
/// Where they are while the store is being made. What is found here was never finished, and nobody was told of it.
const UNFINISHED: &str = "sled.unfinished";

/// Where a backup is being put back. Beside it a new store would be taken for the one that was lost.
pub const RESTORING: &str = "restoring";
const UNRESTORED: &str = "a backup was being put back here and that was not finished: repeat `postbackd outbox restore`, or \
                          remove the directory \"restoring\" to begin with an empty store";

/// A sled store in a directory of its own.
#[derive(Debug)]
pub struct SledEngine {
    db: ::sled::Db,
    config: ::sled::Config,
    file: File,
    /// Held for as long as the store is open, whatever is moved meanwhile.
    _directory: File,
}

impl SledEngine {
    /// Opens the store, creating it where there is none; `cache_bytes` bounds sled's page cache.
    ///
    /// # Errors
    /// When the directory cannot be made, another process holds it, or the store does not open.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Open { path: path.into(), source };
        make_private_directory(path).map_err(|e| failed(e.into()))?;
        let locked = lock_patiently(path).map_err(|e| failed(e.into()))?;
        let Some(directory) = locked else { return Err(EngineError::InUse { path: path.into() }) };
        let data = path.join(DATA);
        if !data.exists() {
            if path.join(RESTORING).exists() {
                return Err(failed(UNRESTORED.into()));
            }
            create(path, &data).map_err(failed)?;
        }
        let config = config(&data).cache_capacity(cache_bytes);
        let db = open_unlocked(&config, &data).map_err(|error| {
            if is_locked(&error) { EngineError::InUse { path: path.into() } } else { failed(cause(error)) }
        })?;
        db.flush().map_err(|e| failed(cause(e)))?;
        sync_creation(&data).map_err(|e| failed(e.into()))?;
        let file = File::open(data.join("db")).map_err(|e| failed(e.into()))?;
        Ok(Self { db, config, file, _directory: directory })
    }
}

/// Keeps everybody else from a store's directory, for as long as it is held; `None` where another has it.
///
/// # Errors
/// When the directory cannot be opened.
pub fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    lock(path)
}

/// Waits a moment for the lock: a store of this process may be on its way down.
fn lock_patiently(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_PATIENCE.as_millis() / LOCK_PAUSE.as_millis() {
        if let Some(locked) = lock(path)? {
            return Ok(Some(locked));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    lock(path)
}

/// How sled keeps a store in a directory.
fn config(data: &Path) -> ::sled::Config {
    ::sled::Config::new().path(data).segment_size(SEGMENT_BYTES).flush_every_ms(None).mode(::sled::Mode::HighThroughput)
}

/// Makes an empty store: whole, or not at all.
fn create(path: &Path, data: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let unfinished = path.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    make_private_directory(&unfinished)?;
    let db = config(&unfinished).open().map_err(cause)?;
    db.flush().map_err(cause)?;
    sync_creation(&unfinished)?;
    drop(db);
    fs::rename(&unfinished, data)?;
    File::open(path)?.sync_all()?;
    Ok(())
}

/// A lock on a file or directory; `None` where another has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The engine's snapshots in a store's directory that do not check out, each with whether it was finished.
///
/// # Errors
/// When they cannot be read.
pub fn torn_snapshots(path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    snapshot::torn(&path.join(DATA))
}

/// Opens the store, waiting a moment for its lock: threads of sled may hold it a little longer than the handle whose
/// closing they finish.
fn open_unlocked(config: &::sled::Config, data: &Path) -> ::sled::Result<::sled::Db> {
    let open = || {
        snapshot::discard_torn(data)?;
        config.open()
    };
    for _ in 0..LOCK_PATIENCE.as_millis() / LOCK_PAUSE.as_millis() {
        match open() {
            Err(error) if is_locked(&error) => std::thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
    open()
}

/// What the system said, where it is sled's only cause: whoever advises tells a full disk from a damaged one.
fn cause(error: ::sled::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        ::sled::Error::Io(io) => io.into(),
        other => other.into(),
    }
}

fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

fn make_private_directory(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Makes the store's files, their names and the directories themselves durable, and private to the owner.
fn sync_creation(data: &Path) -> io::Result<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(data)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.push(data.to_path_buf());
    for path in entries {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        File::open(&path)?.sync_all()?;
    }
    Ok(())
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = self.db.get(key).map_err(|e| EngineError::Read(cause(e)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(self.db.range::<Vec<u8>, _>((from, to)).map(pair))
    }

    fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(self.db.range::<Vec<u8>, _>((from, to)).rev().map(pair))
    }

    fn apply(&self, batch: Batch) -> Result<(), EngineError> {
        let mut writes = ::sled::Batch::default();
        for (key, value) in batch.writes {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.db.apply_batch(writes).map_err(|e| EngineError::Write(cause(e)))
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush().map_err(|e| EngineError::Sync(cause(e)))?;
        if planted(Bug::FlushAlone) {
            return Ok(());
        }
        self.file.sync_data().map_err(|e| EngineError::Sync(e.into()))
    }

    /// sled writes with threads of its own. Where such a write fails it notes the error, but on one of its two paths it
    /// wakes nobody: a flush that waits for that write waits for ever, and whoever applies a batch waits for the flush.
    fn check(&self) -> Result<(), EngineError> {
        self.config.global_error().map_err(|e| EngineError::Write(cause(e)))
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.db.size_on_disk().map_err(|e| EngineError::Read(cause(e)))
    }
}

fn pair(found: ::sled::Result<(::sled::IVec, ::sled::IVec)>) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
    found.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(|e| EngineError::Read(cause(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE_BYTES: u64 = 1 << 20;

    #[test]
    fn a_store_that_was_not_finished_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        // What a power cut in the middle leaves: names without content, and settings cut off.
        let unfinished = directory.path().join(UNFINISHED);
        fs::create_dir(&unfinished).unwrap();
        for (name, content) in [("db", ""), ("conf", "segment_si")] {
            fs::write(unfinished.join(name), content).unwrap();
        }
        let engine = SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
        engine.apply(Batch { writes: vec![(b"key".to_vec(), Some(b"value".to_vec()))] }).unwrap();
        engine.sync().unwrap();
        drop(engine);
        assert!(!unfinished.exists());
        let engine = SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
        assert_eq!(engine.get(b"key").unwrap(), Some(b"value".to_vec()));
    }

    #[test]
    fn a_store_that_another_is_making_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let making = lock(directory.path()).unwrap();
        fs::create_dir(directory.path().join(UNFINISHED)).unwrap();
        let error = SledEngine::open(directory.path(), CACHE_BYTES).unwrap_err();
        assert!(matches!(error, EngineError::InUse { .. }), "{error}");
        assert!(directory.path().join(UNFINISHED).exists());
        drop(making);
        SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
    }
}
