//! Bulk orders: replay, cancel, hold, release or put away many deliveries, with an exact count and a pace.
//!
//! What is meant is named before an order begins, so that what is done is what was counted. The order and its targets
//! are in the outbox; a task carries it out and goes on after a restart. A replay keeps each delivery's id and so its
//! idempotency key.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::intake::{IntakeRules, planned};
use crate::domain::affiliate::Rate;
use crate::domain::delivery::StateKind;
use crate::domain::id::{BulkId, EventId};
use crate::domain::timestamp::to_micros;
use crate::inspect::{self, DeliveryFilter, ListError};
use crate::ops::beside::beside;
use crate::ops::clock::SharedClock;
use crate::outbox::{
    BulkChanged, BulkRecord, BulkState, BulkStep, MAX_REFUSALS, OrderRequest, Outbox, OutboxError, Refusal, Stepped,
    Target, Verb,
};

/// Most deliveries of one order.
pub const MAX_DELIVERIES: usize = 1_000_000;
/// Most orders that are open at once.
const MAX_OPEN: usize = 32;
/// Longest text of a filter that is kept with its order.
const KEPT_FILTER_BYTES: usize = 2_048;
/// Targets under way at once.
const CONCURRENCY: usize = 64;
/// Targets read at once.
const PAGE: usize = 512;
/// How long to wait for deliveries that were being sent when their turn came.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What is to be done, about which deliveries, and how.
#[derive(Debug, Clone)]
pub struct BulkRequest {
    /// What is done to each.
    pub verb: Verb,
    /// Which deliveries; of unrouted events only its affiliate counts.
    pub filter: DeliveryFilter,
    /// Most deliveries.
    pub limit: Option<usize>,
    /// At which pace, as it was written.
    pub rate: Option<(String, Rate)>,
    /// Why.
    pub reason: String,
    /// Who orders it.
    pub by: String,
}

/// What an order names: what can be done, and what was named one by one and cannot.
#[derive(Debug, Default)]
pub struct Named {
    /// What will be done.
    pub targets: Vec<Target>,
    /// What cannot.
    pub refusals: Vec<Refusal>,
}

/// A bulk order as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkView {
    /// Its id.
    pub order_id: BulkId,
    /// What it does.
    pub verb: String,
    /// Whether delivered ones are replayed, too.
    pub force: bool,
    /// How it stands: running, paused, stopped or finished.
    pub state: BulkState,
    /// How many deliveries, or events, it named.
    pub matched: u64,
    /// For how many of them it was carried out.
    pub done: u64,
    /// For how many it could not be.
    pub refused: u64,
    /// How many are still to be done.
    pub remaining: u64,
    /// What was asked for.
    #[schema(value_type = DeliveryFilter)]
    pub filter: Value,
    /// Its pace.
    pub rate: Option<String>,
    /// Why it was given.
    pub reason: String,
    /// Who gave it.
    pub by: String,
    /// When.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Who changed it last.
    pub changed_by: String,
    /// The first refusals.
    pub refusals: Vec<Refusal>,
}

impl BulkView {
    fn new(id: BulkId, record: BulkRecord) -> Self {
        Self {
            order_id: id,
            verb: record.verb.name().into(),
            force: record.verb == Verb::Replay { force: true },
            state: record.state,
            matched: record.matched,
            done: record.done,
            refused: record.refused,
            remaining: record.remaining(),
            filter: serde_json::from_str(&record.filter).unwrap_or_default(),
            rate: record.rate,
            reason: record.reason,
            by: record.by,
            created_at: record.created_at,
            changed_at: record.changed_at,
            changed_by: record.changed_by,
            refusals: record.refusals,
        }
    }
}

/// Why a bulk order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// As many are open as may be.
    #[error("{MAX_OPEN} orders are open already; wait for one to end, or stop one")]
    TooMany,
    /// The outbox failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// Carries out bulk orders. Cheap to clone.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "nothing to show beside the views")]
