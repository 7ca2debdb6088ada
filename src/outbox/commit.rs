//! The commit threads: one gathers requests into groups and applies them, one makes them durable.
//!
//! While one group is being synced the next is built. Nobody is told anything before his group is past
//! `fdatasync`, but for the dispatcher, which may make ready what has come in, and waits before it sends. The first failure is
//! final: everything behind it is refused.

use std::sync::mpsc::{Receiver as SyncReceiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::arrivals::{Arrivals, Due, SendClass};
use super::backup::{Tap, TapHolder, Ticket};
use super::bulk::{BulkChanged, BulkRecord, BulkState, BulkStep, Stepped, Target};
use super::claims::Claims;
use super::durable::Durable;
use super::engine::{Batch, Engine};
use super::known::Known;
use super::model::{
    AcceptRequest, Accepted, Ingested, OrderRefused, OrderRequest, OutboxError, Pause, PlannedDelivery, PostbackNo,
    Settlement,
};
use super::read::SharedMirror;
use super::soon;
use super::writer::{Effects, Writer};
use crate::domain::delivery::Delivery;
use crate::domain::export_mark::{ExportMark, MarkRefused, MarkRequest};
use crate::domain::id::{BulkId, DeliveryId, EventId, PostbackRef};
use crate::domain::retention::RetentionPolicy;
use crate::ops::clock::{SharedClock, monotonic};
use crate::planted::{Bug, planted};

/// Most requests in one group.
const MAX_GROUP_REQUESTS: usize = 512;
/// Most writes in one group: many times more cost sled and fjall a quarter of their speed.
pub(super) const MAX_GROUP_WRITES: usize = 1_024;
/// Groups that may wait for the disk while the next is built.
pub(crate) const MAX_PENDING_GROUPS: usize = 2;

/// Is told of commits, on the thread that makes them durable: it must not block.
pub trait CommitObserver: Send + Sync + std::fmt::Debug {
    /// A group of so many requests is durable; it took so long from the first of them.
    fn committed(&self, took: Duration, requests: usize);
}

type Answer<T> = oneshot::Sender<Result<T, OutboxError>>;

/// Where a window of scheduled deliveries begins and how many it may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowRequest {
    pub(crate) postback: PostbackNo,
    pub(crate) class: SendClass,
    pub(crate) after: Option<Due>,
    pub(crate) limit: usize,
}

/// A window of scheduled deliveries in the order in which they are due.
#[derive(Debug, Clone)]
pub struct Window {
    /// The deliveries.
    pub due: Vec<Due>,
    /// Whether there are none behind them.
    pub complete: bool,
}

pub(crate) enum Request {
    Accept(Accepting),
    Settle(Box<Settlement>, Answer<Delivery>),
    Intend(DeliveryId, Answer<bool>),
    Order(OrderRequest, Answer<Result<Delivery, OrderRefused>>),
    PlanUnrouted(EventId, Vec<PlannedDelivery>, Answer<Option<Accepted>>),
    HoldUnconfigured(DeliveryId, Answer<()>),
    Pause(PostbackRef, Option<Pause>, Answer<()>),
    Retire(Vec<EventId>, RetentionPolicy, Answer<u64>),
    Give(Box<BulkRecord>, Answer<BulkId>),
    Name(BulkId, Vec<Target>, Answer<()>),
    BeginBulk(BulkId, Answer<()>),
    Step(BulkId, Box<BulkStep>, Answer<Stepped>),
    ChangeBulk(BulkId, BulkState, String, Answer<BulkChanged>),
    Mark(Box<MarkRequest>, Answer<Result<ExportMark, MarkRefused>>),
    Window(WindowRequest, Answer<Window>),
    /// Answered once it has gone through both threads; writes nothing.
    Probe(Answer<()>),
    /// Begins to tell a backup of batches; answered with whether it does.
    Tap(Tap, Answer<bool>),
    /// Ends that; answered with when.
    Untap(Ticket, Answer<Timestamp>),
    /// Ends the commit threads behind what came before.
    Stop,
}

/// Events being accepted. A large batch takes more than one group; it is answered with the last.
pub(crate) struct Accepting {
    events: std::vec::IntoIter<AcceptRequest>,
    results: Vec<Result<Ingested, OutboxError>>,
    /// Given back once the events are durable, whether or not anybody still waits for the answer.
    permits: Vec<OwnedSemaphorePermit>,
    to: Answer<Vec<Result<Ingested, OutboxError>>>,
}

