//! Reading the outbox: events, deliveries, histories and lists, without waiting for writers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::arrivals::SendClass;
use super::bulk::{BulkRecord, Target};
use super::codec;
use super::engine::{Engine, EngineError, Pair};
use super::keys;
use super::model::{Counts, DeliveryView, EventRecord, Flag, HistoryView, OutboxError, Pause, PostbackNo, Totals};
use super::recent::Recent;
use super::soon::{self, Soon};
use super::tally::{Stored, Tally};
use super::view::View;
use crate::domain::delivery::Delivery;
use crate::domain::event::Event;
use crate::domain::export_mark::ExportMark;
use crate::domain::id::{AffiliateId, BulkId, ConsumerName, DeliveryId, EventId, PostbackRef};
use crate::domain::retention::Exported;

/// Numbers of postbacks, counts and pauses, mirrored in memory.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) numbers: BTreeMap<PostbackRef, PostbackNo>,
    pub(crate) names: BTreeMap<PostbackNo, PostbackRef>,
    pub(crate) counts: BTreeMap<PostbackNo, Counts>,
    pub(crate) pauses: BTreeMap<PostbackNo, Pause>,
    pub(crate) flags: BTreeMap<PostbackNo, Flag>,
    pub(crate) bulks: BTreeMap<BulkId, BulkRecord>,
    pub(crate) marks: BTreeMap<ConsumerName, ExportMark>,
    pub(crate) totals: Totals,
    pub(crate) tallies: BTreeMap<PostbackNo, Tally>,
    /// Postbacks whose counts and tally are ahead of their own records.
    pub(crate) ahead: BTreeSet<PostbackNo>,
    /// What is to be sent at once and has no key of its own, as far as that is visible.
    pub(crate) soon: Soon,
    pub(crate) stored: Stored,
    /// How often deliveries have joined another order group, counted once that is visible.
    pub(crate) moves: u64,
    pub(crate) recent: Arc<Recent>,
}

pub(crate) type SharedMirror = Arc<RwLock<Mirror>>;

/// Reads of the outbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    engine: Arc<dyn Engine>,
    mirror: SharedMirror,
    recent: Arc<Recent>,
}

/// A delivery as it stands.
pub(super) struct Standing {
    pub(super) record: Arc<EventRecord>,
    pub(super) next_entry: u32,
    pub(super) delivery: Delivery,
}

/// A lazy walk over deliveries with their events.
pub type Walk<'r> = Box<dyn Iterator<Item = Result<(DeliveryId, Arc<EventRecord>), OutboxError>> + Send + 'r>;

/// Which deliveries a list walks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// All, in the order of acceptance.
    All,
    /// All, the newest first.
    Newest,
    /// Dead letters of a postback, in the order of acceptance.
    Dead(PostbackNo),
    /// Held deliveries of a postback, in the order of acceptance.
    Held(PostbackNo),
}

impl Reader {
    pub(crate) fn new(engine: Arc<dyn Engine>, mirror: SharedMirror) -> Self {
        let recent = Arc::clone(&mirror.read().unwrap_or_else(PoisonError::into_inner).recent);
        Self { engine, mirror, recent }
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { engine: &*self.engine, overlay: None }
    }

    pub(super) fn moves(&self) -> u64 {
        self.mirror().moves
    }

    /// A delivery as it stands with its event and the number of its next history entry; from memory where the event has come
    /// in a moment ago.
    pub(super) fn standing(&self, id: DeliveryId) -> Result<Option<Standing>, OutboxError> {
        let (record, as_planned) = match self.recent.get(id.event) {
            Some(known) => (known.record, known.as_planned),
            None => match self.event(id.event)? {
                Some(record) => (Arc::new(record), false),
                None => return Ok(None),
            },
        };
        let standing = if as_planned {
            record.entry(id).map(|entry| (0, entry.delivery.clone()))
        } else {
            self.view().standing(id, &record)?
        };
        Ok(standing.map(|(next_entry, delivery)| Standing { record, next_entry, delivery }))
    }

