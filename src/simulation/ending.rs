//! How a story ends: everybody becomes well, whatever was halted goes on, and then everything has to come to an end.

use std::time::Duration;

use super::cast::{Cast, STEADY};
use super::daemon::{self, Daemon};
use super::promises;
use super::story::{Ending, Story};
use crate::domain::delivery::{Delivery, State};
use crate::domain::id::{DeliveryId, PostbackRef};
use crate::outbox::{BulkRecord, BulkState, Order, onlooker};

/// How often what is held is let go, and how long is waited behind it.
const ROUNDS: u32 = 40;
const ROUND: Duration = Duration::from_secs(10);

/// Calms the world down and waits until everything is settled.
pub(super) async fn calm_down(story: &mut Story, daemon: &Daemon) -> Ending {
    let world = &story.world;
    world.with_books(|books| {
        books.configure(Cast::restore);
        books.note(format_args!("the world calms down"));
    });
    world.receivers().cheer_up();
    world.disk.set_slow(false);
    daemon.reload();
    for round in 0..ROUNDS {
        tokio::time::sleep(if round == 0 { Duration::from_secs(1) } else { ROUND }).await;
        promises::check_moment(world, daemon.has_failed());
        if story.is_broken() {
            return Ending::Broken;
        }
        if daemon.has_failed() {
            return Ending::Crash;
        }
        // Counters are quicker than a walk; in the end they are compared with one.
        let counted = daemon.outbox.reader().counts().values().any(|counts| counts.open() > 0);
        let open = if counted { unsettled(story) } else { Vec::new() };
        let bulks = open_bulks(daemon);
        // A receiver that was gone when it was asked last has its postback paused late.
        for postback in paused(daemon) {
            daemon.pause(postback, None);
        }
        if open.is_empty() && bulks.is_empty() && daemon.outbox.claimed() == 0 {
            return finish(story, daemon);
        }
        for (id, delivery) in open {
            if matches!(delivery.state, State::Held { .. }) {
                let (request, number) = daemon::order(world, id, Order::Release);
                daemon.order(request, number);
            }
        }
        for (id, record) in bulks {
            if record.state == BulkState::Paused {
                let bulk = daemon.bulk.clone();
                tokio::spawn(async move { bulk.change(id, BulkState::Running, "ops").await });
            }
        }
    }
    stuck(story, daemon);
    Ending::Broken
}

fn unsettled(story: &Story) -> Vec<(DeliveryId, Delivery)> {
    let disk = &*story.world.disk;
    let all = onlooker::deliveries(disk).into_iter().filter_map(|id| Some((id, onlooker::delivery(disk, id)?)));
    all.filter(|(_, delivery)| !delivery.state.kind().is_settled()).collect()
}

fn open_bulks(daemon: &Daemon) -> Vec<(crate::domain::id::BulkId, BulkRecord)> {
    let all = daemon.outbox.reader().bulks(None, usize::MAX);
    all.into_iter().filter(|(_, record)| record.state.is_open()).collect()
}

fn paused(daemon: &Daemon) -> Vec<PostbackRef> {
    let reader = daemon.outbox.reader();
    reader.pauses().keys().filter_map(|number| reader.postback(*number)).collect()
}

fn stuck(story: &Story, daemon: &Daemon) {
    let (open, bulks) = (unsettled(story), open_bulks(daemon));
    story.world.with_books(|books| {
        for (id, delivery) in open {
            books.broken(format_args!("{id} is stuck: {delivery:?}"));
        }
        for (id, record) in bulks {
            books.broken(format_args!("bulk order {id} does not end: {record:?}"));
        }
        books.broken(format_args!("not everything comes to an end, {} to {STEADY}", books.steady.len()));
    });
}

/// Everything is settled: the books must agree with the store.
fn finish(story: &Story, daemon: &Daemon) -> Ending {
    let bulks = daemon.outbox.reader().bulks(None, usize::MAX);
    let bulks: Vec<_> = bulks
        .into_iter()
        .filter(|(_, record)| record.verb.order().is_some())
        .map(|(_, record)| (record.reason, record.done))
        .collect();
    let disk = &*story.world.disk;
    let histories = onlooker::deliveries(disk).into_iter().map(|id| (id, onlooker::history(disk, id))).collect();
    promises::check_records(&story.world, &histories, story.retires);
    promises::check_orders(&story.world, &histories, &bulks, story.retires);
    daemon.outbox.reader().check_tallies();
    Ending::Told
}
