//! The ledger as it is read: counts at one moment, keys on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::{KeyHistory, Ledger, Seen};

/// The counts of a ledger at one moment.
///
/// What is asked by key, the duplicates' names and the entries are read when asked for, from the ledger
/// as it is then.
#[derive(Debug, Clone)]
pub struct LedgerSnapshot {
    /// The time since the ledger's start.
    pub elapsed: Duration,
    /// Requests read whole.
    pub requests: u64,
    /// Whole responses by status.
    pub answered: BTreeMap<u16, u64>,
    /// Requests answered with a whole 2xx response.
    pub accepted_requests: u64,
    /// Different keys seen.
    pub keys: u64,
    /// Different keys accepted at least once.
    pub accepted_keys: u64,
    /// Different keys accepted more than once.
    pub duplicate_keys: u64,
    /// Requests without a key.
    pub unkeyed: u64,
    /// Requests whose signature was missing or wrong; all were answered 401.
    pub signature_failures: u64,
    /// Requests left hanging.
    pub hung: u64,
    /// Requests answered with a TCP reset, before or behind the headers.
    pub reset: u64,
    /// Requests answered by closing the connection.
    pub closed: u64,
    /// Requests answered with a broken response: half, junk, endless, headers-flood.
    pub broken: u64,
    /// Requests whose peer left before the answer was whole.
    pub cut_short: u64,
    /// Connections whose bytes were refused as no proper request.
    pub malformed: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    pub(super) ledger: Arc<Ledger>,
}

impl LedgerSnapshot {
    /// How often a key was answered with a whole 2xx response.
    pub fn accepted(&self, key: &str) -> u32 {
        self.key(key).map_or(0, |known| known.accepted)
    }

    /// How often a key was seen.
    pub fn seen(&self, key: &str) -> u32 {
        self.key(key).map_or(0, |known| known.seen)
    }

    /// What is known about a key.
    pub fn key(&self, key: &str) -> Option<KeyHistory> {
        self.ledger.key(key)
    }

    /// How many whole responses had this status.
    pub fn answered_with(&self, status: u16) -> u64 {
        self.answered.get(&status).copied().unwrap_or(0)
    }

    /// The first hundred keys that were accepted more than once.
    pub fn duplicates(&self) -> Vec<String> {
        self.ledger.duplicates()
    }

    /// The first requests in full, in the order of arrival.
    pub fn entries(&self) -> Vec<Arc<Seen>> {
        self.ledger.entries()
    }

    /// The counts and the duplicates' names for programs.
    pub fn to_json(&self) -> Value {
        let answered: serde_json::Map<String, Value> =
            self.answered.iter().map(|(status, number)| (status.to_string(), json!(number))).collect();
        json!({
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "requests": self.requests,
            "answered": answered,
            "accepted_requests": self.accepted_requests,
            "keys": self.keys,
            "accepted_keys": self.accepted_keys,
            "duplicate_keys": self.duplicate_keys,
            "duplicates": self.duplicates(),
            "unkeyed": self.unkeyed,
            "signature_failures": self.signature_failures,
            "hung": self.hung,
            "reset": self.reset,
            "closed": self.closed,
            "broken": self.broken,
            "cut_short": self.cut_short,
            "malformed": self.malformed,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        })
    }
}

impl KeyHistory {
    /// The history for programs.
    pub fn to_json(&self) -> Value {
        let millis = |at: Option<Duration>| at.map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        json!({
            "seen": self.seen,
            "accepted": self.accepted,
            "first_sequence": self.first_sequence,
            "first_accepted_ms": millis(self.first_accepted),
            "last_accepted_ms": millis(self.last_accepted),
        })
    }
}

impl Seen {
    /// The request for programs; bytes of the body that are not UTF-8 are replaced.
    pub fn to_json(&self) -> Value {
        json!({
            "sequence": self.sequence,
            "offset_ms": u64::try_from(self.offset.as_millis()).unwrap_or(u64::MAX),
            "key": self.key,
            "method": self.method,
            "path_and_query": self.path_and_query,
            "headers": self.headers,
            "body": String::from_utf8_lossy(&self.body),
            "body_length": self.body_length,
            "answer": self.answer,
        })
    }
}
