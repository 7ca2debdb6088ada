//! Bulk orders: given, listed, paused, resumed and stopped.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Identity;
use super::openapi::{BulkOrdering, Changing, KnowingOne, KnowingPages};
use super::operate::{Given, body, reason};
use super::problem::{Kind, Problem};
use super::query::{Asked, Named};
use super::read::{parse_id, size};
use super::server::State;
use crate::config::Scope;
use crate::dispatch::{BulkError, BulkRequest, BulkView};
use crate::domain::affiliate::Rate;
use crate::domain::id::BulkId;
use crate::inspect::{DeliveryFilter, Page};
use crate::outbox::{BulkChanged, BulkState, Refusal, Verb};

/// Longest pace.
const MAX_RATE: usize = 32;
/// Most orders on a page.
const MAX_PAGE: usize = 200;
/// Orders on a page where nobody says how many.
const PAGE: usize = 50;

/// What a bulk order does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BulkVerb {
    /// Sends settled ones again, or plans unrouted events.
    Replay,
    /// Does not send them.
    Cancel,
    /// Lets them wait for a person.
    Hold,
    /// Lets held ones go out.
    Release,
    /// Notes that held ones have arrived.
    Confirm,
    /// Puts dead and held ones away.
    Discard,
}

/// The body of a bulk order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkBody {
    /// What is done.
    verb: BulkVerb,
    /// About which deliveries: at least one condition, unless it is about unrouted events.
    #[serde(default)]
    filter: DeliveryFilter,
    /// Of `replay`: plans events that no postback wanted, narrowed by the filter's affiliate only.
    #[serde(default)]
    unrouted: bool,
    /// Of `replay`: also delivered ones.
    #[serde(default)]
    force: bool,
    /// Most deliveries.
    #[schema(format = "uint32", maximum = 4_294_967_295_u32)]
    limit: Option<u32>,
    /// At which pace.
    #[schema(max_length = 32, example = "50/s")]
    rate: Option<String>,
    /// Why, in one line; required unless it is a dry run, and kept on record.
    #[serde(default)]
    #[schema(max_length = 500, example = "their tracker was down, ticket 4711")]
    reason: String,
    /// Counts only, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What a bulk order would be about.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Preview {
    /// How many deliveries, or events.
    matched: usize,
    /// How many of those that were named one by one cannot be.
    refused: usize,
    /// Each of them.
    refusals: Vec<Refusal>,
}

/// What a page of orders is asked for with.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Where the page begins: `next_cursor` of the one before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// Most items of the page; 50 where nothing is said, and never more than 200.
    #[param(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 4_294_967_295_u32, format = "uint32")]
    limit: Option<NonZeroU32>,
}

/// Give a bulk order, or see what it would be about
///
/// What is meant is named before it begins; it survives a restart, and is done once for each delivery.
/// Whoever is narrowed to some affiliates names one of them in the filter.
#[utoipa::path(post, path = "/v1/orders", operation_id = "giveOrder", tag = "orders",
    security(("bearer" = ["replay"])), extensions(("x-affiliates" = json!("named"))),
    request_body(content = BulkBody),
    responses((status = 200, description = "Of a dry run: what would be done", body = Preview),
        (status = 202, description = "The order", body = BulkView), BulkOrdering))]
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
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let request = BulkRequest { verb, filter, limit, rate, reason, by: identity.name };
    let (orders, named) = (state.bulk.clone(), request.clone());
    let named = state.reads.run(move || Ok(orders.name(&named)?)).await?;
    if dry_run {
        let (matched, refused) = (named.targets.len(), named.refusals.len());
        return Ok(Json(Preview { matched, refused, refusals: named.refusals }).into_response());
    }
    let view = state.bulk.give(&request, named).await?;
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}

