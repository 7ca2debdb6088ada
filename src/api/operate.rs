//! Ordering about one delivery or postback, and reload. Each order is recorded with who gave it.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::auth::Identity;
use super::document::Document;
use super::problem::{Problem, things};
use super::read::parse_id;
use super::server::State;
use crate::config::Scope;
use crate::domain::id::{DeliveryId, PostbackRef};
use crate::domain::timestamp::to_micros;
use crate::inspect::DeliverySummary;
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

/// A body is looked at behind the caller's scope.
pub(super) type Given<T> = Result<Document<T>, Problem>;

pub(super) fn body<T>(given: Given<T>) -> Result<T, Problem> {
    given.map(|Document(body)| body)
}

pub(super) fn reason(text: &str) -> Result<String, Problem> {
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
