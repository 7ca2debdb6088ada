//! Walks that do not hold on to the past: a snapshot keeps memory and files that are long out of date, so a long walk
//! takes a new one from time to time, and goes on behind the pair where it is.

use std::ops::Bound;

use ::fjall::{Iter, Readable as _};

use super::{FjallEngine, NUMBER_KEY, cause};
use crate::outbox::engine::{EngineError, Pair};

/// Pairs that are walked over with one snapshot.
const PAIRS_A_SNAPSHOT: usize = 4_096;

/// Which way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// A walk over a range.
pub(super) struct Walk<'e> {
    engine: &'e FjallEngine,
    direction: Direction,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    pairs: Option<Iter>,
    /// Pairs that the snapshot is still good for.
    left: usize,
    ended: bool,
}

impl<'e> Walk<'e> {
    pub(super) fn new(engine: &'e FjallEngine, direction: Direction, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        Self { engine, direction, from, to, pairs: None, left: 0, ended: false }
    }

    fn step(&mut self) -> Option<Result<Pair, EngineError>> {
        let pairs = match &mut self.pairs {
            Some(pairs) => pairs,
            none => {
                self.left = PAIRS_A_SNAPSHOT;
                let range = (self.from.clone(), self.to.clone());
                none.insert(self.engine.snapshot().range(&self.engine.keyspace, range))
            }
        };
        let found = match self.direction {
            Direction::Up => pairs.next(),
            Direction::Down => pairs.next_back(),
        };
        let pair = found?.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec()));
        Some(pair.map_err(|error| EngineError::Read(cause(error))))
    }

    /// Lets the snapshot go, once it is spent, and has the next one begin behind a key.
    fn count(&mut self, key: &[u8]) {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return;
        }
        self.pairs = None;
        let behind = Bound::Excluded(key.to_vec());
        match self.direction {
            Direction::Up => self.from = behind,
            Direction::Down => self.to = behind,
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Pair, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.step() {
                Some(Ok(pair)) => {
                    self.count(&pair.0);
                    if pair.0 != NUMBER_KEY {
                        return Some(Ok(pair));
                    }
                }
                last => {
                    self.ended = true;
                    self.pairs = None;
                    return last;
                }
            }
        }
        None
    }
}
