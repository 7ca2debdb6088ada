//! Ordering: replay, cancel, hold, release, pause, resume, reload. Each order is recorded with who gave it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::auth::Identity;
use super::document::Document;
use super::problem::{Problem, things};
use super::read::parse_id;
use super::server::State;
use crate::config::Scope;
use crate::dispatch::{ReplayRequest, ReplayView};
use crate::domain::affiliate::Rate;
use crate::domain::id::{DeliveryId, PostbackRef};
use crate::domain::timestamp::to_micros;
use crate::inspect::{DeliveryFilter, DeliverySummary};
use crate::outbox::{DeliveryView, Order, OrderRequest, OutboxError, Pause};

/// Longest reason that is kept.
const MAX_REASON: usize = 500;

/// The body of an order about one thing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OrderBody {
    reason: String,
    force: bool,
    delivered: bool,
}

/// The body of a bulk replay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
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

/// A body is looked at behind the caller's scope.
type Given<T> = Result<Document<T>, Problem>;

fn body<T>(given: Given<T>) -> Result<T, Problem> {
    given.map(|Document(body)| body)
}

fn reason(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_REASON || text.chars().any(char::is_control) {
        let detail =
            format!("\"reason\" must say in 1 to {MAX_REASON} characters of one line why; it is kept on record");
        return Err(Problem::malformed(detail));
    }
    Ok(text.to_owned())
}

/// `POST /v1/deliveries/{id}/{order}`
pub(super) async fn order(
    Extract(state): Extract<State>,
    identity: Identity,
    Path((id, order)): Path<(String, String)>,
    given: Given<OrderBody>,
) -> Result<Json<DeliverySummary>, Problem> {
    identity.require(Scope::Replay)?;
    let id: DeliveryId = parse_id(&id)?;
    let given = body(given)?;
    let order = match (order.as_str(), given.delivered) {
        ("cancel", _) => Order::Cancel,
        ("hold", _) => Order::Hold,
        ("release", false) => Order::Release,
        ("release", true) => Order::ConfirmDelivered,
        ("replay", _) => Order::Replay { force: given.force },
        (other, _) => {
            return Err(Problem::not_found(format!("{other:?} is no order; use cancel, hold, release or replay")));
        }
    };
    let reader = state.outbox.reader().clone();
    let read = move || {
        let Some(record) = reader.event(id.event)? else { return Ok(None) };
        Ok(reader.delivery_of(id, &record)?.map(|view| (view, record)))
    };
    let known = state.reads.run(read).await?.filter(|(view, _)| identity.may_see(view.postback.affiliate.as_str()));
    let (view, record) = known.ok_or_else(|| Problem::not_found(format!("there is no delivery {id}")))?;
    let at = to_micros(state.clock.now());
    let request = OrderRequest { id, order, by: identity.name, reason: reason(&given.reason)?, at, bulk: None };
    let delivery = state.outbox.order(request).await??;
    // Nothing is read again: an order that is carried out must not be answered by a refusal.
    let view = DeliveryView { delivery, changed_at: at, last: None, ..view };
    Ok(Json(DeliverySummary::new(&view, &record, state.outbox.is_claimed(id))))
}

/// `POST /v1/replays`
pub(super) async fn replay(
    Extract(state): Extract<State>,
    identity: Identity,
    given: Given<ReplayBody>,
) -> Result<Response, Problem> {
    identity.require(Scope::Replay)?;
    let given = body(given)?;
    if given.filter.is_empty() && !given.unrouted {
        return Err(Problem::malformed(
            "name what to replay: give \"filter\" at least one condition, or \"unrouted\": true",
        ));
    }
    let only_affiliate = DeliveryFilter { affiliate: given.filter.affiliate.clone(), ..DeliveryFilter::default() };
    if given.unrouted && given.filter != only_affiliate {
        return Err(Problem::malformed(
            "unrouted events can be narrowed by \"affiliate\" only; leave the other conditions out",
        ));
    }
    match &given.filter.affiliate {
        Some(affiliate) => identity.require_affiliate(affiliate)?,
        None => identity.require_all_affiliates()?,
    }
    let rate = given.rate.as_deref().map(parse_rate).transpose()?;
    let reason = if given.dry_run { String::new() } else { reason(&given.reason)? };
    let request = ReplayRequest {
        filter: given.filter,
        unrouted: given.unrouted,
        force: given.force,
        limit: given.limit,
        rate,
        reason,
        by: identity.name,
    };
    let rules = state.rules();
    let (replays, named, under) = (state.replays.clone(), request.clone(), Arc::clone(&rules));
    let targets = state.reads.run(move || Ok(replays.targets(&named, &under)?)).await?;
    if given.dry_run {
        let refused = targets.refusals();
        return Ok(
            Json(json!({ "matched": targets.len(), "refused": refused.len(), "refusals": refused })).into_response()
        );
    }
    let view = state.replays.start(&request, targets, rules);
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}

