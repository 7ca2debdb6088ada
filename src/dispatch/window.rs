//! The part of a postback's schedule that is held in memory: the earliest due deliveries, the rest on disk.
//!
//! Pure. Holds at most a bounded number; knows whether there is more behind them, and where.

use std::collections::BTreeSet;

use crate::outbox::Due;

/// Most deliveries held in memory for one postback and class.
pub const WINDOW: usize = 1_024;

/// The earliest scheduled deliveries of one postback and class.
#[derive(Debug)]
pub(crate) struct Window {
    /// Most deliveries held; with fewer than a quarter of it, the window is filled from disk.
    bound: usize,
    held: BTreeSet<Due>,
    /// Behind this, deliveries are on disk only; `None` when memory holds all of them.
    horizon: Horizon,
    filling: Filling,
}

/// From where the disk is to be read: behind a delivery, or from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadFrom(pub(crate) Option<Due>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Horizon {
    /// Memory holds everything.
    None,
    /// Memory holds everything up to and with this one; `None` inside means nothing is known yet.
    Behind(Option<Due>),
}

#[derive(Debug, PartialEq, Eq)]
enum Filling {
    Idle,
    /// A read of the disk is under way.
    Reading {
        /// The earliest that was left on disk since the read began: it may not be part of what is read.
        missed: Option<Due>,
        /// What was sent since the read began: it may still be part of what is read.
        sent: BTreeSet<Due>,
    },
    /// A read of the disk is under way whose answer is of no use any more.
    Discarding,
}

impl Window {
    /// A window of which nothing is known: the disk has to be read first.
    pub(crate) fn bounded(bound: usize) -> Self {
        Self { bound, held: BTreeSet::new(), horizon: Horizon::Behind(None), filling: Filling::Idle }
    }

    fn low_water(&self) -> usize {
        (self.bound / 4).max(1)
    }

    fn is_behind(&self, due: &Due) -> bool {
        match self.horizon {
            Horizon::None => false,
            Horizon::Behind(None) => true,
            Horizon::Behind(Some(last)) => *due > last,
        }
    }

    /// Takes in a newly scheduled delivery, or leaves it on disk.
    pub(crate) fn arrived(&mut self, due: Due) {
        if self.is_behind(&due) {
            self.left_on_disk(due);
            return;
        }
        self.held.insert(due);
        self.shrink();
    }

    fn left_on_disk(&mut self, due: Due) {
        if let Filling::Reading { missed, .. } = &mut self.filling {
            *missed = Some(missed.map_or(due, |earliest| earliest.min(due)));
        }
    }

    /// Notes that a delivery taken out of here is not in flight any more.
    pub(crate) fn sent(&mut self, due: Due) {
        if let Filling::Reading { sent, .. } = &mut self.filling {
            sent.insert(due);
        }
    }

    fn shrink(&mut self) {
        while self.held.len() > self.bound {
            let Some(latest) = self.held.pop_last() else { return };
            self.left_on_disk(latest);
            let last = self.held.last().copied();
            self.horizon = match self.horizon {
                Horizon::Behind(known) => Horizon::Behind(known.min(last)),
                Horizon::None => Horizon::Behind(last),
            };
        }
    }

    /// Notes that something may be missing here: the disk is read from its start. What is held may go out meanwhile.
    pub(crate) fn incomplete(&mut self) {
        self.horizon = Horizon::Behind(None);
        if self.filling != Filling::Idle {
            self.filling = Filling::Discarding;
        }
    }

    /// Whether the disk should be read now; if so, from where.
    pub(crate) fn wants_filling(&mut self) -> Option<ReadFrom> {
        match (self.horizon, &self.filling) {
            (Horizon::Behind(last), Filling::Idle) if last.is_none() || self.held.len() < self.low_water() => {
                self.filling = Filling::Reading { missed: None, sent: BTreeSet::new() };
                Some(ReadFrom(last))
            }
            _ => None,
        }
    }

