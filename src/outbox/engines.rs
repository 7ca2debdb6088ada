//! The engines by name: which of them has its store in a directory, and opening it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::engine::{Engine, EngineError};
use super::fjall::{self, FjallEngine};
use super::place::Place;
use super::sled::{self, SledEngine};
use crate::domain::engine_kind::EngineKind;

/// Why a directory is not for an engine.
#[derive(Debug, thiserror::Error)]
enum Occupied {
    #[error(
        "there is a store of {0}, and [outbox] engine is \"{1}\": set engine = \"{0}\", or move the store over with `postbackd outbox \
         migrate --to {1}`", found.name(), wanted.name()
    )]
    Other { found: EngineKind, wanted: EngineKind },
}

/// The name of an engine's store in an outbox's directory.
pub const fn store_name(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Sled => sled::DATA,
        EngineKind::Fjall => fjall::DATA,
    }
}

/// Opens the store of an outbox, creating it where there is none; `cache_bytes` bounds the memory for its pages.
///
/// # Errors
/// When the directory cannot be made, another process holds it, it has the store of another engine, or the store does not
/// open.
pub fn open_engine(kind: EngineKind, path: &Path, cache_bytes: u64) -> Result<Arc<dyn Engine>, EngineError> {
    let place = Place::take(path)?;
    let failed = |source| EngineError::Open { path: path.into(), source };
    for found in EngineKind::ALL {
        if found != kind && path.join(store_name(found)).try_exists().map_err(|error| failed(error.into()))? {
            return Err(failed(Occupied::Other { found, wanted: kind }.into()));
        }
    }
    open_in(kind, place, cache_bytes)
}

/// The same, in a directory that is held already, whatever else is in it.
pub(super) fn open_in(kind: EngineKind, place: Place, cache_bytes: u64) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(match kind {
        EngineKind::Sled => Arc::new(SledEngine::open_in(place, cache_bytes)?),
        EngineKind::Fjall => Arc::new(FjallEngine::open_in(place, cache_bytes)?),
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