impl Accepting {
    pub(crate) fn new(
        events: Vec<AcceptRequest>,
        permits: Vec<OwnedSemaphorePermit>,
        to: Answer<Vec<Result<Ingested, OutboxError>>>,
    ) -> Self {
        Self { results: Vec::with_capacity(events.len()), events: events.into_iter(), permits, to }
    }
}

/// Answers once the group's fate is known.
type Reply = Box<dyn FnOnce(Result<(), OutboxError>) + Send>;

pub(crate) struct Group {
    begun: Instant,
    replies: Vec<Reply>,
    effects: Effects,
    /// The last event of this group or of those before it.
    last: EventId,
}

impl Group {
    /// Takes out what may be told once the group is on its way to the disk: what has come in, to be made ready meanwhile, and
    /// which pauses begin, which must hold up what came in behind them.
    pub(crate) fn take_new(&mut self) -> (Vec<Due>, Vec<PostbackNo>) {
        (std::mem::take(&mut self.effects.due_new), self.effects.pauses_begun.clone())
    }
}

/// What both threads share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) mirror: SharedMirror,
    pub(crate) claims: Claims,
    pub(crate) known: Arc<Known>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) durable: Arc<Durable>,
    pub(crate) clock: SharedClock,
    pub(crate) failure: Arc<Failure>,
    pub(crate) observer: Option<Arc<dyn CommitObserver>>,
    pub(crate) tap: Arc<TapHolder>,
}

/// The first failure, which is final.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    why: OnceLock<String>,
    signal: tokio::sync::Notify,
}

impl Failure {
    pub(crate) fn get(&self) -> Option<OutboxError> {
        self.why.get().map(|why| OutboxError::Stopped(why.clone()))
    }

    fn set(&self, error: &OutboxError) {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(error);
        if let OutboxError::Engine(engine) = error {
            source = std::error::Error::source(&**engine);
        }
        while let Some(cause) = source {
            why = format!("{why}: {cause}");
            source = cause.source();
        }
        if self.why.set(why).is_ok() {
            self.signal.notify_waiters();
            self.signal.notify_one();
        }
    }

    pub(crate) async fn wait(&self) -> OutboxError {
        loop {
            let signalled = self.signal.notified();
            if let Some(error) = self.get() {
                return error;
            }
            signalled.await;
        }
    }
}

/// Turns a panic of a commit thread into a failure of the outbox: a daemon that can no longer store must end.
pub(crate) struct PanicWatch(pub(crate) Arc<Failure>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(&OutboxError::Stopped("a commit thread has panicked; its message is in the log".into()));
        }
    }
}

/// The build thread: gathers requests into groups until it is told to stop or the last sender is gone.
pub(crate) fn build(shared: &Shared, mut requests: mpsc::Receiver<Request>, groups: &SyncSender<Group>, last: EventId) {
    let mut builder = Builder::new(shared, last);
    while let Some(first) = builder.unfinished.take().or_else(|| requests.blocking_recv()) {
        let gathered = builder.gather(first, &mut requests);
        let stopping = gathered.stopping;
        let mut passed_on = true;
        if let Some(mut group) = builder.apply(gathered) {
            let (new, pauses) = group.take_new();
            passed_on = groups.send(group).is_ok();
            // Behind that: the disk need not wait until the dispatcher is awake.
            shared.arrivals.push(new, pauses);
        }
        if stopping || !passed_on {
            return;
        }
    }
}

/// Builds groups, one after the other.
pub(crate) struct Builder<'s> {
    shared: &'s Shared,
    writer: Writer<'s>,
    /// What is left of a request that was too large for the last group: the next one begins with it.
    pub(crate) unfinished: Option<Request>,
}

/// Requests that are carried out together, before they are applied.
pub(crate) struct Gathered {
    begun: Instant,
    replies: Vec<Reply>,
    /// Whether this is the last group.
    pub(crate) stopping: bool,
}

impl<'s> Builder<'s> {
    pub(crate) fn new(shared: &'s Shared, last: EventId) -> Self {
        let known = Arc::clone(&shared.known);
        let writer = Writer::new(&*shared.engine, shared.mirror.clone(), shared.claims.clone(), known, last);
        Self { shared, writer, unfinished: None }
    }

