//! The handle to the outbox: opens the store, starts the commit threads, passes requests on.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::arrivals::{Arrivals, Due, SendClass};
use super::backup::{TakeError, Taken, take_in_use};
use super::bulk::{BulkChanged, BulkRecord, BulkState, BulkStep, Stepped, Target};
use super::claims::Claims;
use super::commit::{
    self, Accepting, CommitObserver, Failure, MAX_PENDING_GROUPS, Request, Shared, Window, WindowRequest,
};
use super::durable::Durable;
use super::engine::Engine;
use super::known::{Known, StopReading};
use super::lease::{Begun, Lease};
use super::model::{
    AcceptRequest, Accepted, Ingested, OrderRefused, OrderRequest, OutboxError, Pause, PlannedDelivery, PostbackNo,
    Settlement,
};
use super::opening::{check_format, last_event, load_mirror, recover};
use super::read::{Reader, SharedMirror};
use super::room::{Disk, Room};
use crate::domain::delivery::{Delivery, State};
use crate::domain::export_mark::{ExportMark, MarkRefused, MarkRequest};
use crate::domain::id::{BulkId, DeliveryId, EventId, PostbackRef};
use crate::domain::retention::RetentionPolicy;
use crate::ops::clock::SharedClock;

/// Requests that may wait for the commit thread.
const MAX_REQUESTS: usize = 4_096;
/// Targets of a bulk order that are written down in one go.
const TARGETS_AT_ONCE: usize = 4_096;
/// How often the engine is asked whether something has failed that it told nobody of.
const WATCH_PAUSE: Duration = Duration::from_millis(500);
/// Events that may wait to be accepted.
const MAX_WAITING_EVENTS: usize = 16_384;

/// How an outbox is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What time it is.
    pub clock: SharedClock,
    /// The directory whose free space is watched, and the bytes kept free.
    pub keep_free: Option<(PathBuf, u64)>,
    /// Who is told of commits.
    pub observer: Option<Arc<dyn CommitObserver>>,
}

/// The durable store of events, deliveries and attempts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    reader: Reader,
    claims: Claims,
    arrivals: Arc<Arrivals>,
    durable: Arc<Durable>,
    failure: Arc<Failure>,
    disk: Option<Arc<Disk>>,
    threads: Arc<Threads>,
}

/// Waits for the commit threads once the last handle is gone.
#[derive(Debug, Default)]
struct Threads(std::sync::Mutex<Vec<JoinHandle<()>>>);

impl Outbox {
    /// Opens an outbox over an engine: reads what it must, notes interrupted attempts, starts its threads.
    ///
    /// # Errors
    /// When the store cannot be read, is damaged, or was written by a newer version.
    pub fn open(engine: Arc<dyn Engine>, options: Options) -> Result<Self, OutboxError> {
        Self::open_run_by(start_threads, engine, options)
    }

    /// Opens an outbox whose requests are carried out by what `start` starts.
    pub(super) fn open_run_by(
        start: impl FnOnce(&Shared, mpsc::Receiver<Request>, EventId) -> std::io::Result<Vec<JoinHandle<()>>>,
        engine: Arc<dyn Engine>,
        options: Options,
    ) -> Result<Self, OutboxError> {
        let mirror: SharedMirror = Arc::default();
        let claims = Claims::default();
        check_format(&*engine)?;
        *mirror.write().unwrap_or_else(PoisonError::into_inner) = load_mirror(&*engine)?;
        let last = last_event(&*engine)?;
        recover(&*engine, &mirror, &claims, last, options.clock.now())?;
        let shared = Shared {
            engine: Arc::clone(&engine),
            mirror: mirror.clone(),
            claims: claims.clone(),
            known: Arc::new(Known::beside(&*engine)),
            arrivals: Arc::default(),
            durable: Arc::new(Durable::up_to(last)),
            clock: options.clock,
            failure: Arc::default(),
            observer: options.observer,
            tap: Arc::default(),
        };
        let (requests, received) = mpsc::channel(MAX_REQUESTS);
        let threads = start(&shared, received, last).map_err(|e| OutboxError::Stopped(e.to_string()))?;
        Ok(Self {
            requests,
            room: Arc::new(Semaphore::new(MAX_WAITING_EVENTS)),
            reader: Reader::new(engine, mirror),
            claims,
            arrivals: shared.arrivals,
            durable: shared.durable,
            failure: shared.failure,
            disk: options.keep_free.map(|(path, least)| Arc::new(Disk::new(path, least))),
            threads: Arc::new(Threads(std::sync::Mutex::new(threads))),
        })
    }

