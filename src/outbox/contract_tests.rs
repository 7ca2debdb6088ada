//! What every engine must do under the outbox: one suite, run on each of them.
//!
//! A test tells a story: events are accepted, deliveries are sent with a scripted conclusion, the store is
//! reopened at any point, and the states seen afterwards are compared.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::domain::delivery::{Conclusion, DeadReason, DeliveredHow, HoldReason, StateKind};
use crate::domain::event::{Event, Status};
use crate::domain::id::{DeliveryId, EventId, PostbackRef, TransactionId};
use crate::domain::outcome::Outcome;
use crate::domain::postback::{OrderPolicy, OriginalDead, OriginalUnsettled};
use crate::domain::record::{AttemptRecord, Cause, Timings};
use crate::ops::clock::Clock;

const DELIVERED: Conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
const DEAD: Conclusion = Conclusion::Dead(DeadReason::Exhausted);

/// A clock that stands where it is put.
#[derive(Debug)]
struct FixedClock(Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Where a test's engine keeps its data; reopening yields the same data.
enum Place {
    Memory(Arc<MemoryEngine>),
    Sled(tempfile::TempDir),
}

impl Place {
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(engine) => Arc::clone(engine) as Arc<dyn Engine>,
            Self::Sled(directory) => Arc::new(SledEngine::open(directory.path(), 16 << 20).unwrap()),
        }
    }
}

struct Story {
    place: Place,
    outbox: Option<Outbox>,
}

fn now() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

fn event(transaction: &str, kind: &str, status: Status) -> Event {
    Event {
        transaction_id: TransactionId::parse(transaction).unwrap(),
        kind: kind.parse().unwrap(),
        affiliate_id: "acme".parse().unwrap(),
        click_id: Some("c-1".parse().unwrap()),
        offer_id: None,
        status,
        occurred_at: now(),
        payout: None,
        revenue: None,
        currency: None,
        sub_ids: std::collections::BTreeMap::new(),
        reverses: None,
        params: std::collections::BTreeMap::new(),
    }
}

fn reversal(transaction: &str, of: &str) -> Event {
    Event { reverses: Some(TransactionId::parse(of).unwrap()), ..event(transaction, "ftd_reversed", Status::Approved) }
}

fn postback(name: &str) -> PostbackRef {
    PostbackRef { affiliate: "acme".parse().unwrap(), postback: name.parse().unwrap() }
}

fn to(names: &[&str], order: OrderPolicy) -> Vec<PlannedDelivery> {
    names.iter().map(|name| PlannedDelivery { postback: postback(name), lane: None, order }).collect()
}

fn attempt(lease: &Lease, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        number: lease.before().made + 1,
        started_at: now(),
        request: None,
        digest: None,
        response: None,
        timings: Timings::default(),
        remote: None,
        outcome,
        rule: "test".into(),
        error: None,
    }
}

impl Story {
    fn on(place: Place) -> Self {
        let mut story = Self { place, outbox: None };
        story.open();
        story
    }

    fn open(&mut self) {
        let options = Options { clock: Arc::new(FixedClock(now())), keep_free: None };
        self.outbox = Some(Outbox::open(self.place.engine(), options).unwrap());
    }

    async fn reopen(&mut self) {
        self.outbox.take().unwrap().close().await;
        self.open();
    }

    fn outbox(&self) -> &Outbox {
        self.outbox.as_ref().unwrap()
    }

    async fn ingest(&self, event: Event, plan: Vec<PlannedDelivery>) -> Ingested {
        let request = AcceptRequest { event, occurred_at_given: true, plan, source: "test".into() };
        self.outbox().accept(vec![request]).await.unwrap().remove(0).unwrap()
    }

    async fn accept(&self, event: Event, plan: Vec<PlannedDelivery>) -> DeliveryId {
        match self.ingest(event, plan).await {
            Ingested::Accepted(accepted) => accepted.deliveries[0],
            other => panic!("not accepted: {other:?}"),
        }
    }

    async fn send(&self, id: DeliveryId, conclusion: Conclusion) {
        let lease = self.outbox().begin(id).unwrap().leased().expect("scheduled");
        self.settle(lease, conclusion).await;
    }

    async fn settle(&self, lease: Lease, conclusion: Conclusion) {
        let attempt = attempt(&lease, Outcome::Delivered);
        self.outbox().settle(Settlement { lease, attempt, conclusion, at: now(), pause: None }).await.unwrap();
    }

