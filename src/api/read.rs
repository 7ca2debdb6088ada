//! Looking: events, deliveries, affiliates, the state of everything.

use axum::Json;
use axum::extract::{Path, Query, State as Extract};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Identity;
use super::problem::Problem;
use super::server::State;
use crate::config::Scope;
use crate::domain::id::{AffiliateId, DeliveryId, EventId};
use crate::inspect::{
    self, AffiliateView, DeliveryDetail, DeliveryFilter, DeliverySummary, Direction, LatelyStats, Onlooker, Page,
    Stats, UnroutedEvent, UnroutedFilter,
};
use crate::ops::metrics::Lately;

/// Deliveries of a page where nobody says how many.
const PAGE: usize = 50;

/// A list's query: the filter beside what pages it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    affiliate: Option<String>,
    postback: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    outcome: Option<String>,
    http_status: Option<u16>,
    text: Option<String>,
    transaction: Option<String>,
    click: Option<String>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    #[serde(default)]
    direction: Direction,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// The query of a list of unrouted events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnroutedQuery {
    affiliate: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    transaction: Option<String>,
    click: Option<String>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    #[serde(default)]
    direction: Direction,
    cursor: Option<String>,
    limit: Option<usize>,
}

type Asked<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

/// `GET /v1/deliveries`
pub(super) async fn deliveries(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Asked<ListQuery>,
) -> Result<Json<Page<DeliverySummary>>, Problem> {
    identity.require(Scope::Read)?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    if query.affiliate.is_none() && query.transaction.is_none() && query.click.is_none() {
        identity.require_all_affiliates()?;
    }
    if let Some(affiliate) = &query.affiliate {
        identity.require_affiliate(affiliate)?;
    }
    let ListQuery { direction, cursor, limit, .. } = query;
    let filter = DeliveryFilter {
        ids: Vec::new(),
        affiliate: query.affiliate,
        postback: query.postback,
        kind: query.kind,
        state: query.state,
        reason: query.reason,
        outcome: query.outcome,
        http_status: query.http_status,
        text: query.text,
        transaction: query.transaction,
        click: query.click,
        since: query.since,
        until: query.until,
    };
    let outbox = state.outbox;
    let read = move || {
        let in_flight = |id| outbox.is_claimed(id);
        let sees = |affiliate: &str| identity.may_see(affiliate);
        let onlooker = Onlooker { in_flight: &in_flight, sees: &sees };
        let limit = limit.unwrap_or(PAGE);
        Ok(Json(inspect::list(outbox.reader(), &filter, direction, cursor.as_deref(), limit, &onlooker)?))
    };
    state.reads.run(read).await
}

/// `GET /v1/events/unrouted`
pub(super) async fn unrouted(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Asked<UnroutedQuery>,
) -> Result<Json<Page<UnroutedEvent>>, Problem> {
    identity.require(Scope::Read)?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    match &query.affiliate {
        Some(affiliate) => identity.require_affiliate(affiliate)?,
        None => identity.require_all_affiliates()?,
    }
    let UnroutedQuery { affiliate, kind, transaction, click, since, until, direction, cursor, limit } = query;
    let filter = UnroutedFilter { affiliate, kind, transaction, click, since, until };
    let reader = state.outbox.reader().clone();
    let limit = limit.unwrap_or(PAGE);
    let read = move || Ok(Json(inspect::unrouted(&reader, &filter, direction, cursor.as_deref(), limit)?));
    state.reads.run(read).await
}

/// `GET /v1/deliveries/{id}`
pub(super) async fn delivery(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetail>, Problem> {
    identity.require(Scope::Read)?;
    let id: DeliveryId = parse_id(&id)?;
    let outbox = state.outbox;
    let found = state.reads.run(move || Ok(inspect::show(outbox.reader(), id, outbox.is_claimed(id))?)).await?;
    let found = found.filter(|detail| identity.may_see(&detail.delivery.affiliate));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no delivery {id}")))
}

pub(super) fn parse_id<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| Problem::not_found(format!("{text:?} is no id: {error}")))
}

/// `GET /v1/events/{id}`
pub(super) async fn event(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    identity.require(Scope::Read)?;
    let id: EventId = parse_id(&id)?;
    let outbox = state.outbox;
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
        Ok(Json(json!({
            "event_id": id.to_string(),
            "event": record.event.to_json(),
            "source": record.source,
            "accepted_at": record.accepted_at,
            "deliveries": deliveries,
        })))
    };
    state.reads.run(read).await
}

/// `GET /v1/stats`
pub(super) async fn stats(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Stats>, Problem> {
    identity.require(Scope::Read)?;
    // Its totals are those of everybody.
    identity.require_all_affiliates()?;
    standing(state).await.map(Json)
}

/// The state of everything, with what only the dispatcher knows.
async fn standing(state: State) -> Result<Stats, Problem> {
    let live = state.dispatch.status().await;
    let (outbox, at) = (state.outbox, state.clock.now());
    let lately = state.metrics.lately(at);
    let mut shown = state.reads.run(move || Ok(inspect::stats(outbox.reader(), at)?)).await?;
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

/// `GET /v1/affiliates`
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

/// `GET /v1/affiliates/{id}`
pub(super) async fn affiliate(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<AffiliateView>, Problem> {
    identity.require(Scope::Read)?;
    let rules = state.rules();
    let views = inspect::affiliates(&standing(state).await?, &rules.routing.affiliates);
    let found = views.into_iter().find(|view| view.affiliate == id && identity.may_see(&id));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no affiliate {id:?}")))
}

/// `GET /healthz`: the process runs.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the outbox takes events.
pub(super) async fn ready(Extract(state): Extract<State>) -> Result<&'static str, Problem> {
    state.outbox.check_ready()?;
    Ok("ready\n")
}
