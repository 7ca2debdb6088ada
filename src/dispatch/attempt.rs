//! One attempt of one delivery: lease, run the errand, settle.
//!
//! What is the receiver's fault becomes the attempt's record; only a failing outbox is an error.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::errand::{self, Errand, Made};
use super::scheduler::Ended;
use crate::domain::delivery::{Delivery, HoldReason, State};
use crate::domain::outcome::{self, Health, Judgement, Outcome};
use crate::domain::postback::Postback;
use crate::domain::record::Timings;
use crate::domain::retry::LEAST_LOCAL;
use crate::domain::timestamp::to_micros;
use crate::ops::clock::{SharedClock, monotonic};
use crate::ops::random;
use crate::outbox::{Begun, Due, Outbox, OutboxError, Pause, Settlement};
use crate::planted::{Bug, planted};
use crate::transport::SharedWire;

/// What an attempt needs.
#[derive(Debug, Clone)]
pub(crate) struct Attempter {
    pub(crate) outbox: Outbox,
    pub(crate) wire: SharedWire,
    pub(crate) clock: SharedClock,
    pub(crate) observers: Arc<[Arc<dyn AttemptObserver>]>,
}

/// Is told of every attempt, in the task that made it: it must not block.
pub trait AttemptObserver: Send + Sync + std::fmt::Debug {
    /// An attempt was made and is durable.
    fn attempted(&self, note: &Arc<AttemptNote>);
}

/// An attempt that was made and is durable.
#[derive(Debug, Clone)]
pub struct AttemptNote {
    /// The delivery.
    pub id: crate::domain::id::DeliveryId,
    /// The transaction that it tells of.
    pub transaction_id: crate::domain::id::TransactionId,
    /// The click that led to it.
    pub click_id: Option<crate::domain::id::ClickId>,
    /// Its postback.
    pub postback: crate::domain::id::PostbackRef,
    /// The event's type.
    pub kind: crate::domain::id::EventType,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// The attempt's number.
    pub number: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// The response's status code.
    pub status: Option<u16>,
    /// The rule that decided.
    pub rule: String,
    /// Why there was no whole answer.
    pub error: Option<String>,
    /// How the delivery stands behind it.
    pub delivery: Delivery,
    /// How long it took.
    pub timings: Timings,
    /// When it ended.
    pub at: Timestamp,
}

/// How long to wait for whoever changes a delivery, or its original, at the moment when it is due: about a commit.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How old a request may be when it is sent: receivers compare its time with their own.
const FRESH: Duration = Duration::from_secs(1);

/// What came of a delivery's turn.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// It was attempted, and that is durable.
    Made(Ended),
    /// There was nothing to attempt (any more).
    Nothing,
    /// It, or its original, is being changed at this moment: it has to have another turn.
    Busy,
}

impl Attempter {
    /// Attempts a delivery.
    pub(crate) async fn attempt(&self, due: Due, postback: Option<Arc<Postback>>) -> Result<Attempted, OutboxError> {
        let begun = monotonic();
        let mut lease = match self.outbox.begin_due(due)? {
            Begun::Leased(lease) => *lease,
            Begun::NotScheduled => return Ok(Attempted::Nothing),
            Begun::Busy => {
                tokio::time::sleep(BUSY_PAUSE).await;
                return Ok(Attempted::Busy);
            }
        };
        let Some(postback) = postback else {
            drop(lease);
            self.outbox.hold_unconfigured(due.id).await?;
            return Ok(Attempted::Nothing);
        };
        if !postback.receiver_dedupes && !self.outbox.intend(&mut lease).await? {
            return Ok(Attempted::Nothing);
        }
        let errand = Errand {
            event: &lease.record().event,
            original: lease.original(),
            id: lease.id(),
            number: lease.before().made + 1,
        };
        tracing::debug!(delivery = %errand.id, postback = %postback.reference(), attempt = errand.number, "postback.attempting");
        #[cfg(feature = "planted")]
        let wire = &super::early::wire(&self.wire);
        #[cfg(not(feature = "planted"))]
        let wire = &self.wire;
        let prepared_at = monotonic();
        let Made { record, judgement } = match errand::prepare(errand, &postback, &*self.clock) {
            Ok(mut prepared) => {
                if !planted(Bug::SentBeforeDurable)
                    && let Err(error) = self.outbox.durable(due.id.event).await
                {
                    tracing::debug!(delivery = %due.id, %error, "nothing is sent: its event is not durable");
                    return Ok(Attempted::Nothing);
                }
                // A disk that stalled has made the signature old.
                if monotonic().duration_since(prepared_at) > FRESH
                    && let Ok(fresh) = errand::prepare(errand, &postback, &*self.clock)
                {
                    prepared = fresh;
                }
                errand::send(prepared, &postback, &**wire, &*self.clock).await
            }
            Err(made) => *made,
        };
        let at = to_micros(self.clock.now());
        let policy = &postback.retry;
        let conclusion =
            outcome::conclude(&judgement, lease.before(), policy, postback.receiver_dedupes, at, random::unit());
        let mut note = AttemptNote {
            id: lease.id(),
            transaction_id: lease.record().event.transaction_id.clone(),
            click_id: lease.record().event.click_id.clone(),
            postback: postback.reference(),
            kind: lease.record().event.kind.clone(),
            accepted_at: lease.record().accepted_at,
            number: record.number,
            outcome: record.outcome,
            status: record.response.as_ref().map(|response| response.status),
            rule: record.rule.clone(),
            error: record.error.clone(),
            delivery: lease.before().clone(),
            timings: record.timings,
            at,
        };
        let pause = (judgement.outcome == Outcome::Gone).then(|| Pause {
            at,
            by: "postbackd".into(),
            reason: format!("the receiver answered that the postback is gone ({})", note.rule),
        });
        note.delivery = self.outbox.settle(Settlement { lease, attempt: record, conclusion, at, pause }).await?;
        log(&note);
        let note = Arc::new(note);
        for observer in &*self.observers {
            observer.attempted(&note);
        }
        let slow_down = slow_down(&judgement, &note.delivery.state, at);
        let took = monotonic().duration_since(begun);
        Ok(Attempted::Made(Ended { health: health(&judgement, &note), slow_down, took }))
    }
}

