//! Pages of exports over a store in memory: complete, without repetition, in the order of acceptance, and as documented.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::domain::delivery::{Conclusion, DeadReason, DeliveredHow};
use crate::domain::event::{Event, Status};
use crate::domain::id::PostbackRef;
use crate::domain::outcome::Outcome;
use crate::domain::postback::OrderPolicy;
use crate::domain::record::RecordedResponse;
use crate::fixtures::{self, now};
use crate::ops::clock::Clock;
use crate::outbox::{AcceptRequest, Engine, Ingested, MemoryEngine, Options, Outbox, PlannedDelivery, Settlement};

const PAGE: &str = include_str!("../../../docs/export.md");
const KINDS: [ExportKind; 3] = [ExportKind::Events, ExportKind::Deliveries(By::Changed), ExportKind::Attempts];

/// A clock that stands where it is put, in seconds after [`now`].
#[derive(Debug, Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::SeqCst))
    }
}

fn at(second: i64) -> Timestamp {
    now() + SignedDuration::from_secs(second)
}

struct Store {
    outbox: Outbox,
    clock: Arc<ManualClock>,
}

fn store() -> Store {
    let clock = Arc::new(ManualClock::default());
    let options = Options { clock: Arc::clone(&clock) as _, keep_free: None, observer: None };
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
    Store { outbox: Outbox::open(engine, options).unwrap(), clock }
}

fn request(affiliate: &str, transaction: &str, postbacks: &[&str]) -> AcceptRequest {
    let event = Event {
        affiliate_id: affiliate.parse().unwrap(),
        click_id: Some("c-1".parse().unwrap()),
        payout: Some(crate::domain::money::Amount::parse("120.00").unwrap()),
        ..fixtures::event(transaction, "ftd", Status::Approved)
    };
    let to = |name: &&str| PostbackRef { affiliate: affiliate.parse().unwrap(), postback: name.parse().unwrap() };
    let planned = |postback| PlannedDelivery { postback, lane: None, order: OrderPolicy::default() };
    let plan = postbacks.iter().map(to).map(planned).collect();
    AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan, source: "tests".into() }
}

impl Store {
    fn set(&self, second: i64) {
        self.clock.0.store(second, Ordering::SeqCst);
    }

    async fn accept(&self, affiliate: &str, transaction: &str, postbacks: &[&str]) -> Vec<DeliveryId> {
        let answer = self.outbox.accept(vec![request(affiliate, transaction, postbacks)]).await.unwrap().remove(0);
        let Ingested::Accepted(accepted) = answer.unwrap() else { panic!("the event is new") };
        accepted.deliveries
    }

    /// Sends a delivery that is due, at the time of the clock; an attempt takes a second.
    async fn send(&self, id: DeliveryId, conclusion: Conclusion, outcome: Outcome, status: u16) {
        let lease = self.outbox.begin(id).unwrap().leased().unwrap();
        let response =
            RecordedResponse { status, headers: Vec::new(), body: "ok".into(), body_bytes: 2, truncated: false };
        let number = lease.before().made + 1;
        let attempt = crate::domain::record::AttemptRecord {
            started_at: self.clock.now(),
            response: Some(response),
            ..fixtures::attempt(number, outcome)
        };
        let at = self.clock.now() + SignedDuration::from_secs(1);
        self.outbox.settle(Settlement { lease, attempt, conclusion, at, pause: None }).await.unwrap();
    }

    /// A column of all pages of an export.
    fn all(&self, kind: ExportKind, filter: &DeliveryFilter, limit: usize, column: &str) -> Vec<String> {
        let place = columns(kind).iter().position(|found| found.name == column).unwrap();
        let (mut cursor, mut found) = (None, Vec::new());
        loop {
            let page =
                export_page(self.outbox.reader(), kind, filter, cursor.as_deref(), limit, &Onlooker::OFFLINE).unwrap();
            found.extend(page.rows.iter().map(|row| row[place].text().unwrap_or_default().into_owned()));
            assert!(page.next_cursor.is_none() || page.next_cursor != cursor, "a page comes further");
            cursor = page.next_cursor;
            if cursor.is_none() {
                return found;
            }
        }
    }
}

const DELIVERED: Conclusion = Conclusion::Delivered(DeliveredHow::Accepted);

fn again() -> Conclusion {
    Conclusion::Again { due: now(), spends: true }
}

fn period(since: Option<i64>, until: Option<i64>) -> DeliveryFilter {
    DeliveryFilter { since: since.map(at), until: until.map(at), ..DeliveryFilter::default() }
}

