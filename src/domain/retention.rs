//! How long what is settled is kept.

use std::time::Duration;

use jiff::Timestamp;

use super::delivery::StateKind;

/// How long settled deliveries are kept, counted from their last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Those that need nobody's attention: delivered, cancelled, superseded.
    pub delivered: Duration,
    /// Dead letters, and events that no postback wanted.
    pub dead: Duration,
}

impl RetentionPolicy {
    /// Whether a delivery that came into its state at `since` need no longer be kept. One that is not settled is kept
    /// however old it is.
    pub fn is_over(self, state: StateKind, since: Timestamp, now: Timestamp) -> bool {
        match state {
            StateKind::Scheduled | StateKind::Waiting | StateKind::InFlight | StateKind::Held => false,
            StateKind::Delivered | StateKind::Cancelled | StateKind::Superseded => passed(self.delivered, since, now),
            StateKind::Dead => passed(self.dead, since, now),
        }
    }

    /// Whether an event without deliveries need no longer be kept.
    pub fn is_over_unrouted(self, accepted: Timestamp, now: Timestamp) -> bool {
        passed(self.dead, accepted, now)
    }

    /// The latest time of acceptance of events that may have to go.
    pub fn horizon(self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.delivered.min(self.dead)).unwrap_or(Timestamp::MIN)
    }
}

fn passed(time: Duration, since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|age| age >= time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_kept_for_its_time() {
        let policy = RetentionPolicy { delivered: Duration::from_secs(90), dead: Duration::from_secs(400) };
        let at = |second| Timestamp::from_second(second).unwrap();
        let last = |state| (0..1_000).find(|age| policy.is_over(state, at(1_000), at(1_000 + age)));
        for state in [StateKind::Delivered, StateKind::Cancelled, StateKind::Superseded] {
            assert_eq!(last(state), Some(90), "{state:?}");
        }
        assert_eq!(last(StateKind::Dead), Some(400));
        for state in [StateKind::Scheduled, StateKind::Waiting, StateKind::InFlight, StateKind::Held] {
            assert_eq!(last(state), None, "{state:?}");
        }
        assert!(!policy.is_over(StateKind::Delivered, at(1_000), at(0)), "a clock that was set back deletes nothing");
        assert_eq!(policy.horizon(at(1_000)), at(910));
    }
}
