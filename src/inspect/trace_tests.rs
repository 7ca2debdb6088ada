//! Timelines over a store in memory: what belongs to one, in which order, and for whose eyes.

use jiff::{Timestamp, ToSpan as _};

use super::tests::{Store, store};
use super::trace::{MAX_ENTRIES, MAX_FULL_ENTRIES};
use super::*;
use crate::domain::delivery::{Conclusion, DeliveredHow};
use crate::domain::event::{Event, Status};
use crate::domain::id::DeliveryId;
use crate::domain::outcome::Outcome;
use crate::domain::record::RecordedResponse;
use crate::fixtures;
use crate::outbox::{Order, OrderRequest, Settlement};

fn traced(store: &Store, key: &str, requests: bool) -> Option<Trace> {
    trace(store.outbox.reader(), key, requests, &Onlooker::OFFLINE).unwrap()
}

/// What happened, as `transaction what`.
fn told(trace: &Trace) -> Vec<String> {
    let name = |entry: &TraceEntry| {
        let event = trace.events.iter().find(|event| event.event_id == entry.event_id).unwrap();
        let what = match &entry.step {
            TraceStep::Accepted => "accepted",
            TraceStep::Planned { .. } => "planned",
            TraceStep::Changed { change, .. } => &change.what,
        };
        format!("{} {what}", event.transaction_id)
    };
    trace.entries.iter().map(name).collect()
}

fn of_click(transaction: &str, kind: &str, click: &str) -> Event {
    Event { click_id: Some(click.parse().unwrap()), ..fixtures::event(transaction, kind, Status::Approved) }
}

fn reversal(transaction: &str, of: &str) -> Event {
    Event { reverses: Some(of.parse().unwrap()), ..fixtures::event(transaction, "ftd_reversed", Status::Approved) }
}

impl Store {
    /// Has a delivery delivered so many seconds from now.
    async fn deliver(&self, id: DeliveryId, at: Timestamp) {
        let lease = self.outbox.begin(id).unwrap().leased().unwrap();
        let response =
            RecordedResponse { status: 200, headers: Vec::new(), body: "OK".into(), body_bytes: 2, truncated: false };
        let mut attempt = fixtures::attempt(1, Outcome::Delivered);
        attempt.response = Some(response);
        let conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
        self.outbox.settle(Settlement { lease, attempt, conclusion, at, pause: None }).await.unwrap();
    }

    async fn order(&self, id: DeliveryId, order: Order, at: Timestamp) {
        let order = OrderRequest { id, order, by: "anna".into(), reason: "x".into(), at, bulk: None };
        self.outbox.order(order).await.unwrap().unwrap();
    }
}

fn later(seconds: i64) -> Timestamp {
    use crate::ops::clock::{Clock as _, SystemClock};
    SystemClock.now() + seconds.seconds()
}

#[tokio::test]
async fn every_key_leads_to_the_whole_order_group_in_one_timeline() {
    let store = store();
    let (original, deliveries) = store.take(of_click("dep-1", "ftd", "c-1"), &["a"]).await;
    let (reversed, _) = store.take(reversal("rev-1", "dep-1"), &["a"]).await;
    store.accept("acme", "dep-2", &["a"]).await;
    store.accept("beta", "dep-3", &["a"]).await;
    store.deliver(deliveries[0], later(10)).await;
    store.order(deliveries[0], Order::Replay { force: true }, later(20)).await;
    let expected = [
        "dep-1 accepted",
        "dep-1 planned",
        "rev-1 accepted",
        "rev-1 planned",
        "dep-1 attempted",
        "rev-1 freed",
        "dep-1 ordered",
    ];
    let keys = [
        ("dep-1".to_owned(), KeyKind::Transaction),
        ("rev-1".to_owned(), KeyKind::Transaction),
        ("c-1".to_owned(), KeyKind::Click),
        (original.to_string(), KeyKind::Event),
        (reversed.to_string(), KeyKind::Event),
        (deliveries[0].to_string(), KeyKind::Delivery),
    ];
    for (key, kind) in keys {
        let trace = traced(&store, &key, false).unwrap();
        assert_eq!((trace.found_as.as_slice(), trace.left_out), ([kind].as_slice(), LeftOut::default()), "{key}");
        let mut events = told(&trace);
        events.truncate(expected.len());
        assert_eq!(events, expected, "{key}");
    }
    for key in ["dep-9", "evt_0000000000000", "dlv_0000000000000000", "", "a b"] {
        assert_eq!(traced(&store, key, false), None, "{key:?}");
    }
}