    /// Reads only, without commit threads: for looking at a store whose daemon is down.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    pub fn open_reader(engine: Arc<dyn Engine>) -> Result<Reader, OutboxError> {
        check_format(&*engine)?;
        let mirror: SharedMirror = Arc::default();
        *mirror.write().unwrap_or_else(PoisonError::into_inner) = load_mirror(&*engine)?;
        Ok(Reader::new(engine, mirror))
    }

    /// Reads of the store.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What was scheduled; for the dispatcher. What is sent of it waits for [`Outbox::durable`].
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Deliveries being sent or changed at this moment.
    pub fn claimed(&self) -> usize {
        self.claims.len()
    }

    /// Whether a delivery is being sent or changed at this moment.
    pub fn is_claimed(&self, id: DeliveryId) -> bool {
        self.claims.holds(id)
    }

    /// Asks both commit threads and the disk for a sign of life: goes the way of every write, through the queue and a
    /// sync, without one. Waits for as long as there is none.
    ///
    /// # Errors
    /// When the outbox has stopped.
    pub async fn probe(&self) -> Result<(), OutboxError> {
        self.ask(Request::Probe).await
    }

    /// Waits for the failure that stops the outbox; never returns while it works.
    pub async fn failed(&self) -> OutboxError {
        self.failure.wait().await
    }

    /// Whether events would be taken now.
    ///
    /// # Errors
    /// When the outbox has stopped, is overloaded, or its disk is nearly full.
    pub fn check_ready(&self) -> Result<(), OutboxError> {
        if let Some(error) = self.failure.get() {
            return Err(error);
        }
        if self.room.available_permits() == 0 {
            return Err(OutboxError::Overloaded);
        }
        self.check_disk()
    }

    /// Stores events with their deliveries; returns once they are durable.
    ///
    /// # Errors
    /// At once, and without storing anything, when too much waits already, when the disk is nearly full, or
    /// when the outbox has stopped. Errors of single events stand in their place of the answer.
    pub async fn accept(&self, events: Vec<AcceptRequest>) -> Result<Vec<Result<Ingested, OutboxError>>, OutboxError> {
        self.accept_holding(events, Vec::new()).await
    }

    /// As [`Outbox::accept`]; the permits are given back once the events are durable.
    ///
    /// They travel with the events: a caller that stops waiting gives nothing back while what it handed in
    /// still waits to be written.
    ///
    /// # Errors
    /// As [`Outbox::accept`].
    pub async fn accept_holding(
        &self,
        events: Vec<AcceptRequest>,
        mut permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<Vec<Result<Ingested, OutboxError>>, OutboxError> {
        self.check_disk()?;
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(count).map_err(|_| OutboxError::Overloaded)?;
        permits.push(room);
        self.ask(|answer| Request::Accept(Accepting::new(events, permits, answer))).await
    }

    /// Writes down the end of an attempt and what follows; returns once it is durable.
    ///
    /// # Errors
    /// When the outbox has stopped or a record is damaged.
    pub async fn settle(&self, settlement: Settlement) -> Result<Delivery, OutboxError> {
        self.ask(|answer| Request::Settle(Box::new(settlement), answer)).await
    }

    /// Takes the right to attempt a delivery. Once the outbox has failed there is none: what is sent then could not be
    /// written down, and would be sent again.
    ///
    /// # Errors
    /// When the outbox has stopped, the store cannot be read or a record is damaged.
    pub fn begin(&self, id: DeliveryId) -> Result<Begun, OutboxError> {
        if let Some(error) = self.failure.get() {
            return Err(error);
        }
        let Some(claim) = self.claims.claim(id) else { return Ok(Begun::Busy) };
        Ok(match Lease::take(&self.reader, id, claim)? {
            None => Begun::NotScheduled,
            // Its original has just come in, and a crash could take that back. The event itself is waited for later.
            Some(lease) if lease.original_id().is_some_and(|other| other > id.event && !self.is_durable(other)) => {
                Begun::Busy
            }
            Some(lease) => Begun::Leased(Box::new(lease)),
        })
    }

    /// Takes the right to attempt a delivery whose turn it is. One that has been scheduled anew since, for
    /// another time, is not meant: it has a turn of its own.
    ///
    /// # Errors
    /// When the store cannot be read or a record is damaged.
    pub fn begin_due(&self, due: Due) -> Result<Begun, OutboxError> {
        let begun = self.begin(due.id)?;
        let meant = |lease: &Lease| lease.before().state == State::Scheduled { due: due.at };
        Ok(match begun {
            Begun::Leased(lease) if !meant(&lease) => Begun::NotScheduled,
            begun => begun,
        })
    }

    /// Whether an event is durable.
    pub fn is_durable(&self, event: EventId) -> bool {
        self.durable.holds(event)
    }

    /// Waits until an event is durable: of one that a crash could take back nothing may be sent.
    ///
    /// # Errors
    /// When the outbox stops before.
    pub async fn durable(&self, event: EventId) -> Result<(), OutboxError> {
        if self.is_durable(event) {
            return Ok(());
        }
        // Behind a failure, or while the outbox closes, the end of what would be sent could not be written down any more.
        tokio::select! {
            biased;
            error = self.failure.wait() => Err(error),
            () = self.durable.wait_for(event) => {
                if self.requests.is_closed() { Err(OutboxError::Stopped("it was closed".into())) } else { Ok(()) }
            }
        }
    }

    /// Makes the intent to send durable, so that a crash during the attempt is known as one. `false` where an earlier
    /// attempt was never settled: the delivery is held then, and must not be sent.
    ///
    /// # Errors
    /// When the outbox has stopped.
    pub async fn intend(&self, lease: &mut Lease) -> Result<bool, OutboxError> {
        let id = lease.id();
        let noted = self.ask(|answer| Request::Intend(id, answer)).await?;
        lease.set_intent(noted);
        Ok(noted)
    }

    /// Carries out an operator's order about one delivery; returns once it is durable.
    ///
    /// Waits a moment for a commit about the same delivery, but not for an attempt to end.
    ///
    /// # Errors
    /// The outer error when the outbox fails, the inner when the order cannot be carried out.
    pub async fn order(&self, order: OrderRequest) -> Result<Result<Delivery, OrderRefused>, OutboxError> {
        let mut pauses = [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(75)].into_iter();
        loop {
            let request = order.clone();
            let answered = self.ask(|answer| Request::Order(request, answer)).await?;
            match (answered, pauses.next()) {
                (Err(OrderRefused::InFlight(_)), Some(pause)) => tokio::time::sleep(pause).await,
                (answered, _) => return Ok(answered),
            }
        }
    }

    /// Plans deliveries for an event kept unrouted; `None` when it is no longer so, or the plan is empty.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn plan_unrouted(
        &self,
        id: EventId,
        plan: Vec<PlannedDelivery>,
    ) -> Result<Option<Accepted>, OutboxError> {
        self.ask(|answer| Request::PlanUnrouted(id, plan, answer)).await
    }

    /// Deletes those of some events whose order groups need no longer be kept; returns how many events went.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn retire(&self, ids: Vec<EventId>, policy: RetentionPolicy) -> Result<u64, OutboxError> {
        self.ask(|answer| Request::Retire(ids, policy, answer)).await
    }

    /// Writes down a bulk order with its targets, and lets it run; durable when it returns.
    ///
    /// # Errors
    /// When the outbox fails. The order is forgotten then.
    pub async fn give(&self, record: BulkRecord, targets: &[Target]) -> Result<BulkId, OutboxError> {
        let record = BulkRecord { state: BulkState::Naming, ..record };
        let id = self.ask(|answer| Request::Give(Box::new(record), answer)).await?;
        for targets in targets.chunks(TARGETS_AT_ONCE) {
            self.ask(|answer| Request::Name(id, targets.to_vec(), answer)).await?;
        }
        self.ask(|answer| Request::BeginBulk(id, answer)).await?;
        Ok(id)
    }

    /// Carries a bulk order out for one of its targets; returns once that is durable.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn step(&self, id: BulkId, step: BulkStep) -> Result<Stepped, OutboxError> {
        self.ask(|answer| Request::Step(id, Box::new(step), answer)).await
    }

    /// Pauses, resumes, stops or finishes a bulk order.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn change_bulk(&self, id: BulkId, state: BulkState, by: &str) -> Result<BulkChanged, OutboxError> {
        let by = by.to_owned();
        self.ask(|answer| Request::ChangeBulk(id, state, by, answer)).await
    }

    /// Holds a delivery whose postback is no longer configured.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn hold_unconfigured(&self, id: DeliveryId) -> Result<(), OutboxError> {
        self.ask(|answer| Request::HoldUnconfigured(id, answer)).await
    }

    /// Pauses a postback, or resumes it with `None`.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn pause(&self, postback: PostbackRef, pause: Option<Pause>) -> Result<(), OutboxError> {
        self.ask(|answer| Request::Pause(postback, pause, answer)).await
    }

    /// Notes how far a consumer's exports reach; returns once it is durable.
    ///
    /// # Errors
    /// The outer error when the outbox fails, the inner when the mark is refused.
    pub async fn mark_exported(&self, mark: MarkRequest) -> Result<Result<ExportMark, MarkRefused>, OutboxError> {
        self.ask(|answer| Request::Mark(Box::new(mark), answer)).await
    }

    /// Takes a backup while the outbox is in use, on a thread that may block. `sink` is given its bytes in order, and says
    /// whether to go on.
    ///
    /// # Errors
    /// When the outbox fails, somebody else takes one, or whoever reads it is too slow or gone.
    pub fn back_up(&self, clock: &SharedClock, sink: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<Taken, TakeError> {
        let open = |tap| self.ask_blocking(|answer| Request::Tap(tap, answer));
        let close = |ticket| self.ask_blocking(|answer| Request::Untap(ticket, answer));
        take_in_use(self.reader.engine(), clock, open, close, sink)
    }

    /// Scheduled deliveries of a postback in the order in which they are due, behind `after`; only durable ones.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn window(
        &self,
        postback: PostbackNo,
        class: SendClass,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Window, OutboxError> {
        let request = WindowRequest { postback, class, after, limit };
        self.ask(|answer| Request::Window(request, answer)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, OutboxError>>) -> Request,
    ) -> Result<T, OutboxError> {
        let stopped = || self.failure.get().unwrap_or_else(|| OutboxError::Stopped("it was closed".into()));
        if let Some(error) = self.failure.get() {
            return Err(error);
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.requests.send(request(answer)).await.map_err(|_| stopped())?;
            answered.await.map_err(|_| stopped())?
        };
        // Where the engine hangs behind its own failure, nobody answers any more.
        tokio::select! {
            biased;
            answered = asked => answered,
            error = self.failure.wait() => Err(error),
        }
    }

    fn ask_blocking<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, OutboxError>>) -> Request,
    ) -> Result<T, OutboxError> {
        let stopped = || self.failure.get().unwrap_or_else(|| OutboxError::Stopped("it was closed".into()));
        let (answer, answered) = oneshot::channel();
        self.requests.blocking_send(request(answer)).map_err(|_| stopped())?;
        answered.blocking_recv().map_err(|_| stopped())?
    }

    /// What the disk has room for. Where it does not tell, there is enough: a write that fails stops everything anyway.
    pub fn room(&self) -> Room {
        self.disk.as_ref().map_or(Room::Enough, |disk| disk.room())
    }

    fn check_disk(&self) -> Result<(), OutboxError> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.check())
    }

    /// Ends the commit threads behind all requests made so far, and waits until these are durable.
    pub async fn close(self) {
        let _ = self.requests.send(Request::Stop).await;
        let handles = std::mem::take(&mut *self.threads.0.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = tokio::task::spawn_blocking(move || handles.into_iter().for_each(|handle| drop(handle.join()))).await;
    }
}

