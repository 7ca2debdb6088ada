//! Fills a store as a busy daemon would, without sending anything.

use super::sample::{attempt, request};
use super::{BenchError, failed};
use crate::domain::delivery::{Conclusion, DeadReason, DeliveredHow};
use crate::domain::id::DeliveryId;
use crate::ops::clock::{Clock as _, SystemClock};
use crate::outbox::{Ingested, Outbox, OutboxError, Settlement};

/// Events handed over at a time.
const BATCH: usize = 500;

/// Accepts events and settles each with an attempt's record: every `dead`th as a dead letter, the others as delivered.
/// Returns their deliveries, the oldest first.
///
/// # Errors
/// When the store fails.
pub(super) async fn fill(
    outbox: &Outbox,
    numbers: std::ops::Range<usize>,
    dead: Option<usize>,
) -> Result<Vec<DeliveryId>, BenchError> {
    let mut all = Vec::with_capacity(numbers.len());
    for first in numbers.clone().step_by(BATCH) {
        let requests = (first..numbers.end.min(first + BATCH)).map(request).collect::<Result<Vec<_>, _>>()?;
        let ids = accepted(outbox.accept(requests).await?)?;
        let mut settled = tokio::task::JoinSet::new();
        for (number, id) in (first..).zip(&ids) {
            let Some(lease) = outbox.begin(*id)?.leased() else { continue };
            let (outbox, at) = (outbox.clone(), SystemClock.now());
            let conclusion = match dead {
                Some(each) if number % each == 0 => Conclusion::Dead(DeadReason::Exhausted),
                _ => Conclusion::Delivered(DeliveredHow::Accepted),
            };
            let settlement = Settlement { lease, attempt: attempt(), conclusion, at, pause: None };
            settled.spawn(async move { outbox.settle(settlement).await });
        }
        while let Some(done) = settled.join_next().await {
            done.map_err(failed)??;
        }
        // Nobody dispatches here: what arrives is not waited for.
        drop(outbox.arrivals().take());
        all.extend(ids);
    }
    Ok(all)
}

/// The deliveries of events that were all new.
///
/// # Errors
/// When one of them was not accepted.
pub(super) fn accepted(answers: Vec<Result<Ingested, OutboxError>>) -> Result<Vec<DeliveryId>, BenchError> {
    let mut ids = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer? {
            Ingested::Accepted(accepted) => ids.extend(accepted.deliveries),
            other => return Err(failed(format!("it was not accepted: {other:?}"))),
        }
    }
    Ok(ids)
}
