//! How long what is settled is kept, and how much of it.

use std::time::Duration;

use jiff::Timestamp;

use super::delivery::StateKind;

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
    /// Most bytes of records; where there are more, what is settled goes before its time.
    pub size: Option<u64>,
    /// What has to go before its time.
    pub pressure: Pressure,
}

/// What has to go before its time because too much is stored. What is not settled never has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    None,
    /// What needs nobody's attention.
    Delivered,
    /// Dead letters, too.
    Dead,
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
    /// Whether more is stored than may be.
    pub fn is_over_size(&self, record_bytes: u64) -> bool {
        self.size.is_some_and(|most| record_bytes > most)
    }

    /// The policy where something has to go before its time.
    #[must_use]
    pub fn pressed(self, pressure: Pressure) -> Self {
        Self { pressure, ..self }
    }

    fn age_of_delivered(&self) -> Duration {
        match self.pressure {
            Pressure::None => self.delivered,
            Pressure::Delivered | Pressure::Dead => self.delivered.min(LEAST_AGE),
        }
    }

    fn age_of_dead(&self) -> Duration {
        match self.pressure {
            Pressure::None | Pressure::Delivered => self.dead,
            Pressure::Dead => self.dead.min(LEAST_AGE),
        }
    }

    /// Whether a delivery that came into its state at `since` need no longer be kept. One that is not settled is kept
    /// however old it is.
    pub fn is_over(self, state: StateKind, since: Timestamp, now: Timestamp) -> bool {
        let old = match state {
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

    const POLICY: RetentionPolicy = RetentionPolicy {
        delivered: Duration::from_secs(90),
        dead: Duration::from_secs(400),
        exported: Exported::NotAsked,
        size: Some(1_000),
        pressure: Pressure::None,
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
        assert!(!policy.is_over_size(1_000) && policy.is_over_size(1_001));
        assert!(!RetentionPolicy { size: None, ..policy }.is_over_size(u64::MAX));
        let first =
            |pressure, state| (0..500).find(|age| policy.pressed(pressure).is_over(state, at(0), at(age * DAY)));
        let table = [
            (Pressure::None, Some(90), Some(400)),
            (Pressure::Delivered, Some(1), Some(400)),
            (Pressure::Dead, Some(1), Some(1)),
        ];
        for (pressure, delivered, dead) in table {
            assert_eq!(first(pressure, StateKind::Delivered), delivered, "{pressure:?}");
            assert_eq!(first(pressure, StateKind::Dead), dead, "{pressure:?}");
            assert_eq!(first(pressure, StateKind::Held), None, "{pressure:?}");
        }
        let unexported = RetentionPolicy { exported: Exported::Never, ..policy }.pressed(Pressure::Dead);
        assert!(!unexported.is_over(StateKind::Delivered, at(0), at(500 * DAY)), "finance has not got it");
        assert_eq!(policy.pressed(Pressure::Delivered).horizon(at(5 * DAY)), at(4 * DAY));
        assert!(!policy.pressed(Pressure::Delivered).is_over_unrouted(at(0), at(5 * DAY)));
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