    async fn order(&self, id: DeliveryId, order: Order) -> Result<StateKind, OrderRefused> {
        let request = OrderRequest { id, order, by: "ops".into(), reason: "test".into(), at: now() };
        self.outbox().order(request).await.unwrap().map(|delivery| delivery.state.kind())
    }

    fn state(&self, id: DeliveryId) -> (StateKind, Option<&'static str>) {
        let state = self.outbox().reader().delivery(id).unwrap().unwrap().delivery.state;
        (state.kind(), state.reason())
    }

    fn kinds(&self, ids: &[DeliveryId]) -> Vec<StateKind> {
        ids.iter().map(|id| self.state(*id).0).collect()
    }

    /// Counts kept in the store equal those of a walk over all deliveries.
    fn check_counts(&self) {
        let reader = self.outbox().reader();
        let mut walked = [0_u64; 8];
        for found in reader.deliveries(Scan::All, None) {
            let (id, record) = found.unwrap();
            let view = reader.delivery_of(id, &record).unwrap().unwrap();
            walked[view.delivery.state.kind() as usize] += 1;
        }
        let kept = reader.counts().values().fold(Counts::default(), super::model::Counts::plus);
        assert_eq!(StateKind::ALL.map(|kind| kept.of(kind)), walked);
    }

    async fn scheduled(&self, class: SendClass) -> Vec<DeliveryId> {
        let mut found = Vec::new();
        for (number, _) in self.outbox().reader().postbacks() {
            let window = self.outbox().window(number, class, None, 100).await.unwrap();
            found.extend(window.due.into_iter().map(|due| due.id));
        }
        found
    }
}

fn again(seconds: i64) -> Conclusion {
    Conclusion::Again { due: now() + Duration::from_secs(seconds.unsigned_abs()), spends: true }
}

async fn accepted_events_and_their_deliveries_survive_reopening(mut story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a", "b"], OrderPolicy::default())).await;
    story.reopen().await;
    let reader = story.outbox().reader();
    let record = reader.event(id.event).unwrap().unwrap();
    assert_eq!((record.event.transaction_id.as_str(), record.plan.len(), record.source.as_str()), ("t1", 2, "test"));
    assert_eq!(story.scheduled(SendClass::First).await.len(), 2);
    assert_eq!(reader.totals().accepted, 1);
    story.check_counts();
}

async fn the_same_event_again_is_a_duplicate_and_other_content_a_conflict(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let id = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.reopen().await;
    let again = story.ingest(event("t1", "ftd", Status::Approved), plan()).await;
    assert_eq!(again, Ingested::Duplicate(Accepted { event_id: id.event, deliveries: vec![id] }));
    let other = Event { offer_id: Some("o".parse().unwrap()), ..event("t1", "ftd", Status::Approved) };
    let conflict = Conflict { event_id: id.event, fields: vec!["offer_id"] };
    assert_eq!(story.ingest(other, plan()).await, Ingested::Conflict(conflict));
    assert!(matches!(story.ingest(event("t1", "ftd", Status::Rejected), plan()).await, Ingested::Accepted(_)));
    let totals = story.outbox().reader().totals();
    assert_eq!((totals.accepted, totals.duplicates, totals.conflicts), (2, 1, 1));
}

