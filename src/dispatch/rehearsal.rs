//! Rehearsals: one request sent and judged like an attempt, for a person who wants to see it.
//!
//! Knows no outbox: nothing is planned, nothing is stored, nothing is sent a second time.

use crate::domain::delivery::{Conclusion, Delivery, Destination};
use crate::domain::outcome;
use crate::domain::postback::Postback;
use crate::domain::record::AttemptRecord;
use crate::domain::timestamp::to_micros;
use crate::ops::clock::Clock;
use crate::ops::random;
use crate::transport::Wire;

use super::errand::{self, Errand, Made};

/// What a rehearsal came to.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// Request, response, timings and verdict, as they would be on record.
    pub record: AttemptRecord,
    /// What would follow for a delivery whose first attempt this was.
    pub conclusion: Conclusion,
}

/// Sends one request, and judges the answer by the postback's own rules.
pub async fn rehearse(errand: Errand<'_>, postback: &Postback, wire: &dyn Wire, clock: &dyn Clock) -> Rehearsal {
    let Made { record, judgement } = match errand::prepare(errand, postback, clock) {
        Ok(prepared) => errand::send(prepared, postback, wire, clock).await,
        Err(made) => *made,
    };
    let now = to_micros(clock.now());
    let delivery = Delivery::planned(Destination::Schedule { due: now });
    let dedupes = postback.receiver_dedupes;
    let conclusion = outcome::conclude(&judgement, &delivery, &postback.retry, dedupes, now, random::unit());
    Rehearsal { record, conclusion }
}