/// Reads `50/s`, `600/m`, `10/h`.
fn parse_rate(text: &str) -> Result<Rate, Problem> {
    crate::config::parse_rate(text)
        .ok_or_else(|| Problem::malformed(format!("rate {text:?}: write for example \"50/s\", \"600/m\" or \"10/h\"")))
}

/// `GET /v1/replays`
pub(super) async fn replays(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Value>, Problem> {
    identity.require(Scope::Read)?;
    identity.require_all_affiliates()?;
    Ok(Json(json!({ "items": state.replays.list(), "next_cursor": null })))
}

/// `GET /v1/replays/{id}`
pub(super) async fn replay_view(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    identity.require(Scope::Read)?;
    let found = state.replays.get(&id).filter(|view| identity.affiliates.is_none() || view.by == identity.name);
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no replay {id:?} since the daemon started")))
}

/// `POST /v1/replays/{id}/stop`
pub(super) async fn stop_replay(
    Extract(state): Extract<State>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    identity.require(Scope::Replay)?;
    let own = state.replays.get(&id).is_some_and(|view| identity.affiliates.is_none() || view.by == identity.name);
    let stopped = if own { state.replays.stop(&id) } else { None };
    stopped.map(Json).ok_or_else(|| Problem::not_found(format!("there is no replay {id:?} since the daemon started")))
}

/// `POST /v1/postbacks/{affiliate}/{postback}/pause|resume`
pub(super) async fn postback(
    Extract(state): Extract<State>,
    identity: Identity,
    Path((affiliate, postback, order)): Path<(String, String, String)>,
    given: Given<OrderBody>,
) -> Result<Json<Value>, Problem> {
    let only = Some(postback.as_str());
    pause_or_resume(&state, &identity, &affiliate, only, &order, &body(given)?).await
}

/// `POST /v1/affiliates/{id}/pause|resume`
pub(super) async fn affiliate(
    Extract(state): Extract<State>,
    identity: Identity,
    Path((affiliate, order)): Path<(String, String)>,
    given: Given<OrderBody>,
) -> Result<Json<Value>, Problem> {
    pause_or_resume(&state, &identity, &affiliate, None, &order, &body(given)?).await
}

async fn pause_or_resume(
    state: &State,
    identity: &Identity,
    affiliate: &str,
    only: Option<&str>,
    order: &str,
    given: &OrderBody,
) -> Result<Json<Value>, Problem> {
    identity.require(Scope::Configure)?;
    identity.require_affiliate(affiliate)?;
    let pausing = match order {
        "pause" => true,
        "resume" => false,
        other => return Err(Problem::not_found(format!("{other:?} is no order; use pause or resume"))),
    };
    let reason = reason(&given.reason)?;
    let rules = state.rules();
    let configured = rules.routing.affiliates.values().flat_map(|affiliate| &affiliate.postbacks);
    let mut names: Vec<PostbackRef> = configured.map(|postback| postback.reference()).collect();
    names.extend(state.outbox.reader().postbacks().into_iter().map(|(_, name)| name));
    names.retain(|name| name.affiliate.as_str() == affiliate && only.is_none_or(|only| name.postback.as_str() == only));
    names.sort();
    names.dedup();
    if names.is_empty() {
        let postback = only.map_or_else(String::new, |only| format!(" postback {only:?} of"));
        return Err(Problem::not_found(format!("there is no{postback} affiliate {affiliate:?}")));
    }
    let pause =
        pausing.then(|| Pause { at: to_micros(state.clock.now()), by: identity.name.clone(), reason: reason.clone() });
    for name in &names {
        state.outbox.pause(name.clone(), pause.clone()).await?;
        tracing::info!(postback = %name, order, by = identity.name, reason, "postback.ordered");
    }
    let shown: Vec<Value> =
        names.iter().map(|name| json!({ "postback": name.to_string(), "paused": pausing })).collect();
    Ok(Json(json!({ "postbacks": shown })))
}

/// `POST /v1/reload`
pub(super) async fn reload(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Value>, Problem> {
    identity.require(Scope::Configure)?;
    identity.require_all_affiliates()?;
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::from(OutboxError::Stopped("the daemon is stopping".into()));
    state.reload.send(answer).await.map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())? {
        Ok(warnings) => Ok(Json(json!({ "warnings": warnings }))),
        Err(errors) => {
            let detail = format!(
                "{} wrong with the configuration, listed under errors; the one in use stays",
                things(errors.len())
            );
            let problem = Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-configuration",
                "The configuration is not valid",
                detail,
            );
            Err(Problem { errors: errors.into_iter().map(|detail| json!({ "detail": detail })).collect(), ..problem })
        }
    }
}
