//! What systemd is told while the daemon works: that it makes progress, and only then.
//!
//! A process that is there is not one that works. The watchdog is fed where a commit has gone through the queue, both
//! commit threads and a sync of the disk, and the dispatcher's task has taken a turn, each within a bound; it runs on the
//! runtime itself, so that one that hangs feeds nothing either.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::dispatch::Dispatch;
use crate::ops::systemd;
use crate::outbox::Outbox;

/// How often systemd is asked for patience while the store is opened, and for how much: more than one may be lost.
const ASK_EVERY: Duration = Duration::from_secs(20);
const ASK_FOR: Duration = Duration::from_mins(1);

/// Asks systemd for patience until it is dropped, or told to `stop`: how long a store takes to open depends on its size,
/// and on what a crash has left. A disk that hangs is waited for, too, since nobody could end a process that waits for it.
pub(super) fn ask_for_patience(stop: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    systemd::opening(ASK_FOR);
    let asking = async {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            systemd::opening(ASK_FOR);
        }
    };
    AbortOnDropHandle::new(tokio::spawn(async {
        tokio::select! {
            () = asking => {}
            () = stop => {}
        }
    }))
}

/// How often to look, and how long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    every: Duration,
    bound: Duration,
}

impl Pace {
    /// The pace for a limit: a pause and the longest answer together leave a quarter of it to spare.
    pub(super) fn of(limit: Duration) -> Self {
        Self { every: limit / 4, bound: limit / 2 }
    }
}

/// What has answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    commit: bool,
    dispatcher: bool,
    /// No new sends: the dispatcher only waits for those in flight, and answers nobody.
    stopping: bool,
}

impl Look {
    /// What stands still; `None` where there is progress.
    fn standstill(self) -> Option<&'static str> {
        match (self.commit, self.dispatcher || self.stopping) {
            (true, true) => None,
            (false, true) => Some("commit"),
            (true, false) => Some("dispatch"),
            (false, false) => Some("commit and dispatch"),
        }
    }
}

/// Those who are asked.
#[derive(Debug)]
pub(super) struct Probes {
    outbox: Outbox,
    dispatch: Dispatch,
    stop: CancellationToken,
}

impl Probes {
    /// Probes of a daemon whose dispatcher ends with `stop`.
    pub(super) fn new(outbox: &Outbox, dispatch: &Dispatch, stop: &CancellationToken) -> Self {
        Self { outbox: outbox.clone(), dispatch: dispatch.clone(), stop: stop.clone() }
    }

    async fn look(&self, bound: Duration) -> Look {
        let commit = timeout(bound, self.outbox.probe());
        let dispatcher = timeout(bound, self.dispatch.answers());
        let (commit, dispatcher) = futures_util::future::join(commit, dispatcher).await;
        Look {
            commit: matches!(commit, Ok(Ok(()))),
            dispatcher: matches!(dispatcher, Ok(true)),
            stopping: self.stop.is_cancelled(),
        }
    }
}

