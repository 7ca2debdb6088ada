//! Attempts end: their record, the new state and what follows from it, in one go.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::{GroupKey, Placed, Writer};
use crate::domain::delivery::{Change, Conclusion, Delivery, State};
use crate::domain::id::DeliveryId;
use crate::domain::outcome::Outcome;
use crate::domain::record::{AttemptRecord, Cause, HistoryEntry};
use crate::domain::timestamp::to_micros;
use crate::outbox::keys;
use crate::outbox::lease::Lease;
use crate::outbox::model::{Flag, OutboxError, PostbackNo, Settlement};
use crate::outbox::tally;
use crate::planted::{Bug, planted};

impl Writer<'_> {
    /// Writes down the end of an attempt: its record, the new state, freed successors and a pause.
    ///
    /// What was sent must not be sent again because it could not be written down: only a failing engine fails this.
    pub(crate) fn settle(&mut self, settlement: Settlement) -> Result<Delivery, OutboxError> {
        let Settlement { lease, attempt, conclusion, at, pause } = settlement;
        let id = lease.id();
        let key = self.group_now(id, &lease)?;
        let started = lease.before().apply(Change::Start { at: attempt.started_at });
        let after = started.and_then(|started| started.apply(Change::Settle(as_stored(conclusion))));
        let after = after.map_err(|error| OutboxError::Encode(format!("settling {id}: {error}")))?;
        let before = Some(lease.before());
        let payout = tally::payout(&lease.record().event);
        self.place(&Placed { id, postback: lease.postback_no(), group: &key, payout, before, after: &after });
        if lease.has_intent() {
            self.write(keys::intent(id), None);
        }
        self.totals().count_attempt(attempt.outcome);
        self.flag(lease.postback_no(), id, &attempt, at)?;
        self.put_attempt(
            id,
            lease.next_entry(),
            HistoryEntry { at, cause: Cause::Attempted(Box::new(attempt)), delivery: after.clone() },
        )?;
        if let Some(pause) = pause {
            self.pause(lease.postback_no(), Some(pause))?;
        }
        let latest_only = lease.record().entry(id).is_some_and(|entry| entry.order.latest_only);
        let superseded = if latest_only { self.supersede_stale(id, &key, &after, at)? } else { None };
        let after = superseded.unwrap_or(after);
        if after.state.kind().is_settled() {
            self.follow(&key, at)?;
        }
        self.effects.claims.push(lease.into_claim());
        Ok(after)
    }

    /// The group of a leased delivery as it is now: it may have joined another since.
    fn group_now(&self, id: DeliveryId, lease: &Lease) -> Result<GroupKey, OutboxError> {
        if !self.moved && self.mirror.read().unwrap_or_else(PoisonError::into_inner).moves == lease.moves() {
            return Ok(lease.group().clone());
        }
        let known = match self.view().event(id.event) {
            Err(OutboxError::Corrupt { .. }) => None,
            record => record?.and_then(|record| self.group_of(id, &record)),
        };
        Ok(known.map_or_else(|| lease.group().clone(), |(_, key)| key))
    }

    /// Flags a postback whose receiver, or configuration, an attempt showed to be wrong; one that works is flagged no
    /// longer.
    fn flag(
        &mut self,
        postback: PostbackNo,
        delivery: DeliveryId,
        attempt: &AttemptRecord,
        at: Timestamp,
    ) -> Result<(), OutboxError> {
        match attempt.outcome {
            Outcome::Misconfigured => {
                let flag = Flag { at, delivery, rule: attempt.rule.clone() };
                self.put(keys::flag(postback), &flag)?;
                self.flags.insert(postback, Some(flag));
            }
            Outcome::Delivered | Outcome::Duplicate if self.is_flagged(postback) => {
                self.write(keys::flag(postback), None);
                self.flags.insert(postback, None);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_flagged(&self, postback: PostbackNo) -> bool {
        match self.flags.get(&postback) {
            Some(flag) => flag.is_some(),
            None => self.mirror.read().unwrap_or_else(PoisonError::into_inner).flags.contains_key(&postback),
        }
    }

    /// Writes down an attempt; without its request and response where they do not fit a record.
    fn put_attempt(&mut self, id: DeliveryId, number: u32, entry: HistoryEntry) -> Result<(), OutboxError> {
        let Err(error) = self.put(keys::history(id, number), &entry) else { return Ok(()) };
        let HistoryEntry { at, cause, delivery } = entry;
        let Cause::Attempted(attempt) = cause else { return Err(error) };
        tracing::error!(delivery = %id, %error, "an attempt is kept without its request and response");
        let stripped = AttemptRecord {
            request: None,
            response: None,
            rule: "the record of request and response did not fit".into(),
            error: None,
            ..*attempt
        };
        self.put(keys::history(id, number), &HistoryEntry { at, cause: Cause::Attempted(Box::new(stripped)), delivery })
    }

    /// Supersedes a delivery that would be tried again although a newer status of its conversion came meanwhile.
    fn supersede_stale(
        &mut self,
        id: DeliveryId,
        key: &GroupKey,
        after: &Delivery,
        at: Timestamp,
    ) -> Result<Option<Delivery>, OutboxError> {
        let again = matches!(after.state, State::Scheduled { .. });
        let Some(group) = (if again { self.whole_group(key)? } else { None }) else { return Ok(None) };
        let Some(by) = group.newer_than(id) else { return Ok(None) };
        self.change(id, Change::Supersede { by }, Cause::Superseded { by }, at)
    }

    /// Notes that an attempt is about to be made to a receiver that does not recognise duplicates; `false` where the
    /// note of an earlier attempt is still there, so that nobody knows whether that one was sent.
    pub(crate) fn intend(&mut self, id: DeliveryId, now: Timestamp) -> Result<bool, OutboxError> {
        if self.view().get(&keys::intent(id))?.is_some() {
            self.interrupt(id, now)?;
            return Ok(false);
        }
        if !planted(Bug::NoIntent) {
            self.write(keys::intent(id), Some(Vec::new()));
        }
        Ok(true)
    }

    /// Holds a delivery whose attempt was under way when the daemon died.
    pub(crate) fn interrupt(&mut self, id: DeliveryId, now: Timestamp) -> Result<(), OutboxError> {
        self.write(keys::intent(id), None);
        let Some(record) = self.view().event(id.event)? else { return Ok(()) };
        let Some((next, before)) = self.view().standing(id, &record)? else { return Ok(()) };
        let Some((postback, key)) = self.group_of(id, &record) else { return Ok(()) };
        let after = before.apply(Change::Start { at: now }).and_then(|started| started.apply(Change::Interrupted));
        let Ok(after) = after else { return Ok(()) };
        let payout = tally::payout(&record.event);
        self.place(&Placed { id, postback, group: &key, payout, before: Some(&before), after: &after });
        self.put(keys::history(id, next), &HistoryEntry { at: now, cause: Cause::Interrupted, delivery: after })
    }
}

/// A due time as it will be read back: whoever holds the finer one would not find it again.
fn as_stored(conclusion: Conclusion) -> Conclusion {
    match conclusion {
        Conclusion::Again { due, spends } => Conclusion::Again { due: to_micros(due), spends },
        Conclusion::Delivered(_) | Conclusion::Dead(_) | Conclusion::Held(_) => conclusion,
    }
}