fn start_threads(
    shared: &Shared,
    received: mpsc::Receiver<Request>,
    last: EventId,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (groups, pending) = std::sync::mpsc::sync_channel(MAX_PENDING_GROUPS);
    let (for_build, for_sync, for_watch) = (shared.clone(), shared.clone(), shared.clone());
    let (for_known, known) = (shared.clone(), Arc::clone(&shared.known));
    let (at_work, ended) = std::sync::mpsc::channel::<()>();
    let build = std::thread::Builder::new().name("outbox-build".into()).spawn(move || {
        let _at_work = at_work;
        let _watch = commit::PanicWatch(Arc::clone(&for_build.failure));
        let _reading = StopReading(known);
        commit::build(&for_build, received, &groups, last);
    })?;
    let sync = std::thread::Builder::new().name("outbox-sync".into()).spawn(move || {
        let _watch = commit::PanicWatch(Arc::clone(&for_sync.failure));
        commit::sync(&for_sync, &pending);
    })?;
    let watch = std::thread::Builder::new()
        .name("outbox-watch".into())
        .spawn(move || commit::watch(&for_watch, &ended, WATCH_PAUSE))?;
    let known = std::thread::Builder::new()
        .name("outbox-known".into())
        .spawn(move || for_known.known.read(&*for_known.engine))?;
    Ok(vec![build, sync, watch, known])
}
