//! sled 0.34 as the engine, made durable.
//!
//! To sled a write is durable once `sync_file_range` is over, which survives neither a power cut nor a kernel crash. It writes over a
//! segment once what replaces its pages is durable in that sense, and believes at its start that what the header of a segment calls
//! durable is there. Its file is therefore marked so that each write *is* durable (`synchronous`). Where the file system has nothing of
//! the kind, every [`Engine::sync`] ends in `fdatasync`, and a batch is durable before the next one is applied. While it is applied no
//! segment is freed; behind that only readers write, where they split or merge pages that they pass.
//!
//! Creation fsyncs the files and the directories that name them. A new store is made beside its place and moved there once it is
//! whole: sled writes its settings without a sync, and does not open where a power cut has left half of them. Values stay far below
//! sled's blob threshold, so that nothing durable ever lives in a file of its own.

#[cfg(test)]
mod image_tests;
mod snapshot;
mod synchronous;

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::engine::{Batch, Engine, EngineError, Pairs};
use super::place::{Cause, LOCK_PATIENCE, LOCK_PAUSE, Place};
use crate::planted::{Bug, planted};

/// A page holds up to about 17 values and must fit a quarter of a segment to stay out of `blobs/`: this
/// leaves 30 KiB a value, and records are bounded below that (`codec::MAX_RECORD_BYTES`).
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Where sled has its files.
pub(super) const DATA: &str = "sled";

/// Steps of sled's collector before each batch. What a batch replaces is left to it, some thousand pieces for a thousand writes; a
/// step frees up to five hundred. Without these it is taken with every 128th visit of the tree, of which a batch is one, and with
/// each buffer that is written: what is behind is memory that the system has to hand out anew.
const COLLECTOR_STEPS: usize = 8;

/// How often it is looked at, while a store is opened, whether a write has failed.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// A sled store in a directory of its own.
#[derive(Debug)]
pub struct SledEngine {
    db: ::sled::Db,
    config: ::sled::Config,
    file: File,
    /// Whether each write is durable by itself.
    marked: bool,
    /// Held while a batch is applied, or made durable: where sled has to keep one from the other, whoever reads waits, too.
    disk: Mutex<Disk>,
    /// Held for as long as the store is open, whatever is moved meanwhile.
    _place: Place,
}

/// How the disk stands to what has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Even,
    Behind,
    /// It has refused a sync: another one could succeed without what the first has lost.
    Failed,
}

impl SledEngine {
    /// Opens the store, creating it where there is none; `cache_bytes` bounds sled's page cache.
    ///
    /// # Errors
    /// When the directory cannot be made, another process holds it, or the store does not open.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        Self::open_in(Place::take(path)?, cache_bytes)
    }

    /// The same, in a directory that is held already.
    pub(super) fn open_in(place: Place, cache_bytes: u64) -> Result<Self, EngineError> {
        let path = place.path().to_path_buf();
        let data = path.join(DATA);
        if !data.exists() {
            place.make(DATA, create)?;
        }
        let config = config(&data).cache_capacity(cache_bytes);
        let opened = watched(&config.clone(), move || {
            let file = open_file(&data.join("db"))?;
            let marked = synchronous::mark(&file);
            // sled is about to take for durable what it finds.
            file.sync_all()?;
            let db = open_unlocked(&config, &data)?;
            db.flush()?;
            sync_creation(&data)?;
            Ok((db, config, file, marked))
        });
        match opened {
            Ok((db, config, file, marked)) => {
                if !marked {
                    tracing::info!(path = %path.display(), "outbox.waits_for_each_group: the file system makes no write durable by itself");
                }
                Ok(Self { db, config, file, marked, disk: Mutex::new(Disk::Even), _place: place })
            }
            Err(error) if is_locked(&error) => Err(EngineError::InUse { path }),
            Err(error) => Err(EngineError::Open { path, source: cause(error) }),
        }
    }
}