async fn duplicates_within_one_batch_are_found(story: Story) {
    let request = |transaction: &str| AcceptRequest {
        event: event(transaction, "ftd", Status::Approved),
        occurred_at_given: false,
        plan: to(&["a"], OrderPolicy::default()),
        source: "test".into(),
    };
    let answers = story.outbox().accept(vec![request("t1"), request("t2"), request("t1")]).await.unwrap();
    let kinds = answers.into_iter().map(|answer| matches!(answer.unwrap(), Ingested::Accepted(_)));
    assert_eq!(kinds.collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(story.scheduled(SendClass::First).await.len(), 2);
}

async fn a_retry_moves_to_its_class_and_due_time(mut story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    story.send(id, again(60)).await;
    story.reopen().await;
    assert_eq!(story.scheduled(SendClass::First).await, []);
    assert_eq!(story.scheduled(SendClass::Retry).await, [id]);
    story.send(id, DELIVERED).await;
    assert_eq!(story.scheduled(SendClass::Retry).await, []);
    let history = story.outbox().reader().history(id, 10).unwrap();
    assert_eq!(history.iter().map(|view| view.number).collect::<Vec<_>>(), [0, 1]);
    assert!(matches!(&history[1].entry.cause, Cause::Attempted(attempt) if attempt.number == 2));
    assert_eq!(story.state(id), (StateKind::Delivered, Some("accepted")));
    assert_eq!(story.outbox().reader().totals().attempts_with(Outcome::Delivered), 2);
    story.check_counts();
}

async fn later_events_of_a_transaction_wait_their_turn(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let second = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let third = story.accept(event("t1", "ftd", Status::Rejected), plan()).await;
    let other = story.accept(event("t2", "ftd", Status::Pending), plan()).await;
    let all = [first, second, third, other];
    assert_eq!(story.kinds(&all), [StateKind::Scheduled, StateKind::Waiting, StateKind::Waiting, StateKind::Scheduled]);
    assert!(story.outbox().begin(second).unwrap().leased().is_none(), "a waiting delivery cannot be sent");
    story.send(first, again(5)).await;
    assert_eq!(story.kinds(&all), [StateKind::Scheduled, StateKind::Waiting, StateKind::Waiting, StateKind::Scheduled]);
    story.send(first, DELIVERED).await;
    story.reopen().await;
    assert_eq!(
        story.kinds(&all),
        [StateKind::Delivered, StateKind::Scheduled, StateKind::Waiting, StateKind::Scheduled]
    );
    story.send(second, DEAD).await;
    assert_eq!(story.kinds(&all), [StateKind::Delivered, StateKind::Dead, StateKind::Scheduled, StateKind::Scheduled]);
    story.check_counts();
}

async fn a_reversal_follows_its_original_and_a_dead_one_holds_it(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let original = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let reversed = story.accept(reversal("r1", "t1"), plan()).await;
    assert_eq!(story.state(reversed).0, StateKind::Waiting);
    story.send(original, DEAD).await;
    assert_eq!(story.state(reversed), (StateKind::Held, Some("original_dead")));
    story.reopen().await;
    assert_eq!(story.order(original, Order::Replay { force: false }).await, Ok(StateKind::Scheduled));
    story.send(original, DELIVERED).await;
    assert_eq!(story.state(reversed).0, StateKind::Scheduled, "an original that arrives after all frees it");
    story.check_counts();
}

async fn a_reversal_by_another_postback_waits_as_well(story: Story) {
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let planned =
        PlannedDelivery { postback: postback("b"), lane: Some("l".parse().unwrap()), order: OrderPolicy::default() };
    let reversed = story.accept(reversal("r1", "t1"), vec![planned]).await;
    assert_eq!(story.state(reversed).0, StateKind::Waiting);
    story.send(original, DELIVERED).await;
    assert_eq!(story.state(reversed).0, StateKind::Scheduled);
}

async fn a_reversal_of_a_dead_original_goes_out_where_asked(story: Story) {
    let order = OrderPolicy { original_dead: OriginalDead::Send, ..OrderPolicy::default() };
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], order)).await;
    story.send(original, DEAD).await;
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], order)).await;
    assert_eq!(story.state(reversed).0, StateKind::Scheduled);
}

async fn cancel_both_spares_the_receiver_an_unsent_pair(mut story: Story) {
    let order = OrderPolicy { original_unsettled: OriginalUnsettled::CancelBoth, ..OrderPolicy::default() };
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], order)).await;
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], order)).await;
    story.reopen().await;
    let cancelled = (StateKind::Cancelled, Some("reversed_unsent"));
    assert_eq!((story.state(original), story.state(reversed)), (cancelled, cancelled));
    assert_eq!(story.scheduled(SendClass::First).await, []);
    story.check_counts();
}

async fn cancel_both_waits_for_an_original_in_flight(story: Story) {
    let order = OrderPolicy { original_unsettled: OriginalUnsettled::CancelBoth, ..OrderPolicy::default() };
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], order)).await;
    let lease = story.outbox().begin(original).unwrap().leased().unwrap();
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], order)).await;
    assert_eq!(story.state(reversed).0, StateKind::Waiting);
    story.settle(lease, DELIVERED).await;
    assert_eq!(story.kinds(&[original, reversed]), [StateKind::Delivered, StateKind::Scheduled]);
}

async fn a_newer_status_supersedes_where_only_the_latest_counts(story: Story) {
    let order = OrderPolicy { latest_only: true, ..OrderPolicy::default() };
    let pending = story.accept(event("t1", "ftd", Status::Pending), to(&["a"], order)).await;
    story.send(pending, again(60)).await;
    let approved = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], order)).await;
    assert_eq!(story.kinds(&[pending, approved]), [StateKind::Superseded, StateKind::Scheduled]);
    assert_eq!(story.scheduled(SendClass::Retry).await, []);
    story.check_counts();
}

