//! Producers hand events in.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State as Extract;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::auth::Identity;
use super::problem::Problem;
use super::server::State;
use crate::config::Scope;
use crate::dispatch::Answer;
use crate::domain::event::{Fault, FaultCode};
use crate::outbox::{Accepted, Ingested};

/// Longest a producer may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of a single event.
const MAX_EVENT_BODY: usize = 64 * 1024;

/// `POST /v1/events`
pub(super) async fn one(Extract(state): Extract<State>, identity: Identity, body: Body) -> Result<Response, Problem> {
    identity.require(Scope::Ingest)?;
    let _place = state.place(&identity.name)?;
    let body = read_body(body, MAX_EVENT_BODY).await?;
    let event: Value = serde_json::from_slice(&body).map_err(|error| not_json(&error))?;
    let answers = state.intake.ingest(vec![Ok(event)], &identity.producer(), &state.rules()).await?;
    let answer = answers.into_iter().next().ok_or_else(|| Problem::malformed("no event"))?;
    let (status, document) = shown(answer)?;
    Ok((status, Json(document)).into_response())
}

/// `POST /v1/events/batch`
pub(super) async fn batch(
    Extract(state): Extract<State>,
    identity: Identity,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    identity.require(Scope::Ingest)?;
    let _place = state.place(&identity.name)?;
    let ingest = state.settings().ingest;
    let body = read_body(body, usize::try_from(ingest.max_body).unwrap_or(usize::MAX)).await?;
    let items = if is_ndjson(&headers) { read_ndjson(&body) } else { read_array(&body)? };
    if items.len() > ingest.max_batch {
        let detail = format!("{} events, at most {} are taken in a batch; send several", items.len(), ingest.max_batch);
        return Err(Problem::too_large(detail));
    }
    let answers = state.intake.ingest(items, &identity.producer(), &state.rules()).await?;
    Ok(Json(report(answers)).into_response())
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_DEADLINE, to_bytes(body, limit)).await;
    let slow = |_| Problem::malformed(format!("the body did not arrive within {BODY_DEADLINE:?}"));
    read.map_err(slow)?.map_err(|_| Problem::too_large(format!("the body is larger than {limit} bytes, or broke off")))
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::malformed(format!("the body is not JSON: {error}"))
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    matches!(kind, "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-lines")
}

/// One event a line; a line that is not JSON is refused by itself.
fn read_ndjson(body: &[u8]) -> Vec<Result<Value, Fault>> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines
        .map(|line| {
            serde_json::from_slice(line).map_err(|error| Fault {
                pointer: String::new(),
                code: FaultCode::WrongType,
                detail: format!("the line is not JSON: {error}"),
            })
        })
        .collect()
}

fn read_array(body: &[u8]) -> Result<Vec<Result<Value, Fault>>, Problem> {
    match serde_json::from_slice(body).map_err(|error| not_json(&error))? {
        Value::Array(items) => Ok(items.into_iter().map(Ok).collect()),
        _ => Err(Problem::malformed(
            "a batch is a JSON array of events, or NDJSON with Content-Type: application/x-ndjson",
        )),
    }
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

fn report(answers: Vec<Answer>) -> Value {
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
                json!({ "status": problem.status, "problem": problem })
            }
        })
        .collect();
    json!({ "accepted": accepted, "duplicates": duplicates, "rejected": rejected, "results": results })
}
