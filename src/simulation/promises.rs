//! What must hold whenever a request leaves the daemon, whatever happened before.
//!
//! Each promise is looked at with other eyes than the daemon's: what is durable is read from the disk behind its back,
//! and what was sent before is known from the receivers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::books::{Books, CameTo, ON_ITS_WAY, Sent};
use super::cast::STEADY;
use super::network::Told;
use super::world::World;
use crate::domain::delivery::State;
use crate::domain::id::{AffiliateId, DeliveryId, EventId};
use crate::domain::outcome::Outcome;
use crate::domain::record::{Cause, HistoryEntry, OrderKind};
use crate::ops::clock::Clock as _;
use crate::outbox::EventRecord;
use crate::outbox::onlooker::{self, Member};

/// Longest that a delivery to a healthy affiliate waits for its turn; less than a receiver that hangs takes.
pub(super) const HEALTHY_WAIT: Duration = Duration::from_secs(5);
/// How much of an even pace may be caught up, with some room for rounding.
const PACE_SLACK: Duration = Duration::from_millis(105);
/// How long what was sent before a reload may still be in flight.
const OLD_LIMITS: Duration = Duration::from_secs(9);

/// Looks at a request that leaves the daemon; returns its number in the books.
pub(super) fn check_send(world: &World, told: &Told, digest: [u8; 32]) -> usize {
    let id = told.key;
    let disk = &*world.disk;
    let record = disk.durable(|engine| onlooker::event(engine, id.event));
    let history = disk.durable(|engine| onlooker::history(engine, id));
    let group = record.as_ref().map(|record| onlooker::group(disk, id.event, record)).unwrap_or_default();
    let (wall, was_set) = (world.clock.now(), world.clock.was_set_within(ON_ITS_WAY));
    world.with_books(|books| {
        books.note(format_args!("sends {id} attempt {} to {}", told.number, told.postback));
        match &record {
            None => books.broken(format_args!("{id} is sent and its event is not durable")),
            Some(record) => {
                check_content(books, told, record);
                check_standing(books, told, record, &history, (wall, was_set));
                check_order(books, told, record, &group);
            }
        }
        check_repeat(books, told, &history);
        if disk.has_failed() {
            books.broken(format_args!("{id} is sent and can no longer be written down"));
        }
        check_limits(books, told);
        check_permission(books, told);
        check_breaker(books, &told.postback.affiliate);
        books.steady.remove(&id);
        let index = books.sent.len();
        books.sent.push(Sent {
            delivery: id,
            postback: told.postback.clone(),
            number: told.number,
            digest,
            life: books.life,
            begun: books.now,
            came_to: None,
            noted: None,
        });
        books.of_delivery.entry(id).or_default().push(index);
        books.flying.insert(index);
        index
    })
}

/// The request tells of its own event, and its idempotency key is the delivery's.
fn check_content(books: &mut Books, told: &Told, record: &EventRecord) {
    if record.event.transaction_id.as_str() != told.transaction {
        books.broken(format_args!("{} tells of {} and not of its own transaction", told.key, told.transaction));
    }
}

/// What is sent is scheduled, due and durable.
fn check_standing(
    books: &mut Books,
    told: &Told,
    record: &EventRecord,
    history: &[Arc<HistoryEntry>],
    (wall, was_set): (jiff::Timestamp, bool),
) {
    let id = told.key;
    let planned = record.entry(id).map(|entry| &entry.delivery);
    let Some(stands) = history.last().map(|entry| &entry.delivery).or(planned) else {
        return books.broken(format_args!("{id} is sent and was never planned"));
    };
    match stands.state {
        State::Scheduled { due } if stands.made > 0 && due > wall && !was_set => {
            books.broken(format_args!("{id} is sent at {wall}, before it is due at {due}"));
        }
        State::Scheduled { .. } => {}
        _ => books.broken(format_args!("{id} is sent and is durably {}", stands.state.kind().name())),
    }
    if stands.made + 1 != told.number {
        books.broken(format_args!("{id} is sent as attempt {}, {} were made", told.number, stands.made));
    }
}