pub struct BulkOrders {
    outbox: Outbox,
    clock: SharedClock,
    rules: watch::Receiver<Arc<IntakeRules>>,
    stop: CancellationToken,
    under_way: Arc<Mutex<BTreeSet<BulkId>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BulkOrders {
    /// Bulk orders of an outbox. Those that were running go on; all of them rest when the token says so.
    pub fn start(
        outbox: Outbox,
        clock: SharedClock,
        rules: watch::Receiver<Arc<IntakeRules>>,
        stop: CancellationToken,
    ) -> Self {
        let orders = Self { outbox, clock, rules, stop, under_way: Arc::default() };
        for (id, record) in orders.outbox.reader().bulks(None, usize::MAX) {
            if record.state == BulkState::Running {
                tracing::info!(order = %id, remaining = record.remaining(), "order.goes_on");
                orders.run(id);
            }
        }
        orders
    }

    /// Names what a request means, exactly. Reads the store for as long as it takes, on the caller's thread.
    ///
    /// # Errors
    /// When the filter is not well-formed or the store cannot be read.
    pub fn name(&self, request: &BulkRequest) -> Result<Named, ListError> {
        if request.verb == Verb::Plan { self.name_events(request) } else { self.name_deliveries(request) }
    }

    /// Writes down an order about what was named, and begins to carry it out; it is durable when this returns.
    ///
    /// # Errors
    /// When too many are open, or the outbox fails.
    pub async fn give(&self, request: &BulkRequest, named: Named) -> Result<BulkView, BulkError> {
        let open =
            self.outbox.reader().bulks(None, usize::MAX).into_iter().filter(|(_, record)| record.state.is_open());
        if open.count() >= MAX_OPEN {
            return Err(BulkError::TooMany);
        }
        let Named { targets, mut refusals } = named;
        let now = to_micros(self.clock.now());
        let refused = refusals.len() as u64;
        refusals.truncate(MAX_REFUSALS);
        let record = BulkRecord {
            verb: request.verb,
            filter: kept_filter(&request.filter),
            reason: request.reason.clone(),
            by: request.by.clone(),
            rate: request.rate.as_ref().map(|(text, _)| text.clone()),
            created_at: now,
            changed_at: now,
            changed_by: request.by.clone(),
            state: BulkState::Naming,
            matched: refused,
            done: 0,
            refused,
            refusals,
        };
        // Whoever ordered it may go away meanwhile: it is given whole, and begun.
        let orders = self.clone();
        let given = tokio::spawn(async move {
            let id = orders.outbox.give(record, &targets).await?;
            orders.run(id);
            Ok::<_, OutboxError>((id, targets.len()))
        });
        let (id, matched) = given.await.map_err(|error| OutboxError::Stopped(error.to_string()))??;
        tracing::info!(
            order = %id,
            verb = request.verb.name(),
            matched,
            by = request.by,
            reason = request.reason,
            "order.given"
        );
        self.get(id).ok_or_else(|| OutboxError::Stopped("the order is gone".into()).into())
    }

    /// An order as it stands.
    pub fn get(&self, id: BulkId) -> Option<BulkView> {
        self.outbox.reader().bulk(id).map(|record| BulkView::new(id, record))
    }

    /// Orders, the newest first, behind `after`.
    pub fn list(&self, after: Option<BulkId>, limit: usize) -> Vec<BulkView> {
        let bulks = self.outbox.reader().bulks(after, limit);
        bulks.into_iter().map(|(id, record)| BulkView::new(id, record)).collect()
    }

    /// Pauses, resumes or stops an order; what is done stays done.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn change(&self, id: BulkId, state: BulkState, by: &str) -> Result<BulkChanged, OutboxError> {
        let (orders, by) = (self.clone(), by.to_owned());
        let changed = tokio::spawn(async move {
            let changed = orders.outbox.change_bulk(id, state, &by).await?;
            if let BulkChanged::Changed(..) = &changed {
                tracing::info!(order = %id, ?state, by, "order.changed");
                if state == BulkState::Running {
                    orders.run(id);
                }
            }
            Ok(changed)
        });
        changed.await.map_err(|error| OutboxError::Stopped(error.to_string()))?
    }

