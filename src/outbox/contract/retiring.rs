//! Stories of retention: what is old enough goes, all of it, and nothing else does.

use super::*;
use crate::domain::export_mark::{MarkRefused, MarkRequest};
use crate::domain::id::ConsumerName;
use crate::domain::retention::{Exported, Pressure, RetentionPolicy, SizeLimits};

const DAY: Duration = Duration::from_hours(24);
const POLICY: RetentionPolicy = RetentionPolicy {
    delivered: Duration::from_hours(48),
    dead: Duration::from_hours(96),
    exported: Exported::NotAsked,
    sizes: SizeLimits { delivered: None, dead: None },
    pressure: Pressure { delivered: false, dead: false },
};

impl Story {
    async fn retire(&self) -> u64 {
        self.retire_what_is_exported(&[]).await
    }

    /// Deletes what is old, and what these consumers all have.
    async fn retire_what_is_exported(&self, consumers: &[&str]) -> u64 {
        let consumers: Vec<ConsumerName> = consumers.iter().map(|name| name.parse().unwrap()).collect();
        self.retire_by(&|| RetentionPolicy { exported: self.outbox().reader().exported_by(&consumers), ..POLICY }).await
    }

    async fn retire_by(&self, policy: &impl Fn() -> RetentionPolicy) -> u64 {
        let clock = Arc::clone(&self.clock) as crate::ops::clock::SharedClock;
        let mut rounds = super::super::retention::Rounds::default();
        super::super::retention::pass(self.outbox(), &clock, policy, &mut rounds).await.unwrap()
    }

    fn is_known(&self, id: DeliveryId) -> bool {
        self.outbox().reader().event(id.event).unwrap().is_some()
    }

    /// Marks, as finance, everything between two times, in seconds after [`now`].
    async fn mark(&self, since: Option<i64>, until: i64) -> Result<(), MarkRefused> {
        let at = |second| now() + SignedDuration::from_secs(second);
        let (consumer, since, until) = ("finance".parse().unwrap(), since.map(at), at(until));
        let request = MarkRequest { consumer, since, until, rows: 1, by: "ops".into(), force: false };
        self.outbox().mark_exported(request).await.unwrap().map(drop)
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

async fn what_finance_has_not_exported_is_kept(mut story: Story) {
    const HOUR: i64 = 3_600;
    let plan = || to(&["a", "b"], OrderPolicy::default());
    let first = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    let second = story.accept(event("t2", "ftd", Status::Approved), plan()).await;
    for id in [first, DeliveryId { ordinal: 1, ..first }, second] {
        story.settle_now(id, DELIVERED).await;
    }
    story.pass(Duration::from_hours(2));
    story.settle_now(DeliveryId { ordinal: 1, ..second }, DELIVERED).await;
    story.pass(3 * DAY);
    assert_eq!(story.retire_what_is_exported(&["finance"]).await, 0, "nothing was ever exported");

    story.mark(None, HOUR).await.unwrap();
    story.reopen().await;
    assert_eq!(story.retire_what_is_exported(&["finance", "audit"]).await, 0, "the other one has nothing yet");
    assert_eq!(story.retire_what_is_exported(&["finance"]).await, 1);
    assert_eq!((story.is_known(first), story.is_known(second)), (false, true), "one of its deliveries changed later");

    assert!(matches!(story.mark(None, 3 * HOUR).await, Err(MarkRefused::Gap { .. })));
    assert_eq!(story.retire_what_is_exported(&["finance"]).await, 0);
    story.mark(Some(HOUR), 3 * HOUR).await.unwrap();
    assert_eq!(story.retire_what_is_exported(&["finance"]).await, 1);
    story.check_counts();
}

async fn where_too_much_is_stored_the_oldest_that_is_settled_goes_and_dead_letters_last(mut story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let settled = |id: &'static str, conclusion| {
        let story = &story;
        async move {
            let id = story.accept(event(id, "ftd", Status::Approved), plan()).await;
            story.settle_now(id, conclusion).await;
            id
        }
    };
    let dead = settled("t0", DEAD).await;
    let old = settled("t1", DELIVERED).await;
    let open = story.accept(event("t2", "ftd", Status::Approved), plan()).await;
    story.pass(Duration::from_mins(1));
    let newer = settled("t3", DELIVERED).await;
    story.pass(DAY.saturating_sub(Duration::from_secs(1)));
    let young = settled("t4", DELIVERED).await;
    let everything = story.outbox().reader().record_bytes();
    let least = |size| {
        let sizes = SizeLimits { delivered: Some(size), dead: Some(size) };
        move || RetentionPolicy { sizes, ..POLICY }
    };

    assert_eq!(story.retire_by(&least(everything)).await, 0);
    assert_eq!(story.retire_by(&least(everything - 1)).await, 1, "one is enough");
    assert!(!story.is_known(old) && story.is_known(newer), "the oldest");
    story.pass(Duration::from_mins(1));
    assert_eq!(story.retire_by(&least(0)).await, 2);
    let left = [dead, newer, open, young].map(|id| story.is_known(id));
    assert_eq!(left, [false, false, true, true], "neither what is open goes, nor what is younger than a day");
    story.check_counts();
    story.reopen().await;
    story.check_counts();
}

async fn each_way_of_being_settled_goes_by_its_own_limit(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let mut ids = Vec::new();
    for (transaction, conclusion) in [("t1", DELIVERED), ("t2", DEAD)] {
        let id = story.accept(event(transaction, "ftd", Status::Approved), plan()).await;
        story.settle_now(id, conclusion).await;
        ids.push(id);
    }
    story.ingest(event("t3", "ftd", Status::Approved), Vec::new()).await;
    let known = |story: &Story| ids.iter().map(|id| story.is_known(*id)).collect::<Vec<_>>();
    story.pass(DAY);
    let limits = |delivered, dead| move || RetentionPolicy { sizes: SizeLimits { delivered, dead }, ..POLICY };
    assert_eq!(story.retire_by(&limits(Some(0), None)).await, 1);
    assert_eq!(known(&story), [false, true], "dead letters have no limit");
    let id = story.accept(event("t4", "ftd", Status::Approved), plan()).await;
    story.settle_now(id, DELIVERED).await;
    story.pass(DAY);
    assert_eq!(story.retire_by(&limits(None, Some(0))).await, 2, "the dead letter, and the unrouted event");
    assert_eq!(known(&story), [false, false]);
    assert!(story.is_known(id), "what was delivered has no limit");
    story.check_counts();
}

contract!(
    each_way_of_being_settled_goes_by_its_own_limit,
    where_too_much_is_stored_the_oldest_that_is_settled_goes_and_dead_letters_last,
    what_finance_has_not_exported_is_kept,
    ended_orders_go_also_where_no_event_has_to,
    what_is_delivered_goes_after_its_time_and_leaves_nothing_behind,
    what_is_open_is_kept_however_old,
    a_transaction_goes_as_a_whole,
    unrouted_events_and_ended_orders_go_with_the_dead,
);
