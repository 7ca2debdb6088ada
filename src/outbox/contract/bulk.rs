//! Stories of bulk orders: named before they begin, done exactly once for each, whatever happens in between.

use super::*;

pub(super) fn record(verb: Verb) -> BulkRecord {
    BulkRecord {
        verb,
        filter: "{}".into(),
        reason: "they were down".into(),
        by: "ops".into(),
        rate: None,
        created_at: now(),
        changed_at: now(),
        changed_by: "ops".into(),
        state: BulkState::Running,
        matched: 0,
        done: 0,
        refused: 0,
        refusals: Vec::new(),
    }
}

impl Story {
    async fn dead(&self, count: usize) -> Vec<DeliveryId> {
        let mut ids = Vec::new();
        for number in 0..count {
            let plan = to(&["a"], OrderPolicy::default());
            let id = self.accept(event(&format!("t{number}"), "ftd", Status::Approved), plan).await;
            self.send(id, DEAD).await;
            ids.push(id);
        }
        ids
    }

    async fn step(&self, bulk: BulkId, id: DeliveryId, order: Order) -> Stepped {
        let (by, reason) = ("ops".into(), "they were down".into());
        let order = OrderRequest { id, order, by, reason, at: now(), bulk: Some(bulk) };
        self.outbox().step(bulk, BulkStep::Order(order)).await.unwrap()
    }

    fn bulk(&self, id: BulkId) -> (BulkState, u64, u64, u64) {
        let record = self.outbox().reader().bulk(id).unwrap();
        (record.state, record.matched, record.done, record.refused)
    }

    fn open_targets(&self, id: BulkId) -> Vec<Target> {
        self.outbox().reader().targets(id, None, 100).unwrap()
    }
}

const REPLAY: Order = Order::Replay { force: false };

async fn each_target_is_done_once_across_a_restart(mut story: Story) {
    let ids = story.dead(3).await;
    let targets: Vec<Target> = ids.iter().copied().map(Target::Delivery).collect();
    let bulk = story.outbox().give(record(Verb::Replay { force: false }), &targets).await.unwrap();
    assert_eq!(story.bulk(bulk), (BulkState::Running, 3, 0, 0));
    assert_eq!(story.step(bulk, ids[0], REPLAY).await, Stepped::Done);
    story.reopen().await;
    assert_eq!((story.bulk(bulk), story.open_targets(bulk)), ((BulkState::Running, 3, 1, 0), targets[1..].to_vec()));
    story.send(ids[0], DEAD).await;
    assert_eq!(story.step(bulk, ids[0], REPLAY).await, Stepped::Over, "it was done, whatever became of it");
    assert_eq!(story.state(ids[0]).0, StateKind::Dead);
    assert_eq!(story.step(bulk, ids[1], REPLAY).await, Stepped::Done);
    assert_eq!(story.step(bulk, ids[2], REPLAY).await, Stepped::Done);
    story.outbox().change_bulk(bulk, BulkState::Finished, "postbackd").await.unwrap();
    story.reopen().await;
    assert_eq!((story.bulk(bulk), story.open_targets(bulk)), ((BulkState::Finished, 3, 3, 0), Vec::new()));
    let history = story.outbox().reader().history(ids[1], 10).unwrap();
    assert!(matches!(&history[1].entry.cause, Cause::Ordered(order) if order.bulk == Some(bulk)));
    story.check_counts();
}

async fn what_cannot_be_done_is_told_with_its_reason(story: Story) {
    let ids = story.dead(1).await;
    let bulk = story.outbox().give(record(Verb::Release), &[Target::Delivery(ids[0])]).await.unwrap();
    assert_eq!(story.step(bulk, ids[0], Order::Release).await, Stepped::Done);
    assert_eq!(story.bulk(bulk), (BulkState::Running, 1, 0, 1));
    let refusals = story.outbox().reader().bulk(bulk).unwrap().refusals;
    assert_eq!(refusals[0].id, ids[0].to_string());
    assert!(refusals[0].why.contains("dead cannot be released"), "{refusals:?}");
}

