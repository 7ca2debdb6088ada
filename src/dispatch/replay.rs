//! Replays: orders to send many deliveries again, with an exact count, a pace and a record of what was refused.
//!
//! A replay keeps each delivery's id and so its idempotency key. It names the deliveries before it begins, so
//! that what is done is what was counted. A replay itself lives in memory; each delivery it has touched is
//! durable by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::intake::{IntakeRules, planned};
use crate::domain::affiliate::Rate;
use crate::domain::delivery::StateKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::inspect::{self, DeliveryFilter, ListError};
use crate::ops::clock::SharedClock;
use crate::outbox::{Order, OrderRequest, Outbox};

/// Most deliveries of one replay.
pub const MAX_DELIVERIES: usize = 1_000_000;
/// Most refusals kept with their reason.
const MAX_REFUSALS: usize = 100;
/// Most replays remembered.
const MAX_REPLAYS: usize = 100;
/// Orders under way at once.
const CONCURRENCY: usize = 64;

/// What is to be replayed, and how.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// Which deliveries.
    pub filter: DeliveryFilter,
    /// Plan events that were kept unrouted, instead of replaying deliveries.
    pub unrouted: bool,
    /// Whether delivered ones are sent again, too.
    pub force: bool,
    /// Most deliveries.
    pub limit: Option<usize>,
    /// At which pace.
    pub rate: Option<Rate>,
    /// Why.
    pub reason: String,
    /// Who orders it.
    pub by: String,
}

/// A replay as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayView {
    /// Its id.
    pub replay_id: String,
    /// Deliveries, or unrouted events, that it names.
    pub matched: usize,
    /// How many of them are done.
    pub done: usize,
    /// How many are on their way again.
    pub replayed: usize,
    /// How many could not be replayed.
    pub refused: usize,
    /// How it stands.
    pub state: ReplayState,
    /// Why it was ordered.
    pub reason: String,
    /// Who ordered it.
    pub by: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The first refusals.
    pub refusals: Vec<Refusal>,
}

/// How a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// Under way.
    Running,
    /// All done.
    Finished,
    /// Stopped by a person or by the daemon's end.
    Stopped,
}

/// A delivery that could not be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The delivery or event.
    pub id: String,
    /// Why.
    pub why: String,
}

/// The deliveries, or unrouted events, that a replay names.
#[derive(Debug)]
pub enum Targets {
    /// Deliveries to be sent again, and those that were named one by one but cannot be.
    Deliveries(Vec<DeliveryId>, Vec<Refusal>),
    /// Events to be planned.
    Unrouted(Vec<EventId>),
}