#[tokio::test]
async fn a_name_of_both_a_transaction_and_a_click_shows_what_belongs_to_either() {
    let store = store();
    store.take(of_click("both", "ftd", "c-1"), &["a"]).await;
    store.take(of_click("dep-2", "ftd", "both"), &[]).await;
    let trace = traced(&store, "both", false).unwrap();
    assert_eq!(trace.found_as, [KeyKind::Transaction, KeyKind::Click]);
    assert_eq!(told(&trace), ["both accepted", "both planned", "dep-2 accepted"]);
    assert_eq!(trace.events[1].deliveries, [], "nobody wants it, and it is traced all the same");
}

#[tokio::test]
async fn requests_and_responses_come_on_demand_and_the_status_always() {
    let store = store();
    let id = store.accept("acme", "dep-1", &["a"]).await.1[0];
    store.deliver(id, later(1)).await;
    for requests in [false, true] {
        let trace = traced(&store, "dep-1", requests).unwrap();
        let TraceStep::Changed { change, .. } = &trace.entries[2].step else { panic!("{:?}", trace.entries) };
        let attempt = change.attempt.as_ref().unwrap();
        assert_eq!((attempt.http_status, attempt.response.is_some()), (Some(200), requests));
    }
}

#[tokio::test]
async fn who_is_narrowed_sees_the_events_and_deliveries_of_his_affiliates_only() {
    let store = store();
    store.accept("acme", "dep-1", &["a"]).await;
    store.accept("beta", "dep-1", &["a"]).await;
    let see = |own: &'static str, key: &str| {
        let sees = move |affiliate: &str| affiliate == own;
        let onlooker = Onlooker { in_flight: &|_| false, sees: &sees };
        trace(store.outbox.reader(), key, false, &onlooker).unwrap()
    };
    let all = traced(&store, "dep-1", false).unwrap();
    assert_eq!(all.events.len(), 2);
    let own = see("beta", "dep-1").unwrap();
    assert_eq!(own.events.iter().map(|event| event.affiliate.as_str()).collect::<Vec<_>>(), ["beta"]);
    assert_eq!(own.entries.len(), 2);
    let foreign = all.events[0].deliveries[0].delivery_id.clone();
    for key in [&foreign, &all.events[0].event_id] {
        assert_eq!(see("beta", key), None, "{key}");
        assert!(see("acme", key).is_some(), "{key}");
    }
    assert_eq!(see("nobody", "dep-1"), None);
}

#[tokio::test]
async fn a_long_trace_is_told_from_its_end_and_says_how_much_is_left_out() {
    let store = store();
    let id = store.accept("acme", "dep-1", &["a"]).await.1[0];
    let mut orders = [Order::Hold, Order::Release].into_iter().cycle();
    for second in 1..=2_100 {
        store.order(id, orders.next().unwrap(), later(second)).await;
    }
    for (requests, most) in [(false, MAX_ENTRIES), (true, MAX_FULL_ENTRIES)] {
        let trace = traced(&store, "dep-1", requests).unwrap();
        assert_eq!((trace.entries.len(), trace.left_out.events), (most, 0));
        assert_eq!(trace.left_out.entries, 2_102 - most);
        let TraceStep::Changed { change, .. } = &trace.entries.last().unwrap().step else { panic!("no change") };
        assert_eq!(change.order.as_deref(), Some("release"), "the newest is kept");
    }
}
