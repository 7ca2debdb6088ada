//! Putting a backup into an empty store.

use std::io::Read;
use std::ops::Bound;

use jiff::Timestamp;

use super::BackupError;
use super::frame::{Frame, FrameParser};
use crate::outbox::engine::{Batch, Engine, EngineError};

const READ_AT_ONCE: usize = 1 << 20;

/// What came of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When the store stood as in the backup.
    pub stood: Timestamp,
    /// The version of the program that took it.
    pub version: String,
    /// Pairs that were put in.
    pub pairs: u64,
    /// Writes that were made behind these.
    pub writes: u64,
}

/// Why a backup could not be put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no whole backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// It cannot be read.
    #[error("reading the backup")]
    Read(#[source] std::io::Error),
    /// The store cannot be written.
    #[error("writing the store")]
    Engine(#[from] EngineError),
    /// There is something in the store.
    #[error("the store is not empty")]
    NotEmpty,
}

/// Is told how far a restore has come.
pub trait RestoreObserver {
    /// So many bytes of the backup have been read.
    fn progress(&mut self, bytes: u64);
}

/// Puts a backup into an empty store; durable when it returns.
///
/// # Errors
/// When the backup is not whole, or the store is not empty or fails. What is in the store then is of no use.
pub fn restore(
    backup: &mut dyn Read,
    engine: &dyn Engine,
    observer: &mut dyn RestoreObserver,
) -> Result<Restored, RestoreError> {
    if engine.scan(Bound::Unbounded, Bound::Unbounded).next().transpose()?.is_some() {
        return Err(RestoreError::NotEmpty);
    }
    let mut parser = FrameParser::default();
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut told: Option<(Timestamp, u64, u64)> = None;
    let mut restored = Restored { stood: Timestamp::UNIX_EPOCH, version: String::new(), pairs: 0, writes: 0 };
    loop {
        let count = backup.read(&mut buffer).map_err(RestoreError::Read)?;
        parser.push(buffer.get(..count).unwrap_or_default());
        while let Some(frame) = parser.next()? {
            match frame {
                Frame::Begin { version, .. } => restored.version = version,
                Frame::Pairs(pairs) => {
                    restored.pairs += pairs.len() as u64;
                    let writes = pairs.into_iter().map(|(key, value)| (key, Some(value))).collect();
                    engine.apply(Batch { writes })?;
                }
                Frame::Writes(writes) => {
                    restored.writes += writes.len() as u64;
                    engine.apply(Batch { writes })?;
                }
                Frame::End { stood_us, pairs, writes } => {
                    told = Some((Timestamp::from_microsecond(stood_us).unwrap_or_default(), pairs, writes));
                }
            }
        }
        observer.progress(parser.place());
        if count == 0 {
            break;
        }
    }
    let torn = BackupError::Torn { at: parser.place() };
    match told {
        Some((stood, pairs, writes)) if parser.is_empty() && (pairs, writes) == (restored.pairs, restored.writes) => {
            engine.sync()?;
            Ok(Restored { stood, ..restored })
        }
        Some(_) | None => Err(torn.into()),
    }
}
