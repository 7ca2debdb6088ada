//! Records and keys of any content, for fuzzing.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ahead;
use super::arrivals::SendClass;
use super::bulk::BulkRecord;
use super::codec::{self, MAX_RECORD_BYTES};
use super::engine::{Batch, Engine};
use super::memory::MemoryEngine;
use super::model::{Counts, EventRecord, Flag, Pause, Totals};
use super::tally::{Stored, Tally};
use super::verify::{Damage, VerifyObserver, verify};
use super::{OutboxError, keys};
use crate::domain::export_mark::ExportMark;
use crate::domain::record::HistoryEntry;
use crate::fuzzing::Pieces;

/// Takes what a walk finds, and knows that each is told with its place.
struct Finder(u64);

impl VerifyObserver for Finder {
    fn damage(&mut self, damage: Damage) {
        assert!(!damage.what.is_empty() && !damage.space.is_empty(), "{damage:?}");
        self.0 += 1;
    }

    fn progress(&mut self, _pairs: u64) {}
}

/// The pieces are pairs of a store, each a key and what its record holds, without version and checksum.
pub(crate) fn record_decoding(input: &[u8]) {
    let pieces = Pieces::of(input);
    let mut batch = Batch::default();
    for index in (0..8).step_by(2) {
        let (key, content) = (pieces.bytes(index), pieces.bytes(index + 1));
        if key.is_empty() && content.is_empty() {
            continue;
        }
        read_key(key);
        let sealed = codec::seal(key, content);
        read_record(key, &sealed);
        let _ = codec::decode::<EventRecord>(key, content);
        damaged(key, &sealed);
        batch.writes.push((key.to_vec(), Some(sealed)));
    }
    walked(batch);
}

/// A store with these pairs is walked through to its end, whatever is wrong with it.
fn walked(batch: Batch) {
    let engine = MemoryEngine::default();
    let written = engine.apply(batch);
    assert!(written.is_ok(), "{written:?}");
    let mut finder = Finder(0);
    match verify(&engine, &mut finder) {
        Ok(verified) => assert_eq!(verified.damaged, finder.0, "{verified:?}"),
        Err(error) => assert!(matches!(error, OutboxError::Corrupt { .. }), "{error}"),
    }
}

/// Reads a record as each kind that there is: what decodes is written down and read as the same.
fn read_record(key: &[u8], sealed: &[u8]) {
    again::<EventRecord>(key, sealed);
    again::<HistoryEntry>(key, sealed);
    again::<BulkRecord>(key, sealed);
    again::<ExportMark>(key, sealed);
    again::<Pause>(key, sealed);
    again::<Flag>(key, sealed);
    again::<Tally>(key, sealed);
    again::<Stored>(key, sealed);
    again::<Counts>(key, sealed);
    again::<Totals>(key, sealed);
    again::<ahead::Record>(key, sealed);
    again::<u32>(key, sealed);
}

fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(key: &[u8], sealed: &[u8]) {
    let Ok(record) = codec::decode::<T>(key, sealed) else { return };
    match codec::encode(key, &record) {
        Ok(written) => {
            assert!(written.len() <= sealed.len(), "{record:?} grew from {} to {}", sealed.len(), written.len());
            let read = codec::decode::<T>(key, &written);
            assert!(read.as_ref().is_ok_and(|read| *read == record), "{record:?} was read as {read:?}");
        }
        Err(error) => assert!(sealed.len() > MAX_RECORD_BYTES, "{error}: {record:?}"),
    }
}

/// One bit that flips is noticed.
fn damaged(key: &[u8], sealed: &[u8]) {
    assert!(codec::decode::<()>(key, sealed).is_ok(), "what is sealed checks out");
    for at in [0, sealed.len() / 2, sealed.len() - 1] {
        let mut flipped = sealed.to_vec();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 0x10;
        }
        let read = codec::decode::<()>(key, &flipped);
        assert!(matches!(read, Err(OutboxError::Corrupt { .. })), "byte {at} may flip");
    }
}

/// What is read of a key is what stood in it.
fn read_key(key: &[u8]) {
    let whole = |written: Vec<u8>, length: usize| key.get(1..length) == written.get(1..length);
    if let Some(event) = keys::parse_event(key) {
        assert!(whole(keys::event(event), 9), "{}", key.escape_ascii());
        assert!(whole(keys::unrouted(event), 9), "{}", key.escape_ascii());
    }
    if let Some((delivery, entry)) = keys::parse_history(key) {
        assert!(whole(keys::history(delivery, entry), 15), "{}", key.escape_ascii());
        assert_eq!(keys::parse_history_number(key), Some(entry));
    }
    if let Some((due, delivery)) = keys::parse_scheduled(key)
        && due.as_microsecond() >= 0
    {
        let written = keys::scheduled(0, SendClass::First, due, delivery);
        assert_eq!(written.get(6..24), key.get(6..24), "{}", key.escape_ascii());
    }
    if let Some(delivery) = keys::parse_last_delivery(key) {
        assert_eq!(keys::parse_last_delivery(&keys::intent(delivery)), Some(delivery));
        assert!(key.ends_with(keys::intent(delivery).get(1..).unwrap_or_default()), "{}", key.escape_ascii());
    }
    if let Some(number) = keys::parse_number(key) {
        assert!(whole(keys::counts(number), 5), "{}", key.escape_ascii());
    }
    if let Some(bulk) = keys::parse_bulk(key) {
        assert!(whole(keys::bulk(bulk), 9), "{}", key.escape_ascii());
    }
    if let Some(postback) = keys::parse_postback(key) {
        assert!(whole(keys::postback(&postback), key.len()), "{}", key.escape_ascii());
    }
    if let Some(consumer) = keys::parse_mark(key) {
        assert!(whole(keys::mark(&consumer), key.len()), "{}", key.escape_ascii());
    }
    let _ = keys::parse_click(key);
}
