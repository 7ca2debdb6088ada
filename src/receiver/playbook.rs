//! A script in use: picks the answer of each request and keeps count of what was given.
//!
//! Refuses to know sockets and the ledger; the number of a key's request comes in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::answer::Answer;
use super::key::KeyHash;
use super::script::{Condition, Rule, Script, WHOLE};
use super::wire::Request;

/// How many locks share the positions of a rule.
const SHARDS: usize = 64;

/// A script with its counters.
#[derive(Debug)]
pub(super) struct Playbook {
    rules: Vec<(Rule, Counters)>,
    otherwise: Answer,
}

#[derive(Debug)]
struct Counters {
    /// Requests that met all conditions but `every`.
    fitting: AtomicU64,
    position: Position,
}

/// How far a rule's sequence has been given.
#[derive(Debug)]
enum Position {
    /// There is one answer only.
    Fixed,
    /// One sequence for all.
    Shared(AtomicU64),
    /// One sequence for each key.
    PerKey(Vec<Mutex<HashMap<KeyHash, u32>>>),
}

impl Playbook {
    /// Starts a script from its beginning.
    pub(super) fn of(script: Script) -> Self {
        let counted = |rule: Rule| {
            let position = match (rule.rest.is_empty(), rule.per_key) {
                (true, _) => Position::Fixed,
                (false, false) => Position::Shared(AtomicU64::new(0)),
                (false, true) => Position::PerKey((0..SHARDS).map(|_| Mutex::default()).collect()),
            };
            (rule, Counters { fitting: AtomicU64::new(0), position })
        };
        Self { rules: script.rules.into_iter().map(counted).collect(), otherwise: Answer::status(200) }
    }

    /// The answer for a request, the `nth` of its key.
    pub(super) fn choose(&self, request: &Request, key: KeyHash, nth: u32) -> &Answer {
        let fitting = self.rules.iter().find(|(rule, counters)| fits(rule, counters, request, key, nth));
        let Some((rule, counters)) = fitting else { return &self.otherwise };
        let at = counters.position.advance(key, rule.rest.len());
        at.checked_sub(1).and_then(|at| rule.rest.get(at)).unwrap_or(&rule.first)
    }
}

fn fits(rule: &Rule, counters: &Counters, request: &Request, key: KeyHash, nth: u32) -> bool {
    let mut every = None;
    for condition in &rule.conditions {
        let met = match condition {
            Condition::Path(prefix) => request.path().starts_with(prefix.as_str()),
            Condition::Parameter { name, value } => request.parameter(name).as_ref() == Some(value),
            Condition::Nth(wanted) => wanted.get() == nth,
            Condition::Every(period) => {
                every = Some(u64::from(period.get()));
                true
            }
            Condition::Share { millionths, seed } => falls_into(*millionths, *seed, key),
        };
        if !met {
            return false;
        }
    }
    every.is_none_or(|period| (counters.fitting.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(period))
}

fn falls_into(millionths: u32, seed: u64, KeyHash(key): KeyHash) -> bool {
    let drawn = KeyHash::salted(&seed.to_be_bytes(), &hex::encode(key)).number();
    drawn % u64::from(WHOLE) < u64::from(millionths)
}

impl Position {
    /// The position to use now, at most `last`.
    fn advance(&self, key: KeyHash, last: usize) -> usize {
        match self {
            Self::Fixed => 0,
            Self::Shared(position) => {
                usize::try_from(position.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX).min(last)
            }
            Self::PerKey(shards) => {
                let Some(shard) = shards.get(key.shard(shards.len())) else { return 0 };
                let mut positions = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let position = positions.entry(key).or_insert(0);
                let now = usize::try_from(*position).unwrap_or(usize::MAX).min(last);
                *position = position.saturating_add(1);
                now
            }
        }
    }
}