    fn mirror(&self) -> std::sync::RwLockReadGuard<'_, Mirror> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event.
    ///
    /// # Errors
    /// When the store cannot be read or the record is damaged.
    pub fn event(&self, id: EventId) -> Result<Option<EventRecord>, OutboxError> {
        self.view().event(id)
    }

    /// A delivery as it stands.
    ///
    /// # Errors
    /// When the store cannot be read or a record is damaged.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryView>, OutboxError> {
        match self.event(id.event)? {
            Some(record) => self.delivery_of(id, &record),
            None => Ok(None),
        }
    }

    /// A delivery of an event already read.
    ///
    /// # Errors
    /// When the store cannot be read or a record is damaged.
    pub fn delivery_of(&self, id: DeliveryId, record: &EventRecord) -> Result<Option<DeliveryView>, OutboxError> {
        let Some(planned) = record.entry(id) else { return Ok(None) };
        let Some(postback) = self.postback(planned.postback) else { return Ok(None) };
        let (_, entry) = self.view().last_entry(id)?;
        let (delivery, changed_at) = match &entry {
            Some(entry) => (entry.delivery.clone(), entry.at),
            None => (planned.delivery.clone(), record.accepted_at),
        };
        Ok(Some(DeliveryView { id, postback, lane: planned.lane.clone(), delivery, changed_at, last: entry }))
    }

    /// The last entries of a delivery's history, at most `limit` of them, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read or a record is damaged.
    pub fn history(&self, id: DeliveryId, limit: usize) -> Result<Vec<HistoryView>, OutboxError> {
        let prefix = keys::histories(id);
        let pairs = self.engine.scan_back(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
        let entry = |pair: Result<Pair, _>| {
            let (key, bytes) = pair?;
            let number = keys::parse_history_number(&key).unwrap_or_default();
            Ok(HistoryView { number, entry: codec::decode(&key, &bytes)? })
        };
        let mut entries = pairs.take(limit).map(entry).collect::<Result<Vec<_>, OutboxError>>()?;
        entries.reverse();
        Ok(entries)
    }

    /// A delivery's history from an entry on, oldest first. Reads lazily: the caller stops when it has enough.
    pub fn history_from(
        &self,
        id: DeliveryId,
        entry: u32,
    ) -> impl Iterator<Item = Result<HistoryView, OutboxError>> + Send + '_ {
        let end = keys::prefix_end(&keys::histories(id));
        self.engine.scan(Bound::Included(keys::history(id, entry)), end).map(|pair| {
            let (key, bytes) = pair?;
            let number = keys::parse_history_number(&key).unwrap_or_default();
            Ok(HistoryView { number, entry: codec::decode(&key, &bytes)? })
        })
    }

    /// Events in the order of acceptance, those without deliveries too, from one on. Reads lazily.
    pub fn events_from(
        &self,
        from: EventId,
    ) -> impl Iterator<Item = Result<(EventId, EventRecord), OutboxError>> + Send + '_ {
        let end = keys::prefix_end(&keys::space(keys::EVENTS));
        self.engine.scan(Bound::Included(keys::event(from)), end).map(|pair| {
            let (key, bytes) = pair?;
            let id = keys::parse_event(&key).unwrap_or(EventId::MIN);
            Ok((id, codec::decode(&key, &bytes)?))
        })
    }

    /// The events of the order group that an event belongs to, itself among them, oldest first: one owner's transaction
    /// with all that reverses it.
    ///
    /// # Errors
    /// When the store cannot be read or a record is damaged.
    pub fn group(&self, record: &EventRecord) -> Result<Vec<(EventId, EventRecord)>, OutboxError> {
        let root = record.root();
        let mut events = self.view().related_of(root, &record.event.affiliate_id)?.events;
        events.retain(|(_, other)| other.root() == root);
        Ok(events)
    }

    /// The event that the given one reverses: the last of that transaction that was accepted before it or, where all
    /// came later, the first of these.
    ///
    /// # Errors
    /// When the store cannot be read or a record is damaged.
    pub fn original_of(&self, id: EventId, event: &Event) -> Result<Option<(EventId, Event)>, OutboxError> {
        let Some(reversed) = &event.reverses else { return Ok(None) };
        let mut originals = self.view().related_of(reversed, &event.affiliate_id)?.events;
        originals.retain(|(other, record)| {
            let told = &record.event;
            *other != id && told.transaction_id == *reversed && told.reverses != event.reverses
        });
        let earlier = originals.partition_point(|(other, _)| *other < id);
        let place = earlier.saturating_sub(1);
        Ok((place < originals.len()).then(|| originals.swap_remove(place)).map(|(other, record)| (other, record.event)))
    }

    /// Walks over deliveries; `after` goes on behind one. Reads lazily: the caller stops when it has enough.
    pub fn deliveries(&self, scan: Scan, after: Option<DeliveryId>) -> Walk<'_> {
        match scan {
            Scan::All => Box::new(self.walk_events(after, false)),
            Scan::Newest => Box::new(self.walk_events(after, true)),
            Scan::Dead(postback) => Box::new(self.walk_listed(keys::DEAD, postback, after)),
            Scan::Held(postback) => Box::new(self.walk_listed(keys::HELD, postback, after)),
        }
    }

    fn walk_events(
        &self,
        after: Option<DeliveryId>,
        newest_first: bool,
    ) -> impl Iterator<Item = Result<(DeliveryId, Arc<EventRecord>), OutboxError>> + Send + '_ {
        let space = keys::space(keys::EVENTS);
        let pairs = match (newest_first, after) {
            (false, None) => self.engine.scan(Bound::Included(space.clone()), keys::prefix_end(&space)),
            (false, Some(id)) => self.engine.scan(Bound::Included(keys::event(id.event)), keys::prefix_end(&space)),
            (true, None) => self.engine.scan_back(Bound::Included(space.clone()), keys::prefix_end(&space)),
            (true, Some(id)) => self.engine.scan_back(Bound::Included(space), Bound::Included(keys::event(id.event))),
        };
        let skip = move |id: DeliveryId| match after {
            None => false,
            Some(after) if newest_first => id >= after,
            Some(after) => id <= after,
        };
        pairs.flat_map(move |pair| {
            let decoded = pair.map_err(OutboxError::from).and_then(|(key, bytes)| {
                let event = keys::parse_event(&key).unwrap_or(EventId::MIN);
                Ok((event, Arc::new(codec::decode::<EventRecord>(&key, &bytes)?)))
            });
            let found: Vec<Result<_, _>> = match decoded {
                Err(error) => vec![Err(error)],
                Ok((event, record)) => {
                    let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
                    let mut ids: Vec<_> = (0..count).map(|ordinal| DeliveryId { event, ordinal }).collect();
                    if newest_first {
                        ids.reverse();
                    }
                    ids.into_iter().filter(|id| !skip(*id)).map(|id| Ok((id, Arc::clone(&record)))).collect()
                }
            };
            found
        })
    }

    fn walk_listed(
        &self,
        space: u8,
        postback: PostbackNo,
        after: Option<DeliveryId>,
    ) -> impl Iterator<Item = Result<(DeliveryId, Arc<EventRecord>), OutboxError>> + Send + '_ {
        let prefix = keys::listed(space, postback);
        let end = keys::prefix_end(&prefix);
        let from = match after {
            None => Bound::Included(prefix),
            Some(id) if space == keys::DEAD => Bound::Excluded(keys::dead(postback, id)),
            Some(id) => Bound::Excluded(keys::held(postback, id)),
        };
        self.engine.scan(from, end).filter_map(move |pair| {
            let id = match pair {
                Ok((key, _)) => keys::parse_last_delivery(&key)?,
                Err(error) => return Some(Err(error.into())),
            };
            match self.event(id.event) {
                Ok(Some(record)) => Some(Ok((id, Arc::new(record)))),
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// The scheduled deliveries of a postback, in the order in which they are due, those sent before behind the others;
    /// at most `most`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn scheduled(&self, postback: PostbackNo, most: usize) -> Result<Vec<DeliveryId>, OutboxError> {
        let places = SendClass::ALL.into_iter().flat_map(|class| self.places(postback, class));
        places.take(most).map(|place| Ok(place?.1)).collect()
    }

    /// The scheduled deliveries of a postback and class, in the order in which they are due.
    fn places(
        &self,
        postback: PostbackNo,
        class: SendClass,
    ) -> impl Iterator<Item = Result<soon::Place, EngineError>> + '_ {
        let soon = self.mirror().soon.of(postback, class, None);
        soon::scheduled(&*self.engine, soon, postback, class, None)
    }

    /// The deliveries that wait in their order groups, group by group; at most `most`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting(&self, most: usize) -> Result<Vec<DeliveryId>, OutboxError> {
        let space = keys::space(keys::WAITING);
        let pairs = self.engine.scan(Bound::Included(space.clone()), keys::prefix_end(&space)).take(most);
        let ids = pairs.map(|pair| Ok(keys::parse_last_delivery(&pair?.0)));
        Ok(ids.collect::<Result<Vec<_>, OutboxError>>()?.into_iter().flatten().collect())
    }

    /// Unrouted events in the order of acceptance or against it, behind `after`.
    pub fn unrouted(
        &self,
        after: Option<EventId>,
        newest_first: bool,
    ) -> impl Iterator<Item = Result<EventId, OutboxError>> + Send + '_ {
        let space = keys::space(keys::UNROUTED);
        let end = keys::prefix_end(&space);
        let behind = after.map(|id| Bound::Excluded(keys::unrouted(id)));
        let pairs = if newest_first {
            self.engine.scan_back(Bound::Included(space), behind.unwrap_or(end))
        } else {
            self.engine.scan(behind.unwrap_or(Bound::Included(space)), end)
        };
        pairs.filter_map(|pair| match pair {
            Ok((key, _)) => keys::parse_event(&key).map(Ok),
            Err(error) => Some(Err(error.into())),
        })
    }

    /// The earliest due time of a postback's scheduled deliveries.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn earliest_due(&self, postback: PostbackNo) -> Result<Option<jiff::Timestamp>, OutboxError> {
        let mut earliest = None;
        for class in SendClass::ALL {
            let due = self.places(postback, class).next().transpose()?.map(|(due, _)| due);
            earliest = earliest.into_iter().chain(due).min();
        }
        Ok(earliest)
    }

    /// The oldest events accepted until a time, behind `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn accepted_until(
        &self,
        time: jiff::Timestamp,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        let before = EventId::from_u64(u64::try_from(time.as_microsecond()).unwrap_or(0)).successor();
        if after.is_some_and(|after| after >= before) {
            return Ok(Vec::new());
        }
        let from = after.map_or(Bound::Included(keys::space(keys::EVENTS)), |id| Bound::Excluded(keys::event(id)));
        let pairs = self.engine.scan(from, Bound::Excluded(keys::event(before)));
        let ids = pairs.take(limit).map(|pair| Ok(keys::parse_event(&pair?.0)));
        Ok(ids.collect::<Result<Vec<_>, OutboxError>>()?.into_iter().flatten().collect())
    }

    /// The full name of a postback.
    pub fn postback(&self, number: PostbackNo) -> Option<PostbackRef> {
        self.mirror().names.get(&number).cloned()
    }

    /// The number of a postback, if it ever had a delivery.
    pub fn number(&self, postback: &PostbackRef) -> Option<PostbackNo> {
        self.mirror().numbers.get(postback).copied()
    }

    /// Every postback that ever had a delivery, with its number.
    pub fn postbacks(&self) -> Vec<(PostbackNo, PostbackRef)> {
        self.mirror().names.iter().map(|(number, name)| (*number, name.clone())).collect()
    }

    /// The postbacks of an affiliate that ever had a delivery or a pause.
    pub fn postbacks_of(&self, affiliate: &AffiliateId) -> Vec<PostbackRef> {
        let mirror = self.mirror();
        mirror.numbers.keys().filter(|name| name.affiliate == *affiliate).cloned().collect()
    }

    /// Counts by postback.
    pub fn counts(&self) -> BTreeMap<PostbackNo, Counts> {
        self.mirror().counts.clone()
    }

    /// Dead letters by reason, and money, by postback.
    pub fn tallies(&self) -> BTreeMap<PostbackNo, Tally> {
        self.mirror().tallies.clone()
    }

    /// Bytes of events and histories, before what the engine makes of them.
    pub fn record_bytes(&self) -> u64 {
        self.mirror().stored.record_bytes
    }

    /// Tallies kept in the store equal those counted anew, and so does what it says that it stores.
    #[cfg(test)]
    pub(crate) fn check_tallies(&self) {
        let (tallies, stored) = super::tally::count(&*self.engine).unwrap();
        let in_use = |tallies: BTreeMap<PostbackNo, Tally>| -> BTreeMap<_, _> {
            tallies.into_iter().filter(|(_, tally)| *tally != Tally::default()).collect()
        };
        let mirror = self.mirror();
        assert_eq!((in_use(mirror.tallies.clone()), mirror.stored), (in_use(tallies), stored));
    }

    /// Whether a postback is paused.
    pub fn is_paused(&self, number: PostbackNo) -> bool {
        self.mirror().pauses.contains_key(&number)
    }

    /// Paused postbacks.
    pub fn pauses(&self) -> BTreeMap<PostbackNo, Pause> {
        self.mirror().pauses.clone()
    }

    /// Postbacks whose last verdict was that they are misconfigured.
    pub fn flags(&self) -> BTreeMap<PostbackNo, Flag> {
        self.mirror().flags.clone()
    }

    /// A bulk order.
    pub fn bulk(&self, id: BulkId) -> Option<BulkRecord> {
        self.mirror().bulks.get(&id).cloned()
    }

    /// How many bulk orders are open.
    pub fn open_bulks(&self) -> usize {
        self.mirror().bulks.values().filter(|record| record.state.is_open()).count()
    }

    /// Bulk orders, the newest first, behind `after`.
    pub fn bulks(&self, after: Option<BulkId>, limit: usize) -> Vec<(BulkId, BulkRecord)> {
        let mirror = self.mirror();
        let older = mirror.bulks.iter().rev().filter(|(id, _)| after.is_none_or(|after| **id < after));
        older.take(limit).map(|(id, record)| (*id, record.clone())).collect()
    }

    /// What is still to be done of a bulk order, in order, behind `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn targets(&self, id: BulkId, after: Option<Target>, limit: usize) -> Result<Vec<Target>, OutboxError> {
        let prefix = keys::targets(id);
        let end = keys::prefix_end(&prefix);
        let from = after.map_or(Bound::Included(prefix), |after| Bound::Excluded(keys::target(id, after.stored())));
        let targets = self.engine.scan(from, end).take(limit).map(|pair| {
            let (key, _) = pair?;
            Ok(keys::parse_last_delivery(&key).map(Target::from_stored))
        });
        Ok(targets.collect::<Result<Vec<_>, OutboxError>>()?.into_iter().flatten().collect())
    }

    /// How far each consumer of exports has come.
    pub fn export_marks(&self) -> BTreeMap<ConsumerName, ExportMark> {
        self.mirror().marks.clone()
    }

    /// How far all of some consumers have come.
    pub fn exported_by(&self, consumers: &[ConsumerName]) -> Exported {
        let mirror = self.mirror();
        Exported::by_all(consumers.iter().map(|consumer| mirror.marks.get(consumer).map(|mark| mark.until)))
    }

    /// Totals since the store was created.
    pub fn totals(&self) -> Totals {
        self.mirror().totals
    }

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// When the engine cannot tell.
    pub fn disk_bytes(&self) -> Result<u64, OutboxError> {
        Ok(self.engine.disk_bytes()?)
    }
}
