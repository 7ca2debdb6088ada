//! The feed of attempts: the latest are kept for who comes late, and each is told to whoever listens.
//!
//! Telling never waits: a listener that is too slow misses some, and is told so. What is kept and what is on its way
//! to listeners is shared by all of them, and bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::attempt::{AttemptNote, AttemptObserver};
use super::seen::SeenAttempt;
use crate::ops::clock::SharedClock;

/// Attempts kept for who comes late.
pub const KEPT: usize = 1_000;
/// Attempts that a listener may be behind before it misses some.
const BEHIND: usize = 1_024;

/// An attempt with its place in the feed.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Rises with each attempt, also over a restart: microseconds, made unique. A count would tell those who may see
    /// few of them how many there are.
    pub place: u64,
    /// The attempt.
    pub attempt: SeenAttempt,
}

/// Where a listener begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the next attempt.
    Now,
    /// With all that is kept.
    Kept,
    /// Behind a place, where it was interrupted.
    Behind(u64),
}

/// Where attempts are told.
#[derive(Debug)]
pub struct Feed {
    clock: SharedClock,
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Told>>,
}

#[derive(Debug)]
struct Kept {
    attempts: VecDeque<Arc<Told>>,
    /// The last place of which it is not known here what stood there.
    forgotten: u64,
    last: u64,
}

/// Somebody who listens.
#[derive(Debug)]
pub struct Listener {
    backlog: VecDeque<Arc<Told>>,
    live: broadcast::Receiver<Arc<Told>>,
    /// Whether what came behind its place is no longer kept.
    missed_before: bool,
    /// The place behind which attempts are live: to be said once all that was kept is told.
    begins: u64,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An attempt.
    Attempt(Arc<Told>),
    /// It missed so many, or nobody knows how many.
    Missed(Option<u64>),
}

