//! Producers hand events in.

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::Identity;
use super::body;
use super::openapi::{Batch, OneEvent};
use super::problem::Problem;
use super::server::State;
use crate::config::Scope;
use crate::dispatch::Answer;
use crate::domain::event::{Event, Fault, FaultCode};
use crate::domain::id::{DeliveryId, EventId};
use crate::ops::metrics::Metrics;
use crate::outbox::{Accepted, Ingested};

/// Most bytes of a single event, alone or in a batch.
const MAX_EVENT_BODY: usize = 64 * 1024;

/// An event that is on disk, with all of its deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Taken {
    /// Its id; that of the first where it is a duplicate.
    #[schema(value_type = EventId)]
    event_id: String,
    /// Whether it was there already.
    duplicate: bool,
    /// Its deliveries; none where it is unrouted.
    #[schema(value_type = Vec<DeliveryId>)]
    deliveries: Vec<String>,
}

/// What came of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchReport {
    /// Events that were accepted.
    accepted: usize,
    /// Events that were there already.
    duplicates: usize,
    /// Events that were not taken.
    rejected: usize,
    /// An answer for each event, in their order.
    results: Vec<BatchItem>,
}

/// What came of one event of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchItem {
    /// It is on disk.
    Taken {
        /// 202, or 200 for a duplicate.
        status: u16,
        /// The event.
        #[serde(flatten)]
        taken: Taken,
    },
    /// It was not taken.
    Refused {
        /// The status that it would have had alone.
        status: u16,
        /// Why.
        problem: Problem,
    },
}

/// Take one event
///
/// Answered once the event and all of its deliveries are on disk. At most 64 KiB.
#[utoipa::path(post, path = "/v1/events", operation_id = "takeEvent", tag = "events",
    security(("bearer" = ["ingest"])), extensions(("x-affiliates" = json!("named"))),
    request_body(content = Event, description = "The event", example = json!({ "transaction_id": "dep-88121", "type": "ftd", "affiliate_id": "acme", 
        "click_id": "c-77f3", "payout": "120.00", "currency": "EUR" })),
    responses((status = 202, description = "It is on disk", body = Taken),
        (status = 200, description = "It was there already", body = Taken), OneEvent))]
pub(super) async fn one(
    Extract(state): Extract<State>,
    identity: Result<Identity, Problem>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = state.clock.now();
    let answer = take_one(&state, identity, &headers, body).await;
    state.traces.ingested("/v1/events", began, state.clock.now(), status(&answer));
    answer.inspect_err(|problem| state.metrics.refused(problem.name()))
}

fn status(answer: &Result<Response, Problem>) -> u16 {
    answer.as_ref().map_or_else(|problem| problem.status, |response| response.status().as_u16())
}

async fn take_one(
    state: &State,
    identity: Result<Identity, Problem>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let identity = identity?;
    identity.require(Scope::Ingest)?;
    let mut admitted = state.admission.enter(&identity.name)?;
    let limit = state.admission.largest(MAX_EVENT_BODY as u64);
    let body = body::read(body, headers, limit, &mut admitted).await?;
    let event: Value = serde_json::from_slice(&body).map_err(|error| body::not_json(&error))?;
    let (producer, rules, held) = (identity.producer(), state.rules(), admitted.into_permits());
    let answers = state.intake.ingest([Ok(event)], &producer, &rules, held).await?;
    let answer = answers.into_iter().next().ok_or_else(|| Problem::malformed("no event"))?;
    let taken = shown(answer)?;
    Ok((taken.status(), Json(taken)).into_response())
}

/// Take a batch of events
///
/// A JSON array, or NDJSON where the `Content-Type` says so; at most 1,000 events of 64 KiB each, as configured. Whatever
/// is called accepted is on disk, also where other events are not taken.
#[utoipa::path(post, path = "/v1/events/batch", operation_id = "takeBatch", tag = "events",
    security(("bearer" = ["ingest"])), extensions(("x-affiliates" = json!("named"))),
    request_body(description = "The events", content(
        (Vec<Event> = "application/json"), (String = "application/x-ndjson"),
    )),
    responses((status = 200, description = "An answer for each event", body = BatchReport), Batch))]
pub(super) async fn batch(
    Extract(state): Extract<State>,
    identity: Result<Identity, Problem>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let began = state.clock.now();
    let answer = take_batch(&state, identity, &headers, body).await;
    state.traces.ingested("/v1/events/batch", began, state.clock.now(), status(&answer));
    answer.inspect_err(|problem| state.metrics.refused(problem.name()))
}

async fn take_batch(
    state: &State,
    identity: Result<Identity, Problem>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let identity = identity?;
    identity.require(Scope::Ingest)?;
    let mut admitted = state.admission.enter(&identity.name)?;
    let ingest = state.settings().ingest;
    let limit = state.admission.largest(ingest.max_body);
    let body = body::read(body, headers, limit, &mut admitted).await?;
    let items = body::items(&body, headers, ingest.max_batch)?;
    let (producer, rules, held) = (identity.producer(), state.rules(), admitted.into_permits());
    // Each item is parsed as its turn comes, so that no more than one of them is a tree of values at a time.
    let events = items.into_iter().map(parse_item);
    let answers = state.intake.ingest(events, &producer, &rules, held).await?;
    Ok(Json(report(answers, &state.metrics)).into_response())
}

/// One event of a batch; what is not JSON is refused by itself.
pub(super) fn parse_item(item: &[u8]) -> Result<Value, Fault> {
    let fault = |code, detail| Fault { pointer: String::new(), code, detail };
    if item.len() > MAX_EVENT_BODY {
        let detail = format!("the event is written in {} bytes, at most {MAX_EVENT_BODY} are taken", item.len());
        return Err(fault(FaultCode::TooLarge, detail));
    }
    serde_json::from_slice(item).map_err(|error| fault(FaultCode::WrongType, format!("the event is not JSON: {error}")))
}

fn shown(answer: Answer) -> Result<Taken, Problem> {
    match answer {
        Answer::Ingested(Ingested::Accepted(accepted)) => Ok(Taken::new(&accepted, false)),
        Answer::Ingested(Ingested::Duplicate(accepted)) => Ok(Taken::new(&accepted, true)),
        Answer::Ingested(Ingested::Conflict(conflict)) => Err(Problem::conflict(&conflict)),
        Answer::Invalid(faults) => Err(Problem::invalid_event(&faults)),
        Answer::Failed(error) => Err(error.into()),
    }
}

impl Taken {
    fn new(accepted: &Accepted, duplicate: bool) -> Self {
        let deliveries = accepted.deliveries.iter().map(ToString::to_string).collect();
        Self { event_id: accepted.event_id.to_string(), duplicate, deliveries }
    }

    fn status(&self) -> StatusCode {
        if self.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED }
    }
}

fn report(answers: Vec<Answer>, metrics: &Metrics) -> BatchReport {
    let mut report = BatchReport { accepted: 0, duplicates: 0, rejected: 0, results: Vec::new() };
    for answer in answers {
        report.results.push(match shown(answer) {
            Ok(taken) => {
                let counter = if taken.duplicate { &mut report.duplicates } else { &mut report.accepted };
                *counter += 1;
                BatchItem::Taken { status: taken.status().as_u16(), taken }
            }
            Err(problem) => {
                report.rejected += 1;
                metrics.refused(problem.name());
                BatchItem::Refused { status: problem.status, problem }
            }
        });
    }
    report
}
