//! Stories of events that come in: durable, deduplicated, routed.

use super::*;

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
    let request =
        |transaction: &str| request(event(transaction, "ftd", Status::Approved), to(&["a"], OrderPolicy::default()));
    let answers = story.outbox().accept(vec![request("t1"), request("t2"), request("t1")]).await.unwrap();
    let kinds = answers.into_iter().map(|answer| matches!(answer.unwrap(), Ingested::Accepted(_)));
    assert_eq!(kinds.collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(story.scheduled(SendClass::First).await.len(), 2);
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

async fn a_batch_larger_than_a_group_is_stored_whole(mut story: Story) {
    let plan = || to(&["a", "b", "c", "d"], OrderPolicy::default());
    let request = |number: usize| request(event(&format!("t{number}"), "ftd", Status::Approved), plan());
    let count = 3 * commit::MAX_GROUP_WRITES / 8;
    let answers = story.outbox().accept((0..count).map(request).collect()).await.unwrap();
    assert_eq!(answers.len(), count);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Ingested::Accepted(_)))));
    story.reopen().await;
    assert_eq!(story.outbox().reader().totals().accepted, count as u64);
    story.check_counts();
}

/// An event without a transaction id, of the click `c-1`.
fn by_click(kind: &str, status: Status) -> Event {
    let transaction_id = TransactionId::of_click(&kind.parse().unwrap(), &"c-1".parse().unwrap());
    Event { transaction_id, transaction_given: false, ..event("unused", kind, status) }
}

async fn without_a_transaction_the_click_tells_events_apart_within_a_time(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(by_click("lead", Status::Pending), plan()).await;
    story.reopen().await;
    let again = Ingested::Duplicate(Accepted { event_id: first.event, deliveries: vec![first] });
    story.pass(CLICK_DEDUPE.saturating_sub(Duration::from_secs(1)));
    assert_eq!(story.ingest(by_click("lead", Status::Pending), plan()).await, again);
    let approved = story.accept(by_click("lead", Status::Approved), plan()).await;
    assert_eq!(story.state(approved).0, StateKind::Waiting, "another status of the same lead");
    let other = story.accept(by_click("trial", Status::Pending), plan()).await;
    assert_eq!(story.state(other).0, StateKind::Scheduled, "another type is another transaction");
    story.pass(Duration::from_secs(1));
    let next = story.accept(by_click("lead", Status::Pending), plan()).await;
    assert_eq!(story.state(next).0, StateKind::Waiting, "behind the approved one, which is still the same lead");
    story.pass(CLICK_DEDUPE);
    let much_later = story.accept(by_click("lead", Status::Pending), plan()).await;
    assert_eq!(story.state(much_later).0, StateKind::Scheduled, "a lead of its own");
    let duplicate = Ingested::Duplicate(Accepted { event_id: much_later.event, deliveries: vec![much_later] });
    assert_eq!(story.ingest(by_click("lead", Status::Pending), plan()).await, duplicate);
    story.check_counts();
}

contract!(
    without_a_transaction_the_click_tells_events_apart_within_a_time,
    accepted_events_and_their_deliveries_survive_reopening,
    the_same_event_again_is_a_duplicate_and_other_content_a_conflict,
    duplicates_within_one_batch_are_found,
    unrouted_events_are_kept_and_can_be_planned,
    a_batch_larger_than_a_group_is_stored_whole,
);
