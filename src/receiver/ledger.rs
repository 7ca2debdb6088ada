//! What the receiver saw and what it answered, counted per transaction key.
//!
//! Holds a 16-byte fingerprint and a few counters for each key, so that a million keys fit into modest
//! memory; only the first requests are kept in full. Refuses to know sockets and scripts.

use std::collections::hash_map::{Entry, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::KeyHash;
use super::snapshot::LedgerSnapshot;
use crate::ops::clock;

/// How many requests are kept in full when bodies are not recorded.
pub const DETAILED_REQUESTS: usize = 1_000;
/// How many requests are kept in full when bodies are recorded.
pub const RECORDED_REQUESTS: usize = 10_000;
/// How much of a body is kept.
pub const BODY_DETAIL: usize = 64 * 1024;
/// How many bytes of requests are kept in full.
const DETAIL_BYTES: u64 = 256 << 20;
/// How many keys that were accepted more than once are kept by name.
pub const LISTED_DUPLICATES: usize = 100;
/// How many characters of a duplicate's key are kept.
const KEY_DETAIL: usize = 256;
/// How many locks share the keys.
const SHARDS: usize = 64;
/// Statuses are counted below this one.
const STATUSES: usize = 1_000;

/// One request as it was seen, with the answer it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its place in the order of arrival, from 1.
    pub sequence: u64,
    /// When it arrived, from the start of the ledger.
    pub offset: Duration,
    /// Its ledger key.
    pub key: Option<String>,
    /// The method.
    pub method: String,
    /// The request target, as written.
    pub path_and_query: String,
    /// The header fields in their order.
    pub headers: Vec<(String, String)>,
    /// The first 64 KiB of the body; empty in the ledger unless bodies are recorded.
    pub body: Bytes,
    /// The whole body's length.
    pub body_length: u64,
    /// The answer chosen for it, in the language of scripts.
    pub answer: String,
}

/// What is known about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHistory {
    /// How many requests carried it.
    pub seen: u32,
    /// How many of them were answered with a whole 2xx response.
    pub accepted: u32,
    /// The sequence number of the first request.
    pub first_sequence: u64,
    /// When it was first accepted, from the start of the ledger, to the millisecond.
    pub first_accepted: Option<Duration>,
    /// When it was last accepted, from the start of the ledger, to the millisecond.
    pub last_accepted: Option<Duration>,
}

/// The stored form of a [`KeyHistory`].
#[derive(Debug)]
struct KeyRecord {
    first_sequence: u64,
    seen: u32,
    accepted: u32,
    first_accepted_ms: u32,
    last_accepted_ms: u32,
}

/// What is counted over all requests.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub(super) enum Total {
    Requests,
    Unkeyed,
    Keys,
    AcceptedRequests,
    AcceptedKeys,
    DuplicateKeys,
    SignatureFailures,
    Hung,
    Reset,
    Closed,
    Broken,
    CutShort,
    Malformed,
    BytesIn,
    BytesOut,
}

const TOTALS: usize = Total::BytesOut as usize + 1;

/// A request that was counted on arrival.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) sequence: u64,
    pub(super) offset: Duration,
    pub(super) key: Option<String>,
    pub(super) hash: KeyHash,
    /// The so-manieth request of its key, or of those without one.
    pub(super) nth: u32,
}

/// The live counts.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    totals: [AtomicU64; TOTALS],
    answered: Vec<AtomicU64>,
    shards: Vec<Mutex<HashMap<KeyHash, KeyRecord>>>,
    duplicates: Mutex<Vec<String>>,
    detail: Mutex<Vec<Arc<Seen>>>,
    detail_bytes: AtomicU64,
    record_bodies: bool,
}

fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// An empty ledger whose time starts now.
    pub(super) fn new(record_bodies: bool) -> Self {
        Self {
            started: clock::monotonic(),
            totals: std::array::from_fn(|_| AtomicU64::new(0)),
            answered: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            duplicates: Mutex::default(),
            detail: Mutex::default(),
            detail_bytes: AtomicU64::new(0),
            record_bodies,
        }
    }

    fn counter(&self, total: Total) -> Option<&AtomicU64> {
        self.totals.get(total as usize)
    }

    /// Adds to a total; the value before.
    pub(super) fn add(&self, total: Total, number: u64) -> u64 {
        self.counter(total).map_or(0, |counter| counter.fetch_add(number, Ordering::Relaxed))
    }

    fn subtract(&self, total: Total) {
        if let Some(counter) = self.counter(total) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn total(&self, total: Total) -> u64 {
        self.counter(total).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn shard(&self, hash: KeyHash) -> Option<MutexGuard<'_, HashMap<KeyHash, KeyRecord>>> {
        self.shards.get(hash.shard(self.shards.len())).map(hold)
    }

    /// The time since the ledger's start.
    fn elapsed(&self) -> Duration {
        clock::monotonic().saturating_duration_since(self.started)
    }

    /// Counts a request on its arrival.
    pub(super) fn arrive(&self, key: Option<String>) -> Arrival {
        let sequence = self.add(Total::Requests, 1) + 1;
        let hash = KeyHash::of(key.as_deref().unwrap_or_default());
        let nth = if key.is_some() {
            self.see(hash, sequence)
        } else {
            u32::try_from(self.add(Total::Unkeyed, 1) + 1).unwrap_or(u32::MAX)
        };
        Arrival { sequence, offset: self.elapsed(), key, hash, nth }
    }

    fn see(&self, hash: KeyHash, sequence: u64) -> u32 {
        let Some(mut shard) = self.shard(hash) else { return 0 };
        match shard.entry(hash) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.seen = known.seen.saturating_add(1);
                known.first_sequence = known.first_sequence.min(sequence);
                known.seen
            }
            Entry::Vacant(place) => {
                place.insert(KeyRecord {
                    first_sequence: sequence,
                    seen: 1,
                    accepted: 0,
                    first_accepted_ms: 0,
                    last_accepted_ms: 0,
                });
                self.add(Total::Keys, 1);
                1
            }
        }
    }

    /// Whether the request of this number is one that is kept in full.
    pub(super) fn wants_detail(&self, sequence: u64) -> bool {
        let limit = if self.record_bodies { RECORDED_REQUESTS } else { DETAILED_REQUESTS };
        sequence <= limit as u64 && self.detail_bytes.load(Ordering::Relaxed) < DETAIL_BYTES
    }

    /// Keeps a request in full.
    pub(super) fn keep(&self, mut seen: Seen) {
        if !self.record_bodies {
            seen.body = Bytes::new();
        }
        let headers: usize = seen.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let length = headers + seen.path_and_query.len() + seen.body.len();
        self.detail_bytes.fetch_add(length as u64, Ordering::Relaxed);
        hold(&self.detail).push(Arc::new(seen));
    }

    /// Counts a whole response just before its last byte is written, so that whoever reads it finds it counted.
    pub(super) fn complete(&self, arrival: &Arrival, status: u16) {
        if let Some(counter) = self.answered.get(usize::from(status)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if !(200..300).contains(&status) {
            return;
        }
        self.add(Total::AcceptedRequests, 1);
        let Some(key) = &arrival.key else { return };
        let now = u32::try_from(self.elapsed().as_millis()).unwrap_or(u32::MAX);
        let Some(mut shard) = self.shard(arrival.hash) else { return };
        let Some(known) = shard.get_mut(&arrival.hash) else { return };
        if known.accepted == 0 {
            known.first_accepted_ms = now;
        }
        known.last_accepted_ms = now;
        known.accepted = known.accepted.saturating_add(1);
        match known.accepted {
            1 => {
                self.add(Total::AcceptedKeys, 1);
            }
            2 => {
                self.add(Total::DuplicateKeys, 1);
                let mut listed = hold(&self.duplicates);
                if listed.len() < LISTED_DUPLICATES {
                    listed.push(key.chars().take(KEY_DETAIL).collect());
                }
            }
            _ => {}
        }
    }

    /// Takes [`Ledger::complete`] back: the last byte could not be written.
    pub(super) fn retract(&self, arrival: &Arrival, status: u16) {
        self.add(Total::CutShort, 1);
        if let Some(counter) = self.answered.get(usize::from(status)) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        if !(200..300).contains(&status) {
            return;
        }
        self.subtract(Total::AcceptedRequests);
        let Some(key) = &arrival.key else { return };
        let Some(mut shard) = self.shard(arrival.hash) else { return };
        let Some(known) = shard.get_mut(&arrival.hash) else { return };
        known.accepted = known.accepted.saturating_sub(1);
        match known.accepted {
            0 => self.subtract(Total::AcceptedKeys),
            1 => {
                self.subtract(Total::DuplicateKeys);
                let kept: String = key.chars().take(KEY_DETAIL).collect();
                hold(&self.duplicates).retain(|listed| *listed != kept);
            }
            _ => {}
        }
    }

    /// What is known about a key.
    pub(super) fn key(&self, key: &str) -> Option<KeyHistory> {
        let hash = KeyHash::of(key);
        let shard = self.shard(hash)?;
        let known = shard.get(&hash)?;
        let at = |millis| (known.accepted > 0).then(|| Duration::from_millis(u64::from(millis)));
        Some(KeyHistory {
            seen: known.seen,
            accepted: known.accepted,
            first_sequence: known.first_sequence,
            first_accepted: at(known.first_accepted_ms),
            last_accepted: at(known.last_accepted_ms),
        })
    }

    /// The first keys that were accepted more than once.
    pub(super) fn duplicates(&self) -> Vec<String> {
        hold(&self.duplicates).clone()
    }

    /// The requests kept in full, in the order of arrival.
    pub(super) fn entries(&self) -> Vec<Arc<Seen>> {
        let mut entries = hold(&self.detail).clone();
        entries.sort_unstable_by_key(|entry| entry.sequence);
        entries
    }

    /// The counts now.
    pub(super) fn snapshot(self: &Arc<Self>) -> LedgerSnapshot {
        let statuses = (0_u16..).zip(&self.answered);
        LedgerSnapshot {
            elapsed: self.elapsed(),
            requests: self.total(Total::Requests),
            answered: statuses
                .map(|(status, counter)| (status, counter.load(Ordering::Relaxed)))
                .filter(|(_, number)| *number > 0)
                .collect(),
            accepted_requests: self.total(Total::AcceptedRequests),
            keys: self.total(Total::Keys),
            accepted_keys: self.total(Total::AcceptedKeys),
            duplicate_keys: self.total(Total::DuplicateKeys),
            unkeyed: self.total(Total::Unkeyed),
            signature_failures: self.total(Total::SignatureFailures),
            hung: self.total(Total::Hung),
            reset: self.total(Total::Reset),
            closed: self.total(Total::Closed),
            broken: self.total(Total::Broken),
            cut_short: self.total(Total::CutShort),
            malformed: self.total(Total::Malformed),
            bytes_in: self.total(Total::BytesIn),
            bytes_out: self.total(Total::BytesOut),
            ledger: Arc::clone(self),
        }
    }
}