async fn each_postback_decides_for_itself_what_a_reversal_cancels(story: Story) {
    let cancel = OrderPolicy { original_unsettled: OriginalUnsettled::CancelBoth, ..OrderPolicy::default() };
    let plan = || [to(&["a"], OrderPolicy::default()), to(&["b"], cancel)].concat();
    let original = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let reversed = story.accept(reversal("r1", "t1"), plan()).await;
    let both = |id: DeliveryId| [id, DeliveryId { ordinal: 1, ..id }];
    assert_eq!(story.kinds(&both(original)), [StateKind::Scheduled, StateKind::Cancelled]);
    assert_eq!(story.kinds(&both(reversed)), [StateKind::Waiting, StateKind::Cancelled]);
    story.send(original, DELIVERED).await;
    assert_eq!(story.kinds(&both(reversed)), [StateKind::Scheduled, StateKind::Cancelled]);
    story.check_counts();
}

async fn superseding_spares_other_types_and_frees_who_waited_for_it(story: Story) {
    let latest = OrderPolicy { latest_only: true, ..OrderPolicy::default() };
    let registration = story.accept(event("t1", "registration", Status::Approved), to(&["b"], latest)).await;
    assert_eq!(story.order(registration, Order::Hold).await, Ok(StateKind::Held));
    story.order(registration, Order::Release).await.unwrap();
    story.send(registration, DELIVERED).await;
    let pending = story.accept(event("t1", "ftd", Status::Pending), to(&["b"], latest)).await;
    let both = [to(&["a"], OrderPolicy::default()), to(&["b"], latest)].concat();
    let approved = story.accept(event("t1", "ftd", Status::Approved), both).await;
    assert_eq!(story.state(pending).0, StateKind::Superseded);
    let second = DeliveryId { ordinal: 1, ..approved };
    assert_eq!(
        story.kinds(&[approved, second]),
        [StateKind::Scheduled, StateKind::Scheduled],
        "nobody waits for what was superseded"
    );
    assert_eq!(story.state(registration).0, StateKind::Delivered);
    story.check_counts();
}

async fn orders_change_what_their_state_allows(story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    assert_eq!(story.order(id, Order::Hold).await, Ok(StateKind::Held));
    assert!(story.outbox().begin(id).unwrap().leased().is_none());
    assert_eq!(story.order(id, Order::Release).await, Ok(StateKind::Scheduled));
    assert_eq!(story.order(id, Order::Cancel).await, Ok(StateKind::Cancelled));
    assert!(matches!(story.order(id, Order::Cancel).await, Err(OrderRefused::Illegal(_))));
    assert_eq!(story.order(id, Order::Replay { force: false }).await, Ok(StateKind::Scheduled));
    story.send(id, DELIVERED).await;
    assert!(matches!(story.order(id, Order::Replay { force: false }).await, Err(OrderRefused::Illegal(_))));
    assert_eq!(story.order(id, Order::Replay { force: true }).await, Ok(StateKind::Scheduled));
    let nobody = DeliveryId { event: EventId::from_u64(5), ordinal: 0 };
    assert_eq!(story.order(nobody, Order::Cancel).await, Err(OrderRefused::NotFound(nobody)));
    story.check_counts();
}

async fn a_delivery_in_flight_cannot_be_ordered_about_or_sent_twice(story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let lease = story.outbox().begin(id).unwrap().leased().unwrap();
    assert!(story.outbox().begin(id).unwrap().leased().is_none());
    assert_eq!(story.order(id, Order::Cancel).await, Err(OrderRefused::InFlight(id)));
    story.settle(lease, again(1)).await;
    assert_eq!(story.order(id, Order::Cancel).await, Ok(StateKind::Cancelled));
    assert_eq!(story.outbox().claimed(), 0);
}

/// Whoever learns that something was scheduled can lease it at once.
async fn what_has_arrived_can_be_leased(story: Story) {
    for number in 0..200 {
        let id = story
            .accept(event(&format!("t{number}"), "ftd", Status::Approved), to(&["a"], OrderPolicy::default()))
            .await;
        story.outbox().arrivals().take();
        story.order(id, Order::Cancel).await.unwrap();
        let replaying = story.order(id, Order::Replay { force: false });
        let leasing = async {
            loop {
                story.outbox().arrivals().wait().await;
                if story.outbox().arrivals().take().due.iter().any(|due| due.id == id) {
                    return story.outbox().begin(id).unwrap();
                }
            }
        };
        let (ordered, begun) = futures_util::future::join(replaying, leasing).await;
        assert_eq!(ordered, Ok(StateKind::Scheduled));
        assert!(matches!(begun, Begun::Leased(_)), "{begun:?}");
    }
}

