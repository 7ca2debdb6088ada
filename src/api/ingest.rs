//! Producers hand events in.

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::auth::Identity;
use super::body;
use super::problem::Problem;
use super::server::State;
use crate::config::Scope;
use crate::dispatch::Answer;
use crate::domain::event::{Fault, FaultCode};
use crate::ops::metrics::Metrics;
use crate::outbox::{Accepted, Ingested};

/// Most bytes of a single event, alone or in a batch.
const MAX_EVENT_BODY: usize = 64 * 1024;

/// `POST /v1/events`
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
    let (status, document) = shown(answer)?;
    Ok((status, Json(document)).into_response())
}

/// `POST /v1/events/batch`
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
fn parse_item(item: &[u8]) -> Result<Value, Fault> {
    let fault = |code, detail| Fault { pointer: String::new(), code, detail };
    if item.len() > MAX_EVENT_BODY {
        let detail = format!("the event is written in {} bytes, at most {MAX_EVENT_BODY} are taken", item.len());
        return Err(fault(FaultCode::TooLarge, detail));
    }
    serde_json::from_slice(item).map_err(|error| fault(FaultCode::WrongType, format!("the event is not JSON: {error}")))
}

fn shown(answer: Answer) -> Result<(StatusCode, Value), Problem> {
    match answer {
        Answer::Ingested(Ingested::Accepted(accepted)) => Ok((StatusCode::ACCEPTED, document(&accepted, false))),
        Answer::Ingested(Ingested::Duplicate(accepted)) => Ok((StatusCode::OK, document(&accepted, true))),
        Answer::Ingested(Ingested::Conflict(conflict)) => Err(Problem::conflict(&conflict)),
        Answer::Invalid(faults) => Err(Problem::invalid_event(&faults)),
        Answer::Failed(error) => Err(error.into()),
    }
}

fn document(accepted: &Accepted, duplicate: bool) -> Value {
    let deliveries: Vec<String> = accepted.deliveries.iter().map(ToString::to_string).collect();
    json!({ "event_id": accepted.event_id.to_string(), "duplicate": duplicate, "deliveries": deliveries })
}

fn report(answers: Vec<Answer>, metrics: &Metrics) -> Value {
    let (mut accepted, mut duplicates, mut rejected) = (0, 0, 0);
    let results: Vec<Value> = answers
        .into_iter()
        .map(|answer| match shown(answer) {
            Ok((status, mut document)) => {
                let counter = if status == StatusCode::ACCEPTED { &mut accepted } else { &mut duplicates };
                *counter += 1;
                if let Value::Object(fields) = &mut document {
                    fields.insert("status".into(), status.as_u16().into());
                }
                document
            }
            Err(problem) => {
                rejected += 1;
                metrics.refused(problem.name());
                json!({ "status": problem.status, "problem": problem })
            }
        })
        .collect();
    json!({ "accepted": accepted, "duplicates": duplicates, "rejected": rejected, "results": results })
}
