//! Walks that do not hold on to the past: a snapshot keeps memory and files that are long out of date, so a long walk
//! takes a new one from time to time, and goes on behind the pair where it is. A walk upwards passes over what is known to be
//! empty ([`super::gaps`]).

use std::ops::Bound;

use ::fjall::{Iter, Readable as _};

use super::{FjallEngine, NUMBER_KEY, cause};
use crate::ops::clock::monotonic;
use crate::outbox::engine::{EngineError, Pair};

/// Pairs that are walked over with one snapshot.
const PAIRS_A_SNAPSHOT: usize = 4_096;

/// Which way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

type Found = Option<Result<Pair, EngineError>>;

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

    fn step(&mut self) -> Found {
        match &mut self.pairs {
            Some(pairs) => read(pairs, self.direction),
            None => {
                self.left = PAIRS_A_SNAPSHOT;
                match self.direction {
                    Direction::Up => self.first_up(),
                    Direction::Down => {
                        let range = (self.from.clone(), self.to.clone());
                        let (snapshot, _) = self.engine.snapshot();
                        read(self.pairs.insert(snapshot.range(&self.engine.keyspace, range)), Direction::Down)
                    }
                }
            }
        }
    }

    /// The first step upwards with a new snapshot, which may have far to go.
    fn first_up(&mut self) -> Found {
        let begin = beginning(&self.from);
        let ticket = self.engine.gaps().begin(&begin);
        let (snapshot, number) = self.engine.snapshot();
        let skipped = self.engine.gaps().skip(&begin, number);
        let from = match skipped {
            None => self.from.clone(),
            Some(Some(end)) if before(&end, &self.to) => Bound::Included(end),
            Some(_) => {
                self.engine.gaps().end(ticket, None);
                return None;
            }
        };
        let since = monotonic();
        let range = (from, self.to.clone());
        let found = read(self.pairs.insert(snapshot.range(&self.engine.keyspace, range)), Direction::Up);
        let passed = match &found {
            Some(Ok((key, _))) => Some(Some(key.clone())),
            None => Some(behind(&self.to)),
            Some(Err(_)) => None,
        };
        let passed = passed.filter(|_| monotonic().duration_since(since) >= self.engine.slow_step);
        self.engine.gaps().end(ticket, passed.map(|end| (end, number)));
        found
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

fn read(pairs: &mut Iter, direction: Direction) -> Found {
    let found = match direction {
        Direction::Up => pairs.next(),
        Direction::Down => pairs.next_back(),
    };
    let pair = found?.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec()));
    Some(pair.map_err(|error| EngineError::Read(cause(error))))
}

/// The least key that can be in a range which begins so.
fn beginning(from: &Bound<Vec<u8>>) -> Vec<u8> {
    match from {
        Bound::Included(key) => key.clone(),
        Bound::Excluded(key) => next(key),
        Bound::Unbounded => Vec::new(),
    }
}

/// The least key that is behind a range which ends so.
fn behind(to: &Bound<Vec<u8>>) -> Option<Vec<u8>> {
    match to {
        Bound::Included(key) => Some(next(key)),
        Bound::Excluded(key) => Some(key.clone()),
        Bound::Unbounded => None,
    }
}

fn before(key: &[u8], to: &Bound<Vec<u8>>) -> bool {
    behind(to).is_none_or(|end| key < end.as_slice())
}

/// The key that follows directly.
fn next(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
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
