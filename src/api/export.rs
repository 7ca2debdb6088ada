//! Exports: pages of flat rows as NDJSON, and the marks that say how far consumers have come.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Identity;
use super::filter::filter_query;
use super::openapi::{Exporting, Knowing, Marking};
use super::operate::{Given, body};
use super::problem::{Kind, Problem};
use super::query::{Asked, Named};
use super::read::size;
use super::server::State;
use crate::config::Scope;
use crate::domain::export_mark::{MarkRefused, MarkRequest};
use crate::domain::id::ConsumerName;
use crate::inspect::{self, By, ExportKind, ExportPage, MarkView, Onlooker, Page};

/// Where the next page begins; absent at the end of the export.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("postbackd-next-cursor");
/// How far the export has come, as the time of acceptance of an event that the caller may see.
const REACHED: HeaderName = HeaderName::from_static("postbackd-reached");
/// The time by the daemon's clock before it looked: a mark must not reach what happened later.
const NOW: HeaderName = HeaderName::from_static("postbackd-now");

/// What is exported.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Exported {
    /// Events.
    Events,
    /// Deliveries.
    Deliveries,
    /// Attempts.
    Attempts,
}

filter_query! {
    /// The query of an export: a filter beside what pages it.
    pub(super) struct ExportQuery {
        /// Rows whose time is at or after this one.
        #[param(nullable = false, example = "2026-11-20T10:00:00Z")]
        since: Option<Timestamp>,
        /// Rows whose time is before this one.
        #[param(nullable = false, example = "2026-11-21T10:00:00Z")]
        until: Option<Timestamp>,
        /// Which time of deliveries is meant; not for events and attempts.
        #[param(inline, nullable = false)]
        by: Option<By>,
        /// Where the page begins: `next_cursor` of the one before.
        #[param(nullable = false)]
        cursor: Option<String>,
        /// Most items of the page; 1,000 where nothing is said, and never more than 1,000.
        #[param(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 4_294_967_295_u32, format = "uint32")]
        limit: Option<NonZeroU32>,
    }
}

/// A page of an export: a JSON object a line, the oldest first
///
/// docs/export.md lists the columns. Whoever is narrowed to some affiliates names one of them, a transaction or a click.
#[utoipa::path(get, path = "/v1/export/{what}", operation_id = "export", tag = "export",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("named"))),
    params(("what" = inline(Exported), Path, description = "What is exported"), ExportQuery),
    responses((status = 200, description = "Rows", body = String, content_type = "application/x-ndjson", headers(
        ("Postbackd-Next-Cursor" = String, description = "Where the next page begins; absent at the end"),
        ("Postbackd-Reached" = String, description = "How far the export has come, as the time of acceptance of an event that the caller may see"),
        ("Postbackd-Now" = String, description = "The time by the daemon's clock before it looked; a mark is not to be later than 10 minutes before that of the first page"),
    )), Exporting))]
pub(super) async fn page(
    Extract(state): Extract<State>,
    identity: Identity,
    Named(what): Named<Exported>,
    query: Asked<ExportQuery>,
) -> Result<Response, Problem> {
    identity.require(Scope::Read)?;
    let query = query.read()?;
    let kind = kind(what, query.by)?;
    match &query.affiliate {
        Some(affiliate) => identity.require_affiliate(affiliate)?,
        None if query.transaction.is_none() && query.click.is_none() => identity.require_all_affiliates()?,
        None => {}
    }
    let (cursor, limit) = (query.cursor.clone(), size(query.limit, inspect::MAX_EXPORTED_ROWS));
    let filter = query.filter();
    let (outbox, asked_at) = (state.outbox.clone(), state.clock.now());
    let read = move || {
        let in_flight = |id| outbox.is_claimed(id);
        let sees = |affiliate: &str| identity.may_see(affiliate);
        let onlooker = Onlooker { in_flight: &in_flight, sees: &sees };
        let page = inspect::export_page(outbox.reader(), kind, &filter, cursor.as_deref(), limit, &onlooker)?;
        written(kind, &ExportPage { asked_at: Some(asked_at), ..page })
    };
    state.reads.run(read).await
}

fn kind(what: Exported, by: Option<By>) -> Result<ExportKind, Problem> {
    match (what, by) {
        (Exported::Events, None) => Ok(ExportKind::Events),
        (Exported::Attempts, None) => Ok(ExportKind::Attempts),
        (Exported::Deliveries, by) => Ok(ExportKind::Deliveries(by.unwrap_or_default())),
        (Exported::Events | Exported::Attempts, Some(_)) => {
            Err(Problem::malformed("\"by\" is for exports of deliveries; leave it out"))
        }
    }
}

/// A page as an answer: a line for each row, and in its head where the next one begins.
fn written(kind: ExportKind, page: &ExportPage) -> Result<Response, Problem> {
    let unwritten = |error: serde_json::Error| Problem::new(Kind::Unwritten, error.to_string());
    let columns = inspect::columns(kind);
    let mut lines = Vec::new();
    for row in &page.rows {
        lines.extend(inspect::line(&columns, row).map_err(unwritten)?);
    }
    let mut response = lines.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let [reached, now] = [page.reached, page.asked_at].map(|at| at.map(|at| at.to_string()));
    for (name, value) in [(NEXT_CURSOR, &page.next_cursor), (REACHED, &reached), (NOW, &now)] {
        headers.extend(value.as_ref().and_then(|value| Some((name, HeaderValue::from_str(value).ok()?))));
    }
    Ok(response)
}

/// The body of a mark.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkBody {
    /// Who has the export.
    consumer: ConsumerName,
    /// Where the export began; absent for the beginning of the store.
    since: Option<Timestamp>,
    /// Where it ended, at least 10 minutes ago.
    until: Timestamp,
    /// Its rows.
    #[schema(format = "uint64")]
    rows: u64,
    /// Whether the mark may go back, or leave a gap.
    #[serde(default)]
    force: bool,
}

/// Note that a consumer has everything until a time
///
/// Retention deletes nothing that a consumer of the configuration has not marked.
#[utoipa::path(post, path = "/v1/exports/marks", operation_id = "mark", tag = "export",
    security(("bearer" = ["configure"])), extensions(("x-affiliates" = json!("all"))),
    request_body(content = MarkBody),
    responses((status = 200, description = "The mark", body = MarkView), Marking))]
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

/// How far the exports of each consumer reach
#[utoipa::path(get, path = "/v1/exports/marks", operation_id = "listMarks", tag = "export",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("all"))),
    responses((status = 200, description = "All of them", body = Page<MarkView>), Knowing))]
pub(super) async fn marks(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Page<MarkView>>, Problem> {
    identity.require(Scope::Read)?;
    identity.require_all_affiliates()?;
    Ok(Json(Page { items: inspect::export_marks(state.outbox.reader()), next_cursor: None }))
}

impl From<MarkRefused> for Problem {
    fn from(refused: MarkRefused) -> Self {
        Self::new(Kind::MarkRefused, refused.to_string())
    }
}
