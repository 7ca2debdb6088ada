//! Which change leads from which state to which.
//!
//! [`Delivery::apply`] is the whole table; whoever asks for a change asks here.

use jiff::Timestamp;

use super::{CancelReason, Conclusion, DeliveredHow, Delivery, HoldReason, State, StateKind};
use crate::domain::id::EventId;

/// A change asked of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An attempt begins.
    Start {
        /// When.
        at: Timestamp,
    },
    /// An attempt has ended.
    Settle(Conclusion),
    /// An attempt that was under way at a crash is found again.
    Interrupted,
    /// The earlier deliveries of its group are settled.
    Free {
        /// When it may go out.
        due: Timestamp,
    },
    /// The original that it was held for has turned up, and is not settled.
    Queue,
    /// It has to wait for a person.
    Hold(HoldReason),
    /// It is not to be sent.
    Cancel(CancelReason),
    /// A later event of its group makes it pointless.
    Supersede {
        /// That event.
        by: EventId,
    },
    /// A person lets a held delivery go out.
    Release(Destination),
    /// A person knows that a held delivery has arrived.
    ConfirmDelivered,
    /// A person orders a settled delivery to be sent again.
    Replay {
        /// Where it goes.
        to: Destination,
        /// Whether a delivered one may be sent again.
        force: bool,
    },
}

/// Where a released or replayed delivery goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Out, once it is due.
    Schedule {
        /// When.
        due: Timestamp,
    },
    /// Behind the earlier deliveries of its group.
    Wait,
}

impl Destination {
    fn state(self) -> State {
        match self {
            Self::Schedule { due } => State::Scheduled { due },
            Self::Wait => State::Waiting,
        }
    }
}

/// A change that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {from} cannot {verb}", from = .from.name())]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: StateKind,
    /// What was asked of it.
    pub verb: &'static str,
}

impl Change {
    fn verb(&self) -> &'static str {
        match self {
            Self::Start { .. } => "be started",
            Self::Settle(_) => "be settled",
            Self::Interrupted => "be interrupted",
            Self::Free { .. } => "be freed",
            Self::Queue => "be queued",
            Self::Hold(_) => "be held",
            Self::Cancel(CancelReason::Discarded) => "be discarded",
            Self::Cancel(_) => "be cancelled",
            Self::Supersede { .. } => "be superseded",
            Self::Release(_) => "be released",
            Self::ConfirmDelivered => "be confirmed as delivered",
            Self::Replay { force: true, .. } => "be replayed",
            Self::Replay { force: false, .. } => "be replayed without force",
        }
    }
}

impl Delivery {
    /// A delivery as it is planned.
    pub fn planned(to: Destination) -> Self {
        Self { state: to.state(), made: 0, spent: 0 }
    }

    /// The delivery after a change.
    ///
    /// # Errors
    /// When the change is not allowed in its state.
    pub fn apply(&self, change: Change) -> Result<Self, IllegalTransition> {
        use StateKind as K;
        let from = self.state.kind();
        let illegal = || IllegalTransition { from, verb: change.verb() };
        let allowed = match change {
            Change::Start { .. } => matches!(from, K::Scheduled),
            Change::Settle(_) | Change::Interrupted => matches!(from, K::InFlight),
            Change::Free { .. } => matches!(from, K::Waiting) || self.is_held_for_its_original(),
            Change::Queue => self.is_held_for_its_original(),
            Change::Hold(reason) => {
                matches!(from, K::Scheduled | K::Waiting)
                    || (self.is_held_for_its_original() && self.state != State::Held { reason })
            }
            Change::Supersede { .. } => matches!(from, K::Scheduled | K::Waiting),
            Change::Cancel(CancelReason::Discarded) => matches!(from, K::Dead | K::Held),
            Change::Cancel(_) => matches!(from, K::Scheduled | K::Waiting | K::Held),
            Change::Release(_) | Change::ConfirmDelivered => matches!(from, K::Held),
            Change::Replay { force, .. } => match from {
                K::Dead | K::Cancelled | K::Superseded => true,
                K::Delivered => force,
                K::Scheduled | K::Waiting | K::InFlight | K::Held => false,
            },
        };
        if !allowed {
            return Err(illegal());
        }
        Ok(self.after(change))
    }

    /// Whether it is held only because of how its original stands, so that a change there may let it go.
    pub fn is_held_for_its_original(&self) -> bool {
        match self.state {
            State::Held { reason } => matches!(reason, HoldReason::OriginalDead | HoldReason::OriginalUnknown),
            _ => false,
        }
    }

    fn after(&self, change: Change) -> Self {
        let Self { made, spent, .. } = *self;
        let moved = |state| Self { state, made, spent };
        match change {
            Change::Start { at } => moved(State::InFlight { since: at }),
            Change::Settle(conclusion) => Self::settled(made + 1, spent, conclusion),
            Change::Interrupted => {
                Self { state: State::Held { reason: HoldReason::Interrupted }, made: made + 1, spent: spent + 1 }
            }
            Change::Free { due } => moved(State::Scheduled { due }),
            Change::Queue => moved(State::Waiting),
            Change::Hold(reason) => moved(State::Held { reason }),
            Change::Cancel(reason) => moved(State::Cancelled { reason }),
            Change::Supersede { by } => moved(State::Superseded { by }),
            Change::Release(to) => moved(to.state()),
            Change::ConfirmDelivered => moved(State::Delivered { how: DeliveredHow::Operator }),
            Change::Replay { to, .. } => Self { state: to.state(), made, spent: 0 },
        }
    }

    fn settled(made: u32, spent: u32, conclusion: Conclusion) -> Self {
        let (state, spends) = match conclusion {
            Conclusion::Delivered(how) => (State::Delivered { how }, true),
            Conclusion::Dead(reason) => (State::Dead { reason }, true),
            Conclusion::Held(reason) => (State::Held { reason }, true),
            Conclusion::Again { due, spends } => (State::Scheduled { due }, spends),
        };
        Self { state, made, spent: spent + u32::from(spends) }
    }
}
