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
    #[error(
        "a migration to {0} was begun here and not finished: finish it with `postbackd outbox migrate --to {0}`{1}", to.name(), way_back(*old)
    )]
    Migrating { to: EngineKind, old: Option<EngineKind> },
}

/// How an unfinished migration is given up, where the old store is still in its place.
fn way_back(old: Option<EngineKind>) -> String {
    old.map_or_else(String::new, |old| {
        format!(", or remove the directory ending in \".migrating\" to stay with {}", old.name())
    })
}

/// The name of an engine's store in an outbox's directory.
pub const fn store_name(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Sled => sled::DATA,
        EngineKind::Fjall => fjall::DATA,
    }
}

/// A file of an engine's store that is there as long as the store is: whoever owns it, owns the store.
pub const fn store_file(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Sled => "sled/db",
        EngineKind::Fjall => "fjall/version",
    }
}

/// Where a store is built that is being moved to an engine.
pub(super) fn migrating_name(to: EngineKind) -> String {
    format!("{}.migrating", store_name(to))
}

/// Opens the store of an outbox, creating it where there is none; `cache_bytes` bounds the memory for its pages.
///
/// # Errors
/// When the directory cannot be made, another process holds it, it has the store of another engine, or the store does not
/// open.
pub fn open_engine(kind: EngineKind, path: &Path, cache_bytes: u64) -> Result<Arc<dyn Engine>, EngineError> {
    let place = Place::take(path)?;
    let failed = |source| EngineError::Open { path: path.into(), source };
    match occupied(kind, path) {
        Ok(None) => open_in(kind, place, cache_bytes),
        Ok(Some(occupied)) => Err(failed(occupied.into())),
        Err(error) => Err(failed(error.into())),
    }
}

/// What keeps an engine out of a directory.
fn occupied(kind: EngineKind, path: &Path) -> io::Result<Option<Occupied>> {
    if let Some(to) = unfinished_migration(path)? {
        return Ok(Some(Occupied::Migrating { to, old: engine_of(path)?.filter(|old| *old != to) }));
    }
    for found in EngineKind::ALL {
        if found != kind && path.join(store_name(found)).try_exists()? {
            return Ok(Some(Occupied::Other { found, wanted: kind }));
        }
    }
    Ok(None)
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

/// The engine to which the store of a directory is being moved; `None` where no migration has been begun.
///
/// # Errors
/// When the directory cannot be looked into.
pub fn unfinished_migration(path: &Path) -> io::Result<Option<EngineKind>> {
    for kind in EngineKind::ALL {
        if path.join(migrating_name(kind)).try_exists()? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}
