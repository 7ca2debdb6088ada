//! Stories of retention: what is old enough goes, all of it, and nothing else does.

use super::*;
use crate::domain::retention::RetentionPolicy;

const DAY: Duration = Duration::from_hours(24);
const POLICY: RetentionPolicy = RetentionPolicy { delivered: Duration::from_hours(48), dead: Duration::from_hours(96) };

impl Story {
    async fn retire(&self) -> u64 {
        let clock = Arc::clone(&self.clock) as crate::ops::clock::SharedClock;
        let mut after = None;
        super::super::retention::pass(self.outbox(), &clock, POLICY, &mut after).await.unwrap()
    }

    fn is_known(&self, id: DeliveryId) -> bool {
        self.outbox().reader().event(id.event).unwrap().is_some()
    }

    /// Settles at the time of the story's clock.
    async fn settle_now(&self, id: DeliveryId, conclusion: Conclusion) {
        let lease = self.outbox().begin(id).unwrap().leased().unwrap();
        let (attempt, at) = (attempt(&lease, Outcome::Delivered), self.clock.now());
        self.outbox().settle(Settlement { lease, attempt, conclusion, at, pause: None }).await.unwrap();
    }

    /// What is stored beside counts, tallies, totals and names of postbacks.
    fn pairs(&self) -> usize {
        let engine = self.engine.as_ref().unwrap();
        let pairs = engine.scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        pairs.filter(|pair| !b"napm".contains(&pair.as_ref().unwrap().0[0])).count()
    }
}

async fn what_is_delivered_goes_after_its_time_and_leaves_nothing_behind(mut story: Story) {
    let plan = || to(&["a", "b"], OrderPolicy::default());
    let id = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.settle_now(id, again(0)).await;
    story.settle_now(id, DELIVERED).await;
    story.settle_now(DeliveryId { ordinal: 1, ..id }, DELIVERED).await;
    story.pass((2 * DAY).saturating_sub(Duration::from_secs(1)));
    assert_eq!(story.retire().await, 0);
    story.pass(Duration::from_secs(1));
    assert_eq!(story.retire().await, 1);
    story.reopen().await;
    assert!(!story.is_known(id));
    assert_eq!(story.pairs(), 0);
    story.check_counts();
    assert_eq!(story.outbox().reader().totals().accepted, 1, "what was accepted is counted for good");
    let again = story.ingest(event("t1", "ftd", Status::Approved), plan()).await;
    assert!(matches!(again, Ingested::Accepted(_)), "its dedupe key went with it");
}

async fn what_is_open_is_kept_however_old(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let open = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let held = story.accept(event("t2", "ftd", Status::Approved), plan()).await;
    story.order(held, Order::Hold).await.unwrap();
    story.pass(1_000 * DAY);
    assert_eq!(story.retire().await, 0);
    assert_eq!(story.kinds(&[open, held]), [StateKind::Scheduled, StateKind::Held]);
}

async fn a_transaction_goes_as_a_whole(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let original = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.settle_now(original, DELIVERED).await;
    let reversed = story.accept(reversal("r1", "t1"), plan()).await;
    story.settle_now(reversed, DEAD).await;
    story.pass(3 * DAY);
    assert_eq!(story.retire().await, 0, "the reversal is dead, and kept for longer");
    assert!(story.is_known(original));
    story.pass(DAY);
    assert_eq!(story.retire().await, 2);
    assert_eq!(story.pairs(), 0);
    story.check_counts();
}

async fn unrouted_events_and_ended_orders_go_with_the_dead(story: Story) {
    story.ingest(event("t1", "ftd", Status::Approved), Vec::new()).await;
    let bulk = story.outbox().give(bulk::record(Verb::Hold), &[]).await.unwrap();
    story.outbox().change_bulk(bulk, BulkState::Finished, "ops").await.unwrap();
    story.pass(3 * DAY);
    assert_eq!(story.retire().await, 0);
    assert!(story.outbox().reader().bulk(bulk).is_some());
    story.pass(2 * DAY);
    assert_eq!(story.retire().await, 1);
    assert_eq!((story.pairs(), story.outbox().reader().totals().unrouted), (0, 0));
    assert!(story.outbox().reader().bulk(bulk).is_none());
}

async fn ended_orders_go_also_where_no_event_has_to(story: Story) {
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(story.outbox().give(bulk::record(Verb::Hold), &[]).await.unwrap());
    }
    for id in &given[..2] {
        story.outbox().change_bulk(*id, BulkState::Stopped, "ops").await.unwrap();
    }
    story.pass(5 * DAY);
    assert_eq!(story.retire().await, 0);
    let kept: Vec<BulkId> = story.outbox().reader().bulks(None, 10).into_iter().map(|(id, _)| id).collect();
    assert_eq!(kept, given[2..], "one that is open is kept");
}

contract!(
    ended_orders_go_also_where_no_event_has_to,
    what_is_delivered_goes_after_its_time_and_leaves_nothing_behind,
    what_is_open_is_kept_however_old,
    a_transaction_goes_as_a_whole,
    unrouted_events_and_ended_orders_go_with_the_dead,
);
