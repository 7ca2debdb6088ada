//! Bulk orders: what an operator orders about many deliveries, kept with its progress.
//!
//! The deliveries are named before the order begins, and each is crossed out in the commit that carries the order out
//! for it: whatever happens in between, each is done exactly once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::{Order, OrderRequest, PlannedDelivery};
use crate::domain::id::{BulkId, DeliveryId, EventId};

/// Most refusals kept with their reason.
pub const MAX_REFUSALS: usize = 20;
/// Most characters of a refusal's reason.
const MAX_WHY: usize = 200;
/// The place in an event's plan that stands for the event itself.
const WHOLE_EVENT: u16 = u16::MAX;

/// What a bulk order does to each of its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Sends settled deliveries again.
    Replay {
        /// Whether delivered ones are meant, too.
        force: bool,
    },
    /// Does not send them.
    Cancel,
    /// Lets them wait for a person.
    Hold,
    /// Lets held ones go out.
    Release,
    /// Notes that held ones have arrived.
    Confirm,
    /// Puts dead and held ones away.
    Discard,
    /// Plans events that no postback wanted when they came.
    Plan,
}

impl Verb {
    /// The verb for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Confirm => "confirm",
            Self::Discard => "discard",
            Self::Plan => "plan",
        }
    }

    /// The order about one delivery; `None` where it is about events.
    pub fn order(self) -> Option<Order> {
        match self {
            Self::Replay { force } => Some(Order::Replay { force }),
            Self::Cancel => Some(Order::Cancel),
            Self::Hold => Some(Order::Hold),
            Self::Release => Some(Order::Release),
            Self::Confirm => Some(Order::ConfirmDelivered),
            Self::Discard => Some(Order::Discard),
            Self::Plan => None,
        }
    }
}

/// How a bulk order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// Its targets are being written down. It has not been answered for: a crash forgets it.
    Naming,
    /// Under way.
    Running,
    /// Halted by an operator until he resumes it.
    Paused,
    /// Ended by an operator: what was not done is left as it is.
    Stopped,
    /// All of it is done.
    Finished,
}

impl BulkState {
    /// Whether there may be more to do.
    pub fn is_open(self) -> bool {
        match self {
            Self::Naming | Self::Running | Self::Paused => true,
            Self::Stopped | Self::Finished => false,
        }
    }
}

/// A bulk order with its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkRecord {
    /// What it does.
    pub verb: Verb,
    /// What was asked for, as JSON text, for people.
    pub filter: String,
    /// Why it was given.
    pub reason: String,
    /// Who gave it.
    pub by: String,
    /// Its pace as it was written, such as `50/s`.
    pub rate: Option<String>,
    /// When it was given.
    #[serde(with = "crate::domain::timestamp")]
    pub created_at: Timestamp,
    /// When its state last changed.
    #[serde(with = "crate::domain::timestamp")]
    pub changed_at: Timestamp,
    /// Who changed it last.
    pub changed_by: String,
    /// How it stands.
    pub state: BulkState,
    /// How many deliveries, or events, it named.
    pub matched: u64,
    /// For how many of them it was carried out.
    pub done: u64,
    /// For how many it could not be.
    pub refused: u64,
    /// The first refusals.
    pub refusals: Vec<Refusal>,
}

impl BulkRecord {
    /// How many are still to be done.
    pub fn remaining(&self) -> u64 {
        self.matched.saturating_sub(self.done).saturating_sub(self.refused)
    }

    pub(super) fn refuse(&mut self, target: Target, why: &str) {
        self.refused += 1;
        if self.refusals.len() < MAX_REFUSALS {
            self.refusals.push(Refusal {
                id: target.to_string(),
                why: why.chars().take(MAX_WHY).filter(char::is_ascii).collect(),
            });
        }
    }
}

/// A target for which the order could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The delivery or event.
    pub id: String,
    /// Why.
    pub why: String,
}

/// What a bulk order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A delivery.
    Delivery(DeliveryId),
    /// An event that is to be planned.
    Event(EventId),
}

impl Target {
    /// The id under which it is written down.
    pub(super) fn stored(self) -> DeliveryId {
        match self {
            Self::Delivery(id) => id,
            Self::Event(event) => DeliveryId { event, ordinal: WHOLE_EVENT },
        }
    }

    pub(super) fn from_stored(id: DeliveryId) -> Self {
        if id.ordinal == WHOLE_EVENT { Self::Event(id.event) } else { Self::Delivery(id) }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Delivery(id) => id.fmt(f),
            Self::Event(id) => id.fmt(f),
        }
    }
}

/// One target's turn.
#[derive(Debug, Clone)]
pub enum BulkStep {
    /// The order about a delivery.
    Order(OrderRequest),
    /// The plan for an event.
    Plan(EventId, Vec<PlannedDelivery>),
    /// The target cannot be done at all.
    Refuse(Target, String),
}

impl BulkStep {
    pub(super) fn target(&self) -> Target {
        match self {
            Self::Order(order) => Target::Delivery(order.id),
            Self::Plan(id, _) => Target::Event(*id),
            Self::Refuse(target, _) => *target,
        }
    }
}

/// What came of a target's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It is crossed out.
    Done,
    /// Its delivery is being sent at this moment: it has to have another turn.
    Busy,
    /// It was crossed out before, or the order has ended.
    Over,
}

/// What a change of a bulk order's state came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkChanged {
    /// It stands like this now.
    Changed(BulkId, Box<BulkRecord>),
    /// There is no such order.
    NotFound,
    /// It has ended already.
    Ended(BulkState),
}
