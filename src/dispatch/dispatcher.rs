//! The dispatcher's task: carries out what the scheduler decides.
//!
//! One task owns the scheduler. Attempts and reads of the disk run beside it and report back; a restart
//! rebuilds all of it from the disk.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::{AttemptObserver, Attempted, Attempter};
use super::breaker::Breaker;
use super::scheduler::{Route, Scheduler, Step};
use crate::domain::affiliate::{Affiliate, Limits};
use crate::domain::id::{AffiliateId, PostbackRef};
use crate::domain::plan::Affiliates;
use crate::domain::postback::{OriginalUnsettled, Postback};
use crate::ops::clock::SharedClock;
use crate::outbox::{Due, Outbox, OutboxError, PostbackNo, Room, SendClass, Window};
use crate::transport::SharedWire;

/// Longest the dispatcher sleeps: a wall clock that is set back or forward is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What the dispatcher takes from the configuration; replaced whole at a reload.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Every affiliate.
    pub affiliates: Affiliates,
    /// Most attempts in flight at once.
    pub slots: usize,
    /// The wire, with its egress policy.
    pub wire: SharedWire,
}

impl Routing {
    /// The postback of a full name.
    pub fn postback(&self, reference: &PostbackRef) -> Option<&Arc<Postback>> {
        let affiliate: &Arc<Affiliate> = self.affiliates.get(&reference.affiliate)?;
        affiliate.postbacks.iter().find(|postback| postback.name == reference.postback)
    }

    fn limits(&self, affiliate: &AffiliateId) -> Limits {
        let unconfigured = Limits { concurrency: 1, rate: None, breaker: None };
        self.affiliates.get(affiliate).map_or(unconfigured, |affiliate| affiliate.limits)
    }
}

/// How an affiliate stands with the dispatcher.
#[derive(Debug, Clone)]
pub struct AffiliateStatus {
    /// The affiliate.
    pub affiliate: AffiliateId,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Its breaker.
    pub breaker: Breaker,
}

enum Report {
    /// These can be sent: they are durable now.
    Durable(Vec<Due>),
    Attempted(Due, Result<Attempted, OutboxError>),
    Filled(PostbackNo, SendClass, Result<Window, OutboxError>),
}

/// A handle to the running dispatcher. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dispatch {
    questions: mpsc::Sender<oneshot::Sender<Vec<AffiliateStatus>>>,
}

impl Dispatch {
    /// How each affiliate stands; empty once the dispatcher has stopped.
    pub async fn status(&self) -> Vec<AffiliateStatus> {
        self.ask().await.unwrap_or_default()
    }

    /// Whether the dispatcher's task takes its turns; waits for as long as it does not.
    pub async fn answers(&self) -> bool {
        self.ask().await.is_some()
    }

    async fn ask(&self) -> Option<Vec<AffiliateStatus>> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(answer).await.ok()?;
        answered.await.ok()
    }
}

/// What the dispatcher works with.
#[derive(Debug)]
pub struct Parts {
    /// The store.
    pub outbox: Outbox,
    /// The time.
    pub clock: SharedClock,
    /// The configuration as it changes.
    pub routing: watch::Receiver<Arc<Routing>>,
    /// Ends new sends; those in flight are finished.
    pub stop: CancellationToken,
    /// Who is told of attempts.
    pub observers: Vec<Arc<dyn AttemptObserver>>,
    /// Most deliveries held in memory for one postback and class.
    pub window: usize,
}

struct Dispatcher {
    parts: Parts,
    routing: Arc<Routing>,
    scheduler: Scheduler,
    postbacks: HashMap<PostbackNo, Option<Arc<Postback>>>,
    /// Those that have no turn before they are durable.
    patient: HashSet<PostbackNo>,
    attempter: Arc<Attempter>,
    tasks: TaskTracker,
    reports: mpsc::UnboundedSender<Report>,
}

/// Whether what an affiliate is told has its turn only once it is durable, where others are made ready before. What waits behind
/// its turn would go out at another pace than its rate; and what has its turn can no longer be taken back by what comes next.
fn is_patient(affiliate: &Affiliate) -> bool {
    let taken_back = |postback: &Arc<Postback>| {
        postback.order.latest_only || postback.order.original_unsettled == OriginalUnsettled::CancelBoth
    };
    affiliate.limits.rate.is_some() || affiliate.postbacks.iter().any(taken_back)
}

