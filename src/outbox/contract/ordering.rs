//! Stories of order groups: who waits, who is held, who is cancelled.

use super::*;

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

async fn cancelling_what_others_wait_for_frees_them(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let second = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.order(first, Order::Cancel).await.unwrap();
    assert_eq!(story.state(second).0, StateKind::Scheduled);
}

async fn an_attempt_that_a_newer_status_overtook_is_not_tried_again(mut story: Story) {
    let order = OrderPolicy { latest_only: true, ..OrderPolicy::default() };
    let pending = story.accept(event("t1", "ftd", Status::Pending), to(&["a"], order)).await;
    let lease = story.outbox().begin(pending).unwrap().leased().unwrap();
    let approved = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], order)).await;
    assert_eq!(story.state(approved).0, StateKind::Waiting, "the older one is being sent at this moment");
    story.settle(lease, again(60)).await;
    story.reopen().await;
    assert_eq!(story.kinds(&[pending, approved]), [StateKind::Superseded, StateKind::Scheduled]);
    assert_eq!(story.scheduled(SendClass::Retry).await, []);
    story.check_counts();
}

async fn a_reversal_handed_in_first_waits_for_its_original(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let reversed = story.accept(reversal("r1", "t1"), plan()).await;
    assert_eq!(story.state(reversed), (StateKind::Held, Some("original_unknown")));
    story.reopen().await;
    let original = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    assert_eq!(story.kinds(&[reversed, original]), [StateKind::Waiting, StateKind::Scheduled]);
    story.send(original, DELIVERED).await;
    assert_eq!(story.kinds(&[reversed, original]), [StateKind::Scheduled, StateKind::Delivered]);
    story.check_counts();
}

async fn groups_that_turn_out_to_be_one_are_joined(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let undone = story.accept(reversal("rr1", "r1"), plan()).await;
    let reversed = story.accept(reversal("r1", "t1"), plan()).await;
    story.reopen().await;
    let original = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let all = [original, reversed, undone];
    assert_eq!(story.kinds(&all), [StateKind::Scheduled, StateKind::Waiting, StateKind::Waiting]);
    story.send(original, DELIVERED).await;
    assert_eq!(story.kinds(&all), [StateKind::Delivered, StateKind::Scheduled, StateKind::Waiting]);
    story.send(reversed, DELIVERED).await;
    assert_eq!(story.kinds(&all), [StateKind::Delivered, StateKind::Delivered, StateKind::Scheduled]);
    story.check_counts();
}

async fn a_delivery_in_flight_settles_in_the_group_that_its_own_has_joined(story: Story) {
    let send = OrderPolicy { original_unknown: OriginalUnknown::Send, ..OrderPolicy::default() };
    let undone = story.accept(reversal("rr1", "r1"), to(&["a"], send)).await;
    let lease = story.outbox().begin(undone).unwrap().leased().unwrap();
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], send)).await;
    assert_eq!(story.state(reversed).0, StateKind::Waiting, "behind what is being sent");
    story.settle(lease, DELIVERED).await;
    assert_eq!(story.state(reversed).0, StateKind::Scheduled);
}

async fn owners_with_the_same_names_of_transactions_do_not_meet(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let of = |owner: &str| Event { affiliate_id: owner.parse().unwrap(), ..event("1", "ftd", Status::Approved) };
    let first = story.accept(of("acme"), plan()).await;
    let other = story.accept(of("other"), plan()).await;
    assert_eq!(story.kinds(&[first, other]), [StateKind::Scheduled, StateKind::Scheduled]);
    let found = story.outbox().reader().transaction(&"1".parse().unwrap(), LookFrom::Newest(None)).unwrap().count();
    assert_eq!(found, 2);
}

async fn a_group_takes_so_many_events_and_no_more(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let reversals = (1..=256).map(|number| request(reversal(&format!("r{number}"), "t1"), plan())).collect();
    let mut answers = story.outbox().accept(reversals).await.unwrap();
    let last = answers.pop().unwrap();
    assert!(matches!(last, Err(OutboxError::GroupFull { most: 256, .. })), "{last:?}");
    assert!(answers.iter().all(Result::is_ok));
    story.accept(event("t2", "ftd", Status::Approved), plan()).await;
    story.check_counts();
}

async fn sending_again_what_was_overtaken_has_to_be_meant(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let pending = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let approved = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.send(pending, DEAD).await;
    story.send(approved, DELIVERED).await;
    let refused = story.order(pending, Order::Replay { force: false }).await;
    assert_eq!(refused, Err(OrderRefused::Overtaken { id: pending, by: approved }));
    assert_eq!(story.order(pending, Order::Replay { force: true }).await, Ok(StateKind::Scheduled));
}

