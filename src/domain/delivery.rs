//! A delivery's state machine: which states there are and which change leads from which to which.
//!
//! One pure function, [`Delivery::apply`], holds the whole table. Knows nothing of how a state is stored
//! or why a change was asked for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn in_state(state: State) -> Delivery {
        Delivery { state, made: 3, spent: 2 }
    }

    fn states() -> Vec<State> {
        vec![
            State::Scheduled { due: at(1) },
            State::Waiting,
            State::InFlight { since: at(1) },
            State::Held { reason: HoldReason::Ambiguous },
            State::Delivered { how: DeliveredHow::Accepted },
            State::Dead { reason: DeadReason::Exhausted },
            State::Cancelled { reason: CancelReason::Operator },
            State::Superseded { by: EventId::from_u64(9) },
            State::Held { reason: HoldReason::OriginalDead },
        ]
    }

    /// Rows: the change and the states, by letter in the order of `states`, in which it is allowed.
    #[test]
    fn the_whole_transition_table() {
        let out = Destination::Schedule { due: at(5) };
        let table: [(Change, &str); 16] = [
            (Change::Start { at: at(2) }, "s"),
            (Change::Settle(Conclusion::Delivered(DeliveredHow::Accepted)), "i"),
            (Change::Settle(Conclusion::Dead(DeadReason::Rejected)), "i"),
            (Change::Settle(Conclusion::Held(HoldReason::Gone)), "i"),
            (Change::Settle(Conclusion::Again { due: at(9), spends: true }), "i"),
            (Change::Interrupted, "i"),
            (Change::Free { due: at(2) }, "wo"),
            (Change::Queue, "o"),
            (Change::Hold(HoldReason::Operator), "swo"),
            (Change::Cancel(CancelReason::Operator), "swho"),
            (Change::Cancel(CancelReason::Discarded), "xho"),
            (Change::Supersede { by: EventId::from_u64(7) }, "sw"),
            (Change::Release(out), "ho"),
            (Change::ConfirmDelivered, "ho"),
            (Change::Replay { to: out, force: false }, "xcu"),
            (Change::Replay { to: out, force: true }, "dxcu"),
        ];
        for (change, allowed_in) in table {
            for (state, letter) in states().into_iter().zip("swihdxcuo".chars()) {
                let from = state.kind();
                let result = in_state(state).apply(change);
                assert_eq!(result.is_ok(), allowed_in.contains(letter), "{change:?} from {from:?}");
                if let Err(illegal) = result {
                    assert_eq!(illegal.from, from);
                }
            }
        }
    }

    #[test]
    fn each_change_leads_where_it_says() {
        let started = in_state(State::Scheduled { due: at(1) }).apply(Change::Start { at: at(2) }).unwrap();
        assert_eq!(started, in_state(State::InFlight { since: at(2) }));
        let again = started.apply(Change::Settle(Conclusion::Again { due: at(9), spends: true })).unwrap();
        assert_eq!(again, Delivery { state: State::Scheduled { due: at(9) }, made: 4, spent: 3 });
        let throttled = started.apply(Change::Settle(Conclusion::Again { due: at(9), spends: false })).unwrap();
        assert_eq!(throttled, Delivery { state: State::Scheduled { due: at(9) }, made: 4, spent: 2 });
        let interrupted = started.apply(Change::Interrupted).unwrap();
        assert_eq!(interrupted.state, State::Held { reason: HoldReason::Interrupted });
    }

    #[test]
    fn a_replay_keeps_the_count_of_attempts_and_starts_the_schedule_afresh() {
        let dead = in_state(State::Dead { reason: DeadReason::Exhausted });
        let replayed = dead.apply(Change::Replay { to: Destination::Wait, force: false }).unwrap();
        assert_eq!(replayed, Delivery { state: State::Waiting, made: 3, spent: 0 });
    }

    #[test]
    fn a_reversal_held_for_its_original_follows_what_becomes_of_it() {
        for reason in [HoldReason::OriginalDead, HoldReason::OriginalUnknown] {
            let held = in_state(State::Held { reason });
            assert_eq!(held.apply(Change::Free { due: at(3) }).unwrap().state, State::Scheduled { due: at(3) });
            assert_eq!(held.apply(Change::Queue).unwrap().state, State::Waiting);
            assert!(held.apply(Change::Hold(reason)).is_err(), "it is held for that already");
        }
    }
}
