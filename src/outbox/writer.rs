//! Turns requests into writes: what accept, settle and orders mean for the store's keys.
//!
//! Works on an overlay over the engine and never touches the disk itself. A request that fails half-way is
//! rolled back, so that it cannot harm the others of its group.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use jiff::Timestamp;
use serde::Serialize;

use super::arrivals::{Due, SendClass};
use super::claims::{Claim, Claims};
use super::codec;
use super::engine::{Batch, Engine};
use super::keys::{self, GroupHash};
use super::model::{
    AcceptRequest, Accepted, Conflict, Counts, EventRecord, Ingested, Order, OrderRefused, OrderRequest, OutboxError,
    Pause, PlanEntry, PlannedDelivery, PostbackNo, Settlement, Totals,
};
use super::read::{Overlay, SharedMirror, View, event_ids};
use crate::domain::delivery::{CancelReason, Change, Conclusion, Delivery, Destination, HoldReason, State, StateKind};
use crate::domain::id::{AffiliateId, DeliveryId, EventId, PostbackRef, TransactionId};
use crate::domain::order::{Candidate, Gate, Member, Role, gate, superseded_by};
use crate::domain::record::{Cause, HistoryEntry, OrderRecord};
use crate::domain::timestamp::to_micros;

/// What a group of requests leads to besides its writes.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) due: Vec<Due>,
    pub(crate) pauses_changed: bool,
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
    totals: Option<Totals>,
    pauses: BTreeMap<PostbackNo, Option<Pause>>,
}

/// A key with what the overlay held for it before, if anything.
type Overwritten = (Vec<u8>, Option<Option<Vec<u8>>>);

/// All that places a delivery in the store's indices.
struct Placed<'p> {
    id: DeliveryId,
    postback: PostbackNo,
    group: GroupHash,
    before: Option<&'p Delivery>,
    after: &'p Delivery,
}

/// The order group of some deliveries: one affiliate, the event's owner, one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) affiliate: AffiliateId,
    pub(crate) owner: AffiliateId,
    pub(crate) root: TransactionId,
}

