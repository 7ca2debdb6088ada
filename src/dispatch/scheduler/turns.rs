//! The line in which affiliates stand: who may send now, and who may send when.
//!
//! Knows ranks and times only, nothing of deliveries or limits.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::outbox::SendClass;

/// Most slot time that an affiliate can be behind the one that used the least. What it took while nobody else
/// wanted it is not held against it for longer.
const MOST_OWED: Duration = Duration::from_secs(30);

/// An affiliate's number with the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) usize);

/// Whose turn comes first: fewest slots taken now, then least slot time used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) in_flight: u32,
    pub(super) used: Duration,
}

/// Where an affiliate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing to send, or no slot of its own left.
    Nowhere,
    /// It may send now; a retry only where it has no first send.
    Ready(SendClass, Rank),
    /// It may send at that time.
    Asleep(Timestamp),
}

/// An affiliate's entries in the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) place: Place,
    /// Slot time it is counted with among those that have or want a slot.
    pub(super) active: Option<Duration>,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Turns {
    first_sends: BTreeSet<(Rank, Number)>,
    retries: BTreeSet<(Rank, Number)>,
    asleep: BTreeSet<(Timestamp, Number)>,
    active: BTreeSet<(Duration, Number)>,
    /// The least slot time used by any that has or wants a slot; never falls.
    floor: Duration,
}

impl Standing {
    pub(super) const NOWHERE: Self = Self { place: Place::Nowhere, active: None };
}

impl Turns {
    /// Takes an affiliate out of the line.
    pub(super) fn leave(&mut self, number: Number, standing: Standing) {
        match standing.place {
            Place::Nowhere => {}
            Place::Ready(class, rank) => drop(self.of_class(class).remove(&(rank, number))),
            Place::Asleep(at) => drop(self.asleep.remove(&(at, number))),
        }
        if let Some(used) = standing.active {
            self.active.remove(&(used, number));
        }
    }

    /// Puts an affiliate into the line.
    pub(super) fn enter(&mut self, number: Number, standing: Standing) {
        match standing.place {
            Place::Nowhere => {}
            Place::Ready(class, rank) => drop(self.of_class(class).insert((rank, number))),
            Place::Asleep(at) => drop(self.asleep.insert((at, number))),
        }
        if let Some(used) = standing.active {
            self.active.insert((used, number));
        }
        if let Some((least, _)) = self.active.first() {
            self.floor = self.floor.max(*least);
        }
    }

    fn of_class(&mut self, class: SendClass) -> &mut BTreeSet<(Rank, Number)> {
        match class {
            SendClass::First => &mut self.first_sends,
            SendClass::Retry => &mut self.retries,
        }
    }

    /// The slot time that counts for an affiliate that has or wants a slot: it cannot save up turns while it is
    /// idle, nor lose them for ever.
    pub(super) fn fair(&self, used: Duration) -> Duration {
        used.clamp(self.floor, self.floor + MOST_OWED)
    }

    /// Who goes next.
    pub(super) fn next(&self, retries: bool) -> Option<(Rank, Number)> {
        let retry = self.retries.first().filter(|_| retries);
        self.first_sends.first().into_iter().chain(retry).min().copied()
    }

    /// Affiliates that may send now.
    pub(super) fn ready(&self) -> usize {
        self.first_sends.len() + self.retries.len()
    }

    /// One that is asleep and should be awake by then.
    pub(super) fn awake(&self, now: Timestamp) -> Option<Number> {
        self.asleep.first().filter(|(at, _)| *at <= now).map(|(_, number)| *number)
    }

    /// When the next one wakes.
    pub(super) fn wakes_at(&self) -> Option<Timestamp> {
        self.asleep.first().map(|(at, _)| *at)
    }
}
