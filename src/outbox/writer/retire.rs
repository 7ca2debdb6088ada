//! What is old enough goes: whole order groups, so that no decision is ever taken on a part of one.

use jiff::Timestamp;

use super::Writer;
use crate::domain::id::{BulkId, DeliveryId, EventId};
use crate::domain::retention::RetentionPolicy;
use crate::outbox::keys;
use crate::outbox::model::{EventRecord, OutboxError};
use crate::outbox::tally;
use crate::outbox::view::event_ids;

impl Writer<'_> {
    /// Deletes events, with all of their order groups, where none of a group need be kept any longer. Returns how many.
    pub(crate) fn retire(
        &mut self,
        ids: &[EventId],
        policy: RetentionPolicy,
        now: Timestamp,
    ) -> Result<u64, OutboxError> {
        let mut gone = 0;
        for id in ids {
            let record = match self.view().event(*id) {
                Ok(Some(record)) => record,
                Ok(None) | Err(OutboxError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            let related = self.related(record.root(), &record.event.affiliate_id)?;
            if related.damaged || !self.is_over(&related.events, policy, now)? {
                continue;
            }
            for (id, record) in &related.events {
                self.delete(*id, record)?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn is_over(
        &self,
        group: &[(EventId, EventRecord)],
        policy: RetentionPolicy,
        now: Timestamp,
    ) -> Result<bool, OutboxError> {
        for (event, record) in group {
            if record.plan.is_empty() && !policy.is_over_unrouted(record.accepted_at, now) {
                return Ok(false);
            }
            for id in deliveries(*event, record) {
                let (_, last) = match self.view().last_entry(id) {
                    Err(OutboxError::Corrupt { .. }) => return Ok(false),
                    entry => entry?,
                };
                let planned = record.entry(id).map(|entry| entry.delivery.state.kind());
                let (state, since) = match (last, planned) {
                    (Some(entry), _) => (entry.delivery.state.kind(), entry.at),
                    (None, Some(state)) => (state, record.accepted_at),
                    (None, None) => continue,
                };
                if !policy.is_over(state, since, now) {
                    return Ok(false);
                }
            }
        }
        Ok(!group.is_empty())
    }

    fn delete(&mut self, id: EventId, record: &EventRecord) -> Result<(), OutboxError> {
        let event = &record.event;
        for delivery in deliveries(id, record) {
            self.delete_delivery(delivery, record)?;
        }
        let identity = keys::identity(event);
        let left = self.view().get(&identity)?.unwrap_or_default();
        let left: Vec<u8> =
            event_ids(&left).filter(|other| *other != id).flat_map(|other| other.as_u64().to_be_bytes()).collect();
        self.write(identity, Some(left).filter(|left| !left.is_empty()));
        for root in [Some(record.root()), event.reverses.as_ref()].into_iter().flatten() {
            self.write(keys::membership(root, &event.affiliate_id, id), None);
        }
        if let Some(click) = &event.click_id {
            self.write(keys::click(click, id), None);
        }
        if record.plan.is_empty() {
            self.write(keys::unrouted(id), None);
            let totals = self.totals();
            totals.unrouted = totals.unrouted.saturating_sub(1);
        }
        self.write(keys::event(id), None);
        Ok(())
    }

    fn delete_delivery(&mut self, id: DeliveryId, record: &EventRecord) -> Result<(), OutboxError> {
        let standing = self.view().standing(id, record)?;
        if let (Some((_, delivery)), Some((postback, group))) = (standing, self.group_of(id, record)) {
            for (key, _) in super::index_keys(id, postback, || group.hash(), &delivery) {
                self.write(key, None);
            }
            self.count(postback, tally::payout(&record.event), Some(&delivery.state), None);
        }
        for key in self.view().all_keys(&keys::histories(id))? {
            self.write(key, None);
        }
        Ok(())
    }

    /// Deletes ended bulk orders that were last changed before a time, or that are too many.
    pub(crate) fn retire_bulks(&mut self, before: Timestamp) -> Result<(), OutboxError> {
        for _ in 0..BULKS_AT_ONCE {
            let Some(id) = self.old_bulk(before) else { break };
            self.forget_bulk(id, TARGETS_AT_ONCE)?;
            if self.old_bulk(before) == Some(id) {
                // It was stopped with much left of it: the rest goes with the next commit.
                break;
            }
        }
        Ok(())
    }

    fn old_bulk(&self, before: Timestamp) -> Option<BulkId> {
        let mirror = self.mirror.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let too_many = mirror.bulks.len() > MAX_BULKS;
        let mut ended = mirror.bulks.iter().filter(|(_, record)| !record.state.is_open());
        ended.find(|(_, record)| too_many || record.changed_at < before).map(|(id, _)| *id)
    }
}

/// Most bulk orders that are kept, the newest.
const MAX_BULKS: usize = 1_000;
/// Most of them that are deleted in one commit.
const BULKS_AT_ONCE: usize = 64;
/// Most targets of an order that was stopped that are deleted in one go.
const TARGETS_AT_ONCE: usize = 4_096;

fn deliveries(event: EventId, record: &EventRecord) -> impl Iterator<Item = DeliveryId> {
    let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
    (0..count).map(move |ordinal| DeliveryId { event, ordinal })
}