impl Feed {
    /// A feed that begins now.
    pub fn new(clock: SharedClock) -> Self {
        let mut kept = Kept { attempts: VecDeque::with_capacity(KEPT), forgotten: 0, last: 0 };
        kept.forgotten = kept.next_place(&clock);
        Self { clock, kept: Mutex::new(kept), live: broadcast::Sender::new(BEHIND) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens; nothing is missed and nothing told twice between what is kept and what follows.
    pub fn listen(&self, from: Begin) -> Listener {
        let mut kept = self.kept();
        // A place of its own: that of the last attempt would tell when somebody else's was made.
        let begins = kept.next_place(&self.clock);
        let behind = match from {
            Begin::Now => begins,
            Begin::Kept => 0,
            Begin::Behind(place) => place,
        };
        let start = kept.attempts.partition_point(|told| told.place <= behind);
        Listener {
            backlog: kept.attempts.range(start..).cloned().collect(),
            live: self.live.subscribe(),
            missed_before: matches!(from, Begin::Behind(place) if place < kept.forgotten),
            begins,
        }
    }
}

impl Kept {
    fn next_place(&mut self, clock: &SharedClock) -> u64 {
        let now = u64::try_from(clock.now().as_microsecond()).unwrap_or(0);
        self.last = now.max(self.last + 1);
        self.last
    }
}

impl AttemptObserver for Feed {
    fn attempted(&self, note: &AttemptNote) {
        let attempt = SeenAttempt::new(note);
        let mut kept = self.kept();
        let place = kept.next_place(&self.clock);
        let told = Arc::new(Told { place, attempt });
        if kept.attempts.len() == KEPT
            && let Some(oldest) = kept.attempts.pop_front()
        {
            kept.forgotten = oldest.place;
        }
        kept.attempts.push_back(Arc::clone(&told));
        // Under the lock, so that listeners hear the order of places. That nobody listens is no fault.
        let _ = self.live.send(told);
    }
}

impl Listener {
    /// Leaves out all that was kept but what is wanted, and of that the last ones only.
    pub fn keep_last(&mut self, most: usize, wanted: impl Fn(&SeenAttempt) -> bool) {
        self.backlog.retain(|told| wanted(&told.attempt));
        let surplus = self.backlog.len().saturating_sub(most);
        self.backlog.drain(..surplus);
    }

    /// The place that it has reached, once that is known: when all that was kept is told.
    pub fn reached(&self) -> Option<u64> {
        (self.backlog.is_empty() && !self.missed_before).then_some(self.begins)
    }

    /// What comes next; `None` once nothing more can come.
    pub async fn next(&mut self) -> Option<Heard> {
        if std::mem::take(&mut self.missed_before) {
            return Some(Heard::Missed(None));
        }
        if let Some(told) = self.backlog.pop_front() {
            return Some(Heard::Attempt(told));
        }
        match self.live.recv().await {
            Ok(told) => Some(Heard::Attempt(told)),
            Err(RecvError::Lagged(missed)) => Some(Heard::Missed(Some(missed))),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::AttemptFilter;
    use crate::dispatch::attempt::tests::note;
    use crate::domain::outcome::Outcome;
    use crate::fixtures::now;
    use crate::ops::clock::Clock;

    #[derive(Debug)]
    struct Stopped(jiff::Timestamp);

    impl Clock for Stopped {
        fn now(&self) -> jiff::Timestamp {
            self.0
        }
    }

    fn feed_after(seconds: u64) -> Feed {
        Feed::new(Arc::new(Stopped(now() + std::time::Duration::from_secs(seconds))))
    }

    fn told(feed: &Feed, number: u32) {
        feed.attempted(&AttemptNote { number, ..note(Outcome::Retry) });
    }

    /// What a listener hears until nothing more is there.
    fn heard(listener: &mut Listener) -> Vec<Result<u32, Option<u64>>> {
        use futures_util::FutureExt as _;
        let mut all = Vec::new();
        while let Some(Some(heard)) = listener.next().now_or_never() {
            all.push(match heard {
                Heard::Attempt(told) => Ok(told.attempt.number),
                Heard::Missed(count) => Err(count),
            });
        }
        all
    }

    #[tokio::test]
    async fn who_comes_late_hears_what_is_kept_and_goes_on_without_a_gap() {
        let feed = feed_after(0);
        (1..=3).for_each(|number| told(&feed, number));
        let (mut fresh, mut late) = (feed.listen(Begin::Now), feed.listen(Begin::Kept));
        told(&feed, 4);
        assert_eq!(heard(&mut fresh), [Ok(4)]);
        assert_eq!(heard(&mut late), [Ok(1), Ok(2), Ok(3), Ok(4)]);
        let mut last = feed.listen(Begin::Kept);
        last.keep_last(2, |attempt| attempt.number != 3);
        assert_eq!(heard(&mut last), [Ok(2), Ok(4)]);
        let Some(Heard::Attempt(second)) = feed.listen(Begin::Kept).next().await else { panic!("there are four") };
        assert_eq!(heard(&mut feed.listen(Begin::Behind(second.place))), [Ok(2), Ok(3), Ok(4)]);
    }

    #[test]
    fn who_was_away_too_long_or_over_a_restart_is_told_that_some_may_be_missing() {
        let feed = feed_after(0);
        told(&feed, 1);
        let place = feed.kept().last;
        (2..=u32::try_from(KEPT).unwrap() + 1).for_each(|number| told(&feed, number));
        let resumed = heard(&mut feed.listen(Begin::Behind(place)));
        assert_eq!((resumed.len(), resumed[0]), (KEPT, Ok(2)), "all of it is kept, just so");
        told(&feed, 0);
        let resumed = heard(&mut feed.listen(Begin::Behind(place)));
        assert_eq!((resumed.len(), resumed[0], resumed[1]), (KEPT + 1, Err(None), Ok(3)));

        let restarted = feed_after(60);
        told(&restarted, 1);
        assert_eq!(heard(&mut restarted.listen(Begin::Behind(place))), [Err(None), Ok(1)]);
    }

    #[test]
    fn who_is_slow_holds_nobody_up_and_is_told_how_many_he_missed() {
        let feed = feed_after(0);
        let mut slow = feed.listen(Begin::Now);
        (0..3_000).for_each(|number| told(&feed, number));
        let kept = u32::try_from(BEHIND).unwrap();
        let all = heard(&mut slow);
        assert_eq!((all.len(), all[0], all[1]), (BEHIND + 1, Err(Some(3_000 - u64::from(kept))), Ok(3_000 - kept)));
        assert_eq!(feed.kept().attempts.len(), KEPT);
    }

    #[test]
    fn each_condition_of_a_filter_counts() {
        let feed = feed_after(0);
        told(&feed, 1);
        let attempt = &feed.kept().attempts[0].attempt.clone();
        let set = |change: fn(&mut AttemptFilter)| {
            let mut filter = AttemptFilter::default();
            change(&mut filter);
            filter.matches(attempt)
        };
        let met: [fn(&mut AttemptFilter); 6] = [
            |_| (),
            |filter| filter.affiliate = Some("acme".into()),
            |filter| filter.postback = Some("conversions".into()),
            |filter| filter.kind = Some("ftd".into()),
            |filter| filter.transaction = Some("dep-1".into()),
            |filter| filter.outcome = Some(Outcome::Retry),
        ];
        let unmet: [fn(&mut AttemptFilter); 9] = [
            |filter| filter.affiliate = Some("beta".into()),
            |filter| filter.postback = Some("x".into()),
            |filter| filter.kind = Some("x".into()),
            |filter| filter.transaction = Some("x".into()),
            |filter| filter.click = Some("x".into()),
            |filter| filter.outcome = Some(Outcome::Delivered),
            |filter| filter.http_status = Some(200),
            |filter| filter.state = Some(crate::domain::delivery::StateKind::Dead),
            |filter| filter.reason = Some("exhausted".into()),
        ];
        assert_eq!((met.map(set), unmet.map(set)), ([true; 6], [false; 9]));
    }
}
