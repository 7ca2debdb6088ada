//! fjall 3 as the engine.
//!
//! One key space, one batch a commit, and [`Engine::sync`] ends in `fdatasync` of the journal. Three things that fjall
//! leaves open are closed here:
//!
//! - It ends a journal silently where an entry makes no sense, and does not open where a batch does not check out. Neither
//!   tells a batch that a power cut left half written, which nobody was told of, from damage to what was durable. Each
//!   batch therefore has a number, the file `synced` says which are durable, and [`journal`] looks before fjall does.
//! - It takes its manifests as they are, and begins anew where one is missing: [`manifest`] checks them.
//! - Its reads see a batch while it is being applied. Reads here are of a snapshot from before or after it.

mod gaps;
mod journal;
mod manifest;
mod scan;
mod synced;

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot};

use self::gaps::Gaps;
use self::scan::{Direction, Walk};
use self::synced::Synced;
use super::engine::{Batch, Engine, EngineError, Pairs};
use super::place::{Cause, Place};

/// Where fjall has its files.
pub(super) const DATA: &str = "fjall";
const KEYSPACE: &str = "main";
/// Where the number of the last batch stands: before every key of the outbox, and hidden from scans.
const NUMBER_KEY: &[u8] = b"\0";

/// What is written gathers here before it goes to a table. Up to four more of them may wait for that.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// What of the memory is left to what is being written.
const WRITING_BYTES: u64 = 4 * MEMTABLE_BYTES;
const LEAST_CACHE_BYTES: u64 = 8 << 20;
/// Journals are rotated at 64 MB, and go once their content is in tables.
const JOURNALS_BYTES: u64 = 128 << 20;
/// Tables that are kept open: `doctor` counts on 64 descriptors for all but connections. A table is opened within microseconds.
const OPEN_FILES: usize = 48;
/// One of them only writes out what has gathered; with a single thread that waits behind merges, and memory grows meanwhile.
/// What has been written out asks each of them to merge, and what the first is asked it hands on at once: with two it would spin
/// for as long as the other merges.
const THREADS: usize = 3;
/// Some thousand tombstones; a step that passes none takes less than a tenth of it from memory.
const SLOW_STEP: Duration = Duration::from_millis(1);

/// A fjall store in a directory of its own.
pub struct FjallEngine {
    keyspace: Keyspace,
    db: Database,
    data: PathBuf,
    synced: Synced,
    /// The number of the last batch. Held for writing while one is applied.
    number: RwLock<u64>,
    /// The same, for whoever makes batches durable and must not wait for the next one.
    applied: AtomicU64,
    /// How the store stands before the batch that is being applied, and the number of the last one in it.
    before: Mutex<Option<(Snapshot, u64)>>,
    gaps: Mutex<Gaps>,
    /// A walk whose first step takes so long has passed too much of what is deleted.
    slow_step: Duration,
    /// Held for as long as the store is open, whatever is moved meanwhile.
    _place: Place,
}

impl std::fmt::Debug for FjallEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FjallEngine").field("data", &self.data).finish_non_exhaustive()
    }
}

/// Why a store is refused that fjall itself would take, and not whole.
#[derive(Debug, thiserror::Error)]
enum Damaged {
    #[error(
        "it has batches up to {found} only, but {synced} were durable: a journal or a table is missing or damaged; keep a copy of \
         the directory, then restore a backup"
    )]
    Behind { found: u64, synced: u64 },
    #[error("its key space is missing; keep a copy of the directory, then restore a backup")]
    NoKeyspace,
    #[error("the number of its last batch cannot be read; keep a copy of the directory, then restore a backup")]
    NoNumber,
    #[error("opening it has panicked: its files contradict each other, and its message is in the log")]
    Panicked,
}

impl FjallEngine {
    /// Opens the store, creating it where there is none; `cache_bytes` bounds the memory for pages and for what is being
    /// written.
    ///
    /// # Errors
    /// When the directory cannot be made, another process holds it, or the store does not open or is damaged.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        Self::open_in(Place::take(path)?, cache_bytes)
    }

    /// The same, in a directory that is held already.
    pub(super) fn open_in(place: Place, cache_bytes: u64) -> Result<Self, EngineError> {
        let path = place.path();
        let data = path.join(DATA);
        if !data.exists() {
            place.make(DATA, create)?;
        }
        let opened = apart(|| recover(&data, cache_bytes));
        let (db, keyspace, synced, number) = match opened {
            Ok(opened) => opened,
            Err(source) => {
                let path = path.into();
                let locked = matches!(source.downcast_ref::<::fjall::Error>(), Some(::fjall::Error::Locked));
                return Err(if locked { EngineError::InUse { path } } else { EngineError::Open { path, source } });
            }
        };
        Ok(Self {
            keyspace,
            db,
            data,
            synced,
            number: RwLock::new(number),
            applied: AtomicU64::new(number),
            before: Mutex::default(),
            gaps: Mutex::default(),
            slow_step: SLOW_STEP,
            _place: place,
        })
    }

    /// The store as it stands between two batches, and the number of the first of them.
    fn snapshot(&self) -> (Snapshot, u64) {
        loop {
            match self.number.try_read() {
                Ok(number) => return (self.db.snapshot(), *number),
                Err(TryLockError::Poisoned(number)) => return (self.db.snapshot(), **number.get_ref()),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(before) = &*self.before() {
                return before.clone();
            }
            std::thread::yield_now();
        }
    }

    fn before(&self) -> MutexGuard<'_, Option<(Snapshot, u64)>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, batch: &Batch, number: u64) -> Result<(), ::fjall::Error> {
        let mut writes = ::fjall::OwnedWriteBatch::with_capacity(self.db.clone(), batch.writes.len() + 1)
            .durability(Some(PersistMode::Buffer));
        writes.insert(&self.keyspace, NUMBER_KEY, number.to_be_bytes());
        for (key, value) in &batch.writes {
            match value {
                Some(value) => writes.insert(&self.keyspace, key.as_slice(), value.as_slice()),
                None => writes.remove(&self.keyspace, key.as_slice()),
            }
        }
        writes.commit()
    }
}

