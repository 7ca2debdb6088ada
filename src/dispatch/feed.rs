//! The feed of attempts: the latest are kept for who comes late, and each is told to whoever listens.
//!
//! Telling never waits: a listener that is too slow misses some, and is told so. What is kept and what is on its way
//! to listeners is shared by all of them, and bounded.
//!
//! Whoever may see some affiliates only is served from what is kept of each of these alone: what he is told, and that
//! he missed some, would tell him else how much everybody is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::attempt::{AttemptNote, AttemptObserver};
use super::seen::SeenAttempt;
use crate::domain::id::AffiliateId;
use crate::ops::clock::SharedClock;

/// Attempts kept for who comes late.
pub const KEPT: usize = 1_000;
/// Attempts kept of each affiliate for who may see some affiliates only.
pub const KEPT_OWN: usize = 64;
/// Affiliates of which some are kept so.
const MAX_AFFILIATES: usize = 1_000;
/// Attempts that a listener may be behind before it misses some.
const BEHIND: usize = 1_024;

/// An attempt with its place in the feed.
#[derive(Debug)]
pub struct Told {
    /// Rises with each attempt, also over a restart: microseconds, made unique. A count would tell those who may see
    /// few of them how many there are.
    pub place: u64,
    note: Arc<AttemptNote>,
    seen: OnceLock<SeenAttempt>,
}

impl Told {
    /// The attempt in short. Made for the first who wants it: mostly nobody does.
    pub fn attempt(&self) -> &SeenAttempt {
        self.seen.get_or_init(|| SeenAttempt::new(&self.note))
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Told {}

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
    kept: Arc<Mutex<Kept>>,
    live: broadcast::Sender<Arc<Told>>,
}

/// The attempts that are kept.
#[derive(Debug)]
struct Kept {
    all: Latest,
    /// Of each affiliate.
    own: BTreeMap<AffiliateId, Latest>,
    /// The place behind which the feed began: what stood before is not known here.
    began: u64,
    last: u64,
}

/// The latest of some attempts.
#[derive(Debug)]
struct Latest {
    attempts: VecDeque<Arc<Told>>,
    /// The last place of which it is not known here what stood there.
    forgotten: u64,
}

/// Somebody who listens.
#[derive(Debug)]
pub struct Listener {
    backlog: VecDeque<Arc<Told>>,
    live: broadcast::Receiver<Arc<Told>>,
    /// What is kept, and of which affiliates he may see it, where that is not all.
    narrowed: Option<(Arc<Mutex<Kept>>, BTreeSet<AffiliateId>)>,
    /// Whether what came behind its place is no longer kept.
    missed_before: bool,
    /// The place behind which attempts are live: to be said once all that was kept is told.
    begins: u64,
    /// The last place that was heard.
    heard: u64,
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
        let mut kept = Kept { all: Latest::behind(0), own: BTreeMap::new(), began: 0, last: 0 };
        kept.began = kept.next_place(&clock);
        kept.all.forgotten = kept.began;
        Self { clock, kept: Arc::new(Mutex::new(kept)), live: broadcast::Sender::new(BEHIND) }
    }

