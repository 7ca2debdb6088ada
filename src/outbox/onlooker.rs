//! An engine's records as an onlooker reads them, behind the back of whoever runs the outbox.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::engine::{Batch, Engine, Pair};
use super::model::{EventRecord, PostbackNo};
use super::verify::{Damage, VerifyObserver, verify};
use super::view::View;
use super::{codec, keys};
use crate::domain::delivery::{Delivery, State};
use crate::domain::id::{AffiliateId, DeliveryId, EventId, LaneName, TransactionId};
use crate::domain::record::{Cause, HistoryEntry};

/// An event as an engine holds it.
pub(crate) fn event(engine: &dyn Engine, id: EventId) -> Option<EventRecord> {
    View { engine, overlay: None }.event(id).unwrap()
}

/// A delivery as an engine holds it.
pub(crate) fn delivery(engine: &dyn Engine, id: DeliveryId) -> Option<Delivery> {
    let view = View { engine, overlay: None };
    let record = view.event(id.event).unwrap()?;
    view.standing(id, &record).unwrap().map(|(_, delivery)| delivery)
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
        let record: EventRecord = codec::decode(&key, &bytes).unwrap();
        Some((keys::parse_event(&key)?, u16::try_from(record.plan.len()).unwrap()))
    });
    events.flat_map(|(event, count)| (0..count).map(move |ordinal| DeliveryId { event, ordinal })).collect()
}

/// The history of a delivery, as an engine holds it.
pub(crate) fn history(engine: &dyn Engine, id: DeliveryId) -> Vec<HistoryEntry> {
    let prefix = keys::histories(id);
    let pairs = engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
    pairs.map(|pair| pair.unwrap()).map(|(key, bytes)| codec::decode(&key, &bytes).unwrap()).collect()
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
    let view = View { engine, overlay: None };
    let related = view.related_of(record.root(), &record.event.affiliate_id).unwrap();
    let others: Vec<_> =
        related.events.into_iter().filter(|(other, of)| *other != id && of.root() == record.root()).collect();
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
        let stands = history.last().map_or(&entry.delivery, |entry| &entry.delivery);
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