async fn a_damaged_record_stops_nobody_but_its_own_group(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Pending), plan()).await;
    let second = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let third = story.accept(event("t1", "ftd", Status::Rejected), plan()).await;
    let lease = story.outbox().begin(first).unwrap().leased().unwrap();
    story.damage(&keys::event(second.event));
    story.settle(lease, DELIVERED).await;
    assert_eq!(story.kinds(&[first, third]), [StateKind::Delivered, StateKind::Held]);
    assert_eq!(story.state(third).1, Some("group_damaged"));
    assert_eq!(story.order(third, Order::Release).await, Ok(StateKind::Scheduled), "a person may let it go");
    let other = story.accept(event("t2", "ftd", Status::Approved), plan()).await;
    assert_eq!(story.state(other).0, StateKind::Scheduled);
    let late = story.accept(event("t1", "deposit", Status::Approved), plan()).await;
    assert_eq!(story.state(late), (StateKind::Held, Some("group_damaged")));
}

/// The dispatcher may lease between the writing of a group and its end.
async fn a_lease_taken_before_its_group_was_moved_settles_in_the_new_one(story: Story) {
    let send = OrderPolicy { original_unknown: OriginalUnknown::Send, ..OrderPolicy::default() };
    let undone = story.accept(reversal("rr1", "r1"), to(&["a"], send)).await;
    let early = story.outbox().begin(undone).unwrap().leased().unwrap();
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], send)).await;
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], send)).await;
    assert_eq!(story.kinds(&[reversed, original]), [StateKind::Waiting, StateKind::Waiting]);
    story.settle(early, DELIVERED).await;
    assert_eq!(story.kinds(&[reversed, original]), [StateKind::Waiting, StateKind::Scheduled]);
    story.send(original, DELIVERED).await;
    assert_eq!(story.state(reversed).0, StateKind::Scheduled);
}

async fn what_is_planned_late_does_not_undo_what_was_told_since(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let Ingested::Accepted(kept) = story.ingest(event("t1", "ftd", Status::Pending), Vec::new()).await else {
        panic!()
    };
    let approved = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.send(approved, DELIVERED).await;
    let late = story.outbox().plan_unrouted(kept.event_id, plan()).await.unwrap().unwrap().deliveries[0];
    assert_eq!(story.state(late), (StateKind::Held, Some("overtaken")));
    assert_eq!(story.order(late, Order::Release).await, Ok(StateKind::Scheduled), "a person may mean it");
}

async fn a_reversal_without_a_transaction_follows_the_original_that_it_names(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let original = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let by_click = Event {
        transaction_id: TransactionId::of_click(&"undone".parse().unwrap(), &"c-1".parse().unwrap()),
        transaction_given: false,
        ..reversal("unused", "t1")
    };
    let reversed = story.accept(by_click, plan()).await;
    assert_eq!(story.state(reversed).0, StateKind::Waiting);
    story.send(original, DELIVERED).await;
    assert_eq!(story.state(reversed).0, StateKind::Scheduled);
}

contract!(
    a_lease_taken_before_its_group_was_moved_settles_in_the_new_one,
    what_is_planned_late_does_not_undo_what_was_told_since,
    a_reversal_without_a_transaction_follows_the_original_that_it_names,
    later_events_of_a_transaction_wait_their_turn,
    a_reversal_follows_its_original_and_a_dead_one_holds_it,
    a_reversal_by_another_postback_waits_as_well,
    a_reversal_of_a_dead_original_goes_out_where_asked,
    cancel_both_spares_the_receiver_an_unsent_pair,
    cancel_both_waits_for_an_original_in_flight,
    a_newer_status_supersedes_where_only_the_latest_counts,
    each_postback_decides_for_itself_what_a_reversal_cancels,
    superseding_spares_other_types_and_frees_who_waited_for_it,
    cancelling_what_others_wait_for_frees_them,
    an_attempt_that_a_newer_status_overtook_is_not_tried_again,
    a_reversal_handed_in_first_waits_for_its_original,
    groups_that_turn_out_to_be_one_are_joined,
    a_delivery_in_flight_settles_in_the_group_that_its_own_has_joined,
    owners_with_the_same_names_of_transactions_do_not_meet,
    a_group_takes_so_many_events_and_no_more,
    sending_again_what_was_overtaken_has_to_be_meant,
    a_damaged_record_stops_nobody_but_its_own_group,
);
