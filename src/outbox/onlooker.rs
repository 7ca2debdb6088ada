//! An engine's records as an onlooker reads them, behind the back of whoever runs the outbox.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::thread::LocalKey;

use serde::de::DeserializeOwned;

use super::engine::{Batch, Engine, Pair};
use super::model::{EventRecord, PostbackNo};
use super::verify::{Damage, VerifyObserver, verify};
use super::view::event_ids;
use super::{codec, keys};
use crate::domain::delivery::{Delivery, State};
use crate::domain::id::{AffiliateId, DeliveryId, EventId, LaneName, TransactionId};
use crate::domain::record::{Cause, HistoryEntry};

/// Most records of a kind that are remembered.
const MOST_REMEMBERED: usize = 512;

/// Records with the bytes that they were decoded from, by their keys: an onlooker sees most of them again and again.
type Memory<T> = RefCell<HashMap<Vec<u8>, (Vec<u8>, Arc<T>)>>;

thread_local! {
    static EVENTS: Memory<EventRecord> = RefCell::default();
    static ENTRIES: Memory<HistoryEntry> = RefCell::default();
}

/// What bytes under a key say, decoded once for as long as they are the same.
fn decoded<T: DeserializeOwned>(memory: &'static LocalKey<Memory<T>>, key: Vec<u8>, bytes: Vec<u8>) -> Arc<T> {
    memory.with_borrow_mut(|known| {
        if let Some((_, record)) = known.get(&key).filter(|(before, _)| *before == bytes) {
            return Arc::clone(record);
        }
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        let record = Arc::new(codec::decode(&key, &bytes).unwrap());
        known.insert(key, (bytes, Arc::clone(&record)));
        record
    })
}

/// An event as an engine holds it.
pub(crate) fn event(engine: &dyn Engine, id: EventId) -> Option<Arc<EventRecord>> {
    let key = keys::event(id);
    let bytes = engine.get(&key).unwrap()?;
    Some(decoded(&EVENTS, key, bytes))
}

/// A delivery as an engine holds it.
pub(crate) fn delivery(engine: &dyn Engine, id: DeliveryId) -> Option<Delivery> {
    let record = event(engine, id.event)?;
    let planned = record.entry(id)?;
    let prefix = keys::histories(id);
    let last = engine.scan_back(Bound::Included(prefix.clone()), keys::prefix_end(&prefix)).next();
    let Some(pair) = last else { return Some(planned.delivery.clone()) };
    let (key, bytes) = pair.unwrap();
    Some(decoded(&ENTRIES, key, bytes).delivery.clone())
}

/// The events that a batch deletes.
pub(crate) fn deleted_events(batch: &Batch) -> Vec<EventId> {
    let deleted = batch.writes.iter().filter(|(key, value)| value.is_none() && key.first() == Some(&keys::EVENTS));
    deleted.filter_map(|(key, _)| keys::parse_event(key)).collect()
}

/// The deliveries of an event that are not settled, as an engine holds them.
pub(crate) fn open_deliveries(engine: &dyn Engine, id: EventId) -> Vec<DeliveryId> {
    let count = event(engine, id).map_or(0, |record| u16::try_from(record.plan.len()).unwrap());
    let ids = (0..count).map(|ordinal| DeliveryId { event: id, ordinal });
    ids.filter(|id| delivery(engine, *id).is_some_and(|delivery| !delivery.state.kind().is_settled())).collect()
}

/// Every delivery that an engine holds.
pub(crate) fn deliveries(engine: &dyn Engine) -> Vec<DeliveryId> {
    let space = keys::space(keys::EVENTS);
    let pairs = engine.scan(Bound::Included(space.clone()), keys::prefix_end(&space));
    let events = pairs.filter_map(|pair| {
        let (key, bytes) = pair.unwrap();
        let event = keys::parse_event(&key)?;
        Some((event, u16::try_from(decoded(&EVENTS, key, bytes).plan.len()).unwrap()))
    });
    events.flat_map(|(event, count)| (0..count).map(move |ordinal| DeliveryId { event, ordinal })).collect()
}