async fn a_delivery_in_flight_has_another_turn(story: Story) {
    let id = story.accept(event("t", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let bulk = story.outbox().give(record(Verb::Cancel), &[Target::Delivery(id)]).await.unwrap();
    let lease = story.outbox().begin(id).unwrap().leased().unwrap();
    assert_eq!(story.step(bulk, id, Order::Cancel).await, Stepped::Busy);
    story.settle(lease, again(60)).await;
    assert_eq!(story.step(bulk, id, Order::Cancel).await, Stepped::Done);
    assert_eq!(story.state(id), (StateKind::Cancelled, Some("operator")));
}

async fn a_paused_or_stopped_order_does_nothing(mut story: Story) {
    let ids = story.dead(2).await;
    let targets: Vec<Target> = ids.iter().copied().map(Target::Delivery).collect();
    let bulk = story.outbox().give(record(Verb::Replay { force: false }), &targets).await.unwrap();
    story.outbox().change_bulk(bulk, BulkState::Paused, "ana").await.unwrap();
    story.reopen().await;
    assert_eq!(story.step(bulk, ids[0], REPLAY).await, Stepped::Over);
    story.outbox().change_bulk(bulk, BulkState::Running, "ana").await.unwrap();
    assert_eq!(story.step(bulk, ids[0], REPLAY).await, Stepped::Done);
    story.outbox().change_bulk(bulk, BulkState::Stopped, "ben").await.unwrap();
    assert_eq!(story.step(bulk, ids[1], REPLAY).await, Stepped::Over);
    let again = story.outbox().change_bulk(bulk, BulkState::Running, "ana").await.unwrap();
    assert_eq!(again, BulkChanged::Ended(BulkState::Stopped));
    assert_eq!(story.outbox().reader().bulk(bulk).unwrap().changed_by, "ben");
}

async fn an_order_that_was_never_answered_for_is_forgotten(mut story: Story) {
    let ids = story.dead(1).await;
    let bulk = story.outbox().give(record(Verb::Discard), &[Target::Delivery(ids[0])]).await.unwrap();
    let mut naming = story.outbox().reader().bulk(bulk).unwrap();
    naming.state = BulkState::Naming;
    let key = keys::bulk(bulk);
    let value = codec::encode(&key, &naming).unwrap();
    story.engine.as_ref().unwrap().apply(Batch { writes: vec![(key, Some(value))] }).unwrap();
    story.reopen().await;
    assert_eq!(story.outbox().reader().bulk(bulk), None);
    assert_eq!(story.open_targets(bulk), []);
    assert_eq!(story.state(ids[0]).0, StateKind::Dead);
}

async fn dead_letters_can_be_put_away(story: Story) {
    let ids = story.dead(1).await;
    let bulk = story.outbox().give(record(Verb::Discard), &[Target::Delivery(ids[0])]).await.unwrap();
    assert_eq!(story.step(bulk, ids[0], Order::Discard).await, Stepped::Done);
    assert_eq!(story.state(ids[0]), (StateKind::Cancelled, Some("discarded")));
    let number = story.outbox().reader().number(&postback("a")).unwrap();
    assert_eq!(story.outbox().reader().deliveries(Scan::Dead(number), None).count(), 0);
    story.check_counts();
}

async fn orders_are_listed_the_newest_first(story: Story) {
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(story.outbox().give(record(Verb::Hold), &[]).await.unwrap());
    }
    let ids = |after| story.outbox().reader().bulks(after, 2).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(None), [given[2], given[1]]);
    assert_eq!(ids(Some(given[1])), [given[0]]);
    assert_eq!(given[0].to_string().parse(), Ok(given[0]));
}

async fn an_order_too_large_to_write_down_is_refused_and_harms_nobody(story: Story) {
    let ids = story.dead(1).await;
    let large = BulkRecord { filter: "x".repeat(64 * 1024), ..record(Verb::Discard) };
    let refused = story.outbox().give(large, &[Target::Delivery(ids[0])]).await;
    assert!(matches!(refused, Err(OutboxError::Encode(_))), "{refused:?}");
    story.accept(event("later", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    assert_eq!(story.outbox().reader().bulks(None, 10), []);
}

contract!(
    an_order_too_large_to_write_down_is_refused_and_harms_nobody,
    each_target_is_done_once_across_a_restart,
    what_cannot_be_done_is_told_with_its_reason,
    a_delivery_in_flight_has_another_turn,
    a_paused_or_stopped_order_does_nothing,
    an_order_that_was_never_answered_for_is_forgotten,
    dead_letters_can_be_put_away,
    orders_are_listed_the_newest_first,
);