/// Starts the dispatcher; its task ends when it is told to stop and nothing is in flight any more.
pub fn start(parts: Parts) -> (Dispatch, tokio::task::JoinHandle<()>) {
    let (questions, asked) = mpsc::channel(16);
    // Not bounded by itself, but by what is in flight, by the groups that wait for the disk and by the schedules being read.
    let (reports, reported) = mpsc::unbounded_channel();
    let routing = parts.routing.borrow().clone();
    let attempter = Arc::new(Attempter {
        outbox: parts.outbox.clone(),
        wire: Arc::clone(&routing.wire),
        clock: parts.clock.clone(),
        observers: parts.observers.clone().into(),
    });
    let dispatcher = Dispatcher {
        scheduler: Scheduler::new(routing.slots, parts.window),
        routing,
        postbacks: HashMap::new(),
        patient: HashSet::new(),
        attempter,
        tasks: TaskTracker::new(),
        reports,
        parts,
    };
    let task = tokio::spawn(dispatcher.run(reported, asked));
    (Dispatch { questions }, task)
}

/// The report that an attempt owes: sent when it ends, also where it ends in a panic.
struct OwedReport {
    due: Due,
    reports: mpsc::UnboundedSender<Report>,
    made: Option<Result<Attempted, OutboxError>>,
}

impl Drop for OwedReport {
    fn drop(&mut self) {
        let made = self.made.take().unwrap_or(Ok(Attempted::Nothing));
        let _ = self.reports.send(Report::Attempted(self.due, made));
    }
}

