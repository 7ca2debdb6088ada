//! Looks at every pair of a store that nobody writes to: does each record decode with its checksum, does each index
//! entry point at what is in that state, does each that should stand in an index do so, do counters equal a recount.
//!
//! One walk in the order of keys. Memory is bounded by the number of postbacks and bulk orders, and by what the record of first
//! sends holds; what is found is handed out as it is found. Changes nothing, and knows nothing of how anything could be mended.

mod indices;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::delivery::{Delivery, StateKind};
use crate::domain::export_mark::ExportMark;
use crate::domain::id::{BulkId, DeliveryId, EventId, PostbackRef};
use crate::domain::record::HistoryEntry;
use crate::outbox::ahead;
use crate::outbox::bulk::{BulkRecord, BulkState};
use crate::outbox::codec;
use crate::outbox::engine::Engine;
use crate::outbox::keys;
use crate::outbox::model::{Counts, EventRecord, Flag, OutboxError, Pause, PostbackNo, Totals};
use crate::outbox::tally::{self, Stored, Tally};
use crate::outbox::view::{View, event_ids};

/// How often the observer is told how far the walk is, in pairs.
const STEP: u64 = 1_024;

/// One thing that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The kind of what is damaged or missing, such as `event` or `index of dead letters`.
    pub space: &'static str,
    /// Its key, printable.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a walk has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Pairs looked at.
    pub pairs: u64,
    /// Events that could be read.
    pub events: u64,
    /// Their deliveries.
    pub deliveries: u64,
    /// Things found wrong.
    pub damaged: u64,
    /// Events and history entries that could not be read; where there are any, counters are not compared.
    pub unreadable: u64,
}

/// Who is told of a walk.
pub trait VerifyObserver {
    /// Something is wrong.
    fn damage(&mut self, damage: Damage);
    /// So many pairs have been looked at.
    fn progress(&mut self, pairs: u64);
}

/// The name of a key space for people.
fn name(space: u8) -> &'static str {
    match space {
        keys::EVENTS => "event",
        keys::IDENTITIES => "dedupe key",
        keys::CLICKS => "click",
        keys::SCHEDULED => "index of scheduled deliveries",
        keys::WAITING => "index of waiting deliveries",
        keys::HELD => "index of held deliveries",
        keys::DEAD => "index of dead letters",
        keys::HISTORY => "history",
        keys::INTENTS => "intent",
        keys::UNROUTED => "index of unrouted events",
        keys::POSTBACKS => "name of a postback",
        keys::COUNTS => "counts of a postback",
        keys::TALLIES => "tally of a postback",
        keys::PAUSES => "pause",
        keys::FLAGS => "flag",
        keys::BULKS => "bulk order",
        keys::TARGETS => "target of a bulk order",
        keys::MARKS => "mark of exports",
        keys::META => "totals",
        _ => "unknown",
    }
}

/// Looks at every pair of a store. The store must be at rest: what is written meanwhile would look like damage.
///
/// # Errors
/// When the engine cannot read on.
pub fn verify(engine: &dyn Engine, observer: &mut dyn VerifyObserver) -> Result<Verified, OutboxError> {
    let mut walk = Walk {
        view: View { engine, overlay: None },
        names: names(engine)?,
        bulks: bulks(engine)?,
        soon: indices::soon(engine)?,
        kept: Kept::default(),
        counted: Kept::default(),
        history: None,
        seen: Verified::default(),
        observer,
    };
    for pair in engine.scan(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = pair?;
        walk.look(&key, &value)?;
        walk.seen.pairs += 1;
        if walk.seen.pairs.is_multiple_of(STEP) {
            walk.observer.progress(walk.seen.pairs);
        }
    }
    walk.first_sends()?;
    walk.compare();
    Ok(walk.seen)
}

fn names(engine: &dyn Engine) -> Result<BTreeMap<PostbackNo, PostbackRef>, OutboxError> {
    let mut names = BTreeMap::new();
    let prefix = keys::space(keys::POSTBACKS);
    for pair in engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix)) {
        let (key, value) = pair?;
        if let (Some(name), Ok(number)) = (keys::parse_postback(&key), codec::decode(&key, &value)) {
            names.insert(number, name);
        }
    }
    Ok(names)
}

