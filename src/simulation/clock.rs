//! The time of a story: true time is the runtime's, which moves only when everybody waits; the wall clock may be wrong.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::fixtures;
use crate::ops::clock::{Clock, monotonic};

/// A wall clock that can be set, over a true time that goes on from one life of the daemon to the next.
#[derive(Debug)]
pub(super) struct StoryClock(Mutex<Hands>);

#[derive(Debug)]
struct Hands {
    /// What the wall clock shows when the story begins.
    begins: Timestamp,
    /// The true time of earlier lives.
    earlier: Duration,
    /// When this life began, by its own runtime.
    began: Option<Instant>,
    error: SignedDuration,
    set_at: Option<Duration>,
}

impl Hands {
    fn elapsed(&self) -> Duration {
        self.earlier + self.began.map_or(Duration::ZERO, |began| monotonic().duration_since(began))
    }
}

impl StoryClock {
    pub(super) fn new() -> Self {
        let begins = fixtures::now();
        let (earlier, error) = (Duration::ZERO, SignedDuration::ZERO);
        Self(Mutex::new(Hands { begins, earlier, began: None, error, set_at: None }))
    }

    fn hands(&self) -> std::sync::MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a life of the daemon; called on its runtime.
    pub(super) fn begin_life(&self) {
        self.hands().began = Some(monotonic());
    }

    /// Ends a life of the daemon; called on its runtime.
    pub(super) fn end_life(&self) {
        let mut hands = self.hands();
        hands.earlier = hands.elapsed();
        hands.began = None;
    }

    /// True time since the story began.
    pub(super) fn elapsed(&self) -> Duration {
        self.hands().elapsed()
    }

    /// Sets the wall clock forward or back.
    pub(super) fn set(&self, by: SignedDuration) {
        let mut hands = self.hands();
        hands.error += by;
        hands.set_at = Some(hands.elapsed());
    }

    /// Whether the wall clock was set within a time.
    pub(super) fn was_set_within(&self, time: Duration) -> bool {
        let hands = self.hands();
        hands.set_at.is_some_and(|at| hands.elapsed().saturating_sub(at) <= time)
    }
}

impl Clock for StoryClock {
    fn now(&self) -> Timestamp {
        let hands = self.hands();
        hands.begins + hands.elapsed() + hands.error
    }
}