/// Nothing is sent twice, but for what a crash or a lost answer leaves in doubt, or what an operator orders.
fn check_repeat(books: &mut Books, told: &Told, history: &[Arc<HistoryEntry>]) {
    let id = told.key;
    let Some(last) = books.last_sent(id).map(|index| &books.sent[index]) else { return };
    let (life, dedupes) = (books.life, books.cast.dedupes(&told.postback));
    if last.life == life && last.came_to.is_none() {
        return books.broken(format_args!("{id} is sent while it is being sent"));
    }
    let number = last.number;
    let recorded = history.iter().position(|entry| matches!(&entry.cause, Cause::Attempted(a) if a.number == number));
    let interrupted = history.iter().rposition(|entry| entry.cause == Cause::Interrupted);
    let ordered_behind = |place: usize| history.iter().skip(place + 1).any(is_sending_order);
    let broken = match (recorded, interrupted) {
        (Some(place), _) => {
            let settled = match last.came_to {
                Some(CameTo::Taken | CameTo::Refused) => true,
                Some(CameTo::Lost) | None => !dedupes,
                Some(CameTo::Failed | CameTo::Unsent) => false,
            };
            (settled && !ordered_behind(place)).then_some("although it was settled")
        }
        (None, _) if last.life == life || last.noted.is_some() => Some("and what was on record is gone"),
        (None, Some(place)) if !dedupes => (!ordered_behind(place)).then_some("although a crash left it in doubt"),
        (None, None) if !dedupes => Some("although a crash left it in doubt, and nobody was told"),
        (None, _) => None,
    };
    if let Some(why) = broken {
        books.broken(format_args!("{id} is sent again {why}"));
    }
}

fn is_sending_order(entry: &Arc<HistoryEntry>) -> bool {
    matches!(&entry.cause, Cause::Ordered(order) if matches!(order.order, OrderKind::Replay | OrderKind::Release))
}

/// Nothing overtakes: earlier deliveries of the lane are settled, and so is what a reversal undoes.
///
/// What an operator sends again, or what was planned late, stands in nobody's way that was let go before.
fn check_order(books: &mut Books, told: &Told, record: &EventRecord, group: &BTreeMap<EventId, Vec<Member>>) {
    let id = told.key;
    let Some(own) = record.entry(id) else { return };
    let earlier = group.range(..id.event).flat_map(|(_, members)| members);
    for other in earlier.filter(|other| !other.settled && other.affiliate == told.postback.affiliate) {
        let undoes = record.event.reverses.as_ref().is_some_and(|reversed| *reversed == other.transaction)
            && other.reverses != record.event.reverses;
        // Those that a later event brought together may be out already.
        let akin = other.transaction == record.event.transaction_id
            || other.reverses.as_ref() == Some(&record.event.transaction_id);
        let stepped_back = other.reverses.is_some() && other.waits_unsent;
        if ((other.lane == own.lane && akin) || undoes) && !stepped_back && !other.ordered {
            let how = if undoes { "the original" } else { "the earlier" };
            return books.broken(format_args!("{id} overtakes {how} {}", other.id));
        }
    }
}

/// No more in flight than there may be, and at the pace that is asked for.
fn check_limits(books: &mut Books, told: &Told) {
    let affiliate = &told.postback.affiliate;
    let recent =
        books.replaced.as_ref().filter(|(_, at)| books.now.saturating_sub(*at) < OLD_LIMITS).map(|(cast, _)| cast);
    let casts = [Some(&books.cast), recent];
    let slots = casts.into_iter().flatten().map(|cast| cast.slots).max().unwrap_or_default();
    let concurrency =
        casts.into_iter().flatten().map(|cast| cast.limits(affiliate).concurrency).max().unwrap_or_default();
    let own = books.flying.iter().filter(|index| books.sent[**index].postback.affiliate == *affiliate).count();
    if books.flying.len() >= slots {
        books.broken(format_args!("{} are in flight beside {}, {slots} may be", books.flying.len(), told.key));
    }
    if own >= usize::try_from(concurrency).unwrap() {
        books.broken(format_args!("{own} are in flight to {affiliate}, {concurrency} may be"));
    }
    check_pace(books, affiliate);
}

fn check_pace(books: &mut Books, affiliate: &AffiliateId) {
    let now = books.now;
    let Some(rate) = books.cast.limits(affiliate).rate else { return };
    if books.just_paced(affiliate) {
        // What waits for the disk then had its turn while there was no pace.
        books.paces.remove(affiliate);
        return;
    }
    // An intent takes its time, so that sends of those who need one bunch up.
    let even =
        books.cast.postbacks().iter().filter(|own| own.affiliate == *affiliate).all(|own| books.cast.dedupes(own));
    let sent = books.paces.entry(affiliate.clone()).or_default();
    sent.push(now);
    let interval = rate.interval();
    let fast = (1_u32..)
        .zip(sent.iter().rev().skip(1).take(8))
        .find(|(count, at)| now.saturating_sub(**at) + PACE_SLACK < interval * *count);
    if let Some((count, _)) = fast.filter(|_| even) {
        books.broken(format_args!("{affiliate} is sent {} within less than {count} times {interval:?}", count + 1));
    }
}

