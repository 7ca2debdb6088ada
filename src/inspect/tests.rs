//! Pages of lists over a store in memory: what they hold, where they go on, and what they do not give away.

use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::domain::delivery::{Conclusion, DeadReason};
use crate::domain::event::{Event, Status};
use crate::domain::id::{DeliveryId, EventId, PostbackRef};
use crate::domain::outcome::Outcome;
use crate::domain::postback::OrderPolicy;
use crate::domain::record::{AttemptRecord, RecordedResponse};
use crate::fixtures::{self, now};
use crate::ops::clock::SystemClock;
use crate::outbox::{
    AcceptRequest, Batch, Engine, Ingested, MemoryEngine, Options, Order, OrderRequest, Outbox, PlannedDelivery,
    Settlement,
};

pub(super) struct Store {
    engine: Arc<MemoryEngine>,
    pub(super) outbox: Outbox,
}

pub(super) fn store() -> Store {
    let engine = Arc::new(MemoryEngine::default());
    let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
    Store { outbox: Outbox::open(Arc::clone(&engine) as Arc<dyn Engine>, options).unwrap(), engine }
}

impl Store {
    /// Accepts an event of an affiliate for some of its postbacks.
    pub(super) async fn accept(
        &self,
        affiliate: &str,
        transaction: &str,
        postbacks: &[&str],
    ) -> (EventId, Vec<DeliveryId>) {
        let event =
            Event { affiliate_id: affiliate.parse().unwrap(), ..fixtures::event(transaction, "ftd", Status::Approved) };
        self.take(event, postbacks).await
    }

    /// Accepts an event for some postbacks of its affiliate.
    pub(super) async fn take(&self, event: Event, postbacks: &[&str]) -> (EventId, Vec<DeliveryId>) {
        let affiliate = event.affiliate_id.clone();
        let to = |name: &&str| PostbackRef { affiliate: affiliate.clone(), postback: name.parse().unwrap() };
        let planned = |postback| PlannedDelivery { postback, lane: None, order: OrderPolicy::default() };
        let plan = postbacks.iter().map(to).map(planned).collect();
        let request =
            AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan, source: "tests".into() };
        let Ingested::Accepted(accepted) = self.outbox.accept(vec![request]).await.unwrap().remove(0).unwrap() else {
            panic!("the event is new")
        };
        (accepted.event_id, accepted.deliveries)
    }

    async fn dead(&self, affiliate: &str, transaction: &str, postback: &str) -> DeliveryId {
        let id = self.accept(affiliate, transaction, &[postback]).await.1[0];
        self.kill(id, fixtures::attempt(1, Outcome::Rejected)).await
    }

    /// A dead letter of acme by an attempt.
    async fn die_of(&self, transaction: &str, attempt: AttemptRecord) -> DeliveryId {
        let id = self.accept("acme", transaction, &["a"]).await.1[0];
        self.kill(id, attempt).await
    }

    async fn kill(&self, id: DeliveryId, attempt: AttemptRecord) -> DeliveryId {
        let lease = self.outbox.begin(id).unwrap().leased().unwrap();
        let conclusion = Conclusion::Dead(DeadReason::Exhausted);
        self.outbox.settle(Settlement { lease, attempt, conclusion, at: now(), pause: None }).await.unwrap();
        id
    }

    /// Makes the record of an event unreadable.
    fn damage(&self, id: EventId) {
        let bytes = id.as_u64().to_be_bytes();
        let key = [b"e".as_slice(), &bytes].concat();
        self.engine.apply(Batch { writes: vec![(key, Some(b"damaged".to_vec()))] }).unwrap();
    }

    /// Removes all that is stored of an event, as retention would.
    fn forget(&self, id: EventId) {
        let bytes = id.as_u64().to_be_bytes();
        let pairs = self.engine.scan(Bound::Unbounded, Bound::Unbounded).map(Result::unwrap);
        let gone = pairs.filter(|(key, _)| key.windows(8).any(|part| part == bytes));
        let writes: Vec<_> = gone.map(|(key, _)| (key, None)).collect();
        assert!(!writes.is_empty());
        self.engine.apply(Batch { writes }).unwrap();
    }

    fn page(&self, filter: &DeliveryFilter, cursor: Option<&str>, limit: usize) -> Page<DeliverySummary> {
        list(self.outbox.reader(), filter, Direction::Newest, cursor, limit, &Onlooker::OFFLINE).unwrap()
    }
}

