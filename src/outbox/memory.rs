//! An engine in memory: the model that other engines are held against, and a store for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::engine::{Batch, Engine, EngineError, Pairs};

/// Keeps everything in memory; nothing survives the process.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    pairs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryEngine {
    fn pairs(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn range(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.pairs().range((from, to)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.pairs().get(key).cloned())
    }

    fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(self.range(from, to).into_iter().map(Ok))
    }

    fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(self.range(from, to).into_iter().rev().map(Ok))
    }

    fn apply(&self, batch: Batch) -> Result<(), EngineError> {
        let mut pairs = self.pairs();
        for (key, value) in batch.writes {
            match value {
                Some(value) => pairs.insert(key, value),
                None => pairs.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(self.pairs().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }
}
