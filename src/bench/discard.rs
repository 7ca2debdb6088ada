//! An engine that throws writes away: the same server, when nothing is stored.

use std::ops::Bound;

use crate::outbox::{Batch, Engine, EngineError, Pairs};

/// Stores nothing and finds nothing.
#[derive(Debug)]
pub(super) struct Discard;

impl Engine for Discard {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(None)
    }

    fn scan(&self, _: Bound<Vec<u8>>, _: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(std::iter::empty())
    }

    fn scan_back(&self, _: Bound<Vec<u8>>, _: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(std::iter::empty())
    }

    fn apply(&self, _: Batch) -> Result<(), EngineError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }
}
