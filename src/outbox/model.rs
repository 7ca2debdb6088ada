//! What is asked of the outbox and what it answers: plain data.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::engine::EngineError;
use super::lease::Lease;
use crate::domain::delivery::{Conclusion, Delivery, IllegalTransition, StateKind};
use crate::domain::event::Event;
use crate::domain::id::{BulkId, DeliveryId, EventId, LaneName, PostbackRef, TransactionId};
use crate::domain::outcome::Outcome;
use crate::domain::postback::OrderPolicy;
use crate::domain::record::{AttemptRecord, HistoryEntry, OrderKind};

/// The number that stands for a postback's full name inside the store.
pub type PostbackNo = u32;

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// The transaction whose order group it belongs to, where that is not its own.
    pub root: Option<TransactionId>,
    /// Who handed it in: the name of a token, or of a user of the socket.
    pub source: String,
    /// When it was accepted.
    #[serde(with = "crate::domain::timestamp")]
    pub accepted_at: Timestamp,
    /// Its deliveries in order; a delivery's ordinal is its place here.
    pub plan: Vec<PlanEntry>,
}

impl EventRecord {
    /// The transaction whose order group the event belongs to.
    pub fn root(&self) -> &TransactionId {
        self.root.as_ref().unwrap_or(&self.event.transaction_id)
    }

    /// The plan's entry of a delivery.
    pub fn entry(&self, id: DeliveryId) -> Option<&PlanEntry> {
        self.plan.get(usize::from(id.ordinal))
    }
}

/// One delivery of an event's plan, as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// The postback.
    pub postback: PostbackNo,
    /// Its lane at the time.
    pub lane: Option<LaneName>,
    /// Its order policy at the time.
    pub order: OrderPolicy,
    /// How the delivery stood at first.
    pub delivery: Delivery,
}

/// An event to be accepted with the deliveries that it leads to.
#[derive(Debug, Clone)]
pub struct AcceptRequest {
    /// The event.
    pub event: Event,
    /// Whether the sender gave `occurred_at`.
    pub occurred_at_given: bool,
    /// How long an event without a transaction id is the same as an earlier one of its click.
    pub click_dedupe: Option<Duration>,
    /// Its deliveries.
    pub plan: Vec<PlannedDelivery>,
    /// Who hands it in.
    pub source: String,
}

impl AcceptRequest {
    /// Whether the time between it and an earlier event with the same dedupe key makes it another event.
    pub(super) fn tells_apart(&self, earlier: &EventRecord, now: Timestamp) -> bool {
        let passed = Duration::try_from(now.duration_since(earlier.accepted_at)).unwrap_or_default();
        !self.event.transaction_given && self.click_dedupe.is_some_and(|within| passed >= within)
    }
}

/// One delivery that an event leads to.
#[derive(Debug, Clone)]
pub struct PlannedDelivery {
    /// The postback.
    pub postback: PostbackRef,
    /// Its lane.
    pub lane: Option<LaneName>,
    /// Its order policy.
    pub order: OrderPolicy,
}

/// What became of an event handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingested {
    /// It is new, stored and durable.
    Accepted(Accepted),
    /// It is stored already, with the same content.
    Duplicate(Accepted),
    /// Its dedupe key is taken by an event with other content.
    Conflict(Conflict),
}

/// A stored event and its deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The event's id.
    pub event_id: EventId,
    /// The deliveries' ids; empty for an unrouted event.
    pub deliveries: Vec<DeliveryId>,
}

/// The stored event that has the same dedupe key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its id.
    pub event_id: EventId,
    /// The fields in which the two differ.
    pub fields: Vec<&'static str>,
}

/// The end of an attempt: its record, what follows, and what else belongs to the same commit.
#[derive(Debug)]
pub struct Settlement {
    /// The lease under which the attempt was made.
    pub lease: Lease,
    /// The record of the attempt.
    pub attempt: AttemptRecord,
    /// What follows for the delivery.
    pub conclusion: Conclusion,
    /// When it ended.
    pub at: Timestamp,
    /// Set where the postback is to be paused with it.
    pub pause: Option<Pause>,
}

/// An operator's order about one delivery.
#[derive(Debug, Clone)]
pub struct OrderRequest {
    /// The delivery.
    pub id: DeliveryId,
    /// What is ordered.
    pub order: Order,
    /// Who orders it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The bulk order that it is part of.
    pub bulk: Option<BulkId>,
}

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Send a settled delivery again; a delivered one only with `force`.
    Replay {
        /// Whether a delivered one may be sent again.
        force: bool,
    },
    /// Do not send it.
    Cancel,
    /// Wait for a person.
    Hold,
    /// Let a held delivery go out.
    Release,
    /// Note that a held delivery has arrived.
    ConfirmDelivered,
    /// Put a dead or held delivery away: somebody has looked at it, and it is not sent.
    Discard,
}