/// Feeds the watchdog for as long as it runs and there is progress.
pub(super) async fn run(probes: Probes, pace: Pace, feed: impl Fn()) {
    let mut ticks = interval(pace.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probes.look(pace.bound).await.standstill() {
            None => feed(),
            Some(what) => tracing::error!(what, bound = ?pace.bound, "watchdog.not_fed: it has made no progress"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex, PoisonError};

    use jiff::Timestamp;
    use tokio::sync::watch;

    use super::*;
    use crate::dispatch::{self, Parts, Routing};
    use crate::domain::plan::Affiliates;
    use crate::ops::clock::{Clock, SystemClock};
    use crate::outbox::{Batch, Engine, EngineError, MemoryEngine, Options, Pairs};
    use crate::transport::{EgressPolicy, Transport, TransportOptions};

    /// Longer than anything takes that does not hang.
    const LONG: Duration = Duration::from_secs(30);
    /// How long something that hangs is waited for.
    const SHORT: Duration = Duration::from_millis(100);

    /// Lets nobody through while it is shut.
    #[derive(Debug, Default)]
    struct Gate {
        shut: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        fn pass(&self) {
            let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.opened.wait_while(shut, |shut| *shut));
        }

        fn set(&self, shut: bool) {
            *self.shut.lock().unwrap() = shut;
            self.opened.notify_all();
        }
    }

    /// A disk that can be made to hang, in writes or in syncs.
    #[derive(Debug, Default)]
    struct Disk {
        memory: MemoryEngine,
        applied: AtomicUsize,
        syncing: Gate,
    }

    impl Engine for Disk {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
            self.memory.get(key)
        }
        fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
            self.memory.scan(from, to)
        }
        fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
            self.memory.scan_back(from, to)
        }
        fn apply(&self, batch: Batch) -> Result<(), EngineError> {
            self.applied.fetch_add(1, Ordering::Relaxed);
            self.memory.apply(batch)
        }
        fn sync(&self) -> Result<(), EngineError> {
            self.syncing.pass();
            self.memory.sync()
        }
        fn disk_bytes(&self) -> Result<u64, EngineError> {
            self.memory.disk_bytes()
        }
    }

    /// A clock that can be made to hang, and with it the dispatcher's task, which asks for the time in every turn.
    #[derive(Debug, Default)]
    struct HangingClock(Gate);

    impl Clock for HangingClock {
        fn now(&self) -> Timestamp {
            self.0.pass();
            SystemClock.now()
        }
    }

    struct World {
        disk: Arc<Disk>,
        clock: Arc<HangingClock>,
        probes: Probes,
        _routing: watch::Sender<Arc<Routing>>,
    }

    impl World {
        fn new() -> Self {
            let (disk, clock) = (Arc::new(Disk::default()), Arc::new(HangingClock::default()));
            let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
            let outbox = Outbox::open(Arc::clone(&disk) as Arc<_>, options).unwrap();
            let egress = EgressPolicy { allow: Vec::new(), ports: Vec::new() };
            let wire = Arc::new(Transport::new(&TransportOptions { egress, response_cap: 1 }).unwrap());
            let (routing, watched) =
                watch::channel(Arc::new(Routing { affiliates: Affiliates::default(), slots: 1, wire }));
            let stop = CancellationToken::new();
            let parts = Parts {
                outbox: outbox.clone(),
                clock: Arc::clone(&clock) as Arc<_>,
                routing: watched,
                stop: stop.clone(),
                observers: Vec::new(),
                window: dispatch::WINDOW,
            };
            let (dispatch, _) = dispatch::start(parts);
            Self { disk, clock, probes: Probes::new(&outbox, &dispatch, &stop), _routing: routing }
        }
    }

    #[test]
    fn there_is_progress_where_all_that_should_answer_does() {
        let standstill = |commit, dispatcher, stopping| Look { commit, dispatcher, stopping }.standstill();
        assert_eq!(standstill(true, true, false), None);
        assert_eq!(standstill(false, true, false), Some("commit"));
        assert_eq!(standstill(true, false, false), Some("dispatch"));
        assert_eq!(standstill(false, false, false), Some("commit and dispatch"));
        assert_eq!(standstill(true, false, true), None);
        assert_eq!(standstill(false, false, true), Some("commit"));
    }

    #[test]
    fn the_slowest_good_answer_comes_before_the_limit() {
        let limit = Duration::from_mins(1);
        let Pace { every, bound } = Pace::of(limit);
        assert_eq!(limit.checked_sub(every + bound), Some(Duration::from_secs(15)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_disk_that_hangs_is_no_progress_and_a_probe_writes_nothing() {
        let world = World::new();
        let before = world.disk.applied.load(Ordering::Relaxed);
        assert_eq!(world.probes.look(LONG).await.standstill(), None);
        world.disk.syncing.set(true);
        assert_eq!(world.probes.look(SHORT).await.standstill(), Some("commit"));
        world.disk.syncing.set(false);
        assert_eq!(world.probes.look(LONG).await.standstill(), None);
        assert_eq!(world.disk.applied.load(Ordering::Relaxed), before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_dispatcher_that_hangs_is_no_progress_until_it_is_to_stop() {
        let world = World::new();
        assert_eq!(world.probes.look(LONG).await.standstill(), None);
        world.clock.0.set(true);
        // The turn that it is in may still be answered; the next is not.
        let _ = timeout(SHORT, world.probes.dispatch.answers()).await;
        assert_eq!(world.probes.look(SHORT).await.standstill(), Some("dispatch"));
        world.clock.0.set(false);
        assert_eq!(world.probes.look(LONG).await.standstill(), None);
        world.probes.stop.cancel();
        world.clock.0.set(true);
        assert_eq!(world.probes.look(SHORT).await.standstill(), None);
        world.clock.0.set(false);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_watchdog_is_fed_again_and_again_and_goes_hungry_while_the_disk_hangs() {
        let world = World::new();
        let disk = Arc::clone(&world.disk);
        let (fed, mut feeds) = tokio::sync::mpsc::unbounded_channel();
        let pace = Pace { every: Duration::from_millis(1), bound: SHORT };
        let feeding = AbortOnDropHandle::new(tokio::spawn(run(world.probes, pace, move || {
            let _ = fed.send(());
        })));
        for _ in 0..3 {
            timeout(LONG, feeds.recv()).await.expect("a feed").unwrap();
        }
        disk.syncing.set(true);
        // What was on its way when the disk began to hang may still come, once.
        let hungry = async { while timeout(4 * SHORT, feeds.recv()).await.is_ok() {} };
        timeout(LONG, hungry).await.expect("no feeds while the disk hangs");
        disk.syncing.set(false);
        timeout(LONG, feeds.recv()).await.expect("a feed once the disk works").unwrap();
        drop(feeding);
    }
}
