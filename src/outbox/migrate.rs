//! Moving a store from one engine to another, while its daemon is down.
//!
//! The new store is built beside its place, in `NAME.migrating`, pair by pair in the order of keys. A migration that is
//! begun again therefore goes on behind the last key that is there. Nothing is believed of that: both stores are walked
//! side by side before the new one takes the place of the old one, which is kept as `NAME.migrated`. From the first step to
//! the last the directory says that a migration is under way, and no store in it opens ([`super::engines`]).
//!
//! | what a kill leaves | what the next run does |
//! |---|---|
//! | the old store, a part of the new one | copies the rest, compares, moves |
//! | the old store as `NAME.migrated`, the new one not yet in its place | moves the new one |
//! | the new store in its place, an empty `NAME.migrating` | removes that |

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::{Batch, Engine, EngineError, Pair};
use super::engines::{migrating_name, open_in, store_name};
use super::place::{Place, RESTORING};
use crate::domain::engine_kind::EngineKind;

/// Most pairs, and about the most bytes, in one batch.
const PAIRS_AT_ONCE: usize = 2_048;
const BYTES_AT_ONCE: usize = 1 << 20;
/// What is copied between two syncs, in bytes.
const BYTES_A_SYNC: usize = 64 << 20;
/// How often the observer is told how far a comparison is, in pairs.
const STEP: u64 = 1_024;

/// Why a store could not be moved to another engine.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is none.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// Both engines have one.
    #[error("there is a store of {} already: {}", kind.name(), path.display())]
    Taken {
        /// The engine that it should be moved to.
        kind: EngineKind,
        /// Its store.
        path: PathBuf,
    },
    /// An earlier migration kept its old store.
    #[error("{} is the store that an earlier migration has kept", .0.display())]
    Kept(PathBuf),
    /// Another migration has begun and not ended.
    #[error("a migration to {} has been begun", .0.name())]
    Other(EngineKind),
    /// A restore has begun and not ended.
    #[error("a backup is being put back")]
    Restoring,
    /// A store failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The stores are not the same.
    #[error(
        "the stores differ at the key {key}: the old one was changed since the migration was begun, or one cannot be read back"
    )]
    Differs {
        /// The first key that is different, printable.
        key: String,
    },
    /// Files could not be looked at or moved.
    #[error("moving the stores")]
    Io(#[from] io::Error),
}

/// Is told how far a migration has come.
pub trait MigrateObserver {
    /// So many bytes of keys and values have been copied.
    fn copied(&mut self, bytes: u64);
    /// So many pairs have been compared.
    fn compared(&mut self, pairs: u64);
}

/// What there is to do.
#[derive(Debug)]
pub enum Migration {
    /// Nothing: the store is of that engine.
    Done,
    /// The new store has been compared, and is on its way to its place.
    Moving(Move),
    /// The old store is to be copied, from the beginning or from where an earlier run was.
    Copying(Copying),
}

impl Migration {
    /// Looks at what there is to do in a directory, and keeps everybody else from it. `cache_bytes` bounds the memory for
    /// pages of each store.
    ///
    /// # Errors
    /// When there is no store to be moved, or no room for it; or a store does not open.
    pub fn begin(path: &Path, to: EngineKind, cache_bytes: u64) -> Result<Self, MigrateError> {
        if !path.is_dir() {
            return Err(MigrateError::NoStore(path.into()));
        }
        let place = Place::take(path)?;
        if path.join(RESTORING).try_exists()? {
            return Err(MigrateError::Restoring);
        }
        let others = || EngineKind::ALL.into_iter().filter(|kind| *kind != to);
        for other in others() {
            if path.join(migrating_name(other)).try_exists()? {
                return Err(MigrateError::Other(other));
            }
        }
        let is_begun = path.join(migrating_name(to)).try_exists()?;
        let is_there = path.join(store_name(to)).try_exists()?;
        let mut from = None;
        for other in others() {
            if path.join(store_name(other)).try_exists()? {
                from = Some(other);
            }
        }
        match from {
            Some(_) if is_there => Err(MigrateError::Taken { kind: to, path: path.join(store_name(to)) }),
            Some(from) => Ok(Self::Copying(Copying::begin(Move { place, from, to }, cache_bytes)?)),
            None if is_there && !is_begun => Ok(Self::Done),
            None if is_begun => {
                let moved = |other: &EngineKind| path.join(kept_name(*other)).is_dir();
                let from = others().find(moved).ok_or_else(|| MigrateError::NoStore(path.into()))?;
                Ok(Self::Moving(Move { place, from, to }))
            }
            None => Err(MigrateError::NoStore(path.into())),
        }
    }
}