impl Group {
    fn hash(&self) -> GroupHash {
        keys::group_hash(&self.affiliate, &self.owner, &self.root)
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(engine: &'a dyn Engine, mirror: SharedMirror, claims: Claims, last_event: EventId) -> Self {
        Self {
            engine,
            mirror,
            claims,
            last_event,
            overlay: Overlay::new(),
            undo: Vec::new(),
            undo_counts: Vec::new(),
            effects: Effects::default(),
            counts: BTreeMap::new(),
            totals: None,
            pauses: BTreeMap::new(),
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
        let previous = self.overlay.insert(key.clone(), value);
        self.undo.push((key, previous));
    }

    /// Runs one request; undoes all of it where it fails.
    pub(crate) fn attempt<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        self.undo.clear();
        self.undo_counts.clear();
        let saved = (self.totals, self.pauses.clone());
        let (due, claims) = (self.effects.due.len(), self.effects.claims.len());
        let result = run(self);
        if result.is_err() {
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
            (self.totals, self.pauses) = saved;
            self.effects.due.truncate(due);
            self.effects.claims.truncate(claims);
        }
        result
    }

    /// The group's writes and effects; publishes counts and pauses for readers.
    pub(crate) fn finish(&mut self) -> Result<(Batch, Effects), OutboxError> {
        for (number, counts) in std::mem::take(&mut self.counts) {
            self.put(keys::counts(number), &counts)?;
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).counts.insert(number, counts);
        }
        if let Some(totals) = self.totals.take() {
            self.put(keys::meta("totals"), &totals)?;
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).totals = totals;
        }
        for (number, pause) in std::mem::take(&mut self.pauses) {
            self.effects.pauses_changed = true;
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            match pause {
                Some(pause) => mirror.pauses.insert(number, pause),
                None => mirror.pauses.remove(&number),
            };
        }
        self.undo.clear();
        let writes = std::mem::take(&mut self.overlay).into_iter().collect();
        Ok((Batch { writes }, std::mem::take(&mut self.effects)))
    }

    /// Bytes gathered so far, roughly.
    pub(crate) fn writes(&self) -> usize {
        self.overlay.len()
    }

    fn totals(&mut self) -> &mut Totals {
        let mirror = &self.mirror;
        self.totals.get_or_insert_with(|| mirror.read().unwrap_or_else(PoisonError::into_inner).totals)
    }

    fn count(&mut self, postback: PostbackNo, from: Option<StateKind>, to: StateKind) {
        let known = self.counts.get(&postback).copied();
        let counts = known.unwrap_or_else(|| {
            let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
            mirror.counts.get(&postback).copied().unwrap_or_default()
        });
        let previous = self.counts.insert(postback, counts.moved(from, to));
        self.undo_counts.push((postback, previous));
    }

    /// The number of a postback, given on first use.
    fn number(&mut self, postback: &PostbackRef) -> Result<PostbackNo, OutboxError> {
        let known = self.mirror.read().unwrap_or_else(PoisonError::into_inner).numbers.get(postback).copied();
        if let Some(number) = known {
            return Ok(number);
        }
        // A number once given stays given, also where the request that asked for it is rolled back.
        let number = {
            let mut mirror = self.mirror.write().unwrap_or_else(PoisonError::into_inner);
            let number = mirror.names.keys().next_back().map_or(1, |last| last + 1);
            mirror.names.insert(number, postback.clone());
            mirror.numbers.insert(postback.clone(), number);
            number
        };
        let key = keys::postback(postback);
        let value = codec::encode(&key, &number)?;
        self.overlay.insert(key, Some(value));
        Ok(number)
    }

    fn name(&self, number: PostbackNo) -> Option<PostbackRef> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner).names.get(&number).cloned()
    }

    // ---- accepting -------------------------------------------------------------------------------

    pub(crate) fn accept(&mut self, request: &AcceptRequest, now: Timestamp) -> Result<Ingested, OutboxError> {
        let event = &request.event;
        let identity = keys::identity(event);
        let mut ids = self.view().get(&identity)?.unwrap_or_default();
        for id in event_ids(&ids) {
            let Some(first) = self.view().event(id)? else { continue };
            if same_identity(&first, event) {
                return Ok(self.known(id, &first, request));
            }
        }
        let id = self.last_event.next(now);
        self.last_event = id;
        let (root, related) = self.resolve_root(event.group_transaction(), &event.affiliate_id)?;
        let mut record = EventRecord {
            root: (root != event.transaction_id).then(|| root.clone()),
            event: event.clone(),
            source: request.source.clone(),
            accepted_at: now,
            plan: Vec::with_capacity(request.plan.len()),
        };
        let touched = self.plan(id, &mut record, &request.plan, &related, now)?;
        ids.extend_from_slice(&id.as_u64().to_be_bytes());
        self.write(identity, Some(ids));
        if record.root.is_some() {
            self.write(keys::membership(&root, id), Some(id.as_u64().to_be_bytes().to_vec()));
        }
        if let Some(click) = &event.click_id {
            self.write(keys::click(click, id), Some(Vec::new()));
        }
        if record.plan.is_empty() {
            self.write(keys::unrouted(id), Some(Vec::new()));
            self.totals().unrouted += 1;
        }
        self.totals().accepted += 1;
        self.put(keys::event(id), &record)?;
        self.free_all(&touched, now)?;
        Ok(Ingested::Accepted(accepted(id, &record)))
    }

    fn known(&mut self, id: EventId, first: &EventRecord, request: &AcceptRequest) -> Ingested {
        let fields = request.event.differences(&first.event, request.occurred_at_given);
        if fields.is_empty() {
            self.totals().duplicates += 1;
            Ingested::Duplicate(accepted(id, first))
        } else {
            self.totals().conflicts += 1;
            Ingested::Conflict(Conflict { event_id: id, fields })
        }
    }

    /// The transaction at the root of a transaction's group, with the group's events: a reversal's own
    /// transaction leads to its original's.
    fn resolve_root(
        &self,
        transaction: &TransactionId,
        owner: &AffiliateId,
    ) -> Result<(TransactionId, Vec<(EventId, EventRecord)>), OutboxError> {
        let related = self.view().related(transaction)?;
        let own = |r: &&EventRecord| r.event.transaction_id == *transaction && r.event.affiliate_id == *owner;
        match related.iter().map(|(_, record)| record).filter(own).find_map(|record| record.root.clone()) {
            None => Ok((transaction.clone(), related)),
            Some(root) => {
                let related = self.view().related(&root)?;
                Ok((root, related))
            }
        }
    }

    /// Adds deliveries to an event: each goes out, waits, is held or is cancelled, as its order group says.
    fn plan(
        &mut self,
        id: EventId,
        record: &mut EventRecord,
        planned: &[PlannedDelivery],
        related: &[(EventId, EventRecord)],
        now: Timestamp,
    ) -> Result<Vec<Group>, OutboxError> {
        let role = role(record);
        let mut touched: Vec<Group> = Vec::new();
        for planned in planned {
            let ordinal = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
            let delivery_id = DeliveryId { event: id, ordinal };
            let group = Group {
                affiliate: planned.postback.affiliate.clone(),
                owner: record.event.affiliate_id.clone(),
                root: record.root().clone(),
            };
            let postback = self.number(&planned.postback)?;
            let mut members = self.members(&group, related)?;
            if planned.order.latest_only && role == Role::Original {
                for older in superseded_by(id, postback, &record.event.kind, &members) {
                    if self.supersede(older, id, now)? {
                        touched.push(group.clone());
                    }
                }
                members = self.members(&group, related)?;
            }
            let (lane, policy) = (planned.lane.as_ref(), planned.order);
            let mut gate = gate(Candidate { id: delivery_id, lane, postback, role, policy }, &members);
            if let Gate::CancelBoth(originals) = &gate {
                if self.cancel_unsent(originals, id, now)? {
                    touched.push(group.clone());
                } else {
                    gate = Gate::Wait;
                }
            }
            let delivery = delivery_at(&gate, now);
            let hash = group.hash();
            self.place(&Placed { id: delivery_id, postback, group: hash, before: None, after: &delivery });
            let (lane, order) = (planned.lane.clone(), planned.order);
            record.plan.push(PlanEntry { postback, lane, order, delivery });
        }
        Ok(touched)
    }

    /// Frees what waits in groups in which something was settled by the event just planned; only now, since
    /// its own deliveries may be among those that wait.
    fn free_all(&mut self, groups: &[Group], now: Timestamp) -> Result<(), OutboxError> {
        groups.iter().try_for_each(|group| self.free(group, now))
    }

    /// Plans deliveries for an event that was kept unrouted.
    pub(crate) fn plan_unrouted(
        &mut self,
        id: EventId,
        planned: &[PlannedDelivery],
        now: Timestamp,
    ) -> Result<Option<Accepted>, OutboxError> {
        let Some(mut record) = self.view().event(id)?.filter(|record| record.plan.is_empty()) else { return Ok(None) };
        if planned.is_empty() {
            return Ok(None);
        }
        let mut related = self.view().related(record.root())?;
        related.retain(|(other, _)| *other != id);
        let touched = self.plan(id, &mut record, planned, &related, now)?;
        self.write(keys::unrouted(id), None);
        let totals = self.totals();
        totals.unrouted = totals.unrouted.saturating_sub(1);
        self.put(keys::event(id), &record)?;
        self.free_all(&touched, now)?;
        Ok(Some(accepted(id, &record)))
    }

    // ---- order groups ----------------------------------------------------------------------------

    /// The deliveries of an order group among the events that belong to its transaction.
    fn members(&self, group: &Group, related: &[(EventId, EventRecord)]) -> Result<Vec<Member>, OutboxError> {
        let view = self.view();
        let mut members = Vec::new();
        for (event, record) in related {
            if record.event.affiliate_id != group.owner || *record.root() != group.root {
                continue;
            }
            for (ordinal, entry) in (0_u16..).zip(&record.plan) {
                let of_affiliate = self.name(entry.postback).is_some_and(|name| name.affiliate == group.affiliate);
                let id = DeliveryId { event: *event, ordinal };
                if let Some((_, delivery)) = view.standing(id, record)?.filter(|_| of_affiliate) {
                    let (lane, kind) = (entry.lane.clone(), record.event.kind.clone());
                    members.push(Member { id, lane, postback: entry.postback, kind, role: role(record), delivery });
                }
            }
        }
        Ok(members)
    }

    /// Lets go what waited in a group and need wait no longer.
    fn free(&mut self, group: &Group, now: Timestamp) -> Result<(), OutboxError> {
        let hash = group.hash();
        let waiting = self.view().with_prefix(&keys::waiting_in(hash))?;
        if waiting.is_empty() {
            return Ok(());
        }
        let related = self.view().related(&group.root)?;
        for (key, _) in waiting {
            let Some(id) = keys::parse_last_delivery(&key) else { continue };
            let Some((_, record)) = related.iter().find(|(event, _)| *event == id.event) else { continue };
            let Some(entry) = record.entry(id) else { continue };
            let Some((next, before)) = self.view().standing(id, record)? else { continue };
            let members = self.members(group, &related)?;
            let change = match gate(candidate(id, entry, record), &members) {
                Gate::Open => (Change::Free { due: now }, Cause::Freed),
                Gate::Hold(reason) if before.state == State::Waiting => (Change::Hold(reason), Cause::HeldByRule),
                Gate::CancelBoth(originals) if before.state == State::Waiting => {
                    if !self.cancel_unsent(&originals, id.event, now)? {
                        continue;
                    }
                    (Change::Cancel(CancelReason::ReversedUnsent), Cause::Reversed { by: id.event })
                }
                Gate::Wait | Gate::Hold(_) | Gate::CancelBoth(_) => continue,
            };
            let place = (id, entry.postback, hash);
            self.change(place, next, &before, change, now)?;
        }
        Ok(())
    }

    /// Cancels originals that were never sent, unless one of them is being sent at this moment.
    fn cancel_unsent(&mut self, originals: &[DeliveryId], by: EventId, now: Timestamp) -> Result<bool, OutboxError> {
        let claims: Vec<Claim> = originals.iter().filter_map(|id| self.claims.claim(*id)).collect();
        if claims.len() != originals.len() {
            return Ok(false);
        }
        self.effects.claims.extend(claims);
        for original in originals {
            self.change_by_id(*original, Change::Cancel(CancelReason::ReversedUnsent), Cause::Reversed { by }, now)?;
        }
        Ok(true)
    }

    fn supersede(&mut self, id: DeliveryId, by: EventId, now: Timestamp) -> Result<bool, OutboxError> {
        let Some(claim) = self.claims.claim(id) else { return Ok(false) };
        self.effects.claims.push(claim);
        self.change_by_id(id, Change::Supersede { by }, Cause::Superseded { by }, now)?;
        Ok(true)
    }

    fn change_by_id(
        &mut self,
        id: DeliveryId,
        change: Change,
        cause: Cause,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let Some(record) = self.view().event(id.event)? else { return Ok(()) };
        let Some((next, before)) = self.view().standing(id, &record)? else { return Ok(()) };
        let Some((postback, group)) = self.group_of(id, &record) else { return Ok(()) };
        self.change((id, postback, group.hash()), next, &before, (change, cause), now)
    }

    fn group_of(&self, id: DeliveryId, record: &EventRecord) -> Option<(PostbackNo, Group)> {
        let postback = record.entry(id)?.postback;
        let affiliate = self.name(postback)?.affiliate;
        Some((postback, Group { affiliate, owner: record.event.affiliate_id.clone(), root: record.root().clone() }))
    }

    // ---- changing one delivery -------------------------------------------------------------------

    /// Applies a change, where the state allows it, and writes it down.
    fn change(
        &mut self,
        (id, postback, group): (DeliveryId, PostbackNo, GroupHash),
        number: u32,
        before: &Delivery,
        (change, cause): (Change, Cause),
        at: Timestamp,
    ) -> Result<(), OutboxError> {
        let Ok(after) = before.apply(change) else { return Ok(()) };
        self.place(&Placed { id, postback, group, before: Some(before), after: &after });
        self.put(keys::history(id, number), &HistoryEntry { at, cause, delivery: after })
    }

    /// Moves a delivery between the indices of its states, and counts it.
    fn place(&mut self, placed: &Placed<'_>) {
        let Placed { id, postback, group, before, after } = *placed;
        if let Some(before) = before {
            for (key, _) in index_keys(id, postback, group, before) {
                self.write(key, None);
            }
        }
        for (key, due) in index_keys(id, postback, group, after) {
            self.write(key, Some(Vec::new()));
            self.effects.due.extend(due);
        }
        self.count(postback, before.map(|delivery| delivery.state.kind()), after.state.kind());
    }

    /// Writes down the end of an attempt: its record, the new state, freed successors and a pause.
    pub(crate) fn settle(&mut self, settlement: Settlement) -> Result<Delivery, OutboxError> {
        let Settlement { lease, attempt, conclusion, at, pause } = settlement;
        let (id, group) = (lease.id(), lease.group().clone());
        let started = lease.before().apply(Change::Start { at: attempt.started_at });
        let after = started.and_then(|started| started.apply(Change::Settle(as_stored(conclusion))));
        let after = after.map_err(|error| OutboxError::Encode(format!("settling {id}: {error}")))?;
        let before = Some(lease.before());
        self.place(&Placed { id, postback: lease.postback_no(), group: group.hash(), before, after: &after });
        if lease.has_intent() {
            self.write(keys::intent(id), None);
        }
        self.totals().count_attempt(attempt.outcome);
        let cause = Cause::Attempted(Box::new(attempt));
        let entry = HistoryEntry { at, cause, delivery: after.clone() };
        self.put(keys::history(id, lease.next_entry()), &entry)?;
        if let Some(pause) = pause {
            self.pause(lease.postback_no(), Some(pause))?;
        }
        if after.state.kind().is_settled() {
            self.free(&group, at)?;
        }
        self.effects.claims.push(lease.into_claim());
        Ok(after)
    }

    /// Notes that an attempt is about to be made to a receiver that does not recognise duplicates.
    pub(crate) fn intend(&mut self, id: DeliveryId) {
        self.write(keys::intent(id), Some(Vec::new()));
    }

    /// Finds an attempt that was under way when the daemon died.
    pub(crate) fn interrupt(&mut self, id: DeliveryId, now: Timestamp) -> Result<(), OutboxError> {
        self.write(keys::intent(id), None);
        let Some(record) = self.view().event(id.event)? else { return Ok(()) };
        let Some((next, before)) = self.view().standing(id, &record)? else { return Ok(()) };
        let Some((postback, group)) = self.group_of(id, &record) else { return Ok(()) };
        let after = before.apply(Change::Start { at: now }).and_then(|started| started.apply(Change::Interrupted));
        let Ok(after) = after else { return Ok(()) };
        self.place(&Placed { id, postback, group: group.hash(), before: Some(&before), after: &after });
        self.put(keys::history(id, next), &HistoryEntry { at: now, cause: Cause::Interrupted, delivery: after })
    }

    /// Holds a scheduled delivery whose postback is no longer configured.
    pub(crate) fn hold_unconfigured(&mut self, id: DeliveryId, now: Timestamp) -> Result<(), OutboxError> {
        self.change_by_id(id, Change::Hold(HoldReason::Unconfigured), Cause::HeldByRule, now)
    }

    /// Pauses a postback, or resumes it.
    pub(crate) fn pause(&mut self, postback: PostbackNo, pause: Option<Pause>) -> Result<(), OutboxError> {
        match &pause {
            Some(pause) => self.put(keys::pause(postback), pause)?,
            None => self.write(keys::pause(postback), None),
        }
        self.pauses.insert(postback, pause);
        Ok(())
    }

    /// Pauses or resumes a postback by its name.
    pub(crate) fn pause_named(&mut self, postback: &PostbackRef, pause: Option<Pause>) -> Result<(), OutboxError> {
        let number = self.number(postback)?;
        self.pause(number, pause)
    }

    /// Carries out an operator's order about one delivery.
    pub(crate) fn order(&mut self, request: &OrderRequest) -> Result<Result<Delivery, OrderRefused>, OutboxError> {
        let (id, at) = (request.id, request.at);
        let Some(record) = self.view().event(id.event)? else { return Ok(Err(OrderRefused::NotFound(id))) };
        let Some((next, before)) = self.view().standing(id, &record)? else {
            return Ok(Err(OrderRefused::NotFound(id)));
        };
        let Some((postback, group)) = self.group_of(id, &record) else { return Ok(Err(OrderRefused::NotFound(id))) };
        let Some(claim) = self.claims.claim(id) else { return Ok(Err(OrderRefused::InFlight(id))) };
        let change = match request.order {
            Order::Replay { force } => Change::Replay { to: self.destination(id, &record, &group, at)?, force },
            Order::Release => Change::Release(self.destination(id, &record, &group, at)?),
            Order::Cancel => Change::Cancel(CancelReason::Operator),
            Order::Hold => Change::Hold(HoldReason::Operator),
            Order::ConfirmDelivered => Change::ConfirmDelivered,
        };
        let after = match before.apply(change) {
            Ok(after) => after,
            Err(illegal) => return Ok(Err(illegal.into())),
        };
        self.effects.claims.push(claim);
        let hash = group.hash();
        self.place(&Placed { id, postback, group: hash, before: Some(&before), after: &after });
        let order = OrderRecord { order: request.order.kind(), by: request.by.clone(), reason: request.reason.clone() };
        self.put(keys::history(id, next), &HistoryEntry { at, cause: Cause::Ordered(order), delivery: after.clone() })?;
        if after.state.kind().is_settled() {
            self.free(&group, at)?;
        }
        Ok(Ok(after))
    }

    /// Where a delivery goes that an operator wants out: behind earlier ones, but over a dead original.
    fn destination(
        &self,
        id: DeliveryId,
        record: &EventRecord,
        group: &Group,
        now: Timestamp,
    ) -> Result<Destination, OutboxError> {
        let Some(entry) = record.entry(id) else { return Ok(Destination::Wait) };
        let members = self.members(group, &self.view().related(&group.root)?)?;
        Ok(match gate(candidate(id, entry, record), &members) {
            Gate::Wait | Gate::CancelBoth(_) => Destination::Wait,
            Gate::Open | Gate::Hold(_) => Destination::Schedule { due: now },
        })
    }
}

