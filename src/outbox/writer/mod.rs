//! Turns requests into writes: what accept, settle and orders mean for the store's keys.
//!
//! Works on an overlay over the engine and never touches the disk itself. A request that fails half-way is
//! rolled back, so that it cannot harm the others of its group. `accept` takes events in, `groups` keeps their
//! order, `settle` ends attempts, `order` does what operators say.

mod accept;
mod bulk;
mod groups;
mod mark;
mod order;
mod retire;
mod settle;

pub(crate) use groups::GroupKey;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::ahead;
use super::arrivals::{Due, SendClass};
use super::bulk::BulkRecord;
use super::claims::{Claim, Claims};
use super::codec;
use super::engine::{Batch, Engine};
use super::keys::{self, GroupHash};
use super::known::Known;
use super::model::{Counts, Flag, OutboxError, Pause, PostbackNo, Totals};
use super::read::SharedMirror;
use super::recent::{self, Recent};
use super::soon::{self, Soon};
use super::tally::{self, Payout, Tally};
use super::view::{Overlay, View};
use crate::domain::delivery::{Change, Delivery, HoldReason, State};
use crate::domain::export_mark::ExportMark;
use crate::domain::id::{BulkId, ConsumerName, DeliveryId, EventId, PostbackRef};
use crate::domain::record::{Cause, HistoryEntry};

/// What a group of requests leads to besides its writes.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Deliveries of the group's own events: they may be made ready as soon as they can be seen. Taken out of `due` at the end.
    pub(crate) due_new: Vec<Due>,
    pub(crate) due: Vec<Due>,
    /// Postbacks whose pauses begin: told early, and once more before the pause is acknowledged.
    pub(crate) pauses_begun: Vec<PostbackNo>,
    /// Postbacks whose pauses end.
    pub(crate) pauses_ended: Vec<PostbackNo>,
    /// Claims that end when the group is durable.
    pub(crate) claims: Vec<Claim>,
}

pub(crate) struct Writer<'a> {
    engine: &'a dyn Engine,
    mirror: SharedMirror,
    claims: Claims,
    last_event: EventId,
    overlay: Overlay,
    undo: Vec<Overwritten>,
    undo_counts: Vec<(PostbackNo, Option<Counts>)>,
    effects: Effects,
    counts: BTreeMap<PostbackNo, Counts>,
    tallies: BTreeMap<PostbackNo, Tally>,
    undo_tallies: Vec<(PostbackNo, Moved)>,
    /// The last event of the groups before this one.
    known_event: EventId,
    totals: Option<Totals>,
    pauses: BTreeMap<PostbackNo, Option<Pause>>,
    flags: BTreeMap<PostbackNo, Option<Flag>>,
    bulks: BTreeMap<BulkId, BulkRecord>,
    undo_bulks: Vec<(BulkId, Option<BulkRecord>)>,
    marks: BTreeMap<ConsumerName, ExportMark>,
    /// Whether deliveries join another order group; until that is visible to those who take leases.
    moved: bool,
    known: Arc<Known>,
    recent: Arc<Recent>,
    /// Events of this group.
    fresh: BTreeMap<EventId, recent::Known>,
    /// What is to be sent at once and has no key of its own, with the groups built so far.
    soon: Soon,
    /// What the group has changed of that; until it is visible.
    soon_changes: soon::Changes,
}

/// A key with what the overlay held for it before, if anything.
type Overwritten = (Vec<u8>, Option<Option<Vec<u8>>>);

/// What was counted, to be taken back.
type Moved = (Payout, Option<State>, Option<State>);

