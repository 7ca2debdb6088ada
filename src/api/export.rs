//! Exports: pages of flat rows as NDJSON, and the marks that say how far consumers have come.

use axum::Json;
use axum::extract::{Path, Query, State as Extract};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::auth::Identity;
use super::operate::{Given, body};
use super::problem::Problem;
use super::server::State;
use crate::config::Scope;
use crate::domain::export_mark::{MarkRefused, MarkRequest};
use crate::domain::id::ConsumerName;
use crate::inspect::{self, By, DeliveryFilter, ExportKind, ExportPage, MarkView, Onlooker, Page};

/// Where the next page begins; absent at the end of the export.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("postbackd-next-cursor");
/// How far the export has come, as a time of acceptance.
const REACHED: HeaderName = HeaderName::from_static("postbackd-reached");

/// The query of an export: a filter beside what pages it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    affiliate: Option<String>,
    postback: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    outcome: Option<String>,
    http_status: Option<u16>,
    transaction: Option<String>,
    click: Option<String>,
    text: Option<String>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    by: Option<By>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/export/{events|deliveries|attempts}`
pub(super) async fn page(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(what): Path<String>,
    query: Result<Query<ExportQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    identity.require(Scope::Read)?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    let kind = kind(&what, query.by)?;
    match &query.affiliate {
        Some(affiliate) => identity.require_affiliate(affiliate)?,
        None if query.transaction.is_none() && query.click.is_none() => identity.require_all_affiliates()?,
        None => {}
    }
    let filter = DeliveryFilter {
        ids: Vec::new(),
        affiliate: query.affiliate,
        postback: query.postback,
        kind: query.kind,
        state: query.state,
        reason: query.reason,
        outcome: query.outcome,
        http_status: query.http_status,
        transaction: query.transaction,
        click: query.click,
        text: query.text,
        since: query.since,
        until: query.until,
    };
    let (cursor, limit) = (query.cursor, query.limit.unwrap_or(inspect::MAX_EXPORTED_ROWS));
    let outbox = state.outbox;
    let read = move || {
        let in_flight = |id| outbox.is_claimed(id);
        let sees = |affiliate: &str| identity.may_see(affiliate);
        let onlooker = Onlooker { in_flight: &in_flight, sees: &sees };
        let page = inspect::export_page(outbox.reader(), kind, &filter, cursor.as_deref(), limit, &onlooker)?;
        written(kind, &page)
    };
    state.reads.run(read).await
}

fn kind(what: &str, by: Option<By>) -> Result<ExportKind, Problem> {
    match (what, by) {
        ("events", None) => Ok(ExportKind::Events),
        ("attempts", None) => Ok(ExportKind::Attempts),
        ("deliveries", by) => Ok(ExportKind::Deliveries(by.unwrap_or_default())),
        ("events" | "attempts", Some(_)) => {
            Err(Problem::malformed("\"by\" is for exports of deliveries; leave it out"))
        }
        _ => Err(Problem::not_found(format!("{what:?} is not exported; use events, deliveries or attempts"))),
    }
}

/// A page as an answer: a line for each row, and in its head where the next one begins.
fn written(kind: ExportKind, page: &ExportPage) -> Result<Response, Problem> {
    let unwritten = |error: serde_json::Error| {
        let title = "An answer could not be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unwritten", title, error.to_string())
    };
    let columns = inspect::columns(kind);
    let mut lines = Vec::new();
    for row in &page.rows {
        lines.extend(inspect::line(&columns, row).map_err(unwritten)?);
    }
    let mut response = lines.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let reached = page.reached.map(|at| at.to_string());
    for (name, value) in [(NEXT_CURSOR, &page.next_cursor), (REACHED, &reached)] {
        headers.extend(value.as_ref().and_then(|value| Some((name, HeaderValue::from_str(value).ok()?))));
    }
    Ok(response)
}

/// The body of a mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkBody {
    consumer: ConsumerName,
    since: Option<jiff::Timestamp>,
    until: jiff::Timestamp,
    rows: u64,
    #[serde(default)]
    force: bool,
}

/// `POST /v1/exports/marks`
pub(super) async fn mark(
    Extract(state): Extract<State>,
    identity: Identity,
    given: Given<MarkBody>,
) -> Result<Json<MarkView>, Problem> {
    identity.require(Scope::Configure)?;
    identity.require_all_affiliates()?;
    let MarkBody { consumer, since, until, rows, force } = body(given)?;
    let micros = crate::domain::timestamp::to_micros;
    let (since, until) = (since.map(micros), micros(until));
    let request = MarkRequest { consumer: consumer.clone(), since, until, rows, by: identity.name, force };
    let mark = state.outbox.mark_exported(request).await??;
    tracing::info!(%consumer, until = %mark.until, rows, force, by = mark.by, "export.marked");
    Ok(Json(MarkView { consumer, mark }))
}

/// `GET /v1/exports/marks`
pub(super) async fn marks(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Page<MarkView>>, Problem> {
    identity.require(Scope::Read)?;
    identity.require_all_affiliates()?;
    Ok(Json(Page { items: inspect::export_marks(state.outbox.reader()), next_cursor: None }))
}

impl From<MarkRefused> for Problem {
    fn from(refused: MarkRefused) -> Self {
        Self::new(StatusCode::CONFLICT, "mark-refused", "The mark is not set", refused.to_string())
    }
}