/// Runs what opens a store on a thread of its own, so that a panic of fjall's over damaged files is an error like others.
fn apart<T: Send>(open: impl FnOnce() -> Result<T, Cause> + Send) -> Result<T, Cause> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("outbox-open".into()).spawn_scoped(scope, open)?;
        thread.join().unwrap_or_else(|_| Err(Damaged::Panicked.into()))
    })
}

fn recover(data: &Path, cache_bytes: u64) -> Result<(Database, Keyspace, Synced, u64), Cause> {
    let synced = Synced::open(data)?;
    manifest::check(data)?;
    let told = journal::settle(data, synced.number())?.max(synced.number());
    let db = builder(data, cache_bytes).open().map_err(cause)?;
    if !db.keyspace_exists(KEYSPACE) {
        return Err(Damaged::NoKeyspace.into());
    }
    let keyspace = db.keyspace(KEYSPACE, options).map_err(cause)?;
    let found = match keyspace.get(NUMBER_KEY).map_err(cause)? {
        Some(bytes) => u64::from_be_bytes((*bytes).try_into().map_err(|_| Damaged::NoNumber)?),
        None => 0,
    };
    if found < told {
        return Err(Damaged::Behind { found, synced: told }.into());
    }
    journal::discard_aside(data)?;
    make_private(data, false)?;
    Ok((db, keyspace, synced, found))
}

fn builder(data: &Path, cache_bytes: u64) -> ::fjall::DatabaseBuilder<Database> {
    Database::builder(data)
        .cache_size(cache_bytes.saturating_sub(WRITING_BYTES).max(LEAST_CACHE_BYTES))
        .max_journaling_size(JOURNALS_BYTES)
        .max_cached_files(Some(OPEN_FILES))
        .worker_threads(THREADS)
}

/// How the key space is kept; fixed when a store is made. What fjall does by itself suits: tables have filters, so that a
/// key that is not there costs no read, and are compressed from the third level on.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

/// Makes an empty store in a directory.
fn create(data: &Path) -> Result<(), Cause> {
    let made = builder(data, LEAST_CACHE_BYTES).open().and_then(|db| {
        db.keyspace(KEYSPACE, options)?;
        db.persist(PersistMode::SyncAll)
    });
    made.map_err(cause)?;
    Synced::create(data)?;
    Ok(make_private(data, true)?)
}

/// Makes everything in a directory private to the owner, and durable where that is asked for.
fn make_private(path: &Path, sync: bool) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path(), sync)?;
        }
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    if fs::metadata(path)?.permissions().mode() & 0o777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    if sync { File::open(path)?.sync_all() } else { Ok(()) }
}

/// What the system said, where it is fjall's only cause: whoever advises tells a full disk from a damaged one.
fn cause(error: ::fjall::Error) -> Cause {
    match error {
        ::fjall::Error::Io(io) | ::fjall::Error::Storage(::fjall::LsmError::Io(io)) => io.into(),
        other => other.into(),
    }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = self.snapshot().0.get(&self.keyspace, key).map_err(|e| EngineError::Read(cause(e)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(Walk::new(self, Direction::Up, from, to))
    }

    fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(Walk::new(self, Direction::Down, from, to))
    }

    fn apply(&self, batch: Batch) -> Result<(), EngineError> {
        let mut number = self.number.write().unwrap_or_else(PoisonError::into_inner);
        *self.before() = Some((self.db.snapshot(), *number));
        let next = *number + 1;
        let applied = self.commit(&batch, next);
        // Also behind a failure: what came of it is unknown, and a later batch must not take its number for its own.
        *number = next;
        if applied.is_ok() {
            self.applied.store(next, Ordering::Release);
        }
        *self.before() = None;
        let mut gaps = self.gaps();
        batch.writes.iter().filter(|(_, value)| value.is_some()).for_each(|(key, _)| gaps.put(key));
        drop(gaps);
        applied.map_err(|e| EngineError::Write(cause(e)))
    }

    fn sync(&self) -> Result<(), EngineError> {
        let applied = self.applied.load(Ordering::Acquire);
        self.db.persist(PersistMode::SyncData).map_err(|e| EngineError::Sync(cause(e)))?;
        self.synced.tell(applied).map_err(|e| EngineError::Sync(e.into()))
    }

    /// fjall writes tables with threads of its own. Where one of them fails it ends, and the store refuses everything from
    /// then on; but whoever waits for room for what he writes, waits for it for ever. Flushing what is flushed already asks
    /// for nothing else; it waits for a sync that is under way, and for nothing that a failure holds up.
    fn check(&self) -> Result<(), EngineError> {
        self.db.persist(PersistMode::Buffer).map_err(|e| EngineError::Write(cause(e)))
    }

    /// Journals are made at full length and filled as time goes by: what counts is what they take of the disk.
    fn disk_bytes(&self) -> Result<u64, EngineError> {
        let mut bytes = self.keyspace.disk_space();
        for path in journal::paths(&self.data).map_err(|e| EngineError::Read(e.into()))? {
            match fs::metadata(path) {
                Ok(found) => bytes += found.blocks() * 512,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(EngineError::Read(error.into())),
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