fn ids(page: &Page<DeliverySummary>) -> Vec<String> {
    page.items.iter().map(|item| item.delivery_id.clone()).collect()
}

fn dead_ones() -> DeliveryFilter {
    DeliveryFilter { state: Some("dead".into()), ..DeliveryFilter::default() }
}

#[tokio::test]
async fn a_list_goes_on_where_it_was_when_what_its_cursor_names_is_gone() {
    let store = store();
    let mut all = Vec::new();
    for (postback, transaction) in [("a", "t1"), ("a", "t2"), ("b", "t3"), ("b", "t4")] {
        all.push(store.dead("acme", transaction, postback).await);
    }
    let first = store.page(&dead_ones(), None, 3);
    assert_eq!(ids(&first), [all[0], all[1], all[2]].map(|id| id.to_string()));
    let cursor = first.next_cursor.unwrap();
    store.forget(all[2].event);
    let second = store.page(&dead_ones(), Some(&cursor), 3);
    assert_eq!((ids(&second), second.next_cursor), (vec![all[3].to_string()], None));

    let bare = all[2].to_string();
    let refused = list(store.outbox.reader(), &dead_ones(), Direction::Newest, Some(&bare), 3, &Onlooker::OFFLINE);
    assert!(matches!(refused, Err(ListError::Filter(fault)) if fault.field == "cursor"), "no list from the top");
    let bare = all[1].to_string();
    assert_eq!(ids(&store.page(&dead_ones(), Some(&bare), 3)), [all[3].to_string()]);
}