    /// Listens; nothing is missed and nothing told twice between what is kept and what follows. Who may see some
    /// affiliates only says which; what is live has others' attempts, too.
    pub fn listen(&self, from: Begin, only: Option<&BTreeSet<AffiliateId>>) -> Listener {
        let mut kept = lock(&self.kept);
        // A place of its own: that of the last attempt would tell when somebody else's was made.
        let begins = kept.next_place(&self.clock);
        let behind = match from {
            Begin::Now => begins,
            Begin::Kept => 0,
            Begin::Behind(place) => place,
        };
        let (backlog, forgotten) = kept.behind(behind, only);
        Listener {
            backlog,
            live: self.live.subscribe(),
            narrowed: only.map(|only| (Arc::clone(&self.kept), only.clone())),
            missed_before: forgotten && matches!(from, Begin::Behind(_)),
            begins,
            heard: behind,
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn next_place(&mut self, clock: &SharedClock) -> u64 {
        let now = u64::try_from(clock.now().as_microsecond()).unwrap_or(0);
        self.last = now.max(self.last + 1);
        self.last
    }

    fn keep(&mut self, told: &Arc<Told>) {
        self.all.keep(told, KEPT);
        let affiliate = &told.note.postback.affiliate;
        if let Some(own) = self.own.get_mut(affiliate) {
            own.keep(told, KEPT_OWN);
        } else if self.own.len() < MAX_AFFILIATES {
            let own = self.own.entry(affiliate.clone()).or_insert(Latest::behind(self.began));
            own.keep(told, KEPT_OWN);
        }
    }

    /// What is kept of that which came behind a place, and whether more of it came that is not.
    fn behind(&self, place: u64, only: Option<&BTreeSet<AffiliateId>>) -> (VecDeque<Arc<Told>>, bool) {
        let Some(only) = only else { return (self.all.rest(place).cloned().collect(), place < self.all.forgotten) };
        let own = || only.iter().filter_map(|affiliate| self.own.get(affiliate));
        let mut rest: Vec<_> = own().flat_map(|latest| latest.rest(place)).cloned().collect();
        rest.sort_unstable_by_key(|told| told.place);
        // Where there are too many affiliates to keep some of each, it is not known what those were told of whom none is.
        let unknown = self.own.len() >= MAX_AFFILIATES && own().count() < only.len();
        let forgotten = own().any(|latest| place < latest.forgotten);
        (rest.into(), place < self.began || unknown || forgotten)
    }
}

impl Latest {
    fn behind(place: u64) -> Self {
        Self { attempts: VecDeque::new(), forgotten: place }
    }

    fn keep(&mut self, told: &Arc<Told>, most: usize) {
        if self.attempts.len() == most
            && let Some(oldest) = self.attempts.pop_front()
        {
            self.forgotten = oldest.place;
        }
        self.attempts.push_back(Arc::clone(told));
    }

    fn rest(&self, place: u64) -> impl Iterator<Item = &Arc<Told>> {
        self.attempts.range(self.attempts.partition_point(|told| told.place <= place)..)
    }
}

impl AttemptObserver for Feed {
    fn attempted(&self, note: &Arc<AttemptNote>) {
        let mut kept = lock(&self.kept);
        let place = kept.next_place(&self.clock);
        let told = Arc::new(Told { place, note: Arc::clone(note), seen: OnceLock::new() });
        kept.keep(&told);
        // Under the lock, so that listeners hear the order of places. That nobody listens is no fault.
        let _ = self.live.send(told);
    }
}

impl Listener {
    /// Leaves out all that was kept but what is wanted, and of that the last ones only.
    pub fn keep_last(&mut self, most: usize, wanted: impl Fn(&SeenAttempt) -> bool) {
        self.backlog.retain(|told| wanted(told.attempt()));
        let surplus = self.backlog.len().saturating_sub(most);
        self.backlog.drain(..surplus);
    }

    /// The place that it has reached, once that is known: when all that was kept is told.
    pub fn reached(&self) -> Option<u64> {
        (self.backlog.is_empty() && !self.missed_before).then_some(self.begins)
    }

    /// What comes next; `None` once nothing more can come.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if std::mem::take(&mut self.missed_before) {
                return Some(Heard::Missed(None));
            }
            if let Some(told) = self.backlog.pop_front() {
                self.heard = told.place;
                return Some(Heard::Attempt(told));
            }
            self.heard = self.heard.max(self.begins);
            match self.live.recv().await {
                Ok(told) => {
                    self.heard = told.place;
                    return Some(Heard::Attempt(told));
                }
                Err(RecvError::Lagged(missed)) if self.narrowed.is_none() => return Some(Heard::Missed(Some(missed))),
                Err(RecvError::Lagged(_)) => self.catch_up(),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Goes on with what is kept: of what went by, only his own counts for who may see some affiliates only.
    fn catch_up(&mut self) {
        let Some((kept, only)) = &self.narrowed else { return };
        let kept = lock(kept);
        self.live = self.live.resubscribe();
        (self.backlog, self.missed_before) = kept.behind(self.heard, Some(only));
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
        feed.attempted(&Arc::new(AttemptNote { number, ..note(Outcome::Retry) }));
    }

    /// What a listener hears until nothing more is there.
    fn heard(listener: &mut Listener) -> Vec<Result<u32, Option<u64>>> {
        use futures_util::FutureExt as _;
        let mut all = Vec::new();
        while let Some(Some(heard)) = listener.next().now_or_never() {
            all.push(match heard {
                Heard::Attempt(told) => Ok(told.note.number),
                Heard::Missed(count) => Err(count),
            });
        }
        all
    }

    #[tokio::test]
    async fn who_comes_late_hears_what_is_kept_and_goes_on_without_a_gap() {
        let feed = feed_after(0);
        (1..=3).for_each(|number| told(&feed, number));
        let (mut fresh, mut late) = (feed.listen(Begin::Now, None), feed.listen(Begin::Kept, None));
        told(&feed, 4);
        assert_eq!(heard(&mut fresh), [Ok(4)]);
        assert_eq!(heard(&mut late), [Ok(1), Ok(2), Ok(3), Ok(4)]);
        let mut last = feed.listen(Begin::Kept, None);
        last.keep_last(2, |attempt| attempt.number != 3);
        assert_eq!(heard(&mut last), [Ok(2), Ok(4)]);
        let Some(Heard::Attempt(second)) = feed.listen(Begin::Kept, None).next().await else {
            panic!("there are four")
        };
        assert_eq!(heard(&mut feed.listen(Begin::Behind(second.place), None)), [Ok(2), Ok(3), Ok(4)]);
    }

    #[test]
    fn who_was_away_too_long_or_over_a_restart_is_told_that_some_may_be_missing() {
        let feed = feed_after(0);
        told(&feed, 1);
        let place = lock(&feed.kept).last;
        (2..=u32::try_from(KEPT).unwrap() + 1).for_each(|number| told(&feed, number));
        let resumed = heard(&mut feed.listen(Begin::Behind(place), None));
        assert_eq!((resumed.len(), resumed[0]), (KEPT, Ok(2)), "all of it is kept, just so");
        told(&feed, 0);
        let resumed = heard(&mut feed.listen(Begin::Behind(place), None));
        assert_eq!((resumed.len(), resumed[0], resumed[1]), (KEPT + 1, Err(None), Ok(3)));

        let restarted = feed_after(60);
        told(&restarted, 1);
        assert_eq!(heard(&mut restarted.listen(Begin::Behind(place), None)), [Err(None), Ok(1)]);
    }

    #[test]
    fn who_is_slow_holds_nobody_up_and_is_told_how_many_he_missed() {
        let feed = feed_after(0);
        let mut slow = feed.listen(Begin::Now, None);
        (0..3_000).for_each(|number| told(&feed, number));
        let kept = u32::try_from(BEHIND).unwrap();
        let all = heard(&mut slow);
        assert_eq!((all.len(), all[0], all[1]), (BEHIND + 1, Err(Some(3_000 - u64::from(kept))), Ok(3_000 - kept)));
        assert_eq!(lock(&feed.kept).all.attempts.len(), KEPT);
    }

    /// Tells of an attempt to the affiliate of a note, or another one.
    fn told_to(feed: &Feed, affiliate: &str, number: u32) {
        let mut note = AttemptNote { number, ..note(Outcome::Retry) };
        note.postback.affiliate = affiliate.parse().unwrap();
        feed.attempted(&Arc::new(note));
    }

    #[test]
    fn who_is_narrowed_cannot_tell_how_much_others_are_sent() {
        let feed = feed_after(0);
        let acme = BTreeSet::from(["acme".parse().unwrap()]);
        let own = |listener: &mut Listener| -> Vec<_> {
            // Who listens leaves out what others are told of what is live.
            heard(listener).into_iter().filter(|heard| *heard != Ok(0)).collect()
        };
        let beginning = lock(&feed.kept).last;
        told_to(&feed, "acme", 1);
        let place = lock(&feed.kept).last;
        let mut slow = feed.listen(Begin::Now, Some(&acme));
        let loud = u32::try_from(BEHIND + KEPT).unwrap();
        (0..loud).for_each(|_| told_to(&feed, "beta", 0));
        told_to(&feed, "acme", 2);
        assert_eq!(own(&mut feed.listen(Begin::Behind(beginning), Some(&acme))), [Ok(1), Ok(2)]);
        assert_eq!(own(&mut feed.listen(Begin::Behind(place), Some(&acme))), [Ok(2)]);
        assert_eq!(own(&mut feed.listen(Begin::Kept, Some(&acme))), [Ok(1), Ok(2)]);
        assert_eq!(own(&mut slow), [Ok(2)], "nor by being slow");
        told_to(&feed, "beta", 0);
        told_to(&feed, "acme", 3);
        assert_eq!(own(&mut slow), [Ok(3)], "and it goes on live");

        // His own are forgotten, and he is told that.
        let kept = u32::try_from(KEPT_OWN).unwrap();
        (4..=kept + 3).for_each(|number| told_to(&feed, "acme", number));
        let resumed = own(&mut feed.listen(Begin::Behind(place), Some(&acme)));
        assert_eq!((resumed.len(), resumed[0], resumed[1]), (KEPT_OWN + 1, Err(None), Ok(4)));
        assert_eq!(own(&mut slow).len(), KEPT_OWN, "what is live is whole");
        (0..=kept).for_each(|number| told_to(&feed, "acme", 100 + number));
        (0..loud).for_each(|_| told_to(&feed, "beta", 0));
        let resumed = own(&mut slow);
        assert_eq!((resumed.len(), resumed[0], resumed[1]), (KEPT_OWN + 1, Err(None), Ok(101)));
        let both = BTreeSet::from(["acme".parse().unwrap(), "beta".parse().unwrap()]);
        assert_eq!(feed.listen(Begin::Kept, Some(&both)).backlog.len(), 2 * KEPT_OWN);
    }

    #[test]
    fn what_is_kept_of_affiliates_is_bounded() {
        let feed = feed_after(0);
        let began = lock(&feed.kept).last;
        (0..MAX_AFFILIATES).for_each(|n| told_to(&feed, &format!("a{n}"), 1));
        told_to(&feed, "late", 1);
        assert_eq!(lock(&feed.kept).own.len(), MAX_AFFILIATES);
        for (affiliate, expected) in [("a0", vec![Ok(1)]), ("late", vec![Err(None)])] {
            let only = BTreeSet::from([affiliate.parse().unwrap()]);
            assert_eq!(heard(&mut feed.listen(Begin::Behind(began), Some(&only))), expected, "{affiliate}");
        }
    }

    #[test]
    fn each_condition_of_a_filter_counts() {
        let feed = feed_after(0);
        told(&feed, 1);
        let attempt = &lock(&feed.kept).all.attempts[0].attempt().clone();
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