    /// Carries out a request and those that wait behind it, as many as fit a group.
    pub(crate) fn gather(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) -> Gathered {
        let mut gathered = Gathered { begun: monotonic(), replies: Vec::new(), stopping: false };
        let mut next = Some(first);
        while let Some(request) = next {
            gathered.stopping |= matches!(request, Request::Stop);
            self.unfinished = handle(self.shared, &mut self.writer, request, &mut gathered.replies);
            let full = gathered.replies.len() >= MAX_GROUP_REQUESTS || self.writer.writes() >= MAX_GROUP_WRITES;
            let room = !gathered.stopping && !full && self.unfinished.is_none();
            next = if room { requests.try_recv().ok() } else { None };
        }
        gathered
    }

    /// Makes a group visible, so that it can be made durable; `None` where that fails, which is final.
    pub(crate) fn apply(&mut self, gathered: Gathered) -> Option<Group> {
        let Gathered { begun, replies, .. } = gathered;
        let applied = match self.shared.failure.get() {
            Some(error) => Err(error),
            None => self.writer.finish().and_then(|(batch, effects)| {
                if !batch.writes.is_empty() {
                    let batch = if planted(Bug::TwoBatches) { half_of(&*self.shared.engine, batch)? } else { batch };
                    let copy = self.shared.tap.copy(&batch).filter(|_| !planted(Bug::BackupTorn));
                    self.shared.engine.apply(batch)?;
                    self.shared.tap.applied(copy);
                }
                self.writer.applied();
                Ok(effects)
            }),
        };
        match applied {
            Ok(effects) => Some(Group { begun, replies, effects, last: self.writer.last_event() }),
            Err(error) => {
                self.shared.failure.set(&error);
                answer(replies, Err(&error));
                None
            }
        }
    }
}

/// The sync thread: makes groups durable, as many as wait with one sync.
pub(crate) fn sync(shared: &Shared, groups: &SyncReceiver<Group>) {
    while let Ok(first) = groups.recv() {
        let mut pending = vec![first];
        pending.extend(groups.try_iter());
        make_durable(shared, pending);
    }
}

/// The watch: asks the engine, until the build thread has ended, whether something has failed that the threads may never be
/// told of, since they hang behind it.
pub(crate) fn watch(shared: &Shared, ended: &SyncReceiver<()>, pause: Duration) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
        if let Err(error) = shared.engine.check() {
            shared.failure.set(&error.into());
            return;
        }
    }
}

/// Makes groups durable with one sync, and answers them.
pub(crate) fn make_durable(shared: &Shared, mut pending: Vec<Group>) {
    if planted(Bug::AcknowledgeBeforeSync) {
        for group in &mut pending {
            answer(std::mem::take(&mut group.replies), Ok(()));
        }
    }
    let result = match shared.failure.get() {
        Some(error) => Err(error),
        None => shared.engine.sync().map_err(OutboxError::from),
    };
    let result = if planted(Bug::FailedSyncAcknowledged) { Ok(()) } else { result };
    if let Err(error) = &result {
        shared.failure.set(error);
    }
    if let (Ok(()), Some(group)) = (&result, pending.last()) {
        shared.durable.reaches(group.last);
    }
    for group in pending {
        // Claims end before anybody learns of what was scheduled, so that it can be leased at once.
        drop(group.effects.claims);
        if result.is_ok() {
            // The early word of a pause may still be on its way, and nothing is sent behind an acknowledged one.
            let pauses = group.effects.pauses_begun.into_iter().chain(group.effects.pauses_ended).collect();
            shared.arrivals.push(group.effects.due, pauses);
            if let Some(observer) = &shared.observer {
                observer.committed(monotonic().duration_since(group.begun), group.replies.len());
            }
        }
        answer(group.replies, result.as_ref().copied());
    }
}

/// Applies the first half of a batch by itself: a bug to be caught.
fn half_of(engine: &dyn Engine, mut batch: Batch) -> Result<Batch, OutboxError> {
    let rest = batch.writes.split_off(batch.writes.len() / 2);
    engine.apply(batch)?;
    Ok(Batch { writes: rest })
}

fn answer(replies: Vec<Reply>, result: Result<(), &OutboxError>) {
    for reply in replies {
        reply(result.map_err(Clone::clone));
    }
}