/// A due time as it will be read back: whoever holds the finer one would not find it again.
fn as_stored(conclusion: Conclusion) -> Conclusion {
    match conclusion {
        Conclusion::Again { due, spends } => Conclusion::Again { due: to_micros(due), spends },
        Conclusion::Delivered(_) | Conclusion::Dead(_) | Conclusion::Held(_) => conclusion,
    }
}

fn same_identity(record: &EventRecord, event: &crate::domain::event::Event) -> bool {
    let first = &record.event;
    first.transaction_id == event.transaction_id
        && first.affiliate_id == event.affiliate_id
        && first.kind == event.kind
        && first.status == event.status
}

fn role(record: &EventRecord) -> Role {
    if record.event.reverses.is_some() { Role::Reversal } else { Role::Original }
}

fn accepted(id: EventId, record: &EventRecord) -> Accepted {
    let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
    Accepted { event_id: id, deliveries: (0..count).map(|ordinal| DeliveryId { event: id, ordinal }).collect() }
}

fn candidate<'e>(id: DeliveryId, entry: &'e PlanEntry, record: &EventRecord) -> Candidate<'e> {
    let PlanEntry { postback, lane, order, .. } = entry;
    Candidate { id, lane: lane.as_ref(), postback: *postback, role: role(record), policy: *order }
}

