//! Carries retention out, in small commits that give way to everything else.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::handle::Outbox;
use super::model::OutboxError;
use super::read::Reader;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::retention::{Pressure, RetentionPolicy};
use crate::ops::beside::beside;
use crate::ops::clock::{SharedClock, monotonic};

/// Events looked at in one commit.
const AT_ONCE: usize = 128;
/// Most events looked at before a rest: old ones that have to be kept are looked at again and again.
const A_PASS: usize = 200_000;
/// How long to rest.
const REST: Duration = Duration::from_mins(1);

/// How far each round over the store has come, where it could not look at everything at once.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    old: Option<EventId>,
    delivered: Option<EventId>,
    dead: Option<EventId>,
}

/// Deletes what is old enough, and what there is no room for, until it is told to stop.
pub async fn run(outbox: Outbox, clock: SharedClock, policy: impl Fn() -> RetentionPolicy, stop: CancellationToken) {
    let mut rounds = Rounds::default();
    loop {
        let pass = async {
            match pass(&outbox, &clock, &policy, &mut rounds).await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(events = gone, "retention.deleted"),
                Err(error) => tracing::error!(%error, "retention could not go on"),
            }
            tokio::time::sleep(REST).await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = pass => {}
        }
    }
}

/// Deletes what is old enough; then, as long as more is stored than a limit allows, what the limit is for, before its
/// time and the oldest first. What was delivered goes first: where both limits are passed, dead letters have to go only
/// when nothing else is left.
///
/// # Errors
/// When the outbox fails.
pub(super) async fn pass(
    outbox: &Outbox,
    clock: &SharedClock,
    policy: &impl Fn() -> RetentionPolicy,
    rounds: &mut Rounds,
) -> Result<u64, OutboxError> {
    // Bulk orders go also where no event has to.
    let mut gone = outbox.retire(Vec::new(), policy()).await?;
    let pressure = || policy().sizes.pressure(outbox.reader().record_bytes());
    gone += round(outbox, clock, policy, &mut rounds.old).await?;
    let delivered = Pressure { delivered: true, dead: false };
    if pressure().delivered {
        gone += round(outbox, clock, &|| policy().pressed(delivered), &mut rounds.delivered).await?;
        if rounds.delivered.is_some() {
            // There is more of these to look at first.
            return Ok(gone);
        }
    }
    let felt = pressure();
    if felt.dead {
        gone += round(outbox, clock, &|| policy().pressed(felt), &mut rounds.dead).await?;
    }
    if pressure().is_felt() && rounds.dead.is_none() {
        let (bytes, limits) = (outbox.reader().record_bytes(), policy().sizes);
        tracing::warn!(
            bytes,
            delivered = limits.delivered,
            dead = limits.dead,
            "retention.over_size: what is left is not settled, too young, or not exported"
        );
    }
    Ok(gone)
}

/// Looks at the oldest events behind `after`; begins again from the oldest once there are no more. Under pressure it
/// ends as soon as there is room.
async fn round(
    outbox: &Outbox,
    clock: &SharedClock,
    policy: &impl Fn() -> RetentionPolicy,
    after: &mut Option<EventId>,
) -> Result<u64, OutboxError> {
    let mut gone = 0;
    for _ in 0..A_PASS / AT_ONCE {
        let begun = monotonic();
        // Asked anew each time: a mark of exports that was taken back must hold at once.
        let policy = policy();
        let needed = policy.sizes.pressure(outbox.reader().record_bytes());
        let is_relieved = if policy.pressure.dead { !needed.dead } else { !needed.delivered };
        if policy.pressure.is_felt() && is_relieved {
            *after = None;
            break;
        }
        let (reader, from, now) = (outbox.reader().clone(), *after, clock.now());
        let looked = beside(move || look(&reader, policy, from, now)).await;
        let (last, over) = looked.map_err(|error| OutboxError::Stopped(error.to_string()))??;
        *after = last;
        if last.is_none() {
            break;
        }
        // Those that have to be kept cost the commit thread nothing.
        if !over.is_empty() {
            gone += outbox.retire(over, policy).await?;
        }
        // Half of the time belongs to everybody else.
        tokio::time::sleep(monotonic().duration_since(begun)).await;
    }
    Ok(gone)
}

/// The next old events: the last one looked at, and those that seem to need no keeping.
fn look(
    reader: &Reader,
    policy: RetentionPolicy,
    after: Option<EventId>,
    now: Timestamp,
) -> Result<(Option<EventId>, Vec<EventId>), OutboxError> {
    let old = reader.accepted_until(policy.horizon(now), after, AT_ONCE)?;
    let mut over = Vec::new();
    for id in &old {
        match is_over(reader, policy, *id, now) {
            Ok(true) => over.push(*id),
            // A damaged record is kept for whoever repairs it.
            Ok(false) | Err(OutboxError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((old.last().copied(), over))
}

fn is_over(reader: &Reader, policy: RetentionPolicy, id: EventId, now: Timestamp) -> Result<bool, OutboxError> {
    let Some(record) = reader.event(id)? else { return Ok(false) };
    if record.plan.is_empty() {
        return Ok(policy.is_over_unrouted(record.accepted_at, now));
    }
    for ordinal in 0..u16::try_from(record.plan.len()).unwrap_or(u16::MAX) {
        let view = reader.delivery_of(DeliveryId { event: id, ordinal }, &record)?;
        if view.is_some_and(|view| !policy.is_over(view.delivery.state.kind(), view.changed_at, now)) {
            return Ok(false);
        }
    }
    Ok(true)
}
