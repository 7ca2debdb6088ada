//! One request: rendered and signed, sent, judged. What an attempt is without the delivery that it is made for.
//!
//! Everything here is either pure or the one call of the wire, and nothing of it is stored: whoever runs an errand
//! decides what becomes of the record.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::domain::concealed::Concealed;
use crate::domain::event::Event;
use crate::domain::id::DeliveryId;
use crate::domain::outcome::{self, Failure, Judgement, Outcome, Response};
use crate::domain::postback::Postback;
use crate::domain::record::{self, AttemptRecord, KEPT_BODY_BYTES, KEPT_HEADER_BYTES, RecordedResponse, Timings};
use crate::domain::request::PreparedRequest;
use crate::domain::retry::parse_retry_after;
use crate::domain::template::Scope;
use crate::domain::timestamp::to_micros;
use crate::ops::clock::Clock;
use crate::ops::random;
use crate::transport::{Exchange, Received, Wire};

/// What is to be told, and under which name.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// The event.
    pub event: &'a Event,
    /// The event that it reverses, where it is known.
    pub original: Option<&'a Event>,
    /// The delivery; its text is the idempotency key.
    pub id: DeliveryId,
    /// The attempt's number, from 1.
    pub number: u32,
}

impl<'a> Errand<'a> {
    /// What a template may read of it at a time.
    pub fn scope(&self, postback: &'a Postback, at: Timestamp, nonce: &'a str) -> Scope<'a> {
        Scope {
            event: self.event,
            event_id: self.id.event,
            delivery_id: self.id,
            attempt: self.number,
            timestamp: at,
            nonce,
            original: self.original,
            secrets: &postback.secrets,
        }
    }
}

/// What one request came to.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) record: AttemptRecord,
    pub(crate) judgement: Judgement,
}

/// A request that only has to be sent, with what is on record of it so far.
#[derive(Debug)]
pub(crate) struct Prepared {
    request: PreparedRequest,
    record: AttemptRecord,
}

/// Renders and signs; what cannot be rendered has come to its end with that.
pub(crate) fn prepare(errand: Errand<'_>, postback: &Postback, clock: &dyn Clock) -> Result<Prepared, Box<Made>> {
    let started_at = to_micros(clock.now());
    let record = AttemptRecord {
        number: errand.number,
        started_at,
        request: None,
        digest: None,
        response: None,
        timings: Timings::default(),
        remote: None,
        outcome: Outcome::Unrenderable,
        rule: String::new(),
        error: None,
    };
    let nonce = random::nonce();
    match postback.request.render(&errand.scope(postback, started_at, &nonce)) {
        Ok(request) => {
            let recorded = Some(request.record.clone().capped());
            let record = AttemptRecord { request: recorded, digest: Some(request.digest), ..record };
            Ok(Prepared { request, record })
        }
        Err(error) => Err(Box::new(failed(record, outcome::failure_to_render(&error), error.to_string()))),
    }
}

/// Sends and judges.
pub(crate) async fn send(prepared: Prepared, postback: &Postback, wire: &dyn Wire, clock: &dyn Clock) -> Made {
    let Prepared { request, record } = prepared;
    let mask = request.concealed.clone();
    let Exchange { result, timings, remote } = wire.send(request, postback.timeouts).await;
    let record = AttemptRecord { timings, remote: remote.map(|address| address.to_string()), ..record };
    match result {
        Ok(received) => judged(record, received, postback, &mask, clock.now()),
        Err(stopped) => {
            let response = stopped.partial.map(|partial| recorded(partial, true, &mask));
            let error = mask.over(stopped.error, record::KEPT_ERROR_BYTES);
            failed(AttemptRecord { response, ..record }, stopped.failure, error)
        }
    }
}

fn judged(blank: AttemptRecord, received: Received, postback: &Postback, mask: &Concealed, now: Timestamp) -> Made {
    let response = Response {
        status: received.status,
        content_type: received.header("content-type"),
        retry_after: received.header("retry-after").and_then(|value| parse_retry_after(value, now)),
        body: &received.body,
        over_cap: received.over_cap,
    };
    let judgement = outcome::judge(&response, &postback.rules, postback.receiver_dedupes);
    let record = AttemptRecord {
        response: Some(recorded(received, false, mask)),
        outcome: judgement.outcome,
        rule: kept_rule(&judgement, mask),
        ..blank
    };
    Made { record, judgement }
}

/// The rule's text: a configured pattern may name a secret that it looks for, and it may be long.
fn kept_rule(judgement: &Judgement, mask: &Concealed) -> String {
    let mut rule = match &judgement.rule {
        Cow::Borrowed(default) => return (*default).to_owned(),
        Cow::Owned(configured) => mask.over(configured, record::KEPT_ERROR_BYTES),
    };
    record::cut(&mut rule, record::KEPT_ERROR_BYTES);
    rule
}

fn failed(blank: AttemptRecord, failure: Failure, mut error: String) -> Made {
    record::cut(&mut error, record::KEPT_ERROR_BYTES);
    let judgement = outcome::judge_failure(failure);
    let record = AttemptRecord {
        outcome: judgement.outcome,
        rule: judgement.rule.clone().into_owned(),
        error: Some(error),
        ..blank
    };
    Made { record, judgement }
}

/// What is kept of a response. It is masked before it is cut: a cut could leave half a secret that nobody finds.
fn recorded(received: Received, broke_off: bool, mask: &Concealed) -> RecordedResponse {
    let Received { status, headers, body, over_cap } = received;
    let masked = |text: String| mask.over(text, KEPT_HEADER_BYTES);
    let headers = headers.into_iter().take(record::KEPT_HEADERS);
    let mut headers: Vec<_> = headers.map(|(name, value)| (masked(name), masked(value))).collect();
    record::cap_headers(&mut headers, KEPT_HEADER_BYTES);
    let is_whole = !over_cap && !broke_off;
    let kept = mask.over_start(&body, KEPT_BODY_BYTES, is_whole);
    let truncated = !is_whole || kept.len() > KEPT_BODY_BYTES || mask.searches_less_than(&body, KEPT_BODY_BYTES);
    let mut kept =
        String::from_utf8(kept).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    record::cut(&mut kept, KEPT_BODY_BYTES);
    RecordedResponse { status, headers, body: kept, body_bytes: body.len() as u64, truncated }
}