    /// Begins to carry an order out, unless that is under way.
    fn run(&self, id: BulkId) {
        if locked(&self.under_way).insert(id) {
            let orders = self.clone();
            tokio::spawn(async move {
                let stop = orders.stop.clone();
                let ended = tokio::select! {
                    biased;
                    () = stop.cancelled() => Ok(()),
                    ended = orders.carry_out(id) => ended,
                };
                locked(&orders.under_way).remove(&id);
                match ended {
                    // Resumed while it was coming to rest: nobody else has taken it up.
                    Ok(()) if !stop.is_cancelled() && orders.is_running(id) => orders.run(id),
                    Ok(()) => {}
                    Err(error) => tracing::error!(order = %id, %error, "an order rests until it is resumed"),
                }
            });
        }
    }

    /// Carries an order out until nothing is left of it, or it no longer runs.
    async fn carry_out(&self, id: BulkId) -> Result<(), OutboxError> {
        let Some(record) = self.outbox.reader().bulk(id) else { return Ok(()) };
        let mut pace = record.rate.as_deref().and_then(crate::config::parse_rate).map(|rate| {
            let mut pace = tokio::time::interval(rate.interval());
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        loop {
            let mut after = None;
            loop {
                let reader = self.outbox.reader().clone();
                let targets = beside(move || reader.targets(id, after, PAGE)).await;
                let targets = targets.map_err(|error| OutboxError::Stopped(error.to_string()))??;
                let Some(last) = targets.last().copied() else { break };
                after = Some(last);
                if !self.page(id, &record, targets, &mut pace).await? {
                    return Ok(());
                }
            }
            let reader = self.outbox.reader().clone();
            let left = beside(move || reader.targets(id, None, 1)).await;
            if left.map_err(|error| OutboxError::Stopped(error.to_string()))??.is_empty() {
                self.outbox.change_bulk(id, BulkState::Finished, "postbackd").await?;
                tracing::info!(order = %id, "order.finished");
                return Ok(());
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// Carries an order out for some targets; `false` when it no longer runs.
    async fn page(
        &self,
        id: BulkId,
        record: &BulkRecord,
        targets: Vec<Target>,
        pace: &mut Option<Interval>,
    ) -> Result<bool, OutboxError> {
        let mut under_way = FuturesUnordered::new();
        let mut running = true;
        for target in targets {
            if let Some(pace) = pace {
                pace.tick().await;
            }
            if under_way.len() >= CONCURRENCY
                && let Some(stepped) = under_way.next().await
            {
                running &= self.still_runs(id, stepped?);
            }
            while let Some(Some(stepped)) = under_way.next().now_or_never() {
                running &= self.still_runs(id, stepped?);
            }
            if !running {
                break;
            }
            under_way.push(self.one(id, record, target));
        }
        while let Some(stepped) = under_way.next().await {
            running &= self.still_runs(id, stepped?);
        }
        Ok(running)
    }

    fn still_runs(&self, id: BulkId, stepped: Stepped) -> bool {
        match stepped {
            Stepped::Done | Stepped::Busy => true,
            Stepped::Over => self.is_running(id),
        }
    }

    fn is_running(&self, id: BulkId) -> bool {
        self.outbox.reader().bulk(id).is_some_and(|record| record.state == BulkState::Running)
    }

    async fn one(&self, id: BulkId, record: &BulkRecord, target: Target) -> Result<Stepped, OutboxError> {
        let step = match (target, record.verb.order()) {
            (Target::Delivery(delivery), Some(order)) => BulkStep::Order(OrderRequest {
                id: delivery,
                order,
                by: record.by.clone(),
                reason: record.reason.clone(),
                at: to_micros(self.clock.now()),
                bulk: Some(id),
            }),
            (Target::Event(event), None) => self.plan(event),
            (target, _) => BulkStep::Refuse(target, "the order is not about such a thing".into()),
        };
        match self.outbox.step(id, step).await {
            // One that cannot be read, or not be written, stands in nobody's way.
            Err(error @ (OutboxError::Corrupt { .. } | OutboxError::Encode(_))) => {
                self.outbox.step(id, BulkStep::Refuse(target, error.to_string())).await
            }
            stepped => stepped,
        }
    }

    fn plan(&self, event: EventId) -> BulkStep {
        let rules = self.rules.borrow().clone();
        match self.outbox.reader().event(event) {
            Ok(Some(record)) => BulkStep::Plan(event, planned(&record.event, &rules)),
            Ok(None) => BulkStep::Refuse(Target::Event(event), "there is no such event".into()),
            Err(error) => BulkStep::Refuse(Target::Event(event), error.to_string()),
        }
    }

    fn name_events(&self, request: &BulkRequest) -> Result<Named, ListError> {
        let most = request.limit.unwrap_or(MAX_DELIVERIES).min(MAX_DELIVERIES);
        let reader = self.outbox.reader();
        let rules = self.rules.borrow().clone();
        let own = request.filter.affiliate.as_deref();
        let mut named = Named::default();
        for id in reader.unrouted(None, false) {
            let id = id?;
            if named.targets.len() == most {
                break;
            }
            let wanted = reader.event(id)?.is_some_and(|record| {
                let meant = own.is_none_or(|affiliate| record.event.affiliate_id.as_str() == affiliate);
                meant && !planned(&record.event, &rules).is_empty()
            });
            if wanted {
                named.targets.push(Target::Event(id));
            }
        }
        Ok(named)
    }

    fn name_deliveries(&self, request: &BulkRequest) -> Result<Named, ListError> {
        let most = request.limit.unwrap_or(MAX_DELIVERIES).min(MAX_DELIVERIES);
        let reader = self.outbox.reader();
        let eligible = |state: StateKind| takes(request.verb, state);
        let mut ids = inspect::matching(reader, &request.filter, eligible, most)?;
        // In the order of acceptance: an original goes before what reverses it, whatever index named them.
        ids.sort_unstable();
        // Deliveries named one by one are answered for one by one.
        let mut refusals = Vec::new();
        if !request.filter.ids.is_empty() {
            for id in inspect::matching(reader, &request.filter, |state| !eligible(state), MAX_DELIVERIES)? {
                let state = reader.delivery(id)?.map_or(StateKind::Delivered, |view| view.delivery.state.kind());
                let forced = state == StateKind::Delivered && matches!(request.verb, Verb::Replay { .. });
                let hint = if forced { "; it takes force to send it again" } else { "" };
                refusals.push(Refusal { id: id.to_string(), why: format!("it is {}{hint}", state.name()) });
            }
        }
        Ok(Named { targets: ids.into_iter().map(Target::Delivery).collect(), refusals })
    }
}

/// A filter as it is kept for people: one that names very many deliveries is told by their number.
fn kept_filter(filter: &DeliveryFilter) -> String {
    let whole = serde_json::to_string(filter).unwrap_or_default();
    if whole.len() <= KEPT_FILTER_BYTES {
        return whole;
    }
    serde_json::json!({ "ids": format!("{} ids", filter.ids.len()), "affiliate": filter.affiliate }).to_string()
}

/// Whether an order is about deliveries of a state.
fn takes(verb: Verb, state: StateKind) -> bool {
    use StateKind as K;
    match verb {
        Verb::Replay { force } => {
            matches!(state, K::Dead | K::Cancelled | K::Superseded) || (force && state == K::Delivered)
        }
        Verb::Cancel => matches!(state, K::Scheduled | K::InFlight | K::Waiting | K::Held),
        Verb::Hold => matches!(state, K::Scheduled | K::InFlight | K::Waiting),
        Verb::Release | Verb::Confirm => state == K::Held,
        Verb::Discard => matches!(state, K::Dead | K::Held),
        Verb::Plan => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_is_about_what_its_transition_allows() {
        let taken = |verb| StateKind::ALL.into_iter().filter(move |state| takes(verb, *state)).map(StateKind::name);
        assert_eq!(taken(Verb::Replay { force: false }).collect::<Vec<_>>(), ["dead", "cancelled", "superseded"]);
        assert!(taken(Verb::Replay { force: true }).any(|state| state == "delivered"));
        assert_eq!(taken(Verb::Release).collect::<Vec<_>>(), ["held"]);
        assert_eq!(taken(Verb::Discard).collect::<Vec<_>>(), ["held", "dead"]);
        assert_eq!(taken(Verb::Cancel).collect::<Vec<_>>(), ["scheduled", "waiting", "in_flight", "held"]);
    }
}
