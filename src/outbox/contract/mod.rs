//! What every engine must do under the outbox: one suite, run on each of them.
//!
//! A test tells a story: events are accepted, deliveries are sent with a scripted conclusion, the store is
//! reopened at any point, and the states seen afterwards are compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::delivery::{Conclusion, DeadReason, DeliveredHow, HoldReason, StateKind};
use crate::domain::event::{Event, Status};
use crate::domain::id::{BulkId, DeliveryId, EventId, PostbackRef, TransactionId};
use crate::domain::money::{Amount, Currency};
use crate::domain::outcome::Outcome;
use crate::domain::postback::{OrderPolicy, OriginalDead, OriginalUnknown, OriginalUnsettled};
use crate::domain::record::{AttemptRecord, Cause, RecordedResponse};
use crate::fixtures::{self, now};
use crate::ops::clock::Clock;

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_memory {
            use super::super::{Place, Story};

            $(#[tokio::test]
            async fn $name() {
                super::$name(Story::on(Place::Memory(Default::default()))).await;
            })*
        }

        mod on_sled {
            use super::super::{Place, Story};

            $(#[tokio::test]
            async fn $name() {
                super::$name(Story::on(Place::Sled(tempfile::tempdir().unwrap()))).await;
            })*
        }

        mod on_fjall {
            use super::super::{Place, Story};

            $(#[tokio::test]
            async fn $name() {
                super::$name(Story::on(Place::Fjall(tempfile::tempdir().unwrap()))).await;
            })*
        }
    };
}

mod accepting;
mod backing_up;
mod bulk;
mod cases;
mod looking;
mod ordering;
mod retiring;
mod sending;
mod verifying;

const DELIVERED: Conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
const DEAD: Conclusion = Conclusion::Dead(DeadReason::Exhausted);

/// A clock that stands where it is put, in seconds after [`now`].
#[derive(Debug, Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Where a test's engine keeps its data; reopening yields the same data.
enum Place {
    Memory(Arc<MemoryEngine>),
    Sled(tempfile::TempDir),
    Fjall(tempfile::TempDir),
}

impl Place {
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(engine) => Arc::clone(engine) as Arc<dyn Engine>,
            Self::Sled(directory) => Arc::new(SledEngine::open(directory.path(), 16 << 20).unwrap()),
            Self::Fjall(directory) => Arc::new(FjallEngine::open(directory.path(), 16 << 20).unwrap()),
        }
    }
}

struct Story {
    place: Place,
    outbox: Option<Outbox>,
    engine: Option<Arc<dyn Engine>>,
    clock: Arc<ManualClock>,
}

fn event(transaction: &str, kind: &str, status: Status) -> Event {
    let (payout, currency) = (Amount::parse("120.00").ok(), Currency::parse("EUR").ok());
    Event { click_id: Some("c-1".parse().unwrap()), payout, currency, ..fixtures::event(transaction, kind, status) }
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
    fixtures::attempt(lease.before().made + 1, outcome)
}

impl Story {
    fn on(place: Place) -> Self {
        let mut story = Self { place, outbox: None, engine: None, clock: Arc::default() };
        story.open();
        story
    }

    fn open(&mut self) {
        let options = Options { clock: Arc::clone(&self.clock) as _, keep_free: None, observer: None };
        let engine = self.place.engine();
        self.outbox = Some(Outbox::open(Arc::clone(&engine), options).unwrap());
        self.engine = Some(engine);
    }

    /// Moves the clock forward.
    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_secs().cast_signed(), Ordering::SeqCst);
    }

    /// Changes a byte of a stored record behind the outbox's back.
    fn damage(&self, key: &[u8]) {
        let engine = self.engine.as_ref().unwrap();
        let mut value = engine.get(key).unwrap().unwrap();
        *value.last_mut().unwrap() ^= 0xff;
        engine.apply(Batch { writes: vec![(key.to_vec(), Some(value))] }).unwrap();
    }

    async fn reopen(&mut self) {
        self.engine = None;
        self.outbox.take().unwrap().close().await;
        self.open();
    }

    fn outbox(&self) -> &Outbox {
        self.outbox.as_ref().unwrap()
    }

    async fn ingest(&self, event: Event, plan: Vec<PlannedDelivery>) -> Ingested {
        let request = AcceptRequest { occurred_at_given: true, ..request(event, plan) };
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
        let request = OrderRequest { id, order, by: "ops".into(), reason: "test".into(), at: now(), bulk: None };
        self.outbox().order(request).await.unwrap().map(|delivery| delivery.state.kind())
    }

    fn state(&self, id: DeliveryId) -> (StateKind, Option<&'static str>) {
        let state = self.outbox().reader().delivery(id).unwrap().unwrap().delivery.state;
        (state.kind(), state.reason())
    }

    fn kinds(&self, ids: &[DeliveryId]) -> Vec<StateKind> {
        ids.iter().map(|id| self.state(*id).0).collect()
    }

    /// Counts kept in the store equal those of a walk over all deliveries, and nothing in it is damaged.
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
        reader.check_tallies();
        assert_eq!(self.damages(), []);
    }

    /// What has arrived: of an answered request all of it once the commit thread has gone on to the next.
    async fn arrived(&self) -> Vec<Due> {
        self.outbox().probe().await.unwrap();
        self.outbox().arrivals().take().due
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

/// Events of a click without a transaction id are the same for this long.
const CLICK_DEDUPE: Duration = Duration::from_hours(24);

fn request(event: Event, plan: Vec<PlannedDelivery>) -> AcceptRequest {
    let click_dedupe = Some(CLICK_DEDUPE);
    AcceptRequest { event, occurred_at_given: false, click_dedupe, plan, source: "test".into() }
}

fn again(seconds: i64) -> Conclusion {
    Conclusion::Again { due: now() + Duration::from_secs(seconds.unsigned_abs()), spends: true }
}
