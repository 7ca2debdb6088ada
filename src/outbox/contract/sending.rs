//! Stories of attempts and orders: leases, settlements, intents.

use super::*;

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
        story.order(id, Order::Cancel).await.unwrap();
        story.arrived().await;
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
    story.arrived().await;
    let due = now() + Duration::from_nanos(1_234_567_891);
    story.send(id, Conclusion::Again { due, spends: true }).await;
    let arrived = story.arrived().await;
    let (number, _) = story.outbox().reader().postbacks()[0];
    let stored = story.outbox().window(number, SendClass::Retry, None, 10).await.unwrap().due;
    assert_eq!(arrived, stored);
    let stale = Due { at: now(), ..arrived[0] };
    assert!(story.outbox().begin_due(stale).unwrap().leased().is_none(), "an entry for another time is not meant");
    assert!(story.outbox().begin_due(arrived[0]).unwrap().leased().is_some());
}

async fn an_interrupted_attempt_with_an_intent_is_held(mut story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let plain = story.accept(event("t2", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut lease = story.outbox().begin(id).unwrap().leased().unwrap();
    let forgotten = story.outbox().begin(plain).unwrap().leased().unwrap();
    assert!(story.outbox().intend(&mut lease).await.unwrap());
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
    assert!(story.outbox().intend(&mut lease).await.unwrap());
    story.settle(lease, Conclusion::Held(HoldReason::Ambiguous)).await;
    let other = story.accept(event("t2", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut lease = story.outbox().begin(other).unwrap().leased().unwrap();
    assert!(story.outbox().intend(&mut lease).await.unwrap());
    story.settle(lease, again(60)).await;
    story.reopen().await;
    assert_eq!(story.state(id), (StateKind::Held, Some("ambiguous")));
    assert_eq!(story.state(other).0, StateKind::Scheduled, "its attempt has ended, it was not interrupted");
}

async fn arrivals_name_what_was_scheduled(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let second = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let ids = |due: Vec<Due>| due.into_iter().map(|due| due.id).collect::<Vec<_>>();
    assert_eq!(ids(story.arrived().await), [first]);
    story.send(first, DELIVERED).await;
    assert_eq!(ids(story.arrived().await), [second]);
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

async fn an_attempt_that_was_never_settled_is_not_made_again(story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut lease = story.outbox().begin(id).unwrap().leased().unwrap();
    assert!(story.outbox().intend(&mut lease).await.unwrap());
    drop(lease);
    let mut lease = story.outbox().begin(id).unwrap().leased().unwrap();
    assert!(!story.outbox().intend(&mut lease).await.unwrap());
    drop(lease);
    assert_eq!(story.state(id), (StateKind::Held, Some("interrupted")));
    story.check_counts();
}

async fn an_attempt_too_large_to_keep_is_settled_without_its_response(story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let lease = story.outbox().begin(id).unwrap().leased().unwrap();
    let body = "x".repeat(64 * 1024);
    let response = RecordedResponse { status: 200, headers: Vec::new(), body, body_bytes: 65_536, truncated: false };
    let attempt = AttemptRecord { response: Some(response), ..attempt(&lease, Outcome::Delivered) };
    let settlement = Settlement { lease, attempt, conclusion: DELIVERED, at: now(), pause: None };
    story.outbox().settle(settlement).await.unwrap();
    assert_eq!(story.state(id).0, StateKind::Delivered);
    let history = story.outbox().reader().history(id, 10).unwrap();
    assert!(matches!(&history[0].entry.cause, Cause::Attempted(attempt) if attempt.response.is_none()));
}

async fn a_misconfigured_postback_is_flagged_until_it_works(mut story: Story) {
    let outcomes = [Outcome::Misconfigured, Outcome::Retry, Outcome::Delivered];
    let mut flagged = Vec::new();
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let plan = to(&["a"], OrderPolicy::default());
        let id = story.accept(event(&format!("t{number}"), "ftd", Status::Approved), plan).await;
        let lease = story.outbox().begin(id).unwrap().leased().unwrap();
        let attempt = attempt(&lease, outcome);
        let settlement = Settlement { lease, attempt, conclusion: DEAD, at: now(), pause: None };
        story.outbox().settle(settlement).await.unwrap();
        story.reopen().await;
        flagged.push(story.outbox().reader().flags().len());
    }
    assert_eq!(flagged, [1, 1, 0]);
}

contract!(
    a_misconfigured_postback_is_flagged_until_it_works,
    a_retry_moves_to_its_class_and_due_time,
    orders_change_what_their_state_allows,
    a_delivery_in_flight_cannot_be_ordered_about_or_sent_twice,
    what_has_arrived_can_be_leased,
    a_retry_is_leased_by_the_due_time_it_arrived_with,
    an_interrupted_attempt_with_an_intent_is_held,
    a_settled_intent_leaves_nothing_behind,
    arrivals_name_what_was_scheduled,
    pauses_survive_and_end,
    an_attempt_that_was_never_settled_is_not_made_again,
    an_attempt_too_large_to_keep_is_settled_without_its_response,
);
