//! A delivery's state machine: which states there are and, in `transition`, which change leads from which to which.
//!
//! Knows nothing of how a state is stored or why a change was asked for.

#[cfg(test)]
mod tests;
mod transition;

pub use transition::{Change, Destination, IllegalTransition};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::EventId;

/// Where a delivery stands, and how often it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its state.
    pub state: State,
    /// Attempts made in its life, replays included; the next attempt is number `made + 1`.
    pub made: u32,
    /// Attempts spent from the retry schedule since it was planned or last replayed.
    pub spent: u32,
}

/// The state of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// To be sent once it is due.
    Scheduled {
        /// When it may go out.
        #[serde(with = "super::timestamp")]
        due: Timestamp,
    },
    /// Behind earlier deliveries of its order group.
    Waiting,
    /// Being sent. Lives in memory; a crash finds it as it was before.
    InFlight {
        /// When the attempt began.
        #[serde(with = "super::timestamp")]
        since: Timestamp,
    },
    /// For a person to decide.
    Held {
        /// Why.
        reason: HoldReason,
    },
    /// Taken by the receiver.
    Delivered {
        /// How it is known.
        how: DeliveredHow,
    },
    /// Given up on.
    Dead {
        /// Why.
        reason: DeadReason,
    },
    /// Not to be sent after all.
    Cancelled {
        /// Why.
        reason: CancelReason,
    },
    /// Made pointless by a later event of its group.
    Superseded {
        /// That event.
        by: EventId,
    },
}

/// Why a delivery waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Bytes were sent and no answer came, to a receiver that does not recognise duplicates.
    Ambiguous,
    /// The daemon died during an attempt to a receiver that does not recognise duplicates.
    Interrupted,
    /// The receiver answered that the postback is gone for good.
    Gone,
    /// The event it reverses is a dead letter.
    OriginalDead,
    /// The event it reverses was never handed in.
    OriginalUnknown,
    /// What its receiver was told since would be undone by it.
    Overtaken,
    /// A record of its order group is damaged, so that nobody can tell whether it may go out.
    GroupDamaged,
    /// Its postback is no longer configured.
    Unconfigured,
    /// An operator said so.
    Operator,
}

/// How a delivery is known to have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveredHow {
    /// The receiver took it.
    Accepted,
    /// The receiver said that it already had it.
    Duplicate,
    /// An operator knows that it arrived.
    Operator,
}

/// Why a delivery was given up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// Every step of the retry schedule was used.
    Exhausted,
    /// The receiver will never take it.
    Rejected,
    /// The receiver or our configuration of it is wrong.
    Misconfigured,
    /// Its template could not be rendered for the event.
    Unrenderable,
    /// The egress policy forbids its address.
    Blocked,
}

/// Why a delivery is not to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// An operator said so.
    Operator,
    /// It was reversed before it was ever sent.
    ReversedUnsent,
    /// It had been given up on, or was held, and an operator has looked at it.
    Discarded,
}

/// The kinds of state, for counting, filtering and listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// See [`State::Scheduled`].
    Scheduled,
    /// See [`State::Waiting`].
    Waiting,
    /// See [`State::InFlight`].
    InFlight,
    /// See [`State::Held`].
    Held,
    /// See [`State::Delivered`].
    Delivered,
    /// See [`State::Dead`].
    Dead,
    /// See [`State::Cancelled`].
    Cancelled,
    /// See [`State::Superseded`].
    Superseded,
}

impl StateKind {
    /// Every kind, in the order of a delivery's life.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Waiting,
        Self::InFlight,
        Self::Held,
        Self::Delivered,
        Self::Dead,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// The kind's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::InFlight => "in_flight",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether later deliveries of the group need no longer wait.
    pub fn is_settled(self) -> bool {
        match self {
            Self::Scheduled | Self::Waiting | Self::InFlight | Self::Held => false,
            Self::Delivered | Self::Dead | Self::Cancelled | Self::Superseded => true,
        }
    }
}

impl State {
    /// The kind of the state.
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Scheduled { .. } => StateKind::Scheduled,
            Self::Waiting => StateKind::Waiting,
            Self::InFlight { .. } => StateKind::InFlight,
            Self::Held { .. } => StateKind::Held,
            Self::Delivered { .. } => StateKind::Delivered,
            Self::Dead { .. } => StateKind::Dead,
            Self::Cancelled { .. } => StateKind::Cancelled,
            Self::Superseded { .. } => StateKind::Superseded,
        }
    }

    /// The reason that stands with the state, as a stable name.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Scheduled { .. } | Self::InFlight { .. } => None,
            Self::Waiting => Some("earlier_in_group"),
            Self::Held { reason } => Some(reason.name()),
            Self::Delivered { how } => Some(how.name()),
            Self::Dead { reason } => Some(reason.name()),
            Self::Cancelled { reason } => Some(reason.name()),
            Self::Superseded { .. } => Some("newer_event"),
        }
    }
}

impl HoldReason {
    /// The reason's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Interrupted => "interrupted",
            Self::Gone => "gone",
            Self::OriginalDead => "original_dead",
            Self::OriginalUnknown => "original_unknown",
            Self::Overtaken => "overtaken",
            Self::GroupDamaged => "group_damaged",
            Self::Unconfigured => "unconfigured",
            Self::Operator => "operator",
        }
    }
}

impl DeliveredHow {
    /// The name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Operator => "operator",
        }
    }
}

impl DeadReason {
    /// The reason's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
            Self::Unrenderable => "unrenderable",
            Self::Blocked => "blocked",
        }
    }
}

impl CancelReason {
    /// The reason's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::ReversedUnsent => "reversed_unsent",
            Self::Discarded => "discarded",
        }
    }
}

/// What an attempt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// It arrived.
    Delivered(DeliveredHow),
    /// It is given up on.
    Dead(DeadReason),
    /// A person decides.
    Held(HoldReason),
    /// It is sent again.
    Again {
        /// When.
        due: Timestamp,
        /// Whether the attempt counts against the schedule.
        spends: bool,
    },
}
