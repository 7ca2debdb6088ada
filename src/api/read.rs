//! Looking: events, deliveries, affiliates, the state of everything.

use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State as Extract;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::auth::Identity;
use super::filter::filter_query;
use super::openapi::{Everybody, Listing, Looking, Readiness, Standing};
use super::problem::Problem;
use super::query::{Asked, Named};
use super::server::State;
use crate::config::Scope;
use crate::domain::event::Event;
use crate::domain::id::{AffiliateId, ClickId, DeliveryId, EventId, EventType, TransactionId};
use crate::inspect::{
    self, AffiliateView, DeliveryDetail, DeliverySummary, Direction, LatelyStats, Onlooker, Page, Stats, UnroutedEvent,
    UnroutedFilter,
};
use crate::ops::metrics::Lately;

/// Deliveries of a page where nobody says how many.
const PAGE: usize = 50;

filter_query! {
    /// A list's query: the filter beside what pages it.
    pub(super) struct ListQuery {
        /// Events accepted at or after this time.
        #[param(nullable = false, example = "2026-11-20T10:00:00Z")]
        since: Option<Timestamp>,
        /// Events accepted before this time.
        #[param(nullable = false, example = "2026-11-21T10:00:00Z")]
        until: Option<Timestamp>,
        /// In which direction the list goes.
        #[serde(default)]
        #[param(inline, required = false)]
        direction: Direction,
        /// Where the page begins: `next_cursor` of the one before.
        #[param(nullable = false)]
        cursor: Option<String>,
        /// Most items of the page; 50 where nothing is said, and never more than 1,000.
        #[param(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 4_294_967_295_u32, format = "uint32")]
        limit: Option<NonZeroU32>,
    }
}

/// The query of a list of unrouted events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UnroutedQuery {
    /// The event's affiliate.
    #[param(value_type = Option<AffiliateId>, nullable = false)]
    affiliate: Option<String>,
    /// The event's type.
    #[serde(rename = "type")]
    #[param(value_type = Option<EventType>, nullable = false)]
    kind: Option<String>,
    /// The event's transaction.
    #[param(value_type = Option<TransactionId>, nullable = false)]
    transaction: Option<String>,
    /// The event's click.
    #[param(value_type = Option<ClickId>, nullable = false)]
    click: Option<String>,
    /// Events accepted at or after this time.
    #[param(nullable = false, example = "2026-11-20T10:00:00Z")]
    since: Option<Timestamp>,
    /// Events accepted before this time.
    #[param(nullable = false, example = "2026-11-21T10:00:00Z")]
    until: Option<Timestamp>,
    /// In which direction the list goes.
    #[serde(default)]
    #[param(inline, required = false)]
    direction: Direction,
    /// Where the page begins: `next_cursor` of the one before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// Most items of the page; 50 where nothing is said, and never more than 1,000.
    #[param(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 4_294_967_295_u32, format = "uint32")]
    limit: Option<NonZeroU32>,
}

/// An event with its deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventDetail {
    /// The event.
    #[schema(value_type = EventId)]
    event_id: String,
    /// The event as it was accepted, defaults filled in.
    #[schema(value_type = Event)]
    event: Value,
    /// Who handed it in.
    source: String,
    /// When it was accepted.
    accepted_at: Timestamp,
    /// Its deliveries as they stand; none where it is unrouted.
    deliveries: Vec<DeliverySummary>,
}

/// How many items a page has.
pub(super) fn size(limit: Option<NonZeroU32>, default: usize) -> usize {
    limit.map_or(default, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX))
}