/// How many targets each bulk order must still have; `None` for those that need not have them all.
fn bulks(engine: &dyn Engine) -> Result<BTreeMap<BulkId, Option<u64>>, OutboxError> {
    let mut bulks = BTreeMap::new();
    let prefix = keys::space(keys::BULKS);
    for pair in engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix)) {
        let (key, value) = pair?;
        let Some(id) = keys::parse_bulk(&key) else { continue };
        let remaining = match codec::decode::<BulkRecord>(&key, &value) {
            Ok(record) if matches!(record.state, BulkState::Running | BulkState::Paused) => Some(record.remaining()),
            Ok(_) | Err(_) => None,
        };
        bulks.insert(id, remaining);
    }
    Ok(bulks)
}

/// What a store keeps count of.
#[derive(Debug, Default)]
struct Kept {
    counts: BTreeMap<PostbackNo, Counts>,
    /// What is ahead of counts and tallies.
    ahead: Vec<ahead::Counted>,
    tallies: BTreeMap<PostbackNo, Tally>,
    targets: BTreeMap<BulkId, u64>,
    unrouted: Option<u64>,
    stored: Option<Stored>,
    has_format: bool,
}

/// How a delivery stands that something points at.
enum Standing {
    /// Its record is damaged, which is told where it stands.
    Unreadable,
    /// There is no such delivery.
    Missing,
    Found(Box<EventRecord>, Delivery),
}

struct Walk<'a> {
    view: View<'a>,
    names: BTreeMap<PostbackNo, PostbackRef>,
    bulks: BTreeMap<BulkId, Option<u64>>,
    /// Keys that what is scheduled would have, where it has none; `None` where nobody can tell.
    soon: Option<BTreeSet<Vec<u8>>>,
    /// As the store says.
    kept: Kept,
    /// As counted anew.
    counted: Kept,
    /// The delivery whose history is being walked over, with the entry that comes next.
    history: Option<(DeliveryId, u32)>,
    seen: Verified,
    observer: &'a mut dyn VerifyObserver,
}