/// The history of a delivery, as an engine holds it.
pub(crate) fn history(engine: &dyn Engine, id: DeliveryId) -> Vec<Arc<HistoryEntry>> {
    let prefix = keys::histories(id);
    let pairs = engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
    pairs.map(|pair| pair.unwrap()).map(|(key, bytes)| decoded(&ENTRIES, key, bytes)).collect()
}

/// A delivery of an order group, as far as an onlooker has to know of it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: DeliveryId,
    pub(crate) affiliate: AffiliateId,
    pub(crate) lane: Option<LaneName>,
    pub(crate) transaction: TransactionId,
    pub(crate) reverses: Option<TransactionId>,
    pub(crate) settled: bool,
    /// Whether it waits, or is held, and was never sent.
    pub(crate) waits_unsent: bool,
    /// Whether an operator has had a hand in it, or it was planned behind its event.
    pub(crate) ordered: bool,
}

/// The deliveries of the events that belong to the order group of an event, that one's left out.
pub(crate) fn group(engine: &dyn Engine, id: EventId, record: &EventRecord) -> BTreeMap<EventId, Vec<Member>> {
    let (root, owner) = (record.root(), &record.event.affiliate_id);
    let prefix = keys::owned_transaction(root, owner);
    let pairs = engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
    let ids: BTreeSet<EventId> = pairs.flat_map(|pair| event_ids(&pair.unwrap().1).collect::<Vec<_>>()).collect();
    let others = ids.into_iter().filter(|other| *other != id).filter_map(|other| Some((other, event(engine, other)?)));
    let others: Vec<_> = others.filter(|(_, of)| of.event.affiliate_id == *owner && of.root() == root).collect();
    if others.is_empty() {
        return BTreeMap::new();
    }
    let affiliates = affiliates(engine);
    others.into_iter().map(|(other, record)| (other, members(engine, &affiliates, other, &record))).collect()
}

fn members(
    engine: &dyn Engine,
    affiliates: &BTreeMap<PostbackNo, AffiliateId>,
    event: EventId,
    record: &EventRecord,
) -> Vec<Member> {
    let member = |(ordinal, entry): (u16, &super::model::PlanEntry)| {
        let id = DeliveryId { event, ordinal };
        let history = history(engine, id);
        let stands = history.last().map_or(&entry.delivery, |last| &last.delivery);
        Member {
            id,
            affiliate: affiliates[&entry.postback].clone(),
            lane: entry.lane.clone(),
            transaction: record.event.transaction_id.clone(),
            reverses: record.event.reverses.clone(),
            settled: stands.state.kind().is_settled(),
            waits_unsent: stands.made == 0 && matches!(stands.state, State::Waiting | State::Held { .. }),
            ordered: history.iter().any(|entry| matches!(entry.cause, Cause::Ordered(_) | Cause::Planned)),
        }
    };
    (0_u16..).zip(&record.plan).map(member).collect()
}

/// The affiliate of each postback.
fn affiliates(engine: &dyn Engine) -> BTreeMap<PostbackNo, AffiliateId> {
    let named = |(key, bytes): Pair| {
        let name = keys::parse_postback(&key).unwrap();
        (codec::decode::<PostbackNo>(&key, &bytes).unwrap(), name.affiliate)
    };
    let prefix = keys::space(keys::POSTBACKS);
    let pairs = engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
    pairs.map(|pair| named(pair.unwrap())).collect()
}

/// What is damaged in a store at rest.
pub(crate) fn damages(engine: &dyn Engine) -> Vec<Damage> {
    struct Found(Vec<Damage>);
    impl VerifyObserver for Found {
        fn damage(&mut self, damage: Damage) {
            self.0.push(damage);
        }
        fn progress(&mut self, _pairs: u64) {}
    }
    let mut found = Found(Vec::new());
    verify(engine, &mut found).unwrap();
    found.0
}