/// A retry due at a time finer than what is stored is the one that arrives, is read from disk, and is leased.
async fn a_retry_is_leased_by_the_due_time_it_arrived_with(story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    story.outbox().arrivals().take();
    let due = now() + Duration::from_nanos(1_234_567_891);
    story.send(id, Conclusion::Again { due, spends: true }).await;
    let arrived = story.outbox().arrivals().take().due;
    let (number, _) = story.outbox().reader().postbacks()[0];
    let stored = story.outbox().window(number, SendClass::Retry, None, 10).await.unwrap().due;
    assert_eq!(arrived, stored);
    let stale = Due { at: now(), ..arrived[0] };
    assert!(story.outbox().begin_due(stale).unwrap().leased().is_none(), "an entry for another time is not meant");
    assert!(story.outbox().begin_due(arrived[0]).unwrap().leased().is_some());
}

async fn cancelling_what_others_wait_for_frees_them(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let second = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.order(first, Order::Cancel).await.unwrap();
    assert_eq!(story.state(second).0, StateKind::Scheduled);
}

async fn an_interrupted_attempt_with_an_intent_is_held(mut story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let plain = story.accept(event("t2", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut lease = story.outbox().begin(id).unwrap().leased().unwrap();
    let forgotten = story.outbox().begin(plain).unwrap().leased().unwrap();
    story.outbox().intend(&mut lease).await.unwrap();
    drop((lease, forgotten));
    story.reopen().await;
    assert_eq!(story.state(id), (StateKind::Held, Some("interrupted")));
    assert_eq!(story.state(plain).0, StateKind::Scheduled);
    story.reopen().await;
    assert_eq!(story.outbox().reader().history(id, 10).unwrap().len(), 1, "noted once");
    assert_eq!(story.order(id, Order::ConfirmDelivered).await, Ok(StateKind::Delivered));
    story.check_counts();
}

async fn a_settled_intent_leaves_nothing_behind(mut story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut lease = story.outbox().begin(id).unwrap().leased().unwrap();
    story.outbox().intend(&mut lease).await.unwrap();
    story.settle(lease, Conclusion::Held(HoldReason::Ambiguous)).await;
    let other = story.accept(event("t2", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut lease = story.outbox().begin(other).unwrap().leased().unwrap();
    story.outbox().intend(&mut lease).await.unwrap();
    story.settle(lease, again(60)).await;
    story.reopen().await;
    assert_eq!(story.state(id), (StateKind::Held, Some("ambiguous")));
    assert_eq!(story.state(other).0, StateKind::Scheduled, "its attempt has ended, it was not interrupted");
}

async fn windows_page_through_what_is_scheduled_in_order(story: Story) {
    let mut all = Vec::new();
    for number in 0..7 {
        all.push(
            story
                .accept(event(&format!("t{number}"), "ftd", Status::Approved), to(&["a"], OrderPolicy::default()))
                .await,
        );
    }
    let (number, _) = story.outbox().reader().postbacks()[0];
    let window = async |after| story.outbox().window(number, SendClass::First, after, 3).await.unwrap();
    let first = window(None).await;
    let second = window(first.due.last().copied()).await;
    let third = window(second.due.last().copied()).await;
    assert_eq!((first.complete, second.complete, third.complete), (false, false, true));
    let seen: Vec<_> = [first.due, second.due, third.due].concat().into_iter().map(|due| due.id).collect();
    assert_eq!(seen, all);
}

async fn unrouted_events_are_kept_and_can_be_planned(mut story: Story) {
    let Ingested::Accepted(kept) = story.ingest(event("t1", "ftd", Status::Approved), Vec::new()).await else {
        panic!()
    };
    story.reopen().await;
    let unrouted =
        |story: &Story| story.outbox().reader().unrouted(None, false).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(unrouted(&story), [kept.event_id]);
    let plan = to(&["a"], OrderPolicy::default());
    let planned = story.outbox().plan_unrouted(kept.event_id, plan.clone()).await.unwrap().unwrap();
    assert_eq!(story.scheduled(SendClass::First).await, planned.deliveries);
    assert_eq!(story.outbox().plan_unrouted(kept.event_id, plan).await.unwrap(), None);
    assert_eq!(unrouted(&story), []);
    story.check_counts();
}

async fn dead_and_held_are_listed_by_postback(story: Story) {
    let plan = |name| to(&[name], OrderPolicy::default());
    let dead = story.accept(event("t1", "ftd", Status::Approved), plan("a")).await;
    let held = story.accept(event("t2", "ftd", Status::Approved), plan("a")).await;
    let other = story.accept(event("t3", "ftd", Status::Approved), plan("b")).await;
    story.send(dead, DEAD).await;
    story.send(other, DEAD).await;
    story.order(held, Order::Hold).await.unwrap();
    let reader = story.outbox().reader();
    let number = reader.number(&postback("a")).unwrap();
    let listed = |scan| reader.deliveries(scan, None).map(|found| found.unwrap().0).collect::<Vec<_>>();
    assert_eq!(listed(Scan::Dead(number)), [dead]);
    assert_eq!(listed(Scan::Held(number)), [held]);
    assert_eq!(listed(Scan::Newest), [other, held, dead]);
}

async fn transactions_and_clicks_lead_to_their_events(story: Story) {
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], OrderPolicy::default())).await;
    let reader = story.outbox().reader();
    let ids = |found: Vec<(EventId, EventRecord)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    let transaction = |id: &str| ids(reader.transaction(&id.parse().unwrap()).unwrap());
    assert_eq!(transaction("t1"), [original.event, reversed.event]);
    assert_eq!(transaction("r1"), [reversed.event]);
    assert_eq!(ids(reader.click(&"c-1".parse().unwrap()).unwrap()), [original.event, reversed.event]);
    let record = reader.event(reversed.event).unwrap().unwrap();
    assert_eq!(reader.original_of(&record.event).unwrap().unwrap().transaction_id.as_str(), "t1");
}

async fn pauses_survive_and_end(mut story: Story) {
    let pause = Pause { at: now(), by: "ops".into(), reason: "their request".into() };
    story.outbox().pause(postback("a"), Some(pause.clone())).await.unwrap();
    story.reopen().await;
    assert_eq!(story.outbox().reader().pauses().into_values().collect::<Vec<_>>(), [pause]);
    story.outbox().pause(postback("a"), None).await.unwrap();
    story.reopen().await;
    assert!(story.outbox().reader().pauses().is_empty());
}

async fn arrivals_name_what_was_scheduled(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let second = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let taken = |story: &Story| story.outbox().arrivals().take().due.into_iter().map(|due| due.id).collect::<Vec<_>>();
    assert_eq!(taken(&story), [first]);
    story.send(first, DELIVERED).await;
    assert_eq!(taken(&story), [second]);
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Story::on(super::Place::Memory(Default::default()))).await;
            })*
        }

        mod on_sled {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Story::on(super::Place::Sled(tempfile::tempdir().unwrap()))).await;
            })*
        }
    };
}