/// What the attempt says of the receiver: a receiver that cannot take our requests at all is not healthy.
fn health(judgement: &Judgement, note: &AttemptNote) -> Health {
    match note.delivery.state {
        State::Held { reason: HoldReason::Ambiguous } => Health::Bad,
        _ => judgement.health(),
    }
}

/// How long nothing more is sent to the affiliate: as long as it asks, and for a moment where this machine failed. Its
/// whole backlog would fail within that moment, and each attempt leaves a record.
fn slow_down(judgement: &Judgement, state: &State, at: Timestamp) -> Option<Duration> {
    match (judgement.outcome, state) {
        _ if judgement.local => Some(LEAST_LOCAL),
        (Outcome::Throttled, State::Scheduled { due }) => due.duration_since(at).try_into().ok(),
        (Outcome::Throttled, _) => Some(Duration::ZERO),
        _ => None,
    }
}

/// One wide line an attempt.
fn log(note: &AttemptNote) {
    let micros = |part: Option<Duration>| part.map(|part| u64::try_from(part.as_micros()).unwrap_or(u64::MAX));
    tracing::info!(
        delivery = %note.id,
        transaction = %note.transaction_id,
        affiliate = %note.postback.affiliate,
        postback = %note.postback.postback,
        event_type = %note.kind,
        attempt = note.number,
        outcome = %note.outcome,
        status = note.status,
        state = note.delivery.state.kind().name(),
        reason = note.delivery.state.reason(),
        rule = note.rule,
        error = note.error,
        dns_us = micros(note.timings.dns),
        connect_us = micros(note.timings.connect),
        tls_us = micros(note.timings.tls),
        first_byte_us = micros(note.timings.first_byte),
        total_us = micros(Some(note.timings.total)),
        "postback.attempted"
    );
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::id::PostbackRef;

    /// The note of an attempt of acme's delivery.
    pub(in crate::dispatch) fn note(outcome: Outcome) -> AttemptNote {
        let at = crate::fixtures::now();
        AttemptNote {
            id: "dlv_0000000000000000".parse().unwrap(),
            transaction_id: "dep-1".parse().unwrap(),
            click_id: None,
            postback: PostbackRef { affiliate: "acme".parse().unwrap(), postback: "conversions".parse().unwrap() },
            kind: "ftd".parse().unwrap(),
            accepted_at: at,
            number: 1,
            outcome,
            status: None,
            rule: "test".into(),
            error: None,
            delivery: Delivery { state: State::Scheduled { due: at }, made: 1, spent: 1 },
            timings: Timings::default(),
            at,
        }
    }

    #[test]
    fn the_affiliate_slows_down_as_it_asks_and_for_a_moment_where_this_machine_failed() {
        let at = Timestamp::from_second(1_000).unwrap();
        let scheduled = State::Scheduled { due: Timestamp::from_second(1_040).unwrap() };
        let judged = |outcome, local| Judgement { outcome, rule: "".into(), retry_after: None, local };
        let table = [
            (judged(Outcome::Throttled, false), Some(Duration::from_secs(40))),
            (judged(Outcome::Unreachable, true), Some(LEAST_LOCAL)),
            (judged(Outcome::Unreachable, false), None),
            (judged(Outcome::Delivered, false), None),
        ];
        for (judgement, expected) in table {
            assert_eq!(slow_down(&judgement, &scheduled, at), expected, "{judgement:?}");
        }
    }
}