#[tokio::test]
async fn every_row_is_there_once_whatever_the_size_of_pages() {
    let store = store();
    store.accept("acme", "unrouted", &[]).await;
    for number in 0..4 {
        for id in store.accept("acme", &format!("t{number}"), &["a", "b"]).await {
            store.send(id, again(), Outcome::Retry, 500).await;
            store.send(id, DELIVERED, Outcome::Delivered, 200).await;
        }
    }
    for (kind, column, rows) in [
        (ExportKind::Events, "event_id", 5),
        (ExportKind::Deliveries(By::Changed), "delivery_id", 8),
        (ExportKind::Attempts, "delivery_id", 16),
    ] {
        let whole = store.all(kind, &DeliveryFilter::default(), MAX_ROWS, column);
        assert_eq!(whole.len(), rows, "{kind:?}");
        assert!(whole.is_sorted(), "{kind:?}");
        for limit in [1, 2, 3, 7] {
            assert_eq!(store.all(kind, &DeliveryFilter::default(), limit, column), whole, "{kind:?} by {limit}");
        }
    }
    let numbers = store.all(ExportKind::Attempts, &DeliveryFilter::default(), 3, "number");
    assert_eq!(numbers, ["1", "2"].repeat(8));
}

#[tokio::test]
async fn a_page_over_much_that_is_not_meant_ends_and_goes_on() {
    let store = store();
    for part in 0..25 {
        let events = (0..1_000).map(|number| request("acme", &format!("t{part}-{number}"), &["a"]));
        for answer in store.outbox.accept(events.collect()).await.unwrap() {
            answer.unwrap();
        }
    }
    let last = store.accept("beta", "last", &["a"]).await[0].to_string();
    for kind in [ExportKind::Events, ExportKind::Deliveries(By::Accepted)] {
        let beta = DeliveryFilter { affiliate: Some("beta".into()), ..DeliveryFilter::default() };
        let first = export_page(store.outbox.reader(), kind, &beta, None, 10, &Onlooker::OFFLINE).unwrap();
        assert_eq!((first.rows.len(), first.next_cursor.is_some()), (0, true), "{kind:?}");
        assert_eq!(store.all(kind, &beta, 10, "transaction_id"), ["last"], "{kind:?}");
    }
    let all = store.all(ExportKind::Deliveries(By::Changed), &DeliveryFilter::default(), MAX_ROWS, "delivery_id");
    assert_eq!((all.len(), all.is_sorted(), all.last()), (25_001, true, Some(&last)));

    let sees = |affiliate: &str| affiliate == "beta";
    let onlooker = Onlooker { in_flight: &|_| false, sees: &sees };
    let (mut cursor, mut found) = (None::<String>, 0);
    for _ in 0..100 {
        let filter = DeliveryFilter { affiliate: Some("beta".into()), ..DeliveryFilter::default() };
        let kind = ExportKind::Deliveries(By::Changed);
        let page = export_page(store.outbox.reader(), kind, &filter, cursor.as_deref(), 10, &onlooker).unwrap();
        found += page.rows.len();
        cursor = page.next_cursor;
        let Some(cursor) = &cursor else { break };
        assert!(!all.iter().any(|id| cursor.starts_with(id.as_str())), "{cursor} names what others are told");
    }
    assert_eq!((found, cursor), (1, None));
}

#[tokio::test]
async fn how_far_an_export_has_come_tells_nobody_of_others() {
    let store = store();
    store.accept("acme", "a-0", &["a"]).await;
    store.set(10);
    let last = store.accept("acme", "a-1", &["a"]).await[0];
    store.set(20);
    store.accept("beta", "b-0", &["a"]).await;
    let sees = |affiliate: &str| affiliate == "acme";
    let onlooker = Onlooker { in_flight: &|_| false, sees: &sees };
    for kind in KINDS {
        let reached = |filter: &DeliveryFilter, onlooker: &Onlooker<'_>| {
            export_page(store.outbox.reader(), kind, filter, None, 10, onlooker).unwrap().reached
        };
        let all = DeliveryFilter::default();
        let own = DeliveryFilter { affiliate: Some("acme".into()), ..all.clone() };
        let foreign = DeliveryFilter { transaction: Some("b-0".into()), ..all.clone() };
        let came = Timestamp::from_microsecond(i64::try_from(last.event.as_u64()).unwrap()).unwrap();
        assert_eq!((reached(&own, &onlooker), reached(&foreign, &onlooker)), (Some(came), None), "{kind:?}");
        assert!(reached(&all, &Onlooker::OFFLINE) > Some(came), "{kind:?}: who sees all is told of all");
    }
}