impl Dispatcher {
    async fn run(
        mut self,
        mut reported: mpsc::UnboundedReceiver<Report>,
        mut asked: mpsc::Receiver<oneshot::Sender<Vec<AffiliateStatus>>>,
    ) {
        self.configure();
        let arrivals = Arc::clone(self.parts.outbox.arrivals());
        let stop = self.parts.stop.clone();
        loop {
            self.take_arrivals();
            while let Ok(report) = reported.try_recv() {
                self.take_report(report);
            }
            // One at a time: whoever asks all the time must not hold up everything else.
            if let Ok(answer) = asked.try_recv() {
                drop(answer.send(self.status()));
            }
            let wake = self.step();
            // In a fixed order, so that the same happenings always lead to the same turns.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = self.parts.routing.changed() => self.configure(),
                Some(report) = reported.recv() => self.take_report(report),
                () = arrivals.wait() => {}
                Some(answer) = asked.recv() => drop(answer.send(self.status())),
                () = tokio::time::sleep(wake) => {}
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Takes over the configuration and the pauses.
    fn configure(&mut self) {
        self.routing = self.parts.routing.borrow_and_update().clone();
        self.postbacks.clear();
        self.patient.clear();
        let all = self.parts.outbox.reader().postbacks();
        let routes = self.routes(all);
        let routing = Arc::clone(&self.routing);
        self.attempter = Arc::new(Attempter { wire: Arc::clone(&routing.wire), ..Attempter::clone(&self.attempter) });
        let now = self.now();
        self.scheduler.configure(routing.slots, &routes, |affiliate| routing.limits(affiliate), now);
    }

    /// Takes over some postbacks, which are new or whose pauses changed: of thousands, mostly one.
    fn learn(&mut self, numbers: &BTreeSet<PostbackNo>) {
        if numbers.is_empty() {
            return;
        }
        // A postback that is new may be so by a configuration that is.
        if self.parts.routing.has_changed().unwrap_or(true) {
            return self.configure();
        }
        let reader = self.parts.outbox.reader();
        let named = numbers.iter().filter_map(|number| Some((*number, reader.postback(*number)?))).collect();
        let routes = self.routes(named);
        let (routing, now) = (Arc::clone(&self.routing), self.now());
        self.scheduler.learn(&routes, |affiliate| routing.limits(affiliate), now);
    }

    /// How postbacks are sent and whether they are paused.
    fn routes(&mut self, named: Vec<(PostbackNo, PostbackRef)>) -> Vec<Route> {
        let reader = self.parts.outbox.reader();
        let mut routes = Vec::with_capacity(named.len());
        for (number, name) in named {
            if self.routing.affiliates.get(&name.affiliate).is_some_and(|affiliate| is_patient(affiliate)) {
                self.patient.insert(number);
            }
            self.postbacks.insert(number, self.routing.postback(&name).cloned());
            routes.push(Route { postback: number, affiliate: name.affiliate, paused: reader.is_paused(number) });
        }
        routes
    }

    fn take_arrivals(&mut self) {
        let taken = self.parts.outbox.arrivals().take();
        if taken.incomplete {
            self.configure();
            self.scheduler.incomplete();
        }
        let mut news = taken.pauses;
        news.extend(taken.due.iter().map(|due| due.postback).filter(|postback| !self.scheduler.knows(*postback)));
        self.learn(&news);
        let now = self.now();
        let mut too_early = Vec::new();
        for due in taken.due {
            if self.patient.contains(&due.postback) && !self.parts.outbox.is_durable(due.id.event) {
                too_early.push(due);
            } else {
                self.scheduler.arrived(due, now);
            }
        }
        self.await_durable(too_early);
    }

    fn await_durable(&self, due: Vec<Due>) {
        let Some(last) = due.iter().map(|due| due.id.event).max() else { return };
        let (outbox, reports) = (self.parts.outbox.clone(), self.reports.clone());
        self.tasks.spawn(async move {
            if outbox.durable(last).await.is_ok() {
                let _ = reports.send(Report::Durable(due));
            }
        });
    }

    fn take_report(&mut self, report: Report) {
        let now = self.now();
        match report {
            Report::Durable(due) => due.into_iter().for_each(|due| self.scheduler.arrived(due, now)),
            Report::Attempted(due, Ok(Attempted::Made(ended))) => self.scheduler.ended(due.id, Some(ended), now),
            Report::Attempted(due, Ok(Attempted::Nothing)) => self.scheduler.ended(due.id, None, now),
            Report::Attempted(due, Ok(Attempted::Busy)) => {
                self.scheduler.ended(due.id, None, now);
                self.scheduler.arrived(due, now);
            }
            Report::Attempted(due, Err(error)) => {
                // The delivery stays scheduled on disk; its schedule is read again in a while.
                tracing::error!(delivery = %due.id, %error, "an attempt could not be written down");
                self.scheduler.ended(due.id, None, now);
            }
            Report::Filled(postback, class, Ok(window)) => {
                self.scheduler.filled(postback, class, window.due, window.complete, now);
            }
            Report::Filled(postback, class, Err(error)) => {
                tracing::error!(postback, %error, "a schedule could not be read");
                self.scheduler.filling_failed(postback, class);
            }
        }
    }

    /// Carries out steps until there is nothing to do; returns how long to sleep.
    fn step(&mut self) -> Duration {
        if self.parts.outbox.room() == Room::Exhausted {
            return LONGEST_SLEEP;
        }
        loop {
            let now = self.now();
            match self.scheduler.next(now) {
                Step::Start(due) => self.start(due),
                Step::Fill { postback, class, after } => self.fill(postback, class, after),
                Step::Wait(None) => return LONGEST_SLEEP,
                Step::Wait(Some(until)) => {
                    let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                    return wait.min(LONGEST_SLEEP);
                }
            }
        }
    }

    fn start(&self, due: Due) {
        let attempter = Arc::clone(&self.attempter);
        let reports = self.reports.clone();
        let postback = self.postbacks.get(&due.postback).cloned().flatten();
        let report = OwedReport { due, reports, made: None };
        let attempt = async move {
            // Taken whole: a closure would capture the one field and let the rest go at once.
            let mut report = report;
            report.made = Some(attempter.attempt(due, postback).await);
        };
        // The runtime moves a task's future when it begins and when it ends; this one is several kilobytes.
        self.tasks.spawn(Box::pin(attempt));
    }

    fn fill(&self, postback: PostbackNo, class: SendClass, after: Option<Due>) {
        let outbox = self.parts.outbox.clone();
        let reports = self.reports.clone();
        let window = self.parts.window;
        self.tasks.spawn(async move {
            let result = outbox.window(postback, class, after, window).await;
            let _ = reports.send(Report::Filled(postback, class, result));
        });
    }

    fn status(&self) -> Vec<AffiliateStatus> {
        let affiliates = self.scheduler.affiliates();
        affiliates
            .map(|(affiliate, in_flight, breaker)| AffiliateStatus { affiliate: affiliate.clone(), in_flight, breaker })
            .collect()
    }
}
