//! Order groups as they are stored: which events belong together, and what follows when one of them changes.

use jiff::Timestamp;

use super::{Writer, claim_all};
use crate::domain::delivery::{Change, HoldReason};
use crate::domain::event::Event;
use crate::domain::id::{AffiliateId, DeliveryId, EventId, TransactionId};
use crate::domain::order::{Facts, Group, Member, Told};
use crate::domain::record::Cause;
use crate::outbox::keys::{self, GroupHash};
use crate::outbox::model::{AcceptRequest, EventRecord, OutboxError, PostbackNo};
pub(super) use crate::outbox::view::Related;
use crate::outbox::view::{MAX_GROUP_EVENTS, Owned};
use crate::planted::{Bug, planted};

/// The order group of some deliveries: one affiliate, the event's owner, one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupKey {
    pub(crate) affiliate: AffiliateId,
    pub(crate) owner: AffiliateId,
    pub(crate) root: TransactionId,
}

impl GroupKey {
    pub(super) fn hash(&self) -> GroupHash {
        keys::group_hash(&self.affiliate, &self.owner, &self.root)
    }
}

impl Writer<'_> {
    /// The postback and the order group of a delivery.
    pub(super) fn group_of(&self, id: DeliveryId, record: &EventRecord) -> Option<(PostbackNo, GroupKey)> {
        let postback = record.entry(id)?.postback;
        let affiliate = self.name(postback)?.affiliate;
        Some((postback, GroupKey { affiliate, owner: record.event.affiliate_id.clone(), root: record.root().clone() }))
    }

    /// The events of an owner that belong to the group of a transaction.
    pub(super) fn related(&self, root: &TransactionId, owner: &AffiliateId) -> Result<Related, OutboxError> {
        let mut related = self.view().related_of(root, owner)?;
        related.events.retain(|(_, record)| record.root() == root);
        Ok(related)
    }

    /// The root of the group that a transaction belongs to, with the events of that group: its own name, unless it
    /// reverses another or is reversed by what does.
    fn root_of(
        &self,
        name: &TransactionId,
        owner: &AffiliateId,
        mut named: Related,
    ) -> Result<(TransactionId, Related), OutboxError> {
        let tells = |(_, record): &&(EventId, EventRecord)| {
            record.event.transaction_id == *name || record.event.reverses.as_ref() == Some(name)
        };
        let root = named.events.iter().find(tells).map_or(name, |(_, record)| record.root()).clone();
        if root == *name {
            named.events.retain(|(_, record)| record.root() == name);
            return Ok((root, named));
        }
        let related = self.related(&root, owner)?;
        Ok((root, related))
    }

    /// The transaction at the root of an event's group, with the events of that group. Where the event turns out to
    /// belong to another group than its own transaction so far, that one is moved: what reverses a reversal may have
    /// been handed in before it.
    pub(super) fn resolve_root(
        &mut self,
        event: &Event,
        index: &Owned,
    ) -> Result<(TransactionId, Related), OutboxError> {
        let (own, owner) = (&event.transaction_id, &event.affiliate_id);
        let Some(reversed) = &event.reverses else {
            return self.root_of(own, owner, self.view().related_in(index, owner)?);
        };
        let (root, mut related) = self.root_of(reversed, owner, self.view().related_of(reversed, owner)?)?;
        if *own == root {
            return Ok((root, related));
        }
        let (own, mut moved) = self.root_of(own, owner, self.view().related_in(index, owner)?)?;
        if own != root && related.events.len() + moved.events.len() < MAX_GROUP_EVENTS {
            for (id, record) in &mut moved.events {
                self.move_group(*id, record, &root)?;
            }
        }
        if own != root {
            related.extend(moved);
        }
        Ok((root, related))
    }

    /// The root of the group of an event without a transaction id: that of earlier ones of its click, as long as they
    /// are not told apart by the time between them, or a new one.
    pub(super) fn root_of_click(
        &self,
        id: EventId,
        request: &AcceptRequest,
        index: &Owned,
        now: Timestamp,
    ) -> Result<(TransactionId, Related), OutboxError> {
        let Event { transaction_id, affiliate_id, .. } = &request.event;
        let earlier = self.view().related_in(index, affiliate_id)?;
        let alike = |(_, record): &&(EventId, EventRecord)| {
            record.event.transaction_id == *transaction_id && !request.tells_apart(record, now)
        };
        match earlier.events.iter().find(alike).map(|(_, record)| record.root().clone()) {
            Some(root) => {
                let related = self.related(&root, affiliate_id)?;
                Ok((root, related))
            }
            None => Ok((transaction_id.opened_by(id), Related { events: Vec::new(), damaged: earlier.damaged })),
        }
    }

    fn move_group(&mut self, id: EventId, record: &mut EventRecord, root: &TransactionId) -> Result<(), OutboxError> {
        self.moved = true;
        let ordinals = 0..u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
        let deliveries: Vec<DeliveryId> = ordinals.map(|ordinal| DeliveryId { event: id, ordinal }).collect();
        let old: Vec<_> = deliveries.iter().map(|id| self.group_of(*id, record)).collect();
        let before = record.root().clone();
        if before != record.event.transaction_id && record.event.reverses.as_ref() != Some(&before) {
            self.write(keys::membership(&before, &record.event.affiliate_id, id), None);
        }
        record.root = (*root != record.event.transaction_id).then(|| root.clone());
        if record.root.is_some() {
            let key = keys::membership(root, &record.event.affiliate_id, id);
            self.write(key, Some(id.as_u64().to_be_bytes().to_vec()));
        }
        self.put(keys::event(id), record)?;
        for (id, old) in deliveries.into_iter().zip(old) {
            let (Some((_, old)), Some((_, new))) = (old, self.group_of(id, record)) else { continue };
            if self.view().get(&keys::waiting(old.hash(), id))?.is_some() {
                self.write(keys::waiting(old.hash(), id), None);
                self.write(keys::waiting(new.hash(), id), Some(Vec::new()));
            }
        }
        Ok(())
    }

    /// What order has to know of a group, among the events given.
    pub(super) fn group<'r>(
        &self,
        key: &GroupKey,
        events: impl IntoIterator<Item = &'r (EventId, EventRecord)>,
    ) -> Result<Group, OutboxError> {
        let view = self.view();
        let mut told = Vec::new();
        for (event, record) in events {
            let mut members = Vec::new();
            for (ordinal, entry) in (0_u16..).zip(&record.plan) {
                let id = DeliveryId { event: *event, ordinal };
                if self.name(entry.postback).is_none_or(|name| name.affiliate != key.affiliate) {
                    continue;
                }
                if let Some((_, delivery)) = view.standing(id, record)? {
                    let (lane, postback, policy) = (entry.lane.clone(), entry.postback, entry.order);
                    members.push(Member { id, lane, postback, policy, delivery });
                }
            }
            told.push(Told { id: *event, facts: Facts::of(&record.event), members });
        }
        Ok(Group::new(told))
    }

    /// Reads a group; `None` where a record of it is damaged.
    pub(super) fn whole_group(&self, key: &GroupKey) -> Result<Option<Group>, OutboxError> {
        let related = self.related(&key.root, &key.owner)?;
        if related.damaged {
            return Ok(None);
        }
        match self.group(key, &related.events) {
            Ok(group) => Ok(Some(group)),
            Err(error @ OutboxError::Corrupt { .. }) => {
                tracing::error!(%error, transaction = %key.root, "an order group has a damaged record");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Carries out what follows for those who wait in groups that have just changed.
    pub(super) fn follow_all(&mut self, groups: Vec<Group>, now: Timestamp) -> Result<(), OutboxError> {
        groups.into_iter().filter(Group::has_waiting).try_for_each(|group| self.follow_in(group, now))
    }

    /// Carries out what follows for those who wait in a group. Where a record of it is damaged, nobody can tell whether
    /// they may go out: they are held for a person.
    pub(super) fn follow(&mut self, key: &GroupKey, now: Timestamp) -> Result<(), OutboxError> {
        let waiting = keys::waiting_in(key.hash());
        if planted(Bug::LostSuccessor) || !self.known.may_hold(&waiting) || !self.view().has_prefix(&waiting)? {
            return Ok(());
        }
        if let Some(group) = self.whole_group(key)? {
            return self.follow_in(group, now);
        }
        for (waiting, _) in self.view().with_prefix(&waiting)? {
            let Some(id) = keys::parse_last_delivery(&waiting) else { continue };
            match self.change(id, Change::Hold(HoldReason::GroupDamaged), Cause::HeldByRule, now) {
                Ok(_) | Err(OutboxError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn follow_in(&mut self, mut group: Group, now: Timestamp) -> Result<(), OutboxError> {
        let (claims, taken) = (&self.claims, &mut self.effects.claims);
        let followed = group.follow(now, &mut |ids| claim_all(claims, taken, ids));
        for consequence in followed {
            self.change(consequence.id, consequence.change, consequence.cause, now)?;
        }
        Ok(())
    }
}