/// Nothing is sent that is paused or no longer configured.
fn check_permission(books: &mut Books, told: &Told) {
    let now = books.now;
    if books.paused.get(&told.postback).is_some_and(|since| now.saturating_sub(*since) > ON_ITS_WAY) {
        books.broken(format_args!("{} is sent to {}, which is paused", told.key, told.postback));
    }
    if !books.just_reloaded() && !books.cast.has(&told.postback) {
        books.broken(format_args!("{} is sent to {}, which is not configured", told.key, told.postback));
    }
}

/// While a breaker is open nothing is sent; then one probe at a time.
fn check_breaker(books: &mut Books, affiliate: &AffiliateId) {
    let Some(policy) = books.cast.limits(affiliate).breaker else { return };
    let Some(opened) = books.breakers.get(affiliate).and_then(|watch| watch.opened) else { return };
    let since = books.now.saturating_sub(opened);
    let own = |index: &&usize| {
        let sent = &books.sent[**index];
        sent.postback.affiliate == *affiliate && sent.begun > opened + ON_ITS_WAY
    };
    let probes = books.flying.iter().filter(own).count();
    if since > ON_ITS_WAY && since < policy.open {
        books.broken(format_args!("{affiliate} is sent something {since:?} after its breaker opened"));
    } else if since > ON_ITS_WAY && probes > 0 {
        books.broken(format_args!("{affiliate} is sent a second probe"));
    }
}

/// What must hold at any moment; `failed` is whether the outbox says that it has failed.
pub(super) fn check_moment(world: &World, failed: bool) {
    let lost = world.disk.lost();
    let disk_failed = world.disk.has_failed();
    world.with_books(|books| {
        for what in lost {
            books.broken(what);
        }
        if disk_failed {
            // Nothing is sent any more to anybody, and the daemon ends.
            if !failed {
                books.broken("the outbox goes on behind a failed sync");
            }
            return;
        }
        let now = books.now;
        let waits = books.steady.iter().find(|(_, since)| now.saturating_sub(**since) > HEALTHY_WAIT);
        if let Some((id, since)) = waits.map(|(id, since)| (*id, *since)) {
            books.broken(format_args!(
                "{id} to {STEADY}, which is well, was not sent for {:?}",
                now.saturating_sub(since)
            ));
            books.steady.clear();
        }
    });
}

/// What must hold whenever a disk is at rest: all that was acknowledged is there or was deleted by retention, and nothing is
/// damaged.
pub(super) fn check_disk(world: &World) {
    let damages = onlooker::damages(&*world.disk);
    world.with_books(|books| {
        for damage in damages {
            books.broken(format_args!("the store is damaged: {damage:?}"));
        }
        let missing = |id: &EventId, planned: usize| {
            onlooker::event(&*world.disk, *id).is_none_or(|record| record.plan.len() < planned)
        };
        let lost: Vec<EventId> = books
            .acknowledged
            .iter()
            .filter(|(id, known)| missing(id, known.deliveries.len()) && !world.disk.has_retired(**id))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            books.broken(format_args!("{id} was acknowledged and is lost"));
        }
    });
}

/// Tells what is in the store, for whoever replays a seed.
pub(super) fn tell_store(world: &World) {
    for id in onlooker::deliveries(&*world.disk) {
        let Some(record) = onlooker::event(&*world.disk, id.event) else { continue };
        let event = &record.event;
        world.with_books(|books| {
            let (kind, reverses) = (&event.kind, &event.reverses);
            let planned = record.entry(id).map(|entry| (entry.postback, &entry.lane, entry.order, &entry.delivery));
            books.note(format_args!("{id}: {kind} {} undoes {reverses:?}, {planned:?}", event.transaction_id));
            for entry in onlooker::history(&*world.disk, id) {
                let (at, stands) = (entry.at, &entry.delivery);
                match &entry.cause {
                    Cause::Attempted(attempt) => {
                        books.note(format_args!("  {at} attempt {} {} {stands:?}", attempt.number, attempt.outcome));
                    }
                    cause => books.note(format_args!("  {at} {cause:?} {stands:?}")),
                }
            }
        });
    }
}

/// The history of each delivery in the store.
pub(super) type Histories = BTreeMap<DeliveryId, Vec<Arc<HistoryEntry>>>;