impl Order {
    /// The kind that is recorded.
    pub fn kind(self) -> OrderKind {
        match self {
            Self::Replay { .. } => OrderKind::Replay,
            Self::Cancel => OrderKind::Cancel,
            Self::Hold => OrderKind::Hold,
            Self::Release => OrderKind::Release,
            Self::ConfirmDelivered => OrderKind::ConfirmDelivered,
            Self::Discard => OrderKind::Discard,
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// There is no such delivery.
    #[error("there is no delivery {0}")]
    NotFound(DeliveryId),
    /// It is being sent at this moment.
    #[error("delivery {0} is being sent at this moment; try again when the attempt has ended")]
    InFlight(DeliveryId),
    /// Sending it again would undo what its receiver was told since.
    #[error(
        "delivery {id} is older than {by}, which is on its way or has arrived, and which it would undo; force it if that is meant"
    )]
    Overtaken {
        /// The delivery.
        id: DeliveryId,
        /// What was told since.
        by: DeliveryId,
    },
    /// Its state does not allow it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

/// Why and by whom a postback is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    #[serde(with = "crate::domain::timestamp")]
    pub at: Timestamp,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What is wrong with a postback: its receiver, or our configuration of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// When it was noticed last.
    #[serde(with = "crate::domain::timestamp")]
    pub at: Timestamp,
    /// The delivery whose attempt showed it.
    pub delivery: DeliveryId,
    /// The rule that decided so.
    pub rule: String,
}

/// How many deliveries of a postback are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts([u64; 8]);

impl Counts {
    /// The deliveries in a state. In-flight ones count as scheduled: they are so on disk.
    pub fn of(&self, kind: StateKind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or(0)
    }

    /// All deliveries.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The deliveries that are not settled.
    pub fn open(&self) -> u64 {
        StateKind::ALL.into_iter().filter(|kind| !kind.is_settled()).map(|kind| self.of(kind)).sum()
    }

    /// The counts with one more delivery in a state.
    #[must_use]
    pub fn with_one_more(self, kind: StateKind) -> Self {
        self.moved(None, Some(kind))
    }

    pub(super) fn moved(mut self, from: Option<StateKind>, to: Option<StateKind>) -> Self {
        if let Some(count) = from.and_then(|kind| self.0.get_mut(kind as usize)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = to.and_then(|kind| self.0.get_mut(kind as usize)) {
            *count += 1;
        }
        self
    }

    /// The counts of two postbacks together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
        self
    }
}

/// Totals since the store was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Events accepted.
    pub accepted: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// Events refused because of another with the same dedupe key.
    pub conflicts: u64,
    /// Unrouted events kept.
    pub unrouted: u64,
    /// Attempts by outcome, in the order of [`Outcome::ALL`].
    pub attempts: [u64; Outcome::ALL.len()],
}

impl Totals {
    /// Attempts with an outcome.
    pub fn attempts_with(&self, outcome: Outcome) -> u64 {
        self.attempts.get(outcome as usize).copied().unwrap_or(0)
    }

    pub(super) fn count_attempt(&mut self, outcome: Outcome) {
        if let Some(count) = self.attempts.get_mut(outcome as usize) {
            *count += 1;
        }
    }
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// Its postback.
    pub postback: PostbackRef,
    /// Its lane.
    pub lane: Option<LaneName>,
    /// Its state and counts.
    pub delivery: Delivery,
    /// When it last changed; its acceptance if it never did.
    pub changed_at: Timestamp,
    /// The last entry of its history.
    pub last: Option<HistoryEntry>,
}

/// A delivery's history entry with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryView {
    /// The entry's place, from 0.
    pub number: u32,
    /// The entry.
    pub entry: HistoryEntry,
}

/// Why the outbox did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OutboxError {
    /// More waits to be written than the bound allows.
    #[error("the outbox has as much waiting to be written as it allows; try again shortly")]
    Overloaded,
    /// The disk is nearly full.
    #[error("the disk of the outbox has {free} bytes left, {least} are kept free; make room, then try again")]
    DiskFull {
        /// Bytes left.
        free: u64,
        /// Bytes kept free.
        least: u64,
    },
    /// The event's order group holds as many events as it may.
    #[error("transaction {transaction} has {most} events already, with those that reverse it; no more are taken")]
    GroupFull {
        /// The transaction at the group's root.
        transaction: TransactionId,
        /// The most that are taken.
        most: usize,
    },
    /// Writing failed before; nothing is acknowledged any more.
    #[error("the outbox has stopped: {0}")]
    Stopped(String),
    /// The engine failed.
    #[error("{0}")]
    Engine(std::sync::Arc<EngineError>),
    /// A record does not check out.
    #[error("the record at key {key} is damaged: {why}; restore a backup or ask for help, nothing was changed")]
    Corrupt {
        /// The key, printable.
        key: String,
        /// What does not check out.
        why: String,
    },
    /// A record could not be written down.
    #[error("a record could not be encoded: {0}")]
    Encode(String),
    /// The store was written by a version of the program that this one does not know.
    #[error("the store has format {found}, this version of postbackd knows format {known}; use a newer version")]
    Format {
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
}

impl From<EngineError> for OutboxError {
    fn from(error: EngineError) -> Self {
        Self::Engine(std::sync::Arc::new(error))
    }
}
