//! Carries retention out, in small commits that give way to everything else.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handle::Outbox;
use super::model::OutboxError;
use crate::domain::id::EventId;
use crate::domain::retention::RetentionPolicy;
use crate::ops::clock::{SharedClock, monotonic};

/// Events looked at in one commit.
const AT_ONCE: usize = 128;
/// Most events looked at before a rest: old ones that have to be kept are looked at again and again.
const A_PASS: usize = 20_000;
/// How long to rest.
const REST: Duration = Duration::from_mins(1);

/// Deletes what is old enough until it is told to stop.
pub async fn run(outbox: Outbox, clock: SharedClock, policy: impl Fn() -> RetentionPolicy, stop: CancellationToken) {
    let mut after = None;
    loop {
        let pass = async {
            match pass(&outbox, &clock, policy(), &mut after).await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(events = gone, "retention.deleted"),
                Err(error) => tracing::error!(%error, "retention could not go on"),
            }
            tokio::time::sleep(REST).await;
        };
        tokio::select! {
            () = pass => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Looks at the oldest events behind `after`; begins again from the oldest once there are no more.
///
/// # Errors
/// When the outbox fails.
pub(super) async fn pass(
    outbox: &Outbox,
    clock: &SharedClock,
    policy: RetentionPolicy,
    after: &mut Option<EventId>,
) -> Result<u64, OutboxError> {
    let mut gone = 0;
    for _ in 0..A_PASS / AT_ONCE {
        let begun = monotonic();
        let (reader, from, horizon) = (outbox.reader().clone(), *after, policy.horizon(clock.now()));
        let old = tokio::task::spawn_blocking(move || reader.accepted_until(horizon, from, AT_ONCE)).await;
        let old = old.map_err(|error| OutboxError::Stopped(error.to_string()))??;
        *after = old.last().copied();
        if old.is_empty() {
            break;
        }
        gone += outbox.retire(old, policy).await?;
        // Half of the time belongs to everybody else.
        tokio::time::sleep(monotonic().duration_since(begun)).await;
    }
    Ok(gone)
}
