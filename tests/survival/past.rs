//! What was delivered long ago: a daemon deletes it from its start on, in many small commits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postbackd::domain::delivery::{Conclusion, DeliveredHow};
use postbackd::domain::event::{Event, Status};
use postbackd::domain::id::{AffiliateId, DeliveryId, PostbackRef};
use postbackd::domain::outcome::Outcome;
use postbackd::domain::postback::OrderPolicy;
use postbackd::domain::record::{AttemptRecord, Timings};
use postbackd::ops::clock::{Clock, SystemClock};
use postbackd::outbox::{AcceptRequest, Ingested, Options, Outbox, PlannedDelivery, Settlement, open_engine};
use tokio::task::JoinSet;

use crate::world::engine;

/// Longer ago than a daemon of ours keeps anything.
pub(crate) const AGO: Duration = Duration::from_hours(48);
/// Events handed over at a time.
const BATCH: u64 = 500;
const CACHE_BYTES: u64 = 32 << 20;

/// Deliveries of long ago, by their event.
pub(crate) type Past = BTreeMap<String, Vec<String>>;

#[derive(Debug)]
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        SystemClock.now() - AGO
    }
}

/// Fills a new store with events that were delivered long ago, to the affiliate they are of and to `audit`.
pub(crate) async fn fill(outbox: &Path, events: u64) -> Past {
    let engine = open_engine(engine(), outbox, CACHE_BYTES).unwrap();
    let options = Options { clock: Arc::new(Then), keep_free: None, observer: None };
    let store = Outbox::open(engine, options).unwrap();
    let mut past = Past::new();
    for first in (0..events).step_by(usize::try_from(BATCH).unwrap()) {
        let requests = (first..events.min(first + BATCH)).map(request).collect();
        let mut settling = JoinSet::new();
        for answer in store.accept(requests).await.unwrap() {
            let Ok(Ingested::Accepted(accepted)) = answer else { panic!("{answer:?}") };
            past.insert(accepted.event_id.to_string(), accepted.deliveries.iter().map(ToString::to_string).collect());
            for delivery in accepted.deliveries {
                let store = store.clone();
                settling.spawn(async move { deliver(&store, delivery).await });
            }
        }
        settling.join_all().await;
        // Nobody dispatches here: what arrives is not waited for.
        drop(store.arrivals().take());
    }
    store.close().await;
    past
}

async fn deliver(store: &Outbox, delivery: DeliveryId) {
    let (lease, at) = (store.begin(delivery).unwrap().leased().unwrap(), Then.now());
    let attempt = AttemptRecord {
        number: 1,
        started_at: at,
        request: None,
        digest: None,
        response: None,
        timings: Timings::default(),
        remote: None,
        outcome: Outcome::Delivered,
        rule: "default: 2xx".into(),
        error: None,
    };
    let conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
    store.settle(Settlement { lease, attempt, conclusion, at, pause: None }).await.unwrap();
}

fn request(number: u64) -> AcceptRequest {
    let affiliate: AffiliateId = "acme".parse().unwrap();
    let plan = ["acme", "audit"].map(|affiliate| PlannedDelivery {
        postback: PostbackRef { affiliate: affiliate.parse().unwrap(), postback: "all".parse().unwrap() },
        lane: None,
        order: OrderPolicy::default(),
    });
    AcceptRequest {
        event: Event {
            transaction_id: format!("past-{number}").parse().unwrap(),
            transaction_given: true,
            kind: "ftd".parse().unwrap(),
            affiliate_id: affiliate,
            click_id: Some(format!("click-{number}").parse().unwrap()),
            offer_id: None,
            status: Status::Approved,
            occurred_at: Then.now(),
            payout: None,
            revenue: None,
            currency: None,
            sub_ids: [].into(),
            reverses: None,
            params: [].into(),
        },
        occurred_at_given: true,
        click_dedupe: None,
        plan: plan.into(),
        source: "survival".into(),
    }
}
