//! How long what is settled is kept, and how much of it.

use std::time::Duration;

use jiff::Timestamp;

use super::delivery::StateKind;
use crate::planted::{Bug, planted};

/// What is kept under any pressure: producers repeat events for a while, and must be told that they are there already.
pub const LEAST_AGE: Duration = Duration::from_hours(24);

/// How long settled deliveries are kept, counted from their last change, and how much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Those that need nobody's attention: delivered, cancelled, superseded.
    pub delivered: Duration,
    /// Dead letters, and events that no postback wanted.
    pub dead: Duration,
    /// What must have been exported before it may go.
    pub exported: Exported,
    /// How much may be stored before what is settled goes before its time.
    pub sizes: SizeLimits,
    /// What has to go before its time.
    pub pressure: Pressure,
}

/// The bytes of all records above which deliveries go before their time, by how they were settled: like the ages, one
/// limit for each, so that dead letters can be kept when delivered ones no longer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeLimits {
    /// For those that need nobody's attention; `None` for no limit.
    pub delivered: Option<u64>,
    /// For dead letters, and events that no postback wanted; `None` for no limit.
    pub dead: Option<u64>,
}

/// What has to go before its time because too much is stored. What is not settled never has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// What needs nobody's attention.
    pub delivered: bool,
    /// Dead letters, and events that no postback wanted.
    pub dead: bool,
}

impl Pressure {
    /// Whether anything has to go.
    pub fn is_felt(self) -> bool {
        self.delivered || self.dead
    }
}

impl SizeLimits {
    /// What has to go where so many bytes are stored.
    pub fn pressure(&self, record_bytes: u64) -> Pressure {
        let over = |limit: Option<u64>| limit.is_some_and(|most| record_bytes > most);
        Pressure { delivered: over(self.delivered), dead: over(self.dead) }
    }
}

/// How far those have come who must have exported something before it may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exported {
    /// Nobody must have.
    NotAsked,
    /// One of them never marked an export.
    Never,
    /// All of them have what last changed before this time.
    Before(Timestamp),
}

impl Exported {
    /// How far all of some consumers have come, each with his mark, if he ever set one.
    pub fn by_all(marks: impl IntoIterator<Item = Option<Timestamp>>) -> Self {
        marks.into_iter().fold(Self::NotAsked, |slowest, mark| match (slowest, mark) {
            (Self::Never, _) | (_, None) => Self::Never,
            (Self::NotAsked, Some(mark)) => Self::Before(mark),
            (Self::Before(slowest), Some(mark)) => Self::Before(slowest.min(mark)),
        })
    }

    fn has(self, changed: Timestamp) -> bool {
        match self {
            Self::NotAsked => true,
            Self::Never => false,
            Self::Before(mark) => changed < mark,
        }
    }
}

impl RetentionPolicy {
    /// The policy where something has to go before its time.
    #[must_use]
    pub fn pressed(self, pressure: Pressure) -> Self {
        Self { pressure, ..self }
    }

    fn age_of_delivered(&self) -> Duration {
        if self.pressure.delivered { self.delivered.min(LEAST_AGE) } else { self.delivered }
    }

    fn age_of_dead(&self) -> Duration {
        if self.pressure.dead { self.dead.min(LEAST_AGE) } else { self.dead }
    }

    /// Whether a delivery that came into its state at `since` need no longer be kept. One that is not settled is kept
    /// however old it is.
    pub fn is_over(self, state: StateKind, since: Timestamp, now: Timestamp) -> bool {
        let old = match state {
            _ if planted(Bug::OpenRetired) => passed(self.age_of_delivered(), since, now),
            StateKind::Scheduled | StateKind::Waiting | StateKind::InFlight | StateKind::Held => false,
            StateKind::Delivered | StateKind::Cancelled | StateKind::Superseded => {
                passed(self.age_of_delivered(), since, now)
            }
            StateKind::Dead => passed(self.age_of_dead(), since, now),
        };
        old && self.exported.has(since)
    }

    /// Whether an event without deliveries need no longer be kept.
    pub fn is_over_unrouted(self, accepted: Timestamp, now: Timestamp) -> bool {
        passed(self.age_of_dead(), accepted, now) && self.exported.has(accepted)
    }

    /// The latest time of acceptance of events that may have to go.
    pub fn horizon(self, now: Timestamp) -> Timestamp {
        let old = now.checked_sub(self.age_of_delivered().min(self.age_of_dead())).unwrap_or(Timestamp::MIN);
        match self.exported {
            Exported::NotAsked => old,
            Exported::Never => Timestamp::MIN,
            // What was accepted later changed later.
            Exported::Before(mark) => old.min(mark),
        }
    }
}

