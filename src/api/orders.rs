//! Bulk orders: given, listed, paused, resumed and stopped.

use axum::Json;
use axum::extract::{Path, Query, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Identity;
use super::operate::{Given, body, reason};
use super::problem::Problem;
use super::read::parse_id;
use super::server::State;
use crate::config::Scope;
use crate::dispatch::{BulkError, BulkRequest, BulkView};
use crate::domain::affiliate::Rate;
use crate::domain::id::BulkId;
use crate::inspect::DeliveryFilter;
use crate::outbox::{BulkChanged, BulkState, Verb};

/// Longest pace.
const MAX_RATE: usize = 32;
/// Most orders on a page.
const MAX_PAGE: usize = 200;

/// The body of a bulk order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkBody {
    verb: String,
    #[serde(default)]
    filter: DeliveryFilter,
    #[serde(default)]
    unrouted: bool,
    #[serde(default)]
    force: bool,
    limit: Option<usize>,
    rate: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

/// What a page of orders is asked for with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PageQuery {
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `POST /v1/orders`
pub(super) async fn give(
    Extract(state): Extract<State>,
    identity: Identity,
    given: Given<BulkBody>,
) -> Result<Response, Problem> {
    identity.require(Scope::Replay)?;
    let given = body(given)?;
    let verb = verb(&given)?;
    check_filter(&given)?;
    match &given.filter.affiliate {
        Some(affiliate) => identity.require_affiliate(affiliate)?,
        None => identity.require_all_affiliates()?,
    }
    let rate = given.rate.as_deref().map(parse_rate).transpose()?;
    let reason = if given.dry_run { String::new() } else { reason(&given.reason)? };
    let BulkBody { filter, limit, dry_run, .. } = given;
    let request = BulkRequest { verb, filter, limit, rate, reason, by: identity.name };
    let (orders, named) = (state.bulk.clone(), request.clone());
    let named = state.reads.run(move || Ok(orders.name(&named)?)).await?;
    if dry_run {
        let (matched, refused) = (named.targets.len(), named.refusals.len());
        let document = json!({ "matched": matched, "refused": refused, "refusals": named.refusals });
        return Ok(Json(document).into_response());
    }
    let view = state.bulk.give(&request, named).await?;
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}

fn verb(given: &BulkBody) -> Result<Verb, Problem> {
    let verb = match (given.verb.as_str(), given.unrouted) {
        ("replay", true) => Verb::Plan,
        ("replay", false) => Verb::Replay { force: given.force },
        ("cancel", false) => Verb::Cancel,
        ("hold", false) => Verb::Hold,
        ("release", false) => Verb::Release,
        ("confirm", false) => Verb::Confirm,
        ("discard", false) => Verb::Discard,
        (_, true) => return Err(Problem::malformed("unrouted events can only be replayed, which plans them")),
        (other, false) => {
            let detail = format!("{other:?} is no verb; use replay, cancel, hold, release, confirm or discard");
            return Err(Problem::malformed(detail));
        }
    };
    if given.force && !matches!(verb, Verb::Replay { .. }) {
        return Err(Problem::malformed("\"force\" is for replays of deliveries; leave it out"));
    }
    Ok(verb)
}

fn check_filter(given: &BulkBody) -> Result<(), Problem> {
    if given.filter.is_empty() && !given.unrouted {
        return Err(Problem::malformed(
            "name what is meant: give \"filter\" at least one condition, or \"unrouted\": true",
        ));
    }
    let only_affiliate = DeliveryFilter { affiliate: given.filter.affiliate.clone(), ..DeliveryFilter::default() };
    if given.unrouted && given.filter != only_affiliate {
        return Err(Problem::malformed(
            "unrouted events can be narrowed by \"affiliate\" only; leave the other conditions out",
        ));
    }
    Ok(())
}

/// Reads `50/s`, `600/m`, `10/h`.
fn parse_rate(text: &str) -> Result<(String, Rate), Problem> {
    let rate = Some(text).filter(|text| text.len() <= MAX_RATE).and_then(crate::config::parse_rate);
    let rate = rate.ok_or_else(|| {
        Problem::malformed(format!("rate {text:?}: write for example \"50/s\", \"600/m\" or \"10/h\""))
    })?;
    Ok((text.to_owned(), rate))
}

/// `GET /v1/orders`
pub(super) async fn list(
    Extract(state): Extract<State>,
    identity: Identity,
    Query(page): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    identity.require(Scope::Read)?;
    identity.require_all_affiliates()?;
    let after = page.cursor.as_deref().map(parse_id::<BulkId>).transpose()?;
    let limit = page.limit.unwrap_or(50).clamp(1, MAX_PAGE);
    let items = state.bulk.list(after, limit);
    let next = items.last().filter(|_| items.len() == limit).map(|view| view.order_id);
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

/// `GET /v1/orders/{id}`
pub(super) async fn show(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<BulkView>, Problem> {
    identity.require(Scope::Read)?;
    known(&state, &identity, &id).map(Json)
}

fn known(state: &State, identity: &Identity, id: &str) -> Result<BulkView, Problem> {
    let found = state.bulk.get(parse_id(id)?);
    let own = found.filter(|view| identity.affiliates.is_none() || view.by == identity.name);
    own.ok_or_else(|| Problem::not_found(format!("there is no order {id}")))
}

/// `POST /v1/orders/{id}/pause|resume|stop`
pub(super) async fn change(
    Extract(state): Extract<State>,
    identity: Identity,
    Path((id, change)): Path<(String, String)>,
) -> Result<Json<BulkView>, Problem> {
    identity.require(Scope::Replay)?;
    let view = known(&state, &identity, &id)?;
    let to = match change.as_str() {
        "pause" => BulkState::Paused,
        "resume" => BulkState::Running,
        "stop" => BulkState::Stopped,
        other => return Err(Problem::not_found(format!("{other:?} is no change; use pause, resume or stop"))),
    };
    match state.bulk.change(view.order_id, to, &identity.name).await? {
        BulkChanged::Changed(..) => known(&state, &identity, &id).map(Json),
        BulkChanged::NotFound => Err(Problem::not_found(format!("there is no order {id}"))),
        BulkChanged::Ended(ended) => {
            let how = if ended == BulkState::Stopped { "was stopped" } else { "has finished" };
            let detail = format!("order {id} {how}; give a new one for what is left");
            Err(Problem::new(StatusCode::CONFLICT, "order-ended", "The order has ended", detail))
        }
    }
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::Outbox(error) => error.into(),
            BulkError::TooMany => {
                let title = "Too many orders are open";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-orders", title, error.to_string()).after(5)
            }
        }
    }
}