fn verb(given: &BulkBody) -> Result<Verb, Problem> {
    let verb = match (given.verb, given.unrouted) {
        (BulkVerb::Replay, true) => Verb::Plan,
        (BulkVerb::Replay, false) => Verb::Replay { force: given.force },
        (BulkVerb::Cancel, false) => Verb::Cancel,
        (BulkVerb::Hold, false) => Verb::Hold,
        (BulkVerb::Release, false) => Verb::Release,
        (BulkVerb::Confirm, false) => Verb::Confirm,
        (BulkVerb::Discard, false) => Verb::Discard,
        (_, true) => return Err(Problem::malformed("unrouted events can only be replayed, which plans them")),
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

/// Bulk orders with their progress, page by page, the newest first
#[utoipa::path(get, path = "/v1/orders", operation_id = "listOrders", tag = "orders",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("all"))),
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<BulkView>), KnowingPages))]
pub(super) async fn list(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Asked<PageQuery>,
) -> Result<Json<Page<BulkView>>, Problem> {
    identity.require(Scope::Read)?;
    identity.require_all_affiliates()?;
    let page = query.read()?;
    let unlike = |error| Problem::malformed(format!("\"cursor\" is none of a list of orders: {error}"));
    let after = page.cursor.as_deref().map(|cursor| cursor.parse::<BulkId>().map_err(unlike)).transpose()?;
    let limit = size(page.limit, PAGE).min(MAX_PAGE);
    let items = state.bulk.list(after, limit);
    let next_cursor = items.last().filter(|_| items.len() == limit).map(|view| view.order_id.to_string());
    Ok(Json(Page { items, next_cursor }))
}

/// A bulk order with its progress, who gave it and why
///
/// Whoever is narrowed to some affiliates sees those that he gave himself.
#[utoipa::path(get, path = "/v1/orders/{order_id}", operation_id = "showOrder", tag = "orders",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    params(("order_id" = BulkId, Path, description = "The order")),
    responses((status = 200, description = "The order", body = BulkView), KnowingOne))]
pub(super) async fn show(
    Extract(state): Extract<State>,
    identity: Identity,
    Named(id): Named<String>,
) -> Result<Json<BulkView>, Problem> {
    identity.require(Scope::Read)?;
    known(&state, &identity, &id).map(Json)
}

fn known(state: &State, identity: &Identity, id: &str) -> Result<BulkView, Problem> {
    let found = state.bulk.get(parse_id(id)?);
    let own = found.filter(|view| identity.affiliates.is_none() || view.by == identity.name);
    own.ok_or_else(|| Problem::not_found(format!("there is no order {id}")))
}

/// How a bulk order goes on.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// It waits.
    Pause,
    /// It goes on.
    Resume,
    /// It ends; what is done stays done.
    Stop,
}

/// Pause, resume or stop a bulk order
#[utoipa::path(post, path = "/v1/orders/{order_id}/{change}", operation_id = "changeOrder", tag = "orders",
    security(("bearer" = ["replay"])), extensions(("x-affiliates" = json!("own"))),
    params(("order_id" = BulkId, Path, description = "The order"),
        ("change" = inline(Change), Path, description = "How it goes on")),
    responses((status = 200, description = "The order behind it", body = BulkView), Changing))]
pub(super) async fn change(
    Extract(state): Extract<State>,
    identity: Identity,
    Named((id, change)): Named<(String, Change)>,
) -> Result<Json<BulkView>, Problem> {
    identity.require(Scope::Replay)?;
    let view = known(&state, &identity, &id)?;
    let to = match change {
        Change::Pause => BulkState::Paused,
        Change::Resume => BulkState::Running,
        Change::Stop => BulkState::Stopped,
    };
    match state.bulk.change(view.order_id, to, &identity.name).await? {
        BulkChanged::Changed(..) => known(&state, &identity, &id).map(Json),
        BulkChanged::NotFound => Err(Problem::not_found(format!("there is no order {id}"))),
        BulkChanged::Ended(ended) => {
            let how = if ended == BulkState::Stopped { "was stopped" } else { "has finished" };
            let detail = format!("order {id} {how}; give a new one for what is left");
            Err(Problem::new(Kind::OrderEnded, detail))
        }
    }
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::Outbox(error) => error.into(),
            BulkError::TooMany => Self::new(Kind::TooManyOrders, error.to_string()).after(5),
        }
    }
}