    /// Takes in what was read from disk behind the horizon.
    pub(crate) fn filled(
        &mut self,
        due: impl IntoIterator<Item = Due>,
        complete: bool,
        is_busy: impl Fn(&Due) -> bool,
    ) {
        let (missed, sent) = match std::mem::replace(&mut self.filling, Filling::Idle) {
            Filling::Discarding => return,
            Filling::Reading { missed, sent } => (missed, sent),
            Filling::Idle => (None, BTreeSet::new()),
        };
        let mut last = match self.horizon {
            Horizon::Behind(last) => last,
            Horizon::None => None,
        };
        // What lies behind an arrival that may be missing here is read again, with that arrival.
        for due in due.into_iter().filter(|due| missed.is_none_or(|missed| *due < missed)) {
            last = last.max(Some(due));
            if !sent.contains(&due) && !is_busy(&due) {
                self.held.insert(due);
            }
        }
        let known = Horizon::Behind(last);
        self.horizon = if complete && missed.is_none() { Horizon::None } else { known };
        self.shrink();
    }

    /// Ends a read of the disk that failed; it is tried again.
    pub(crate) fn filling_failed(&mut self) {
        self.filling = Filling::Idle;
    }

    /// The earliest delivery.
    pub(crate) fn first(&self) -> Option<&Due> {
        self.held.first()
    }

