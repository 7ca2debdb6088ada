//! Events come in: dedupe, their group, their deliveries.

use std::sync::Arc;

use jiff::Timestamp;

use super::groups::{GroupKey, Related};
use super::{Placed, Writer};
use crate::domain::delivery::{CancelReason, Change, Delivery, HoldReason, State};
use crate::domain::event::Event;
use crate::domain::id::{AffiliateId, DeliveryId, EventId};
use crate::domain::order::{Facts, Gate, Group, Member, Told};
use crate::domain::record::Cause;
use crate::outbox::model::{
    AcceptRequest, Accepted, Conflict, EventRecord, Ingested, OutboxError, PlanEntry, PlannedDelivery,
};
use crate::outbox::recent::Known;
use crate::outbox::tally;
use crate::outbox::view::{MAX_GROUP_EVENTS, Owned, event_ids};
use crate::outbox::{codec, keys};
use crate::planted::{Bug, planted};

/// An event on its way in, with what is known of its order group.
struct Incoming<'r> {
    id: EventId,
    record: EventRecord,
    related: &'r Related,
    now: Timestamp,
}

impl Writer<'_> {
    pub(crate) fn accept(&mut self, request: AcceptRequest, now: Timestamp) -> Result<Ingested, OutboxError> {
        let event = &request.event;
        let transaction = keys::owned_transaction(&event.transaction_id, &event.affiliate_id);
        let identity = keys::identity_in(&transaction, event);
        let index = if self.known.may_hold(&transaction) { self.view().owned(&transaction)? } else { Owned::default() };
        let known = self.view().identity_in(&index, &identity)?;
        let mut ids = known.filter(|_| !planted(Bug::DuplicateAccepted)).unwrap_or_default();
        let mut outdated = Vec::new();
        for id in event_ids(&ids) {
            let Some(first) = self.view().event(id)? else { continue };
            if same_identity(&first, event) {
                if request.tells_apart(&first, now) {
                    outdated.push(id);
                    continue;
                }
                return Ok(self.known(id, &first, &request));
            }
        }
        if !outdated.is_empty() {
            let current = event_ids(&ids).filter(|id| !outdated.contains(id));
            ids = current.flat_map(|id| id.as_u64().to_be_bytes()).collect();
        }
        let id = self.last_event.next(now);
        if id == self.last_event {
            return Err(codec::corrupt(&keys::event(id), "no id is left behind it"));
        }
        let (root, related) = if event.transaction_given || event.reverses.is_some() {
            self.resolve_root(event, &index)?
        } else {
            self.root_of_click(id, &request, &index, now)?
        };
        if related.events.len() >= MAX_GROUP_EVENTS {
            return Err(OutboxError::GroupFull { transaction: root, most: MAX_GROUP_EVENTS });
        }
        self.last_event = id;
        let AcceptRequest { event, plan, source, .. } = request;
        let record = EventRecord {
            root: (root != event.transaction_id).then(|| root.clone()),
            event,
            source,
            accepted_at: now,
            plan: Vec::with_capacity(plan.len()),
        };
        let (record, groups) = self.plan(Incoming { id, record, related: &related, now }, &plan)?;
        ids.extend_from_slice(&id.as_u64().to_be_bytes());
        self.write(identity, Some(ids));
        if record.root.is_some() {
            let key = keys::membership(&root, &record.event.affiliate_id, id);
            self.write(key, Some(id.as_u64().to_be_bytes().to_vec()));
        }
        if let Some(click) = &record.event.click_id {
            self.write(keys::click(click, id), Some(Vec::new()));
        }
        if record.plan.is_empty() {
            self.write(keys::unrouted(id), Some(Vec::new()));
            self.totals().unrouted += 1;
        }
        self.totals().accepted += 1;
        let key = keys::event(id);
        let value = codec::encode(&key, &record)?;
        let bytes = value.len();
        self.write(key, Some(value));
        let accepted = accepted(id, &record);
        // Before what follows: that may change the event's own deliveries.
        self.fresh.insert(id, Known { record: Arc::new(record), bytes, as_planned: true });
        self.follow_all(groups, now)?;
        Ok(Ingested::Accepted(accepted))
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

    /// Plans deliveries for an event that was kept unrouted.
    pub(crate) fn plan_unrouted(
        &mut self,
        id: EventId,
        planned: &[PlannedDelivery],
        now: Timestamp,
    ) -> Result<Option<Accepted>, OutboxError> {
        let unrouted = self.view().get(&keys::unrouted(id))?.is_some();
        let Some(record) = self.view().event(id)?.filter(|_| unrouted && !planned.is_empty()) else {
            return Ok(None);
        };
        let related = self.related(record.root(), &record.event.affiliate_id)?;
        let (record, groups) = self.plan(Incoming { id, record, related: &related, now }, planned)?;
        self.write(keys::unrouted(id), None);
        let totals = self.totals();
        totals.unrouted = totals.unrouted.saturating_sub(1);
        self.put(keys::event(id), &record)?;
        self.follow_all(groups, now)?;
        Ok(Some(accepted(id, &record)))
    }

    /// Adds deliveries to an event: each goes out, waits, is held or is cancelled, as its order group says.
    /// Returns the groups as they stand with them.
    fn plan(
        &mut self,
        incoming: Incoming<'_>,
        planned: &[PlannedDelivery],
    ) -> Result<(EventRecord, Vec<Group>), OutboxError> {
        let Incoming { id, mut record, related, now } = incoming;
        let (owner, root) = (record.event.affiliate_id.clone(), record.root().clone());
        let mut groups: Vec<(GroupKey, Group)> = Vec::new();
        for affiliate in self.affiliates(planned, related) {
            let members = self.members_to_be(id, planned, &affiliate)?;
            let key = GroupKey { affiliate, owner: owner.clone(), root: root.clone() };
            let mut group = self.group(&key, related.events.iter().filter(|(other, _)| *other != id))?;
            group.add(Told { id, facts: Facts::of(&record.event), members });
            groups.push((key, group));
        }
        for (ordinal, planned) in (0_u16..).zip(planned) {
            let delivery_id = DeliveryId { event: id, ordinal };
            let Some((key, group)) = groups.iter_mut().find(|(key, _)| key.affiliate == planned.postback.affiliate)
            else {
                continue;
            };
            let delivery = if related.damaged {
                at_rest(State::Held { reason: HoldReason::GroupDamaged })
            } else {
                self.first_standing(delivery_id, group, now)?
            };
            group.set(delivery_id, delivery.clone());
            let postback = self.number(&planned.postback)?;
            let payout = tally::payout(&record.event);
            self.place(&Placed { id: delivery_id, postback, group: key, payout, before: None, after: &delivery });
            record.plan.push(PlanEntry { postback, lane: planned.lane.clone(), order: planned.order, delivery });
        }
        Ok((record, groups.into_iter().map(|(_, group)| group).collect()))
    }

    /// How a new delivery stands at first, once what it makes pointless or unnecessary is out of the way.
    fn first_standing(&mut self, id: DeliveryId, group: &mut Group, now: Timestamp) -> Result<Delivery, OutboxError> {
        let by = id.event;
        for older in group.made_pointless_by(id) {
            if self.claim_all(&[older]) {
                self.change_in(group, older, Change::Supersede { by }, Cause::Superseded { by }, now)?;
            }
        }
        let state = match group.gate(id) {
            Gate::Open if group.overtaken_by(id).is_some() => State::Held { reason: HoldReason::Overtaken },
            Gate::Open => State::Scheduled { due: now },
            Gate::Hold(reason) => State::Held { reason },
            Gate::CancelBoth(originals) if self.claim_all(&originals) => {
                let change = Change::Cancel(CancelReason::ReversedUnsent);
                for original in originals {
                    self.change_in(group, original, change, Cause::Reversed { by }, now)?;
                }
                State::Cancelled { reason: CancelReason::ReversedUnsent }
            }
            Gate::Wait | Gate::CancelBoth(_) => State::Waiting,
        };
        Ok(at_rest(state))
    }

    fn change_in(
        &mut self,
        group: &mut Group,
        id: DeliveryId,
        change: Change,
        cause: Cause,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        if let Some(after) = self.change(id, change, cause, now)? {
            group.set(id, after);
        }
        Ok(())
    }

    /// The affiliates of a plan and of the events it is related to, each once: also those that are not told of an event
    /// may have waited for it.
    fn affiliates(&self, planned: &[PlannedDelivery], related: &Related) -> Vec<AffiliateId> {
        let mut affiliates: Vec<AffiliateId> = Vec::new();
        let planned = planned.iter().map(|planned| planned.postback.affiliate.clone());
        let entries = related.events.iter().flat_map(|(_, record)| &record.plan);
        for affiliate in planned.chain(entries.filter_map(|entry| Some(self.name(entry.postback)?.affiliate))) {
            if !affiliates.contains(&affiliate) {
                affiliates.push(affiliate);
            }
        }
        affiliates
    }

    /// The deliveries planned for an affiliate, before it is decided how they stand.
    fn members_to_be(
        &mut self,
        event: EventId,
        planned: &[PlannedDelivery],
        affiliate: &AffiliateId,
    ) -> Result<Vec<Member>, OutboxError> {
        let of_affiliate = (0_u16..).zip(planned).filter(|(_, planned)| planned.postback.affiliate == *affiliate);
        of_affiliate
            .map(|(ordinal, planned)| {
                Ok(Member {
                    id: DeliveryId { event, ordinal },
                    lane: planned.lane.clone(),
                    postback: self.number(&planned.postback)?,
                    policy: planned.order,
                    delivery: at_rest(State::Waiting),
                })
            })
            .collect()
    }
}

fn at_rest(state: State) -> Delivery {
    Delivery { state, made: 0, spent: 0 }
}

fn same_identity(record: &EventRecord, event: &Event) -> bool {
    let first = &record.event;
    first.transaction_id == event.transaction_id
        && first.transaction_given == event.transaction_given
        && first.affiliate_id == event.affiliate_id
        && first.kind == event.kind
        && first.status == event.status
}

fn accepted(id: EventId, record: &EventRecord) -> Accepted {
    let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
    Accepted { event_id: id, deliveries: (0..count).map(|ordinal| DeliveryId { event: id, ordinal }).collect() }
}