/// A store that is being copied.
#[derive(Debug)]
pub struct Copying {
    way: Move,
    source: Arc<dyn Engine>,
    target: Arc<dyn Engine>,
    /// The last key that is there already.
    reached: Option<Vec<u8>>,
}

impl Copying {
    fn begin(way: Move, cache_bytes: u64) -> Result<Self, MigrateError> {
        let kept = way.kept();
        if kept.try_exists()? {
            return Err(MigrateError::Kept(kept));
        }
        let source = open_in(way.from, way.place.clone(), cache_bytes)?;
        let target = open_in(way.to, Place::take(&way.beside())?, cache_bytes)?;
        let reached = target.scan_back(Bound::Unbounded, Bound::Unbounded).next().transpose()?.map(|(key, _)| key);
        Ok(Self { way, source, target, reached })
    }

    /// Whether an earlier run has copied a part.
    pub fn is_resumed(&self) -> bool {
        self.reached.is_some()
    }

    /// The engine that the store is of so far.
    pub fn from(&self) -> EngineKind {
        self.way.from
    }

    /// Bytes of disk that the old store takes.
    ///
    /// # Errors
    /// When it cannot tell.
    pub fn source_bytes(&self) -> Result<u64, EngineError> {
        self.source.disk_bytes()
    }

    /// The new store, to be looked at.
    pub fn target(&self) -> &dyn Engine {
        &*self.target
    }

    /// Copies what is not there yet. It is durable when this returns, and most of it when this is interrupted.
    ///
    /// # Errors
    /// When a store fails.
    pub fn copy(&self, observer: &mut dyn MigrateObserver) -> Result<(), MigrateError> {
        let from = self.reached.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut pairs = self.source.scan(from, Bound::Unbounded);
        let (mut copied, mut unsynced) = (0_u64, 0);
        loop {
            let (batch, bytes) = next_batch(&mut pairs)?;
            if batch.writes.is_empty() {
                break;
            }
            self.target.apply(batch)?;
            unsynced += bytes;
            if unsynced >= BYTES_A_SYNC {
                self.target.sync()?;
                unsynced = 0;
            }
            copied += bytes as u64;
            observer.copied(copied);
        }
        Ok(self.target.sync()?)
    }

    /// Compares both stores, byte by byte; returns how many pairs they have.
    ///
    /// # Errors
    /// When a store fails, or they differ.
    pub fn compare(&self, observer: &mut dyn MigrateObserver) -> Result<u64, MigrateError> {
        let mut old = self.source.scan(Bound::Unbounded, Bound::Unbounded);
        let mut new = self.target.scan(Bound::Unbounded, Bound::Unbounded);
        let mut compared = 0;
        loop {
            match (old.next().transpose()?, new.next().transpose()?) {
                (None, None) => return Ok(compared),
                (old, new) if old == new => {}
                (old, new) => {
                    let key = [old, new].into_iter().flatten().map(|(key, _)| key).min().unwrap_or_default();
                    return Err(MigrateError::Differs { key: key.escape_ascii().to_string() });
                }
            }
            compared += 1;
            if compared % STEP == 0 {
                observer.compared(compared);
            }
        }
    }

    /// Closes both stores, the new one to be moved to its place.
    pub fn close(self) -> Move {
        self.way
    }

    /// Closes both stores, and removes the new one: the old one is the store again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn abandon(self) -> Result<(), MigrateError> {
        let Self { way, source, target, .. } = self;
        drop((source, target));
        fs::remove_dir_all(way.beside())?;
        Ok(way.sync()?)
    }
}

fn next_batch(pairs: &mut dyn Iterator<Item = Result<Pair, EngineError>>) -> Result<(Batch, usize), EngineError> {
    let (mut batch, mut bytes) = (Batch::default(), 0);
    while batch.writes.len() < PAIRS_AT_ONCE && bytes < BYTES_AT_ONCE {
        let Some(pair) = pairs.next() else { break };
        let (key, value) = pair?;
        bytes += key.len() + value.len();
        batch.writes.push((key, Some(value)));
    }
    Ok((batch, bytes))
}