#[tokio::test]
async fn nobody_learns_of_others_by_a_cursor() {
    let store = store();
    let own = store.accept("acme", "t1", &["a"]).await.1[0];
    for transaction in ["t1", "t2"] {
        store.accept("beta", transaction, &["a", "b"]).await;
    }
    let sees = |affiliate: &str| affiliate == "acme";
    let onlooker = Onlooker { in_flight: &|_| false, sees: &sees };
    let filter = DeliveryFilter { transaction: Some("t1".into()), ..DeliveryFilter::default() };
    for direction in [Direction::Newest, Direction::Oldest] {
        let page = list(store.outbox.reader(), &filter, direction, None, 1, &onlooker).unwrap();
        assert_eq!((ids(&page), page.next_cursor), (vec![own.to_string()], None), "{direction:?}");
    }
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_number_also_of_what_is_not_shown() {
    let store = store();
    let mut others = Vec::new();
    store.accept("acme", "first", &["a"]).await;
    for part in 0..25 {
        let event = |number| Event {
            affiliate_id: "beta".parse().unwrap(),
            ..fixtures::event(&format!("t{part}-{number}"), "ftd", Status::Approved)
        };
        let postback = PostbackRef { affiliate: "beta".parse().unwrap(), postback: "a".parse().unwrap() };
        let plan = vec![PlannedDelivery { postback, lane: None, order: OrderPolicy::default() }];
        let request = |event| AcceptRequest {
            event,
            occurred_at_given: true,
            click_dedupe: None,
            plan: plan.clone(),
            source: "tests".into(),
        };
        for answer in store.outbox.accept((0..1_000).map(event).map(request).collect()).await.unwrap() {
            let Ingested::Accepted(accepted) = answer.unwrap() else { panic!("the event is new") };
            others.extend(accepted.deliveries.iter().map(ToString::to_string));
        }
    }
    store.accept("acme", "last", &["a"]).await;
    let sees = |affiliate: &str| affiliate == "acme";
    let onlooker = Onlooker { in_flight: &|_| false, sees: &sees };
    let filter = DeliveryFilter { affiliate: Some("acme".into()), ..DeliveryFilter::default() };
    for (direction, expected) in [(Direction::Newest, ["last", "first"]), (Direction::Oldest, ["first", "last"])] {
        let (mut cursor, mut pages) = (None::<String>, Vec::new());
        for _ in 0..10 {
            let page = list(store.outbox.reader(), &filter, direction, cursor.as_deref(), 10, &onlooker).unwrap();
            pages.push(page.items.into_iter().map(|item| item.transaction_id).collect::<String>());
            cursor = page.next_cursor;
            let Some(cursor) = &cursor else { break };
            assert!(!others.iter().any(|id| cursor.starts_with(id)), "{cursor} names what others are told");
        }
        assert_eq!((pages, cursor), (expected.map(ToOwned::to_owned).to_vec(), None), "{direction:?}");
    }
}

#[tokio::test]
async fn what_is_still_to_be_sent_is_found_without_looking_at_what_was() {
    let store = store();
    let scheduled = |n| format!("open-{n}");
    for number in 0..3 {
        store.accept("acme", &scheduled(number), &["a"]).await;
        store.accept("beta", &scheduled(number), &["a"]).await;
    }
    for status in [Status::Pending, Status::Approved] {
        store.take(fixtures::event("both", "ftd", status), &["a"]).await;
    }
    let done = store.dead("acme", "done", "a").await;
    // Whoever comes by its record finds it damaged.
    store.damage(done.event);
    let listed = |filter: &DeliveryFilter, direction, cursor: Option<&str>, limit| {
        let page = list(store.outbox.reader(), filter, direction, cursor, limit, &Onlooker::OFFLINE).unwrap();
        (page.items.into_iter().map(|item| item.transaction_id).collect::<Vec<_>>(), page.next_cursor)
    };
    let of = |state: &str, affiliate: Option<&str>| DeliveryFilter {
        state: Some(state.into()),
        affiliate: affiliate.map(Into::into),
        ..DeliveryFilter::default()
    };
    let (newest, oldest) = (Direction::Newest, Direction::Oldest);
    let own = of("scheduled", Some("acme"));
    let (first, cursor) = listed(&own, newest, None, 2);
    let (second, end) = listed(&own, newest, cursor.as_deref(), 2);
    assert_eq!((first.concat(), second.concat(), end), ("bothopen-2".into(), "open-1open-0".into(), None));
    assert_eq!(listed(&own, oldest, None, 9).0, ["open-0", "open-1", "open-2", "both"]);
    assert_eq!(listed(&of("scheduled", None), newest, None, 9).0.len(), 7);
    assert_eq!(listed(&of("waiting", None), newest, None, 9).0, ["both"]);
    assert_eq!(listed(&of("waiting", Some("beta")), newest, None, 9).0.len(), 0);
    assert_eq!(matching(store.outbox.reader(), &of("waiting", None), |_| true, 9).unwrap().len(), 1);
    let all = list(store.outbox.reader(), &of("delivered", None), newest, None, 9, &Onlooker::OFFLINE);
    assert!(matches!(all, Err(ListError::Outbox(_))), "the damaged record is there");
}

#[tokio::test]
async fn a_text_is_looked_for_in_all_that_came_back() {
    let store = store();
    let with = |change: fn(&mut AttemptRecord)| {
        let mut attempt = fixtures::attempt(1, Outcome::Rejected);
        change(&mut attempt);
        attempt
    };
    let answered = |headers: Vec<(String, String)>, body: &str| RecordedResponse {
        status: 400,
        headers,
        body: body.into(),
        body_bytes: 1,
        truncated: false,
    };
    store.die_of("body", with(|_| ())).await;
    let attempts = [
        ("by-body", AttemptRecord { response: Some(answered(Vec::new(), "the IP is Not Allowed")), ..with(|_| ()) }),
        ("by-header", {
            let headers = vec![("X-Why".into(), "Not allowed".into())];
            AttemptRecord { response: Some(answered(headers, "")), ..with(|_| ()) }
        }),
        ("by-error", with(|attempt| attempt.error = Some("NOT ALLOWED by the proxy".into()))),
        ("otherwise", AttemptRecord { response: Some(answered(Vec::new(), "no")), ..with(|_| ()) }),
    ];
    for (transaction, attempt) in attempts {
        store.die_of(transaction, attempt).await;
    }
    let found = |text: &str| {
        let filter = DeliveryFilter { text: Some(text.into()), ..dead_ones() };
        let page = list(store.outbox.reader(), &filter, Direction::Newest, None, 9, &Onlooker::OFFLINE)?;
        Ok::<_, ListError>(page.items.into_iter().map(|item| item.transaction_id).collect::<Vec<_>>())
    };
    assert_eq!(found("not allowed").unwrap(), ["by-body", "by-header", "by-error"]);
    assert_eq!(found("X-WHY: not").unwrap(), ["by-header"]);
    assert_eq!(found("nowhere").unwrap(), [""; 0]);
    for wrong in [String::new(), "x".repeat(201)] {
        assert!(matches!(found(&wrong), Err(ListError::Filter(fault)) if fault.field == "text"));
    }
}

#[tokio::test]
async fn deliveries_are_found_by_when_they_changed() {
    let store = store();
    let before = store.accept("acme", "waits", &["a"]).await.1[0];
    let changed = |id: DeliveryId| store.outbox.reader().delivery(id).unwrap().unwrap().changed_at;
    let early = changed(before);
    // It dies at the time of the fixtures, which is none of the events' acceptance.
    let died = store.dead("acme", "died", "a").await;
    let late = changed(died);
    assert_ne!(early, late);
    let found = |since: Option<Timestamp>, until: Option<Timestamp>| {
        let filter = DeliveryFilter { changed_since: since, changed_until: until, ..DeliveryFilter::default() };
        let listed: Vec<_> = ids(&store.page(&filter, None, 9));
        let mut named: Vec<_> =
            matching(store.outbox.reader(), &filter, |_| true, 9).unwrap().iter().map(ToString::to_string).collect();
        named.reverse();
        assert_eq!(listed, named, "bulk orders mean the same");
        listed
    };
    let just_behind = |at: Timestamp| at + std::time::Duration::from_micros(1);
    let (before, died) = (before.to_string(), died.to_string());
    assert_eq!(found(None, None), [died.clone(), before.clone()]);
    for (id, at) in [(before, early), (died, late)] {
        assert_eq!(found(Some(at), Some(just_behind(at))), [id], "the beginning is in it");
        assert_eq!(found(Some(just_behind(at)), Some(just_behind(at))), [""; 0], "the end is not");
    }
}

#[tokio::test]
async fn a_long_history_is_shown_from_its_end() {
    let store = store();
    let id = store.accept("acme", "t1", &["a"]).await.1[0];
    for order in [Order::Hold, Order::Release].into_iter().cycle().take(1_003) {
        let order = OrderRequest { id, order, by: "tests".into(), reason: "x".into(), at: now(), bulk: None };
        store.outbox.order(order).await.unwrap().unwrap();
    }
    let detail = show(store.outbox.reader(), id, false).unwrap().unwrap();
    assert_eq!((detail.earlier_entries, detail.history.len()), (3, 1_000));
    assert_eq!(detail.history.last().unwrap().order.as_deref(), Some("hold"), "the newest of them");
    assert_eq!(detail.history[0].order.as_deref(), Some("release"), "the oldest shown is the fourth");
}

#[tokio::test]
async fn unrouted_events_are_listed_in_pages_both_ways() {
    let store = store();
    let mut all = Vec::new();
    for (affiliate, transaction) in [("acme", "t1"), ("acme", "t2"), ("beta", "t3"), ("acme", "t4"), ("acme", "t5")] {
        all.push(store.accept(affiliate, transaction, &[]).await.0);
    }
    store.accept("acme", "t6", &["a"]).await;
    let filter = UnroutedFilter { affiliate: Some("acme".into()), ..UnroutedFilter::default() };
    let page = |direction, cursor: Option<&str>| {
        let page = unrouted(store.outbox.reader(), &filter, direction, cursor, 2).unwrap();
        (page.items.into_iter().map(|item| item.transaction_id).collect::<Vec<_>>(), page.next_cursor)
    };
    let (first, cursor) = page(Direction::Newest, None);
    store.forget(all[3]);
    let (second, end) = page(Direction::Newest, cursor.as_deref());
    assert_eq!((first, second, end), (vec!["t5".into(), "t4".into()], vec!["t2".into(), "t1".into()], None));
    let (first, cursor) = page(Direction::Oldest, None);
    let (second, end) = page(Direction::Oldest, cursor.as_deref());
    assert_eq!((first, second, end), (vec!["t1".into(), "t2".into()], vec!["t5".into()], None));
    let late = UnroutedFilter { since: Some("2999-01-01T00:00:00Z".parse().unwrap()), ..filter.clone() };
    assert_eq!(unrouted(store.outbox.reader(), &late, Direction::Newest, None, 2).unwrap().items, []);
    let wrong = unrouted(store.outbox.reader(), &filter, Direction::Newest, Some("dlv_x"), 2);
    assert!(matches!(wrong, Err(ListError::Filter(fault)) if fault.field == "cursor"));
}