fn passed(time: Duration, since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|age| age >= time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Pressure = Pressure { delivered: false, dead: false };
    const DELIVERED: Pressure = Pressure { delivered: true, dead: false };
    const DEAD: Pressure = Pressure { delivered: false, dead: true };
    const BOTH: Pressure = Pressure { delivered: true, dead: true };

    const POLICY: RetentionPolicy = RetentionPolicy {
        delivered: Duration::from_secs(90),
        dead: Duration::from_secs(400),
        exported: Exported::NotAsked,
        sizes: SizeLimits { delivered: Some(1_000), dead: Some(2_000) },
        pressure: NONE,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_state_is_kept_for_its_time() {
        let policy = POLICY;
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

    #[test]
    fn under_pressure_what_is_settled_goes_before_its_time_but_nothing_younger_than_a_day() {
        const DAY: i64 = 86_400;
        let days = |days: u64| Duration::from_hours(24 * days);
        let policy = RetentionPolicy { delivered: days(90), dead: days(400), ..POLICY };
        let first =
            |pressure, state| (0..500).find(|age| policy.pressed(pressure).is_over(state, at(0), at(age * DAY)));
        let table = [
            (NONE, Some(90), Some(400)),
            (DELIVERED, Some(1), Some(400)),
            (DEAD, Some(90), Some(1)),
            (BOTH, Some(1), Some(1)),
        ];
        for (pressure, delivered, dead) in table {
            assert_eq!(first(pressure, StateKind::Delivered), delivered, "{pressure:?}");
            assert_eq!(first(pressure, StateKind::Dead), dead, "{pressure:?}");
            assert_eq!(first(pressure, StateKind::Held), None, "{pressure:?}");
        }
        let unexported = RetentionPolicy { exported: Exported::Never, ..policy }.pressed(BOTH);
        assert!(!unexported.is_over(StateKind::Delivered, at(0), at(500 * DAY)), "finance has not got it");
        assert_eq!(policy.pressed(DELIVERED).horizon(at(5 * DAY)), at(4 * DAY));
        assert!(!policy.pressed(DELIVERED).is_over_unrouted(at(0), at(5 * DAY)));
    }

    #[test]
    fn each_way_of_being_settled_has_a_limit_of_its_own() {
        let sizes = POLICY.sizes;
        for (bytes, pressure) in [(1_000, NONE), (1_001, DELIVERED), (2_000, DELIVERED), (2_001, BOTH)] {
            assert_eq!(sizes.pressure(bytes), pressure, "{bytes}");
        }
        let dead_first = SizeLimits { delivered: None, dead: Some(5) };
        assert_eq!((dead_first.pressure(5), dead_first.pressure(u64::MAX)), (NONE, DEAD));
        assert!(!SizeLimits::default().pressure(u64::MAX).is_felt());
    }

    #[test]
    fn what_is_old_waits_for_every_consumer_that_is_asked() {
        let marked = |marks: &[Option<i64>]| RetentionPolicy {
            exported: Exported::by_all(marks.iter().map(|mark| mark.map(at))),
            ..POLICY
        };
        let over = |marks: &[Option<i64>]| marked(marks).is_over(StateKind::Delivered, at(1_000), at(9_000));
        assert!(over(&[]));
        assert!(!over(&[None]) && !over(&[Some(2_000), None]) && !over(&[None, Some(2_000)]));
        assert!(!over(&[Some(1_000)]), "what changed at the mark is in the next export");
        assert!(over(&[Some(1_001)]));
        assert!(!over(&[Some(1_001), Some(999)]), "the slowest of them decides");
        assert!(!marked(&[Some(2_000)]).is_over(StateKind::Delivered, at(1_000), at(1_010)), "marks make nothing old");
        assert!(!marked(&[Some(1_000)]).is_over_unrouted(at(1_000), at(9_000)));
        assert!(marked(&[Some(1_001)]).is_over_unrouted(at(1_000), at(9_000)));
        assert_eq!(marked(&[None]).horizon(at(9_000)), Timestamp::MIN);
        assert_eq!(marked(&[Some(2_000)]).horizon(at(9_000)), at(2_000));
        assert_eq!(marked(&[Some(9_000)]).horizon(at(9_000)), at(8_910));
    }
}