impl Targets {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Deliveries(ids, _) => ids.len(),
            Self::Unrouted(ids) => ids.len(),
        }
    }

    /// What was named and cannot be done.
    pub fn refusals(&self) -> &[Refusal] {
        match self {
            Self::Deliveries(_, refusals) => refusals,
            Self::Unrouted(_) => &[],
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct Running {
    view: Mutex<ReplayView>,
    stop: CancellationToken,
}

/// All replays since the daemon started. Cheap to clone.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "nothing to show beside the views")]
pub struct Replays {
    outbox: Outbox,
    clock: SharedClock,
    stop: CancellationToken,
    running: Arc<Mutex<BTreeMap<String, Arc<Running>>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replays {
    /// Replays of an outbox; all of them stop with the token.
    pub fn new(outbox: Outbox, clock: SharedClock, stop: CancellationToken) -> Self {
        Self { outbox, clock, stop, running: Arc::default() }
    }

    /// Names what a request means, exactly. Reads the store for as long as it takes, on the caller's thread.
    ///
    /// # Errors
    /// When the filter is not well-formed or the store cannot be read.
    pub fn targets(&self, request: &ReplayRequest, rules: &IntakeRules) -> Result<Targets, ListError> {
        name_targets(request, &self.outbox, rules)
    }

    /// Starts a replay of what was named.
    pub fn start(&self, request: &ReplayRequest, targets: Targets, rules: Arc<IntakeRules>) -> ReplayView {
        let started_at = self.clock.now();
        let view = ReplayView {
            replay_id: format!("rpl_{}", started_at.as_microsecond()),
            matched: targets.len(),
            done: 0,
            replayed: 0,
            refused: targets.refusals().len(),
            state: ReplayState::Running,
            reason: request.reason.clone(),
            by: request.by.clone(),
            started_at,
            finished_at: None,
            refusals: targets.refusals().iter().take(MAX_REFUSALS).cloned().collect(),
        };
        let running = Arc::new(Running { view: Mutex::new(view.clone()), stop: self.stop.child_token() });
        let mut all = locked(&self.running);
        all.insert(view.replay_id.clone(), Arc::clone(&running));
        while all.len() > MAX_REPLAYS {
            all.pop_first();
        }
        drop(all);
        tracing::info!(
            replay = view.replay_id,
            matched = view.matched,
            by = view.by,
            reason = view.reason,
            "replay.started"
        );
        tokio::spawn(self.clone().run(running, request.clone(), targets, rules));
        view
    }

    /// A replay as it stands.
    pub fn get(&self, id: &str) -> Option<ReplayView> {
        locked(&self.running).get(id).map(|running| locked(&running.view).clone())
    }

    /// All replays since the daemon started, the newest first.
    pub fn list(&self) -> Vec<ReplayView> {
        locked(&self.running).values().rev().map(|running| locked(&running.view).clone()).collect()
    }

    /// Stops a replay: what is not yet done is left as it is.
    pub fn stop(&self, id: &str) -> Option<ReplayView> {
        let running = locked(&self.running).get(id).cloned()?;
        running.stop.cancel();
        Some(locked(&running.view).clone())
    }

    async fn run(self, running: Arc<Running>, request: ReplayRequest, targets: Targets, rules: Arc<IntakeRules>) {
        let mut pace = request.rate.map(|rate| tokio::time::interval(rate.interval()));
        let work: Vec<Work> = match targets {
            Targets::Deliveries(ids, _) => ids.into_iter().map(Work::Replay).collect(),
            Targets::Unrouted(ids) => ids.into_iter().map(Work::Plan).collect(),
        };
        let mut under_way = FuturesUnordered::new();
        for next in work {
            if under_way.len() >= CONCURRENCY
                && let Some(done) = under_way.next().await
            {
                note(&mut locked(&running.view), done);
            }
            if let Some(pace) = &mut pace {
                tokio::select! {
                    _ = pace.tick() => {}
                    () = running.stop.cancelled() => {}
                }
            }
            if running.stop.is_cancelled() {
                break;
            }
            under_way.push(self.one(next, &request, &rules));
            // What is done meanwhile is noted without waiting for the rest.
            while let Some(Some(done)) = under_way.next().now_or_never() {
                note(&mut locked(&running.view), done);
            }
        }
        while let Some(done) = under_way.next().await {
            note(&mut locked(&running.view), done);
        }
        let mut view = locked(&running.view);
        view.finished_at = Some(self.clock.now());
        view.state = if view.done == view.matched { ReplayState::Finished } else { ReplayState::Stopped };
        tracing::info!(replay = view.replay_id, replayed = view.replayed, refused = view.refused, "replay.ended");
    }

    async fn one(&self, work: Work, request: &ReplayRequest, rules: &IntakeRules) -> (String, Result<(), String>) {
        match work {
            Work::Replay(id) => {
                let order = OrderRequest {
                    id,
                    order: Order::Replay { force: request.force },
                    by: request.by.clone(),
                    reason: request.reason.clone(),
                    at: crate::domain::timestamp::to_micros(self.clock.now()),
                    bulk: None,
                };
                let result = match self.outbox.order(order).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(refused)) => Err(refused.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                (id.to_string(), result)
            }
            Work::Plan(id) => (id.to_string(), self.plan(id, rules).await),
        }
    }

    async fn plan(&self, id: EventId, rules: &IntakeRules) -> Result<(), String> {
        let record = self.outbox.reader().event(id).map_err(|error| error.to_string())?;
        let record = record.ok_or("there is no such event")?;
        let plan = planned(&record.event, rules);
        match self.outbox.plan_unrouted(id, plan).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("it is no longer unrouted, or no postback wants it".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn note(view: &mut ReplayView, (id, result): (String, Result<(), String>)) {
    view.done += 1;
    match result {
        Ok(()) => view.replayed += 1,
        Err(why) => {
            view.refused += 1;
            if view.refusals.len() < MAX_REFUSALS {
                view.refusals.push(Refusal { id, why });
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Replay(DeliveryId),
    Plan(EventId),
}

fn name_targets(request: &ReplayRequest, outbox: &Outbox, rules: &IntakeRules) -> Result<Targets, ListError> {
    let most = request.limit.unwrap_or(MAX_DELIVERIES).min(MAX_DELIVERIES);
    let reader = outbox.reader();
    if request.unrouted {
        let mut ids = Vec::new();
        for id in reader.unrouted(None, false) {
            let id = id?;
            if ids.len() == most {
                break;
            }
            let wanted = reader.event(id)?.is_some_and(|record| {
                let own = request.filter.affiliate.as_deref();
                let meant = own.is_none_or(|affiliate| record.event.affiliate_id.as_str() == affiliate);
                meant && !planned(&record.event, rules).is_empty()
            });
            if wanted {
                ids.push(id);
            }
        }
        return Ok(Targets::Unrouted(ids));
    }
    let eligible = |state: StateKind| can_be_replayed(state, request.force);
    let mut ids = inspect::matching(reader, &request.filter, eligible, most)?;
    // In the order of acceptance: an original goes before what reverses it, whatever index named them.
    ids.sort_unstable();
    // Deliveries named one by one are answered for one by one.
    let mut refusals = Vec::new();
    if !request.filter.ids.is_empty() {
        for id in inspect::matching(reader, &request.filter, |state| !eligible(state), MAX_DELIVERIES)? {
            let state = reader.delivery(id)?.map_or(StateKind::Delivered, |view| view.delivery.state.kind());
            let hint = if state == StateKind::Delivered { "; it takes force to send it again" } else { "" };
            refusals.push(Refusal { id: id.to_string(), why: format!("it is {}{hint}", state.name()) });
        }
    }
    Ok(Targets::Deliveries(ids, refusals))
}

/// Whether a filter takes in deliveries of a state.
fn can_be_replayed(state: StateKind, force: bool) -> bool {
    match state {
        StateKind::Dead | StateKind::Cancelled | StateKind::Superseded => true,
        StateKind::Delivered => force,
        StateKind::Scheduled | StateKind::Waiting | StateKind::InFlight | StateKind::Held => false,
    }
}