/// A new store that is as good as the old one, on the way to its place.
#[derive(Debug)]
pub struct Move {
    place: Place,
    from: EngineKind,
    to: EngineKind,
}

impl Move {
    /// Where the old store is kept.
    pub fn kept(&self) -> PathBuf {
        self.place.path().join(kept_name(self.from))
    }

    /// The engine that the store was of.
    pub fn from(&self) -> EngineKind {
        self.from
    }

    fn beside(&self) -> PathBuf {
        self.place.path().join(migrating_name(self.to))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.place.path())?.sync_all()
    }

    /// Moves the old store away and the new one to its place, each step durable before the next. What was done already is
    /// left out.
    ///
    /// # Errors
    /// When the files cannot be moved.
    pub fn finish(self) -> Result<PathBuf, MigrateError> {
        let directory = self.place.path();
        let (old, new) = (directory.join(store_name(self.from)), self.beside().join(store_name(self.to)));
        if old.try_exists()? {
            fs::rename(old, self.kept())?;
            self.sync()?;
        }
        if new.try_exists()? {
            fs::rename(new, directory.join(store_name(self.to)))?;
            self.sync()?;
        }
        fs::remove_dir_all(self.beside())?;
        self.sync()?;
        Ok(self.kept())
    }
}

/// What the store of an engine is called once another has taken its place.
fn kept_name(kind: EngineKind) -> String {
    format!("{}.migrated", store_name(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::open_engine;

    const CACHE_BYTES: u64 = 16 << 20;
    const PAIRS: u32 = 9_000;

    /// Counts, and panics once it has been told so many times, as a process ends that is killed.
    struct Told {
        times: usize,
        dies_at: usize,
    }

    impl MigrateObserver for Told {
        fn copied(&mut self, _: u64) {
            self.times += 1;
            assert!(self.times < self.dies_at, "killed");
        }

        fn compared(&mut self, _: u64) {}
    }

    fn never() -> Told {
        Told { times: 0, dies_at: usize::MAX }
    }

    fn pairs(engine: &dyn Engine) -> Vec<Pair> {
        engine.scan(Bound::Unbounded, Bound::Unbounded).map(Result::unwrap).collect()
    }

    fn open(directory: &Path, kind: EngineKind) -> Arc<dyn Engine> {
        open_engine(kind, directory, CACHE_BYTES).unwrap()
    }

    fn filled(kind: EngineKind) -> (tempfile::TempDir, Vec<Pair>) {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(directory.path(), kind);
        let pair = |number: u32| (number.to_be_bytes().to_vec(), Some(vec![7; (number % 900) as usize]));
        engine.apply(Batch { writes: (0..PAIRS).map(pair).collect() }).unwrap();
        engine.sync().unwrap();
        let pairs = pairs(&*engine);
        (directory, pairs)
    }

    fn copying(directory: &Path, to: EngineKind) -> Copying {
        match Migration::begin(directory, to, CACHE_BYTES).unwrap() {
            Migration::Copying(copying) => copying,
            other => panic!("{other:?}"),
        }
    }

    fn moved(directory: &Path, to: EngineKind) -> PathBuf {
        match Migration::begin(directory, to, CACHE_BYTES).unwrap() {
            Migration::Moving(moving) => moving.finish().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(directory: &Path, kind: EngineKind) -> String {
        let error = open_engine(kind, directory, CACHE_BYTES).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    }

    #[test]
    fn a_copy_that_died_at_any_point_goes_on_and_no_store_opens_meanwhile() {
        for (from, to) in [(EngineKind::Sled, EngineKind::Fjall), (EngineKind::Fjall, EngineKind::Sled)] {
            let (directory, pairs) = filled(from);
            for dies_at in [1, 2, 1] {
                let path = directory.path().to_path_buf();
                let copy = move || copying(&path, to).copy(&mut Told { times: 0, dies_at }).unwrap();
                std::thread::spawn(copy).join().unwrap_err();
                for kind in [from, to] {
                    let why = refusal(directory.path(), kind);
                    assert!(why.contains(&format!("outbox migrate --to {}", to.name())), "{why}");
                    assert!(why.contains(&format!("stay with {}", from.name())), "{why}");
                }
                let other = Migration::begin(directory.path(), from, CACHE_BYTES).unwrap_err();
                assert!(matches!(other, MigrateError::Other(kind) if kind == to), "{other}");
            }
            let copying = copying(directory.path(), to);
            assert!(copying.is_resumed());
            let mut told = never();
            copying.copy(&mut told).unwrap();
            let batches = (pairs.len() / PAIRS_AT_ONCE).max(2);
            assert!((1..batches).contains(&told.times), "{} of {batches}: the rest alone was copied", told.times);
            assert_eq!(copying.compare(&mut never()).unwrap(), u64::from(PAIRS));
            let kept = copying.close().finish().unwrap();
            assert!(self::pairs(&*open(directory.path(), to)) == pairs);
            assert!(refusal(directory.path(), from).contains(&format!("set engine = \"{}\"", to.name())));
            assert!(matches!(Migration::begin(directory.path(), to, CACHE_BYTES).unwrap(), Migration::Done));
            // The old one is whole, and back with two commands.
            fs::remove_dir_all(directory.path().join(store_name(to))).unwrap();
            fs::rename(kept, directory.path().join(store_name(from))).unwrap();
            assert!(self::pairs(&*open(directory.path(), from)) == pairs);
        }
    }

    #[test]
    fn a_move_that_died_between_its_steps_is_brought_to_its_end() {
        let (from, to) = (EngineKind::Sled, EngineKind::Fjall);
        for steps in 0..=2 {
            let (directory, pairs) = filled(from);
            let copying = copying(directory.path(), to);
            copying.copy(&mut never()).unwrap();
            drop(copying.close());
            let at = |name: &str| directory.path().join(name);
            if steps > 0 {
                fs::rename(at("sled"), at("sled.migrated")).unwrap();
            }
            if steps > 1 {
                fs::rename(at("fjall.migrating/fjall"), at("fjall")).unwrap();
            }
            assert!(refusal(directory.path(), to).contains("migrate --to fjall"), "after {steps} steps");
            assert!(refusal(directory.path(), from).contains("migrate --to fjall"), "after {steps} steps");
            if steps == 0 {
                let copying = self::copying(directory.path(), to);
                copying.close().finish().unwrap();
            } else {
                assert_eq!(moved(directory.path(), to), at("sled.migrated"));
            }
            assert!(self::pairs(&*open(directory.path(), to)) == pairs, "after {steps} steps");
            assert!(!at("fjall.migrating").exists() && !at("sled").exists());
        }
    }

    #[test]
    fn what_was_changed_in_the_old_store_meanwhile_is_noticed() {
        let (directory, _) = filled(EngineKind::Sled);
        for (key, value) in
            [(&[0, 0, 0, 5][..], Some(b"changed".to_vec())), (&[9; 4], Some(Vec::new())), (&[0; 4], None)]
        {
            let copying = copying(directory.path(), EngineKind::Fjall);
            copying.copy(&mut never()).unwrap();
            copying.compare(&mut never()).unwrap();
            copying.source.apply(Batch { writes: vec![(key.to_vec(), value)] }).unwrap();
            let differs = copying.compare(&mut never()).unwrap_err();
            let MigrateError::Differs { key: found } = differs else { panic!("{differs}") };
            assert_eq!(found, key.escape_ascii().to_string());
            copying.abandon().unwrap();
            assert!(!directory.path().join("fjall.migrating").exists());
        }
        open(directory.path(), EngineKind::Sled);
    }

    #[test]
    fn nothing_is_moved_where_it_is_not_clear_what_would_be() {
        let begin = |directory: &Path| Migration::begin(directory, EngineKind::Fjall, CACHE_BYTES).unwrap_err();
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(begin(directory.path()), MigrateError::NoStore(_)));
        assert!(matches!(begin(&directory.path().join("nowhere")), MigrateError::NoStore(_)));
        assert!(!directory.path().join("nowhere").exists());
        let (directory, _) = filled(EngineKind::Sled);
        let make = |name: &str| fs::create_dir(directory.path().join(name)).unwrap();
        make("sled.migrated");
        assert!(matches!(begin(directory.path()), MigrateError::Kept(_)));
        make("fjall");
        assert!(matches!(begin(directory.path()), MigrateError::Taken { .. }));
        make(RESTORING);
        assert!(matches!(begin(directory.path()), MigrateError::Restoring));
        fs::remove_dir_all(directory.path().join(RESTORING)).unwrap();
        fs::remove_dir_all(directory.path().join("fjall")).unwrap();
        let _held = open(directory.path(), EngineKind::Sled);
        assert!(matches!(begin(directory.path()), MigrateError::Engine(EngineError::InUse { .. })));
    }
}