/// Runs one request and prepares its answer, which is given once the group is durable. Returns what is left of a
/// request that is too large for this group.
fn handle(shared: &Shared, writer: &mut Writer<'_>, request: Request, replies: &mut Vec<Reply>) -> Option<Request> {
    let now = crate::domain::timestamp::to_micros(shared.clock.now());
    match request {
        Request::Accept(accepting) => return accept(shared, writer, accepting, replies).map(Request::Accept),
        Request::Settle(settlement, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.settle(*settlement))));
        }
        Request::Intend(id, to) => replies.push(later(to, attempt(shared, writer, |w| w.intend(id, now)))),
        Request::Order(order, to) => replies.push(later(to, attempt(shared, writer, |w| w.order(&order)))),
        Request::PlanUnrouted(id, plan, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.plan_unrouted(id, &plan, now))));
        }
        Request::HoldUnconfigured(id, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.hold_unconfigured(id, now))));
        }
        Request::Pause(postback, pause, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.pause_named(&postback, pause))));
        }
        Request::Retire(ids, policy, to) => {
            let retire = |w: &mut Writer<'_>| {
                w.retire_bulks(now.checked_sub(policy.dead).unwrap_or(Timestamp::MIN))?;
                w.retire(&ids, policy, now)
            };
            replies.push(later(to, attempt(shared, writer, retire)));
        }
        Request::Give(record, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.give(*record, now))));
        }
        Request::Name(id, targets, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.name_targets(id, &targets))));
        }
        Request::BeginBulk(id, to) => replies.push(later(to, attempt(shared, writer, |w| w.begin_bulk(id)))),
        Request::Step(id, step, to) => replies.push(later(to, attempt(shared, writer, |w| w.step(id, &step, now)))),
        Request::ChangeBulk(id, state, by, to) => {
            replies.push(later(to, attempt(shared, writer, |w| w.change_bulk(id, state, &by, now))));
        }
        Request::Mark(mark, to) => replies.push(later(to, attempt(shared, writer, |w| w.mark_exported(*mark, now)))),
        Request::Window(window, to) => replies.push(later(to, read_window(shared, window))),
        Request::Probe(to) => replies.push(later(to, Ok(()))),
        // Lines are drawn between groups: this one's batch is applied behind both.
        Request::Tap(tap, to) => replies.push(later(to, Ok(shared.tap.open(tap)))),
        Request::Untap(ticket, to) => {
            shared.tap.close(&ticket);
            replies.push(later(to, Ok(now)));
        }
        Request::Stop => {}
    }
    None
}

/// Accepts events until the group is full; returns those that are left.
fn accept(
    shared: &Shared,
    writer: &mut Writer<'_>,
    mut accepting: Accepting,
    replies: &mut Vec<Reply>,
) -> Option<Accepting> {
    let now = crate::domain::timestamp::to_micros(shared.clock.now());
    for event in accepting.events.by_ref() {
        accepting.results.push(attempt(shared, writer, |w| w.accept(event, now)));
        if writer.writes() >= MAX_GROUP_WRITES {
            break;
        }
    }
    if accepting.events.len() > 0 {
        return Some(accepting);
    }
    let Accepting { results, permits, to, .. } = accepting;
    let reply = later(to, Ok(results));
    replies.push(Box::new(move |durable| {
        drop(permits);
        reply(durable);
    }));
    None
}

/// Runs one request. An engine that cannot be read is as final as one that cannot be written: what was sent could not
/// be written down, and would be sent again.
fn attempt<'w, T>(
    shared: &Shared,
    writer: &mut Writer<'w>,
    run: impl FnOnce(&mut Writer<'w>) -> Result<T, OutboxError>,
) -> Result<T, OutboxError> {
    let result = writer.attempt(run);
    if let Err(error @ OutboxError::Engine(_)) = &result {
        shared.failure.set(error);
    }
    result
}

fn later<T: Send + 'static>(to: Answer<T>, result: Result<T, OutboxError>) -> Reply {
    Box::new(move |durable| {
        let _ = to.send(durable.and(result));
    })
}

fn read_window(shared: &Shared, request: WindowRequest) -> Result<Window, OutboxError> {
    let WindowRequest { postback, class, after, limit } = request;
    let behind = after.map(|due| (due.at, due.id));
    let soon = shared.mirror.read().unwrap_or_else(PoisonError::into_inner).soon.of(postback, class, behind);
    let mut due = Vec::new();
    let skipped = usize::from(planted(Bug::RefillSkips) && after.is_some());
    for place in soon::scheduled(&*shared.engine, soon, postback, class, behind).skip(skipped) {
        let (at, id) = place?;
        if due.len() == limit {
            return Ok(Window { due, complete: false });
        }
        due.push(Due { at, id, postback, class });
    }
    Ok(Window { due, complete: true })
}