/// Deliveries, page by page
///
/// Whoever is narrowed to some affiliates names one of them, a transaction or a click.
#[utoipa::path(get, path = "/v1/deliveries", operation_id = "listDeliveries", tag = "deliveries",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("named"))),
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<DeliverySummary>), Listing))]
pub(super) async fn deliveries(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Asked<ListQuery>,
) -> Result<Json<Page<DeliverySummary>>, Problem> {
    identity.require(Scope::Read)?;
    let query = query.read()?;
    if query.affiliate.is_none() && query.transaction.is_none() && query.click.is_none() {
        identity.require_all_affiliates()?;
    }
    if let Some(affiliate) = &query.affiliate {
        identity.require_affiliate(affiliate)?;
    }
    let (direction, cursor, limit) = (query.direction, query.cursor.clone(), query.limit);
    let filter = query.filter();
    let outbox = state.outbox.clone();
    let read = move || {
        let in_flight = |id| outbox.is_claimed(id);
        let sees = |affiliate: &str| identity.may_see(affiliate);
        let onlooker = Onlooker { in_flight: &in_flight, sees: &sees };
        let limit = size(limit, PAGE);
        Ok(Json(inspect::list(outbox.reader(), &filter, direction, cursor.as_deref(), limit, &onlooker)?))
    };
    state.reads.run(read).await
}

/// Events that no postback wants, page by page
///
/// Whoever is narrowed to some affiliates names one of them.
#[utoipa::path(get, path = "/v1/events/unrouted", operation_id = "listUnrouted", tag = "events",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("named"))),
    params(UnroutedQuery),
    responses((status = 200, description = "A page", body = Page<UnroutedEvent>), Listing))]
pub(super) async fn unrouted(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Asked<UnroutedQuery>,
) -> Result<Json<Page<UnroutedEvent>>, Problem> {
    identity.require(Scope::Read)?;
    let query = query.read()?;
    match &query.affiliate {
        Some(affiliate) => identity.require_affiliate(affiliate)?,
        None => identity.require_all_affiliates()?,
    }
    let UnroutedQuery { affiliate, kind, transaction, click, since, until, direction, cursor, limit } = query;
    let filter = UnroutedFilter { affiliate, kind, transaction, click, since, until };
    let reader = state.outbox.reader().clone();
    let limit = size(limit, PAGE);
    let read = move || Ok(Json(inspect::unrouted(&reader, &filter, direction, cursor.as_deref(), limit)?));
    state.reads.run(read).await
}

/// A delivery with its history and every attempt
///
/// Where it is held, `decision` says what is known and how to decide.
#[utoipa::path(get, path = "/v1/deliveries/{delivery_id}", operation_id = "showDelivery", tag = "deliveries",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    params(("delivery_id" = DeliveryId, Path, description = "The delivery")),
    responses((status = 200, description = "The delivery", body = DeliveryDetail), Looking))]
pub(super) async fn delivery(
    Extract(state): Extract<State>,
    identity: Identity,
    Named(id): Named<String>,
) -> Result<Json<DeliveryDetail>, Problem> {
    identity.require(Scope::Read)?;
    let id: DeliveryId = parse_id(&id)?;
    let outbox = state.outbox.clone();
    let found = state.reads.run(move || Ok(inspect::show(outbox.reader(), id, outbox.is_claimed(id))?)).await?;
    let found = found.filter(|detail| identity.may_see(&detail.delivery.affiliate));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no delivery {id}")))
}

pub(super) fn parse_id<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| Problem::not_found(format!("{text:?} is no id: {error}")))
}

/// An event with its deliveries
#[utoipa::path(get, path = "/v1/events/{event_id}", operation_id = "showEvent", tag = "events",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    params(("event_id" = EventId, Path, description = "The event")),
    responses((status = 200, description = "The event", body = EventDetail), Looking))]
pub(super) async fn event(
    Extract(state): Extract<State>,
    identity: Identity,
    Named(id): Named<String>,
) -> Result<Json<EventDetail>, Problem> {
    identity.require(Scope::Read)?;
    let id: EventId = parse_id(&id)?;
    let outbox = state.outbox.clone();
    let read = move || {
        let reader = outbox.reader();
        let missing = || Problem::not_found(format!("there is no event {id}"));
        let record = reader.event(id)?.ok_or_else(missing)?;
        if !identity.may_see(record.event.affiliate_id.as_str()) {
            return Err(missing());
        }
        let mut deliveries = Vec::new();
        for ordinal in 0..u16::try_from(record.plan.len()).unwrap_or(u16::MAX) {
            let delivery = DeliveryId { event: id, ordinal };
            if let Some(view) = reader.delivery_of(delivery, &record)? {
                deliveries.push(DeliverySummary::new(&view, &record, outbox.is_claimed(delivery)));
            }
        }
        deliveries.retain(|delivery| identity.may_see(&delivery.affiliate));
        let (event_id, event) = (id.to_string(), record.event.to_json());
        Ok(Json(EventDetail { event_id, event, source: record.source, accepted_at: record.accepted_at, deliveries }))
    };
    state.reads.run(read).await
}