/// Every attempt is on record, and nothing else is.
pub(super) fn check_records(world: &World, histories: &Histories, retires: bool) {
    world.with_books(|books| {
        for (id, history) in histories {
            check_history(books, *id, history);
        }
        for index in 0..books.sent.len() {
            let sent = &books.sent[index];
            let (Some(outcome), id, number) = (sent.noted, sent.delivery, sent.number) else { continue };
            let on_record = |entry: &Arc<HistoryEntry>| {
                matches!(&entry.cause, Cause::Attempted(a) if a.number == number && a.outcome == outcome)
            };
            match histories.get(&id) {
                None if retires => {}
                Some(history) if history.iter().any(on_record) => {}
                _ => books.broken(format_args!("attempt {number} of {id} came to {outcome} and is not on record")),
            }
        }
    });
}

fn check_history(books: &mut Books, id: DeliveryId, history: &[Arc<HistoryEntry>]) {
    let mut numbers = Vec::new();
    let sent: Vec<(u32, [u8; 32], Option<CameTo>)> = books.of_delivery.get(&id).map_or_else(Vec::new, |indices| {
        indices.iter().map(|index| &books.sent[*index]).map(|sent| (sent.number, sent.digest, sent.came_to)).collect()
    });
    for entry in history {
        let Cause::Attempted(attempt) = &entry.cause else { continue };
        numbers.push(attempt.number);
        let made =
            |(number, digest, _): &&(u32, [u8; 32], _)| *number == attempt.number && Some(*digest) == attempt.digest;
        let came_to = sent.iter().rev().find(made).map(|(_, _, came_to)| *came_to);
        match (came_to, attempt.outcome) {
            (None, Outcome::Unrenderable) => {}
            (None, _) => books.broken(format_args!("attempt {} of {id} was never made", attempt.number)),
            (Some(came_to), outcome) if !agrees(came_to, outcome) => {
                books.broken(format_args!("attempt {} of {id} came to {came_to:?}, not {outcome}", attempt.number));
            }
            (Some(_), _) => {}
        }
    }
    if numbers.windows(2).any(|pair| pair[0] >= pair[1]) {
        books.broken(format_args!("attempts of {id} are on record as {numbers:?}"));
    }
    let taken = sent.iter().any(|(_, _, came_to)| *came_to == Some(CameTo::Taken));
    let confirmed = history
        .iter()
        .any(|entry| matches!(&entry.cause, Cause::Ordered(order) if order.order == OrderKind::ConfirmDelivered));
    let delivered = history.last().is_some_and(|entry| matches!(entry.delivery.state, State::Delivered { .. }));
    if delivered && !taken && !confirmed {
        books.broken(format_args!("{id} is delivered, and nobody took it"));
    }
}

fn agrees(came_to: Option<CameTo>, outcome: Outcome) -> bool {
    match came_to {
        Some(CameTo::Taken) => matches!(outcome, Outcome::Delivered | Outcome::Duplicate),
        Some(CameTo::Refused) => matches!(outcome, Outcome::Rejected | Outcome::Gone),
        Some(CameTo::Failed) => matches!(outcome, Outcome::Retry | Outcome::Throttled),
        Some(CameTo::Unsent) => outcome == Outcome::Unreachable,
        Some(CameTo::Lost) => outcome == Outcome::Ambiguous,
        None => false,
    }
}

/// Each order that was answered stands once in the history of its delivery, each other at most once; each target of a
/// bulk order was done once.
pub(super) fn check_orders(world: &World, histories: &Histories, bulks: &[(String, u64)], retires: bool) {
    let mut given: BTreeMap<&str, Vec<DeliveryId>> = BTreeMap::new();
    for (id, history) in histories {
        for entry in history {
            if let Cause::Ordered(order) = &entry.cause {
                given.entry(&order.reason).or_default().push(*id);
            }
        }
    }
    world.with_books(|books| {
        for index in 0..books.orders.len() {
            let order = &books.orders[index];
            let times = given.get(order.reason.as_str()).map_or(0, Vec::len);
            let gone = retires && !histories.contains_key(&order.id);
            if times > 1 || (order.acknowledged && times != 1 && !gone) {
                let (id, reason) = (order.id, order.reason.clone());
                books.broken(format_args!("{reason} about {id} was carried out {times} times"));
            }
        }
        for (reason, done) in bulks {
            let targets = given.get(reason.as_str()).map_or(&[][..], Vec::as_slice);
            let mut once = targets.to_vec();
            once.dedup();
            if once.len() != targets.len() || (!retires && once.len() as u64 != *done) {
                books.broken(format_args!("{reason} says that it was done {done} times, and was {}", targets.len()));
            }
        }
    });
}