fn delivery_at(gate: &Gate, now: Timestamp) -> Delivery {
    let state = match gate {
        Gate::Open => State::Scheduled { due: now },
        Gate::Wait => State::Waiting,
        Gate::Hold(reason) => State::Held { reason: *reason },
        Gate::CancelBoth(_) => State::Cancelled { reason: CancelReason::ReversedUnsent },
    };
    Delivery { state, made: 0, spent: 0 }
}

/// The index keys of a delivery in its state, with the arrival that goes with each.
fn index_keys(
    id: DeliveryId,
    postback: PostbackNo,
    group: GroupHash,
    delivery: &Delivery,
) -> impl Iterator<Item = (Vec<u8>, Option<Due>)> {
    let (first, second) = match &delivery.state {
        State::Scheduled { due } => {
            let class = SendClass::of(delivery);
            let arrival = Due { at: *due, id, postback, class };
            (Some((keys::scheduled(postback, class, *due, id), Some(arrival))), None)
        }
        State::Waiting => (Some((keys::waiting(group, id), None)), None),
        State::Held { reason: HoldReason::OriginalDead } => {
            (Some((keys::held(postback, id), None)), Some((keys::waiting(group, id), None)))
        }
        State::Held { .. } => (Some((keys::held(postback, id), None)), None),
        State::Dead { .. } => (Some((keys::dead(postback, id), None)), None),
        State::InFlight { .. } | State::Delivered { .. } | State::Cancelled { .. } | State::Superseded { .. } => {
            (None, None)
        }
    };
    first.into_iter().chain(second)
}
