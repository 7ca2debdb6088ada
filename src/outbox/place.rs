//! The directory of an outbox: one process has it at a time, nobody else may look into it, and a new store appears in it
//! whole or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::engine::EngineError;

/// How long a locked store is waited for, and how often it is asked for meanwhile.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(1);
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Where a backup is being put back. Beside it a new store would be taken for the one that was lost.
pub const RESTORING: &str = "restoring";
const UNRESTORED: &str = "a backup was being put back here and that was not finished: repeat `postbackd outbox restore`, or \
                          remove the directory \"restoring\" to begin with an empty store";

/// Why a store could not be made.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An outbox's directory, held until the last clone of this is dropped.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    _lock: Arc<File>,
}

impl Place {
    /// Makes the directory where there is none, and takes it.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub(super) fn take(path: &Path) -> Result<Self, EngineError> {
        let failed = |error: io::Error| EngineError::Open { path: path.into(), source: error.into() };
        make_private_directory(path).map_err(failed)?;
        let Some(lock) = lock_patiently(path).map_err(failed)? else {
            return Err(EngineError::InUse { path: path.into() });
        };
        Ok(Self { path: path.into(), _lock: Arc::new(lock) })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a new store beside its place, and moves it there once it is whole. `create` fills an empty directory, and makes
    /// durable what it leaves there. What a process left behind that did not come to the end is thrown away: nobody was told
    /// of it.
    ///
    /// # Errors
    /// When it cannot be made, or a restore has not been finished.
    pub(super) fn make(&self, name: &str, create: impl FnOnce(&Path) -> Result<(), Cause>) -> Result<(), EngineError> {
        let made = || {
            if self.path.join(RESTORING).exists() {
                return Err(UNRESTORED.into());
            }
            let unfinished = self.path.join(format!("{name}.unfinished"));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            make_private_directory(&unfinished)?;
            create(&unfinished)?;
            fs::rename(&unfinished, self.path.join(name))?;
            Ok(File::open(&self.path)?.sync_all()?)
        };
        made().map_err(|source| EngineError::Open { path: self.path.clone(), source })
    }
}

/// Keeps everybody else from a store's directory, for as long as it is held; `None` where another has it.
///
/// # Errors
/// When the directory cannot be opened.
pub fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    lock(path)
}

/// A lock on a file or directory; `None` where another has it.
pub(super) fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits a moment for the lock: a store of this process may be on its way down.
fn lock_patiently(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_PATIENCE.as_millis() / LOCK_PAUSE.as_millis() {
        if let Some(locked) = lock_directory(path)? {
            return Ok(Some(locked));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    lock_directory(path)
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