/// All that places a delivery in the store's indices.
struct Placed<'p> {
    id: DeliveryId,
    postback: PostbackNo,
    group: &'p GroupKey,
    payout: Payout,
    before: Option<&'p Delivery>,
    after: &'p Delivery,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        engine: &'a dyn Engine,
        mirror: SharedMirror,
        claims: Claims,
        known: Arc<Known>,
        last_event: EventId,
    ) -> Self {
        let (recent, soon) = {
            let mirror = mirror.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&mirror.recent), mirror.soon.clone())
        };
        Self {
            engine,
            mirror,
            recent,
            claims,
            last_event,
            overlay: Overlay::new(),
            undo: Vec::new(),
            undo_counts: Vec::new(),
            effects: Effects::default(),
            counts: BTreeMap::new(),
            tallies: BTreeMap::new(),
            undo_tallies: Vec::new(),
            known_event: last_event,
            totals: None,
            pauses: BTreeMap::new(),
            flags: BTreeMap::new(),
            bulks: BTreeMap::new(),
            undo_bulks: Vec::new(),
            marks: BTreeMap::new(),
            moved: false,
            known,
            fresh: BTreeMap::new(),
            soon,
            soon_changes: soon::Changes::default(),
        }
    }

    fn view(&self) -> View<'_> {
        View { engine: self.engine, overlay: Some(&self.overlay) }
    }

    fn put<T: Serialize>(&mut self, key: Vec<u8>, record: &T) -> Result<(), OutboxError> {
        let value = codec::encode(&key, record)?;
        self.write(key, Some(value));
        Ok(())
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        if value.is_some() {
            self.known.note(&key);
        }
        match key.first() {
            Some(&keys::EVENTS) => self.forget(&key),
            Some(&keys::HISTORY) => self.note_change(&key),
            _ => {}
        }
        let previous = self.overlay.insert(key.clone(), value);
        self.undo.push((key, previous));
    }

    /// Has nobody be given an event from memory that is about to change.
    fn forget(&mut self, key: &[u8]) {
        let Some(event) = keys::parse_event(key) else { return };
        self.fresh.remove(&event);
        self.recent.remove(event);
    }

    /// Has nobody believe that deliveries stand as planned one of which is about to change.
    fn note_change(&mut self, history: &[u8]) {
        let Some(event) = keys::parse_event(history) else { return };
        match self.fresh.get_mut(&event) {
            Some(known) => known.as_planned = false,
            None => self.recent.changes(event),
        }
    }

    /// Runs one request; undoes all of it where it fails.
    pub(crate) fn attempt<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        self.undo.clear();
        self.undo_counts.clear();
        self.undo_tallies.clear();
        self.undo_bulks.clear();
        let saved = (self.totals, self.pauses.clone(), self.flags.clone());
        let (due, claims) = (self.effects.due.len(), self.effects.claims.len());
        let last_event = self.last_event;
        let result = run(self);
        if result.is_err() {
            self.fresh.retain(|id, _| *id <= last_event);
            for (key, previous) in std::mem::take(&mut self.undo).into_iter().rev() {
                match previous {
                    Some(value) => self.overlay.insert(key, value),
                    None => self.overlay.remove(&key),
                };
            }
            for (number, previous) in std::mem::take(&mut self.undo_counts).into_iter().rev() {
                match previous {
                    Some(counts) => self.counts.insert(number, counts),
                    None => self.counts.remove(&number),
                };
            }
            for (number, (payout, from, to)) in std::mem::take(&mut self.undo_tallies).into_iter().rev() {
                if let Some(tally) = self.tallies.get_mut(&number) {
                    tally.moved(payout, to.as_ref(), from.as_ref());
                }
            }
            for (id, previous) in std::mem::take(&mut self.undo_bulks).into_iter().rev() {
                match previous {
                    Some(record) => self.bulks.insert(id, record),
                    None => self.bulks.remove(&id),
                };
            }
            (self.totals, self.pauses, self.flags) = saved;
            self.effects.due.truncate(due);
            self.effects.claims.truncate(claims);
        }
        result
    }

    /// The group's writes and effects; publishes counts and pauses for readers.
    pub(crate) fn finish(&mut self) -> Result<(Batch, Effects), OutboxError> {
        let mut changes = self.soon.absorb(&mut self.overlay, self.known_event);
        let ahead = {
            let mirror = Arc::clone(&self.mirror);
            let mut mirror = mirror.write().unwrap_or_else(PoisonError::into_inner);
            let touched: BTreeSet<PostbackNo> = self.counts.keys().chain(self.tallies.keys()).copied().collect();
            // Not appended: that would build the whole maps anew.
            mirror.counts.extend(std::mem::take(&mut self.counts));
            mirror.tallies.extend(std::mem::take(&mut self.tallies));
            ahead::writes(&mut mirror, &touched, &mut self.soon, &mut changes)?
        };
        self.soon_changes = changes;
        for (key, value) in ahead {
            self.write(key, value);
        }
        self.set_new_apart();
        self.weigh()?;
        if let Some(totals) = self.totals.take() {
            self.put(keys::meta("totals"), &totals)?;
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).totals = totals;
        }
        for (number, pause) in std::mem::take(&mut self.pauses) {
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            match pause {
                Some(pause) => {
                    self.effects.pauses_begun.push(number);
                    mirror.pauses.insert(number, pause);
                }
                None => {
                    self.effects.pauses_ended.push(number);
                    mirror.pauses.remove(&number);
                }
            }
        }
        if !self.marks.is_empty() {
            let marks = std::mem::take(&mut self.marks);
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).marks.extend(marks);
        }
        for (id, record) in std::mem::take(&mut self.bulks) {
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).bulks.insert(id, record);
        }
        for (number, flag) in std::mem::take(&mut self.flags) {
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            match flag {
                Some(flag) => mirror.flags.insert(number, flag),
                None => mirror.flags.remove(&number),
            };
        }
        self.publish_fresh();
        self.undo.clear();
        let writes = std::mem::take(&mut self.overlay).into_iter().collect();
        Ok((Batch { writes }, std::mem::take(&mut self.effects)))
    }

    /// Sets the deliveries of new events apart, but for those that the group itself has claimed: these cannot be leased before it
    /// is durable. To be done before `weigh` counts the events as known.
    fn set_new_apart(&mut self) {
        let (due, known) = (std::mem::take(&mut self.effects.due), self.known_event);
        let claimed: Vec<DeliveryId> =
            self.effects.claims.iter().map(Claim::id).filter(|id| id.event > known).collect();
        let is_new = |due: &Due| due.id.event > known && !claimed.contains(&due.id);
        (self.effects.due_new, self.effects.due) = due.into_iter().partition(is_new);
    }

    /// Has the events of the group be known to those who send them.
    fn publish_fresh(&mut self) {
        for (id, known) in std::mem::take(&mut self.fresh) {
            self.recent.insert(id, known);
        }
    }

    /// To be called once the writes of a group are visible.
    pub(crate) fn applied(&mut self) {
        let (moved, changes) = (std::mem::take(&mut self.moved), std::mem::take(&mut self.soon_changes));
        if moved || !changes.is_empty() {
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            mirror.moves += u64::from(moved);
            mirror.soon.follow(changes);
        }
    }

    /// The last event that came in.
    pub(crate) fn last_event(&self) -> EventId {
        self.last_event
    }

    /// Bytes gathered so far, roughly.
    pub(crate) fn writes(&self) -> usize {
        self.overlay.len()
    }

    fn totals(&mut self) -> &mut Totals {
        let mirror = &self.mirror;
        self.totals.get_or_insert_with(|| mirror.read().unwrap_or_else(PoisonError::into_inner).totals)
    }

    /// Counts a delivery that came into being, changed its state, or went.
    fn count(&mut self, postback: PostbackNo, payout: Payout, from: Option<&State>, to: Option<&State>) {
        let known = self.counts.get(&postback).copied();
        let counts = known.unwrap_or_else(|| {
            let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
            mirror.counts.get(&postback).copied().unwrap_or_default()
        });
        let previous = self.counts.insert(postback, counts.moved(from.map(State::kind), to.map(State::kind)));
        self.undo_counts.push((postback, previous));
        let tally = self.tallies.entry(postback).or_insert_with(|| {
            let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
            mirror.tallies.get(&postback).cloned().unwrap_or_default()
        });
        tally.moved(payout, from, to);
        self.undo_tallies.push((postback, (payout, from.cloned(), to.cloned())));
    }

    /// Counts the bytes of the records that the group adds, replaces and deletes.
    fn weigh(&mut self) -> Result<(), OutboxError> {
        let mut stored = self.mirror.read().unwrap_or_else(PoisonError::into_inner).stored;
        let bytes = |key: &[u8], value: &[u8]| (key.len() + value.len()) as u64;
        let mut weighed = false;
        for (key, value) in &self.overlay {
            let replaces = match key.first() {
                Some(&keys::EVENTS) => keys::parse_event(key).is_some_and(|event| event <= self.known_event),
                // Histories only grow, until they are deleted.
                Some(&keys::HISTORY) => value.is_none(),
                _ => continue,
            };
            weighed = true;
            let old = if replaces { self.engine.get(key)? } else { None };
            if let Some(old) = old {
                stored.record_bytes = stored.record_bytes.saturating_sub(bytes(key, &old));
            }
            stored.record_bytes += value.as_ref().map_or(0, |value| bytes(key, value));
        }
        self.known_event = self.last_event;
        if weighed {
            self.put(keys::meta(tally::STORED), &stored)?;
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).stored = stored;
        }
        Ok(())
    }

    /// The number of a postback, given on first use.
    fn number(&mut self, postback: &PostbackRef) -> Result<PostbackNo, OutboxError> {
        let known = self.mirror.read().unwrap_or_else(PoisonError::into_inner).numbers.get(postback).copied();
        if let Some(number) = known {
            return Ok(number);
        }
        let key = keys::postback(postback);
        // A number once given stays given, also where the request that asked for it is rolled back.
        let number = {
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            let last = mirror.names.keys().next_back().copied().unwrap_or_default();
            let number = last.checked_add(1).ok_or_else(|| codec::corrupt(&key, "no number is left for it"))?;
            mirror.names.insert(number, postback.clone());
            mirror.numbers.insert(postback.clone(), number);
            number
        };
        let value = codec::encode(&key, &number)?;
        self.overlay.insert(key, Some(value));
        Ok(number)
    }

    fn name(&self, number: PostbackNo) -> Option<PostbackRef> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner).names.get(&number).cloned()
    }

    /// Moves a delivery between the indices of its states, and counts it.
    fn place(&mut self, placed: &Placed<'_>) {
        let Placed { id, postback, group, payout, before, after } = *placed;
        if let Some(before) = before {
            for (key, _) in index_keys(id, postback, || group.hash(), before) {
                self.write(key, None);
            }
        }
        for (key, due) in index_keys(id, postback, || group.hash(), after) {
            self.write(key, Some(Vec::new()));
            self.effects.due.extend(due);
        }
        self.count(postback, payout, before.map(|delivery| &delivery.state), Some(&after.state));
    }

    /// Applies a change to a delivery as it stands, and writes it down; `None` where its state does not allow it.
    fn change(
        &mut self,
        id: DeliveryId,
        change: Change,
        cause: Cause,
        at: Timestamp,
    ) -> Result<Option<Delivery>, OutboxError> {
        let Some(record) = self.view().event(id.event)? else { return Ok(None) };
        let Some((next, before)) = self.view().standing(id, &record)? else { return Ok(None) };
        let Some((postback, group)) = self.group_of(id, &record) else { return Ok(None) };
        let Ok(after) = before.apply(change) else { return Ok(None) };
        let payout = tally::payout(&record.event);
        self.place(&Placed { id, postback, group: &group, payout, before: Some(&before), after: &after });
        self.put(keys::history(id, next), &HistoryEntry { at, cause, delivery: after.clone() })?;
        Ok(Some(after))
    }

    /// Claims deliveries until the group is durable: all of them, or none where one is being sent.
    fn claim_all(&mut self, ids: &[DeliveryId]) -> bool {
        claim_all(&self.claims, &mut self.effects.claims, ids)
    }
}