/// Opens the file of a store: sled would make an empty one where it is missing.
fn open_file(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let missing = format!("{} is missing: put it back where it was, or restore a backup", path.display());
            io::Error::new(error.kind(), missing)
        }
        _ => error,
    })
}

/// Runs what opens a store on a thread of its own: a write of sled's that fails ends it even where sled goes on waiting for
/// that write for ever (see [`SledEngine::check`]). Such a thread stays behind.
fn watched<T: Send + 'static>(
    config: &::sled::Config,
    open: impl FnOnce() -> ::sled::Result<T> + Send + 'static,
) -> ::sled::Result<T> {
    let (done, opened) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("outbox-open".into()).spawn(move || done.send(open()))?;
    loop {
        match opened.recv_timeout(WATCH_PAUSE) {
            Ok(opened) => return opened,
            Err(RecvTimeoutError::Timeout) => config.global_error()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("opening it has panicked; its message is in the log").into());
            }
        }
    }
}

/// How sled keeps a store in a directory.
fn config(data: &Path) -> ::sled::Config {
    ::sled::Config::new().path(data).segment_size(SEGMENT_BYTES).flush_every_ms(None).mode(::sled::Mode::HighThroughput)
}

/// Makes an empty store in a directory.
fn create(data: &Path) -> Result<(), Cause> {
    let (config, data) = (config(data), data.to_path_buf());
    let made = watched(&config.clone(), move || {
        config.open()?.flush()?;
        Ok(sync_creation(&data)?)
    });
    made.map_err(cause)
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
fn cause(error: ::sled::Error) -> Cause {
    match error {
        ::sled::Error::Io(io) => io.into(),
        other => other.into(),
    }
}

fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
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

impl SledEngine {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_durable(&self, disk: &mut Disk) -> Result<(), EngineError> {
        if *disk == Disk::Failed {
            return Err(EngineError::Sync("a sync before this one has failed".into()));
        }
        *disk = Disk::Failed;
        self.db.flush().map_err(|e| EngineError::Sync(cause(e)))?;
        if !self.marked
            && !planted(Bug::FlushAlone)
            && let Err(error) = self.file.sync_data()
            && !planted(Bug::FailedSyncForgiven)
        {
            return Err(EngineError::Sync(error.into()));
        }
        *disk = Disk::Even;
        Ok(())
    }
}

impl Drop for SledEngine {
    /// sled flushes what it closes: behind a write that has failed it waits for that for ever, and with it whoever wants to
    /// end. Such a store stays open until the process is over.
    fn drop(&mut self) {
        if self.check().is_err() {
            std::mem::forget(self.db.clone());
        }
    }
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
        let mut disk = self.disk();
        if *disk == Disk::Failed || *disk == Disk::Behind && !self.marked {
            self.make_durable(&mut disk)?;
        }
        *disk = Disk::Behind;
        (0..COLLECTOR_STEPS).for_each(|_| ::sled::pin().flush());
        self.db.apply_batch(writes).map_err(|e| EngineError::Write(cause(e)))
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.make_durable(&mut self.disk())
    }

    /// sled writes with threads of its own. Where such a write fails it notes the error, but on one of its two paths it
    /// wakes nobody: a flush that waits for that write waits for ever, and whoever applies a batch waits for the flush.
    fn check(&self) -> Result<(), EngineError> {
        self.config.global_error().map_err(|e| EngineError::Write(cause(e)))
    }

    /// A walk costs little. Filling the filter is one over all transactions, whose pages would stay in memory: 140 MiB with two
    /// million of them, for cycles that are up to a tenth faster.
    fn walks_are_dear(&self) -> bool {
        false
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

    /// A store on a file system that makes no write durable by itself.
    fn unmarked(path: &Path) -> SledEngine {
        let mut engine = SledEngine::open(path, CACHE_BYTES).unwrap();
        engine.marked = false;
        engine
    }

    fn write(key: u32, value: &[u8]) -> Batch {
        Batch { writes: vec![(key.to_be_bytes().to_vec(), Some(value.to_vec()))] }
    }

    #[test]
    fn what_a_batch_replaces_is_freed_soon() {
        let directory = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
        let (freed, is_freed) = std::sync::mpsc::channel();
        ::sled::pin().defer(move || freed.send(()));
        // Other tests may be in the middle of a visit, and hold the collector up for that long. More batches would do without steps.
        let freed = (0..10).any(|key| {
            engine.apply(write(key, b"value")).unwrap();
            is_freed.recv_timeout(Duration::from_millis(500)).is_ok()
        });
        assert!(freed);
    }

    #[test]
    fn a_batch_is_durable_before_the_next_one_is_applied() {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = unmarked(directory.path());
        engine.apply(write(1, b"first")).unwrap();
        engine.sync().unwrap();
        // From here on nothing can be made durable: the second batch need not wait for that, the third would be ahead of the second.
        let file = std::mem::replace(&mut engine.file, File::open("/dev/null").unwrap());
        engine.apply(write(2, b"second")).unwrap();
        let error = engine.apply(write(3, b"third")).unwrap_err();
        assert!(matches!(error, EngineError::Sync(_)), "{error}");
        assert_eq!(engine.get(&3_u32.to_be_bytes()).unwrap(), None);
        engine.file = file;
        assert!(
            engine.apply(write(3, b"third")).is_err() && engine.sync().is_err(),
            "what failed once is not tried again"
        );
    }

    #[test]
    fn on_a_marked_file_batches_may_be_ahead_of_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
        assert_eq!(engine.marked, synchronous::mark(&engine.file), "a store is marked when it is opened");
        engine.marked = true;
        // Nothing is asked of it.
        engine.file = File::open("/dev/null").unwrap();
        for key in 1..4 {
            engine.apply(write(key, b"value")).unwrap();
        }
        engine.sync().unwrap();
    }

    #[test]
    fn nothing_is_applied_while_a_batch_is_made_durable() {
        let directory = tempfile::tempdir().unwrap();
        let engine = std::sync::Arc::new(unmarked(directory.path()));
        let syncing = engine.disk();
        let (applied, is_applied) = std::sync::mpsc::channel();
        let other = std::sync::Arc::clone(&engine);
        let applying = std::thread::spawn(move || applied.send(other.apply(write(1, b"value")).is_ok()));
        assert!(is_applied.recv_timeout(Duration::from_millis(200)).is_err());
        drop(syncing);
        assert!(is_applied.recv().unwrap());
        applying.join().unwrap().unwrap();
    }

    #[test]
    fn a_store_that_was_not_finished_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        // What a power cut in the middle leaves: names without content, and settings cut off.
        let unfinished = directory.path().join("sled.unfinished");
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
    fn a_store_without_its_file_is_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        drop(SledEngine::open(directory.path(), CACHE_BYTES).unwrap());
        let file = directory.path().join("sled/db");
        fs::remove_file(&file).unwrap();
        let error = std::error::Error::source(&SledEngine::open(directory.path(), CACHE_BYTES).unwrap_err())
            .unwrap()
            .to_string();
        assert!(error.contains("sled/db is missing"), "{error}");
        assert!(!file.exists());
    }

    #[test]
    fn a_store_that_another_is_making_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let making = crate::outbox::lock_directory(directory.path()).unwrap();
        fs::create_dir(directory.path().join("sled.unfinished")).unwrap();
        let error = SledEngine::open(directory.path(), CACHE_BYTES).unwrap_err();
        assert!(matches!(error, EngineError::InUse { .. }), "{error}");
        assert!(directory.path().join("sled.unfinished").exists());
        drop(making);
        SledEngine::open(directory.path(), CACHE_BYTES).unwrap();
    }
}