contract!(
    accepted_events_and_their_deliveries_survive_reopening,
    the_same_event_again_is_a_duplicate_and_other_content_a_conflict,
    duplicates_within_one_batch_are_found,
    a_retry_moves_to_its_class_and_due_time,
    later_events_of_a_transaction_wait_their_turn,
    a_reversal_follows_its_original_and_a_dead_one_holds_it,
    a_reversal_by_another_postback_waits_as_well,
    a_reversal_of_a_dead_original_goes_out_where_asked,
    cancel_both_spares_the_receiver_an_unsent_pair,
    cancel_both_waits_for_an_original_in_flight,
    a_newer_status_supersedes_where_only_the_latest_counts,
    each_postback_decides_for_itself_what_a_reversal_cancels,
    superseding_spares_other_types_and_frees_who_waited_for_it,
    orders_change_what_their_state_allows,
    a_delivery_in_flight_cannot_be_ordered_about_or_sent_twice,
    what_has_arrived_can_be_leased,
    a_retry_is_leased_by_the_due_time_it_arrived_with,
    cancelling_what_others_wait_for_frees_them,
    an_interrupted_attempt_with_an_intent_is_held,
    a_settled_intent_leaves_nothing_behind,
    windows_page_through_what_is_scheduled_in_order,
    unrouted_events_are_kept_and_can_be_planned,
    dead_and_held_are_listed_by_postback,
    transactions_and_clicks_lead_to_their_events,
    pauses_survive_and_end,
    arrivals_name_what_was_scheduled,
);