#[tokio::test]
async fn each_kind_has_its_time_and_none_is_missed() {
    const DAY: i64 = 86_400;
    let store = store();
    let early = store.accept("acme", "early", &["a"]).await[0];
    store.send(early, again(), Outcome::Retry, 500).await;
    let quick = store.accept("acme", "quick", &["a"]).await[0];
    store.send(quick, DELIVERED, Outcome::Delivered, 200).await;
    store.set(40 * DAY);
    store.accept("acme", "late", &["a"]).await;
    store.send(early, DELIVERED, Outcome::Delivered, 200).await;
    store.set(80 * DAY);

    let first = period(None, Some(30 * DAY));
    let second = period(Some(30 * DAY), Some(60 * DAY));
    let third = period(Some(60 * DAY), None);
    let names = |kind, filter: &DeliveryFilter| store.all(kind, filter, 1, "transaction_id");
    let three = |kind| [&first, &second, &third].map(|filter| names(kind, filter));
    assert_eq!(three(ExportKind::Events), [vec!["early", "quick"], vec!["late"], vec![]]);
    assert_eq!(three(ExportKind::Deliveries(By::Accepted)), [vec!["early", "quick"], vec!["late"], vec![]]);
    assert_eq!(three(ExportKind::Deliveries(By::Changed)), [vec!["quick"], vec!["early", "late"], vec![]]);
    assert_eq!(three(ExportKind::Attempts), [vec!["early", "quick"], vec!["early"], vec![]]);

    let edge = period(Some(40 * DAY), Some(40 * DAY + 1));
    assert_eq!(names(ExportKind::Attempts, &edge), ["early"], "the beginning is in it");
    assert_eq!(names(ExportKind::Attempts, &period(None, Some(40 * DAY))), ["early", "quick"], "the end is not");
}

#[tokio::test]
async fn a_clock_that_was_set_back_hides_nothing() {
    let store = store();
    store.set(3_600);
    store.accept("acme", "before", &["a"]).await;
    store.set(0);
    store.accept("acme", "after", &["a"]).await;
    for kind in [ExportKind::Events, ExportKind::Deliveries(By::Accepted), ExportKind::Deliveries(By::Changed)] {
        let names = |filter| store.all(kind, &filter, 1, "transaction_id");
        assert_eq!(names(period(None, Some(1_800))), ["after"], "{kind:?}");
        assert_eq!(names(period(Some(1_800), None)), ["before"], "{kind:?}");
    }
}

#[tokio::test]
async fn filters_narrow_and_those_that_mean_nothing_are_refused() {
    let store = store();
    for (affiliate, transaction) in [("acme", "t1"), ("beta", "t2")] {
        let id = store.accept(affiliate, transaction, &["a"]).await[0];
        store.send(id, again(), Outcome::Retry, 500).await;
        store.send(id, Conclusion::Dead(DeadReason::Exhausted), Outcome::Rejected, 400).await;
    }
    let attempts = |filter: DeliveryFilter| store.all(ExportKind::Attempts, &filter, 1, "transaction_id");
    let filter = DeliveryFilter::default;
    assert_eq!(attempts(DeliveryFilter { outcome: Some("retry".into()), ..filter() }), ["t1", "t2"]);
    assert_eq!(attempts(DeliveryFilter { http_status: Some(400), ..filter() }), ["t1", "t2"]);
    assert_eq!(attempts(DeliveryFilter { affiliate: Some("beta".into()), ..filter() }), ["t2", "t2"]);
    assert_eq!(attempts(DeliveryFilter { transaction: Some("t1".into()), ..filter() }), ["t1", "t1"]);
    assert_eq!(attempts(DeliveryFilter { click: Some("c-1".into()), http_status: Some(500), ..filter() }).len(), 2);
    assert_eq!(attempts(DeliveryFilter { state: Some("delivered".into()), ..filter() }), Vec::<String>::new());
    let events = |filter: DeliveryFilter| {
        export_page(store.outbox.reader(), ExportKind::Events, &filter, None, 10, &Onlooker::OFFLINE)
    };
    assert_eq!(events(DeliveryFilter { transaction: Some("t1".into()), ..filter() }).unwrap().rows.len(), 1);
    let wrong = [
        (DeliveryFilter { state: Some("dead".into()), ..filter() }, "state"),
        (DeliveryFilter { http_status: Some(400), ..filter() }, "http_status"),
        (DeliveryFilter { text: Some("x".into()), ..filter() }, "text"),
        (DeliveryFilter { changed_since: Some(now()), ..filter() }, "changed_since"),
        (DeliveryFilter { ids: vec!["dlv_0000000000000000".into()], ..filter() }, "delivery"),
        (period(Some(1), Some(0)), "since"),
    ];
    for (filter, field) in wrong {
        assert!(matches!(events(filter), Err(ListError::Filter(fault)) if fault.field == field), "{field}");
    }
}

#[test]
fn the_page_lists_the_columns() {
    for kind in KINDS {
        let mut rows = String::new();
        for column in columns(kind) {
            writeln!(rows, "| `{}` | {} | {} |", column.name, column.kind.name(), column.meaning).unwrap();
        }
        assert!(PAGE.contains(&rows), "docs/export.md is to hold these rows of {}:\n{rows}", kind.name());
    }
}

#[test]
fn names_of_columns_are_plain_and_differ() {
    for kind in KINDS {
        let mut names: Vec<_> = columns(kind).iter().map(|column| column.name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')), "{names:?}");
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
