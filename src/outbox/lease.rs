//! Leases: the right to attempt one delivery.

use std::sync::Arc;

use super::claims::Claim;
use super::model::{EventRecord, OutboxError, PostbackNo};
use super::read::{Reader, Standing};
use super::writer::GroupKey;
use crate::domain::delivery::{Delivery, State};
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EventId};

/// The right to attempt one delivery; nobody else can send or change it meanwhile.
#[derive(Debug)]
pub struct Lease {
    id: DeliveryId,
    claim: Claim,
    record: Arc<EventRecord>,
    postback: PostbackNo,
    before: Delivery,
    next_entry: u32,
    group: GroupKey,
    /// How often order groups had moved before the record was read.
    moves: u64,
    intent: bool,
    original: Option<(EventId, Event)>,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Begun {
    /// It is granted.
    Leased(Box<Lease>),
    /// The delivery is being sent or changed at this moment, or its original is on its way to the disk; ask again.
    Busy,
    /// The delivery is not scheduled (any more).
    NotScheduled,
}

impl Begun {
    /// The lease, where it was granted.
    pub fn leased(self) -> Option<Lease> {
        match self {
            Self::Leased(lease) => Some(*lease),
            Self::Busy | Self::NotScheduled => None,
        }
    }
}

impl Lease {
    /// Takes the right to attempt a delivery that is claimed already; `None` where it is not scheduled.
    pub(super) fn take(reader: &Reader, id: DeliveryId, claim: Claim) -> Result<Option<Self>, OutboxError> {
        let moves = reader.moves();
        let Some(Standing { record, next_entry, delivery: before }) = reader.standing(id)? else { return Ok(None) };
        if !matches!(before.state, State::Scheduled { .. }) {
            return Ok(None);
        }
        let Some(postback) = record.entry(id).map(|entry| entry.postback) else { return Ok(None) };
        let Some(name) = reader.postback(postback) else { return Ok(None) };
        let (owner, root) = (record.event.affiliate_id.clone(), record.root().clone());
        let group = GroupKey { affiliate: name.affiliate, owner, root };
        let original = reader.original_of(id.event, &record.event)?;
        Ok(Some(Self { id, claim, record, postback, before, next_entry, group, moves, intent: false, original }))
    }

    /// The delivery.
    pub fn id(&self) -> DeliveryId {
        self.id
    }

    /// Its event.
    pub fn record(&self) -> &Arc<EventRecord> {
        &self.record
    }

    /// The event that it reverses.
    pub fn original(&self) -> Option<&Event> {
        self.original.as_ref().map(|(_, event)| event)
    }

    pub(super) fn original_id(&self) -> Option<EventId> {
        self.original.as_ref().map(|(id, _)| *id)
    }

    /// The delivery as it stood when the lease was taken.
    pub fn before(&self) -> &Delivery {
        &self.before
    }

    /// The postback's number.
    pub fn postback_no(&self) -> PostbackNo {
        self.postback
    }

    pub(super) fn next_entry(&self) -> u32 {
        self.next_entry
    }

    pub(super) fn group(&self) -> &GroupKey {
        &self.group
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    pub(super) fn has_intent(&self) -> bool {
        self.intent
    }

    pub(super) fn set_intent(&mut self, noted: bool) {
        self.intent = noted;
    }

    pub(super) fn into_claim(self) -> Claim {
        self.claim
    }
}
