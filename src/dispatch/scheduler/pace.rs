//! An affiliate's even pace: when its rate lets it be sent something next.
//!
//! A turn in which nothing was attempted does not count: when that comes out, the pace is as though the turn had never
//! been taken. What has gone out behind it keeps its distance to whatever comes next.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::affiliate::Rate;
use crate::domain::id::DeliveryId;
use crate::domain::retry::after;

/// How much of an even pace may be caught up after a delay of ours.
pub(super) const RATE_SLACK: Duration = Duration::from_millis(100);

/// The pace of one affiliate; without a rate it stops nothing.
#[derive(Debug)]
pub(super) struct Pace {
    next: Timestamp,
    /// The turns that are in flight, in the order in which they were taken.
    taken: Vec<Turn>,
}

/// A turn of which nobody knows yet whether something is attempted in it.
#[derive(Debug)]
struct Turn {
    id: DeliveryId,
    /// When the turns taken behind this one let something out next.
    next_behind: Timestamp,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { next: Timestamp::MIN, taken: Vec::new() }
    }

    /// When something may be sent next.
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    /// Cuts every wait to the longest that can begin now.
    pub(super) fn bound(&mut self, rate: Option<Rate>, now: Timestamp) {
        let Some(rate) = rate else { return *self = Self::new() };
        let longest = after(now, rate.interval());
        for next in self.every_next() {
            *next = longest.min(*next);
        }
    }

    /// Notes that a delivery has its turn.
    pub(super) fn begun(&mut self, id: DeliveryId, rate: Rate, now: Timestamp) {
        let earliest = now.checked_sub(RATE_SLACK).unwrap_or(now);
        for next in self.every_next() {
            *next = after(earliest.max(*next), rate.interval());
        }
        self.taken.push(Turn { id, next_behind: Timestamp::MIN });
    }

    /// Notes that a turn is over, and whether something was attempted in it.
    pub(super) fn ended(&mut self, id: DeliveryId, attempted: bool, rate: Rate) {
        let Some(place) = self.taken.iter().position(|turn| turn.id == id) else { return };
        let Turn { next_behind, .. } = self.taken.remove(place);
        if attempted {
            return;
        }
        let before = self.taken.iter_mut().take(place).map(|turn| &mut turn.next_behind);
        for next in before.chain([&mut self.next]) {
            *next = next.checked_sub(rate.interval()).unwrap_or(Timestamp::MIN).max(next_behind);
        }
    }

    fn every_next(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        self.taken.iter_mut().map(|turn| &mut turn.next_behind).chain([&mut self.next])
    }
}