    /// Takes the earliest delivery out.
    pub(crate) fn pop(&mut self) -> Option<Due> {
        self.held.pop_first()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{DeliveryId, EventId};
    use crate::outbox::SendClass;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn due(at: i64) -> Due {
        let id = DeliveryId { event: EventId::from_u64(at.unsigned_abs()), ordinal: 0 };
        Due { at: Timestamp::from_second(at).unwrap(), id, postback: 1, class: SendClass::First }
    }

    fn filled(all: &[i64], complete: bool) -> Window {
        let mut window = Window::bounded(WINDOW);
        assert_eq!(window.wants_filling(), Some(ReadFrom(None)));
        window.filled(all.iter().map(|at| due(*at)), complete, |_| false);
        window
    }

    #[test]
    fn a_complete_window_takes_every_arrival() {
        let mut window = filled(&[5], true);
        window.arrived(due(9));
        window.arrived(due(1));
        assert_eq!(
            [window.pop(), window.pop(), window.pop(), window.pop()],
            [Some(due(1)), Some(due(5)), Some(due(9)), None]
        );
        assert_eq!(window.wants_filling(), None);
    }

    #[test]
    fn what_lies_behind_the_horizon_stays_on_disk_until_it_is_read() {
        let mut window = filled(&[5], false);
        window.arrived(due(9));
        assert_eq!((window.pop(), window.pop()), (Some(due(5)), None));
        assert_eq!(window.wants_filling(), Some(ReadFrom(Some(due(5)))));
        window.filled([due(9)], true, |_| false);
        assert_eq!(window.pop(), Some(due(9)));
    }

    #[test]
    fn an_arrival_during_a_read_is_not_lost() {
        let mut window = filled(&[5], false);
        window.pop();
        assert!(window.wants_filling().is_some());
        window.arrived(due(9));
        window.filled([], true, |_| false);
        assert_eq!(window.wants_filling(), Some(ReadFrom(Some(due(5)))), "the read is repeated");
        window.filled([due(9)], true, |_| false);
        assert_eq!(window.pop(), Some(due(9)));
    }

    #[test]
    fn a_window_over_its_bound_leaves_the_latest_on_disk() {
        let mut window = filled(&[], true);
        let most = i64::try_from(WINDOW).unwrap();
        for at in 0..=most {
            window.arrived(due(at));
        }
        assert_eq!(window.len(), WINDOW);
        window.arrived(due(most + 5));
        assert_eq!(window.len(), WINDOW);
        for _ in 0..WINDOW {
            window.pop();
        }
        assert_eq!(window.wants_filling(), Some(ReadFrom(Some(due(most - 1)))));
    }

    #[test]
    fn deliveries_in_flight_are_not_taken_in_again() {
        let mut window = Window::bounded(WINDOW);
        window.wants_filling();
        window.filled([due(1), due(2)], true, |found| *found == due(1));
        assert_eq!((window.pop(), window.pop()), (Some(due(2)), None));
    }

    #[test]
    fn an_overflow_during_a_read_is_not_lost() {
        let mut window = Window::bounded(8);
        window.wants_filling();
        window.filled((10..14).map(due), false, |_| false);
        while window.len() > 0 {
            window.pop();
        }
        window.arrived(due(9));
        assert_eq!(window.wants_filling(), Some(ReadFrom(Some(due(13)))));
        for at in 1..=8 {
            window.arrived(due(at));
        }
        window.filled([], true, |_| false);
        for at in 1..=8 {
            assert_eq!(window.pop(), Some(due(at)));
        }
        assert_eq!(
            window.wants_filling(),
            Some(ReadFrom(Some(due(8)))),
            "9 was left on disk, so the disk is read from there"
        );
    }

    #[test]
    fn what_was_sent_during_a_read_is_not_taken_in_again() {
        let mut window = filled(&[5], true);
        assert_eq!(window.pop(), Some(due(5)));
        window.incomplete();
        assert_eq!(window.wants_filling(), Some(ReadFrom(None)));
        window.sent(due(5));
        window.filled([due(5), due(6)], true, |_| false);
        assert_eq!((window.pop(), window.pop()), (Some(due(6)), None));
    }

    #[test]
    fn a_window_in_doubt_goes_on_with_what_it_holds() {
        let mut window = filled(&[5], true);
        window.incomplete();
        assert_eq!(window.first(), Some(&due(5)));
        assert_eq!(window.wants_filling(), Some(ReadFrom(None)));
        window.filled([due(3), due(5)], true, |_| false);
        assert_eq!([window.pop(), window.pop(), window.pop()], [Some(due(3)), Some(due(5)), None]);
    }

    proptest! {
        /// Whatever the order of arrivals, overflows, reads and pops, every delivery on disk is popped in the end.
        #[test]
        fn nothing_scheduled_is_ever_forgotten(steps in proptest::collection::vec((0..6_u8, 0..50_i64), 1..200)) {
            let mut window = Window::bounded(8);
            let mut disk = BTreeSet::new();
            let mut reading: Option<(Vec<Due>, bool)> = None;
            let mut popped = BTreeSet::new();
            let read = |disk: &BTreeSet<Due>, after: Option<Due>, limit: usize| {
                let rest: Vec<Due> = disk.iter().filter(|d| after.is_none_or(|a| **d > a)).copied().collect();
                let complete = rest.len() <= limit;
                (rest.into_iter().take(limit).collect::<Vec<_>>(), complete)
            };
            for (step, at) in steps {
                match step {
                    0 | 1 => { if !popped.contains(&due(at)) { disk.insert(due(at)); window.arrived(due(at)); } }
                    2 => { if !popped.contains(&due(at)) { disk.insert(due(at)); window.incomplete(); } }
                    3 => { if reading.is_none() && let Some(ReadFrom(after)) = window.wants_filling() { reading = Some(read(&disk, after, 3)); } }
                    4 => { if let Some((found, complete)) = reading.take() { window.filled(found, complete, |d| popped.contains(d)); } }
                    _ => { if let Some(found) = window.pop() { disk.remove(&found); popped.insert(found); } }
                }
            }
            if let Some((found, complete)) = reading.take() { window.filled(found, complete, |d| popped.contains(d)); }
            for _ in 0..1_000 {
                if let Some(ReadFrom(after)) = window.wants_filling() {
                    let (found, complete) = read(&disk, after, 3);
                    window.filled(found, complete, |_| false);
                }
                if let Some(found) = window.pop() { disk.remove(&found); }
            }
            prop_assert!(disk.is_empty(), "left on disk: {disk:?}");
        }
    }
}