/// The state of everything
///
/// Totals, deliveries by state, dead letters by reason, money under way, and each affiliate.
#[utoipa::path(get, path = "/v1/stats", operation_id = "stats", tag = "daemon",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("all"))),
    responses((status = 200, description = "The state", body = Stats), Standing))]
pub(super) async fn stats(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Stats>, Problem> {
    identity.require(Scope::Read)?;
    // Its totals are those of everybody.
    identity.require_all_affiliates()?;
    standing(state).await.map(Json)
}

/// The state of everything, with what only the dispatcher knows.
async fn standing(state: State) -> Result<Stats, Problem> {
    let live = state.dispatch.status().await;
    let (outbox, at) = (state.outbox.clone(), state.clock.now());
    let room = outbox.room();
    let lately = state.metrics.lately(at);
    let mut shown = state.reads.run(move || Ok(inspect::stats(outbox.reader(), at)?)).await?;
    shown.room = Some(room);
    shown.in_flight = Some(live.iter().map(|live| live.in_flight as usize).sum());
    for affiliate in &mut shown.affiliates {
        let found = live.iter().find(|live| live.affiliate.as_str() == affiliate.affiliate);
        affiliate.in_flight = found.map(|live| live.in_flight);
        affiliate.breaker = found.map(|live| live.breaker.name().into());
        let known = affiliate.affiliate.parse().ok().and_then(|id: AffiliateId| lately.get(&id));
        affiliate.lately = known.filter(|lately| lately.attempts > 0).map(shown_lately);
    }
    Ok(shown)
}

fn shown_lately(lately: &Lately) -> LatelyStats {
    let micros = |took: std::time::Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Lately { attempts, succeeded, p50, p95 } = *lately;
    LatelyStats { attempts, succeeded, p50_us: p50.map(micros), p95_us: p95.map(micros) }
}

/// Affiliates and postbacks as configured, and how they stand
///
/// They are few, so that there is one page.
#[utoipa::path(get, path = "/v1/affiliates", operation_id = "listAffiliates", tag = "affiliates",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    responses((status = 200, description = "All of them", body = Page<AffiliateView>), Standing))]
pub(super) async fn affiliates(
    Extract(state): Extract<State>,
    identity: Identity,
) -> Result<Json<Page<AffiliateView>>, Problem> {
    identity.require(Scope::Read)?;
    let rules = state.rules();
    let mut items = inspect::affiliates(&standing(state).await?, &rules.routing.affiliates);
    items.retain(|affiliate| identity.may_see(&affiliate.affiliate));
    Ok(Json(Page { items, next_cursor: None }))
}

/// One affiliate with its postbacks
#[utoipa::path(get, path = "/v1/affiliates/{affiliate}", operation_id = "showAffiliate", tag = "affiliates",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    params(("affiliate" = AffiliateId, Path, description = "The affiliate")),
    responses((status = 200, description = "The affiliate", body = AffiliateView), Looking))]
pub(super) async fn affiliate(
    Extract(state): Extract<State>,
    identity: Identity,
    Named(id): Named<String>,
) -> Result<Json<AffiliateView>, Problem> {
    identity.require(Scope::Read)?;
    let rules = state.rules();
    let views = inspect::affiliates(&standing(state).await?, &rules.routing.affiliates);
    let found = views.into_iter().find(|view| view.affiliate == id && identity.may_see(&id));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no affiliate {id:?}")))
}

/// The process runs
#[utoipa::path(get, path = "/healthz", operation_id = "health", tag = "daemon", security(()),
    responses((status = 200, description = "It does", body = String, example = "ok\n"), Everybody))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// The outbox takes events
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "daemon", security(()),
    responses((status = 200, description = "It does", body = String, example = "ready\n"), Readiness))]
pub(super) async fn ready(Extract(state): Extract<State>) -> Result<&'static str, Problem> {
    state.outbox.check_ready()?;
    Ok("ready\n")
}