/// Claims deliveries; those that the group has claimed already are its own to change again.
fn claim_all(claims: &Claims, taken: &mut Vec<Claim>, ids: &[DeliveryId]) -> bool {
    let open: Vec<DeliveryId> = ids.iter().copied().filter(|id| taken.iter().all(|claim| claim.id() != *id)).collect();
    let new: Vec<Claim> = open.iter().filter_map(|id| claims.claim(*id)).collect();
    let all = new.len() == open.len();
    if all {
        taken.extend(new);
    }
    all
}

/// The index keys of a delivery in its state, with the arrival that goes with each. Few states need the hash of its group.
pub(crate) fn index_keys(
    id: DeliveryId,
    postback: PostbackNo,
    group: impl FnOnce() -> GroupHash,
    delivery: &Delivery,
) -> impl Iterator<Item = (Vec<u8>, Option<Due>)> {
    let (first, second) = match &delivery.state {
        State::Scheduled { due } => {
            let class = SendClass::of(delivery);
            let arrival = Due { at: *due, id, postback, class };
            (Some((keys::scheduled(postback, class, *due, id), Some(arrival))), None)
        }
        State::Waiting => (Some((keys::waiting(group(), id), None)), None),
        State::Held { reason: HoldReason::OriginalDead | HoldReason::OriginalUnknown } => {
            (Some((keys::held(postback, id), None)), Some((keys::waiting(group(), id), None)))
        }
        State::Held { .. } => (Some((keys::held(postback, id), None)), None),
        State::Dead { .. } => (Some((keys::dead(postback, id), None)), None),
        State::InFlight { .. } | State::Delivered { .. } | State::Cancelled { .. } | State::Superseded { .. } => {
            (None, None)
        }
    };
    first.into_iter().chain(second)
}
