//! The engines by name: which of them has its store in a directory, and opening it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::engine::{Engine, EngineError};
use super::sled::{self, SledEngine};
use crate::domain::engine_kind::EngineKind;

/// The name of an engine's store in an outbox's directory.
pub const fn store_name(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Sled => sled::DATA,
    }
}

/// Opens the store of an outbox, creating it where there is none; `cache_bytes` bounds the memory for its pages.
///
/// # Errors
/// When the directory cannot be made, another process holds it, or the store does not open.
pub fn open_engine(kind: EngineKind, path: &Path, cache_bytes: u64) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(match kind {
        EngineKind::Sled => Arc::new(SledEngine::open(path, cache_bytes)?),
    })
}

/// The engine whose store is in a directory; `None` where there is no store.
///
/// # Errors
/// When the directory cannot be looked into.
pub fn engine_of(path: &Path) -> io::Result<Option<EngineKind>> {
    for kind in EngineKind::ALL {
        if path.join(store_name(kind)).try_exists()? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}
