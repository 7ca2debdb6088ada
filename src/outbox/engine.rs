//! The seam between the outbox and an embedded storage engine: an ordered map of bytes.
//!
//! A handful of methods, all synchronous. An engine knows nothing of what the bytes mean.

use std::ops::Bound;

/// A set of writes that become visible together and survive a crash together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// Each key with its new value; `None` removes the key.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A failure of the engine or the disk below it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store cannot be opened.
    #[error("opening the outbox at {path}")]
    Open {
        /// Its directory.
        path: std::path::PathBuf,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has the store open.
    #[error("the outbox at {path} is in use by another process; talk to the running daemon, or stop it first")]
    InUse {
        /// Its directory.
        path: std::path::PathBuf,
    },
    /// Reading failed.
    #[error("reading from the outbox")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Writing failed.
    #[error("writing to the outbox")]
    Write(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Making writes durable failed; what was written since the last success may be lost.
    #[error("making the outbox durable (fdatasync)")]
    Sync(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);
/// A lazy walk over pairs in key order, or against it.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, EngineError>> + Send + 'a>;

/// An ordered, atomic, durable map of bytes.
pub trait Engine: Send + Sync + std::fmt::Debug + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// When the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// The pairs of a range in ascending order of keys, read lazily.
    fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_>;

    /// The pairs of a range in descending order of keys, read lazily.
    fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_>;

    /// Makes a batch visible, all of it at once. Not yet durable.
    ///
    /// # Errors
    /// When the engine cannot write.
    fn apply(&self, batch: Batch) -> Result<(), EngineError>;

    /// Makes everything applied so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses; the state of what was applied is then unknown and the call must not be repeated.
    fn sync(&self) -> Result<(), EngineError>;

    /// Whether something has failed that whoever waits may never be told of. Must not wait itself.
    ///
    /// # Errors
    /// What has failed; nothing behind it can be relied on.
    fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Whether it pays to know without a walk that the store has nothing of a transaction.
    fn walks_are_dear(&self) -> bool {
        true
    }

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn disk_bytes(&self) -> Result<u64, EngineError>;
}