impl Walk<'_> {
    fn damage(&mut self, key: &[u8], what: impl Into<String>) {
        self.seen.damaged += 1;
        let space = name(key.first().copied().unwrap_or_default());
        self.observer.damage(Damage { space, key: key.escape_ascii().to_string(), what: what.into() });
    }

    /// Reads a record; tells where it does not check out.
    fn record<T: DeserializeOwned>(&mut self, key: &[u8], value: &[u8]) -> Option<T> {
        match codec::decode(key, value) {
            Ok(record) => Some(record),
            Err(OutboxError::Corrupt { why, .. }) => {
                self.damage(key, why);
                None
            }
            Err(error) => {
                self.damage(key, error.to_string());
                None
            }
        }
    }

    fn look(&mut self, key: &[u8], value: &[u8]) -> Result<(), OutboxError> {
        match key.first().copied().unwrap_or_default() {
            keys::EVENTS => self.event(key, value)?,
            keys::HISTORY => self.entry(key, value)?,
            keys::IDENTITIES => self.identity(key, value)?,
            keys::CLICKS => self.click(key)?,
            keys::SCHEDULED | keys::WAITING | keys::HELD | keys::DEAD => self.index(key)?,
            keys::INTENTS => self.intent(key)?,
            keys::UNROUTED => self.unrouted(key)?,
            keys::TARGETS => self.target(key),
            keys::POSTBACKS => self.name(key, value),
            keys::COUNTS => {
                if let Some((number, counts)) = self.numbered(key, value) {
                    self.kept.counts.insert(number, counts);
                }
            }
            keys::TALLIES => {
                if let Some((number, tally)) = self.numbered(key, value) {
                    self.kept.tallies.insert(number, tally);
                }
            }
            keys::PAUSES => drop(self.numbered::<Pause>(key, value)),
            keys::FLAGS => drop(self.numbered::<Flag>(key, value)),
            keys::BULKS => drop(self.record::<BulkRecord>(key, value)),
            keys::MARKS => drop(self.record::<ExportMark>(key, value)),
            keys::META => self.meta(key, value),
            _ => self.damage(key, "is of no kind that this version of postbackd writes"),
        }
        Ok(())
    }

    fn name(&mut self, key: &[u8], value: &[u8]) {
        let Some(number) = self.record::<PostbackNo>(key, value) else { return };
        let name = keys::parse_postback(key);
        if name.is_none() || self.names.get(&number) != name.as_ref() {
            self.damage(key, format!("gives the number {number}, which another postback has"));
        }
    }

    /// A record of a postback with that postback's number.
    fn numbered<T: DeserializeOwned>(&mut self, key: &[u8], value: &[u8]) -> Option<(PostbackNo, T)> {
        let record = self.record(key, value)?;
        let number = keys::parse_number(key).filter(|number| self.names.contains_key(number));
        if number.is_none() {
            self.damage(key, "is of a postback that has no name");
        }
        Some((number?, record))
    }

    fn meta(&mut self, key: &[u8], value: &[u8]) {
        if *key == keys::meta("totals") {
            self.kept.unrouted = self.record::<Totals>(key, value).map(|totals| totals.unrouted);
        } else if *key == keys::meta(tally::STORED) {
            self.kept.stored = self.record(key, value);
        } else if *key == ahead::key() || *key == ahead::former_key() {
            self.kept.ahead = if *key == ahead::key() {
                self.record::<ahead::Record>(key, value).map(|(counted, _)| counted).unwrap_or_default()
            } else {
                self.record(key, value).unwrap_or_default()
            };
            let unknown = self.kept.ahead.iter().map(|(number, ..)| *number).find(|n| !self.names.contains_key(n));
            if let Some(number) = unknown {
                self.damage(key, format!("counts for the number {number}, which no postback has"));
            }
        } else if *key == keys::meta("format") {
            self.kept.has_format = true;
            self.record::<u32>(key, value);
        } else {
            self.damage(key, "is of no kind that this version of postbackd writes");
        }
    }

    fn event(&mut self, key: &[u8], value: &[u8]) -> Result<(), OutboxError> {
        self.weigh(key, value);
        let Some(record) = self.record::<EventRecord>(key, value) else {
            self.seen.unreadable += 1;
            return Ok(());
        };
        let Some(id) = keys::parse_event(key).filter(|id| keys::event(*id) == *key) else {
            self.damage(key, "has a key that is none of an event");
            return Ok(());
        };
        self.seen.events += 1;
        self.found_by(id, &record)?;
        for (ordinal, entry) in (0_u16..).zip(&record.plan) {
            let id = DeliveryId { event: id, ordinal };
            self.seen.deliveries += 1;
            let delivery = match self.view.standing(id, &record) {
                Ok(Some((_, delivery))) => delivery,
                Ok(None) | Err(OutboxError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            let counts = self.counted.counts.entry(entry.postback).or_default();
            *counts = counts.with_one_more(delivery.state.kind());
            let tally = self.counted.tallies.entry(entry.postback).or_default();
            tally.moved(tally::payout(&record.event), None, Some(&delivery.state));
            let Some(indices) = self.indices_of(id, &record, &delivery) else {
                self.damage(key, format!("names postback number {} for {id}, which has no name", entry.postback));
                continue;
            };
            for index in indices {
                self.expect(&index, || format!("does not list {id}, which is {}", delivery.state.kind().name()))?;
            }
        }
        Ok(())
    }

    /// The keys under which an event must be found.
    fn found_by(&mut self, id: EventId, record: &EventRecord) -> Result<(), OutboxError> {
        let event = &record.event;
        let identity = keys::identity(event);
        // Without a transaction id the key is handed on to the next event of the click, once that is another one.
        if event.transaction_given {
            let ids = self.view.get(&identity)?.unwrap_or_default();
            if !event_ids(&ids).any(|other| other == id) {
                self.damage(&identity, format!("does not lead to {id}"));
            }
        }
        if record.root.is_some() {
            let key = keys::membership(record.root(), &event.affiliate_id, id);
            self.expect(&key, || format!("does not lead from its order group to {id}"))?;
        }
        if let Some(click) = &event.click_id {
            self.expect(&keys::click(click, id), || format!("does not lead to {id}"))?;
        }
        if record.plan.is_empty() {
            *self.counted.unrouted.get_or_insert(0) += 1;
            self.expect(&keys::unrouted(id), || format!("does not list {id}, which has no delivery"))?;
        }
        Ok(())
    }

    fn standing(&self, id: DeliveryId) -> Result<Standing, OutboxError> {
        let record = match self.view.event(id.event) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Standing::Missing),
            Err(OutboxError::Corrupt { .. }) => return Ok(Standing::Unreadable),
            Err(error) => return Err(error),
        };
        match self.view.standing(id, &record) {
            Ok(Some((_, delivery))) => Ok(Standing::Found(Box::new(record), delivery)),
            Ok(None) => Ok(Standing::Missing),
            Err(OutboxError::Corrupt { .. }) => Ok(Standing::Unreadable),
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), OutboxError> {
        self.weigh(key, value);
        if self.record::<HistoryEntry>(key, value).is_none() {
            self.seen.unreadable += 1;
        }
        let place = keys::parse_history(key).filter(|(id, number)| keys::history(*id, *number) == *key);
        let Some((id, number)) = place else {
            self.damage(key, "has a key that is none of a history");
            return Ok(());
        };
        let expected = match self.history {
            Some((known, next)) if known == id => next,
            Some(_) | None => {
                if matches!(self.standing(id)?, Standing::Missing) {
                    self.damage(key, format!("is of {id}, which no event has"));
                }
                0
            }
        };
        if number != expected {
            self.damage(key, format!("follows on entry {expected} of {id}, which is missing"));
        }
        self.history = Some((id, number.saturating_add(1)));
        Ok(())
    }

    fn intent(&mut self, key: &[u8]) -> Result<(), OutboxError> {
        let id = keys::parse_last_delivery(key).filter(|id| keys::intent(*id) == *key);
        let Some(id) = id else {
            self.damage(key, "names no delivery");
            return Ok(());
        };
        match self.standing(id)? {
            Standing::Unreadable => {}
            Standing::Found(_, delivery) if delivery.state.kind() == StateKind::Scheduled => {}
            Standing::Missing => self.damage(key, format!("is of {id}, which there is not")),
            Standing::Found(_, delivery) => {
                self.damage(key, format!("is of {id}, which is {}", delivery.state.kind().name()));
            }
        }
        Ok(())
    }

    /// An event that a key points at; `None` where it cannot be read, which is told where it stands.
    fn pointed_at(&mut self, key: &[u8], id: Option<EventId>) -> Result<Option<(EventId, EventRecord)>, OutboxError> {
        let Some(id) = id else {
            self.damage(key, "names no event");
            return Ok(None);
        };
        match self.view.event(id) {
            Ok(Some(record)) => Ok(Some((id, record))),
            Ok(None) => {
                self.damage(key, format!("leads to {id}, which there is not"));
                Ok(None)
            }
            Err(OutboxError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn identity(&mut self, key: &[u8], value: &[u8]) -> Result<(), OutboxError> {
        if value.is_empty() || !value.len().is_multiple_of(8) {
            self.damage(key, "holds no list of events");
            return Ok(());
        }
        for id in event_ids(value) {
            let Some((id, record)) = self.pointed_at(key, Some(id))? else { continue };
            let event = &record.event;
            let roots = [Some(record.root()), event.reverses.as_ref()].into_iter().flatten();
            let mut memberships = roots.map(|root| keys::membership(root, &event.affiliate_id, id));
            if keys::identity(event) != *key && !memberships.any(|membership| membership == *key) {
                self.damage(key, format!("leads to {id}, which is another event"));
            }
        }
        Ok(())
    }

    fn click(&mut self, key: &[u8]) -> Result<(), OutboxError> {
        let Some((id, record)) = self.pointed_at(key, keys::parse_click(key))? else { return Ok(()) };
        if record.event.click_id.is_none_or(|click| keys::click(&click, id) != *key) {
            self.damage(key, format!("leads to {id}, which is of another click"));
        }
        Ok(())
    }

    fn unrouted(&mut self, key: &[u8]) -> Result<(), OutboxError> {
        let Some((id, record)) = self.pointed_at(key, keys::parse_event(key))? else { return Ok(()) };
        if !record.plan.is_empty() || keys::unrouted(id) != *key {
            self.damage(key, format!("lists {id}, which has deliveries"));
        }
        Ok(())
    }

    fn target(&mut self, key: &[u8]) {
        // What it names may have been deleted since: then it is refused when its turn comes.
        match keys::parse_bulk(key).filter(|id| self.bulks.contains_key(id)) {
            Some(id) => *self.counted.targets.entry(id).or_default() += 1,
            None => self.damage(key, "is of a bulk order that there is not"),
        }
    }

    fn weigh(&mut self, key: &[u8], value: &[u8]) {
        self.counted.stored.get_or_insert_default().record_bytes += (key.len() + value.len()) as u64;
    }
}
