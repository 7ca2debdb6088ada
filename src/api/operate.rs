//! Ordering about one delivery or postback, and reload. Each order is recorded with who gave it.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State as Extract;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::auth::Identity;
use super::document::Document;
use super::openapi::{Ordering, Pausing, Reloading};
use super::problem::Problem;
use super::query::Named;
use super::read::parse_id;
use super::server::State;
use crate::config::Scope;
use crate::domain::id::{AffiliateId, DeliveryId, PostbackName, PostbackRef};
use crate::domain::timestamp::to_micros;
use crate::inspect::DeliverySummary;
use crate::outbox::{DeliveryView, Order, OrderRequest, OutboxError, Pause};

/// Longest reason that is kept.
const MAX_REASON: usize = 500;

/// The body of an order about one thing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderBody {
    /// Why, in one line; it is kept on record with who ordered it.
    #[serde(default)]
    #[schema(required, min_length = 1, max_length = 500, example = "fraud check, case 88")]
    reason: String,
    /// Of `replay`: also when it is delivered.
    #[serde(default)]
    force: bool,
    /// Of `release`: it has arrived, so that it is not sent.
    #[serde(default)]
    delivered: bool,
}

/// What is ordered about one delivery.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryOrder {
    /// It is not sent.
    Cancel,
    /// It waits for a person.
    Hold,
    /// It goes out after all.
    Release,
    /// It is sent again.
    Replay,
}

/// What is ordered about postbacks.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PostbackOrder {
    /// Nothing goes out.
    Pause,
    /// What has waited goes out.
    Resume,
}

/// Postbacks that an order was about, as they stand behind it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderedPostbacks {
    /// Each of them.
    postbacks: Vec<OrderedPostback>,
}

/// A postback as it stands behind an order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderedPostback {
    /// The affiliate and its postback.
    #[schema(example = "acme/conversion")]
    postback: String,
    /// Whether it is paused.
    paused: bool,
}

/// A configuration that was taken anew.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// What is worth a look, though it works.
    warnings: Vec<String>,
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

/// Cancel, hold, release or replay one delivery
///
/// `release` with `delivered` notes that it has arrived; `replay` with `force` sends it again also when it has.
/// Who ordered it, and why, is kept in its history.
#[utoipa::path(post, path = "/v1/deliveries/{delivery_id}/{order}", operation_id = "orderDelivery", tag = "deliveries",
    security(("bearer" = ["replay"])), extensions(("x-affiliates" = json!("own"))),
    params(("delivery_id" = DeliveryId, Path, description = "The delivery"),
        ("order" = inline(DeliveryOrder), Path, description = "What is ordered")),
    request_body(content = OrderBody),
    responses((status = 200, description = "The delivery behind it", body = DeliverySummary), Ordering))]
pub(super) async fn order(
    Extract(state): Extract<State>,
    identity: Identity,
    Named((id, order)): Named<(String, DeliveryOrder)>,
    given: Given<OrderBody>,
) -> Result<Json<DeliverySummary>, Problem> {
    identity.require(Scope::Replay)?;
    let id: DeliveryId = parse_id(&id)?;
    let given = body(given)?;
    let order = match (order, given.delivered) {
        (DeliveryOrder::Cancel, _) => Order::Cancel,
        (DeliveryOrder::Hold, _) => Order::Hold,
        (DeliveryOrder::Release, false) => Order::Release,
        (DeliveryOrder::Release, true) => Order::ConfirmDelivered,
        (DeliveryOrder::Replay, _) => Order::Replay { force: given.force },
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

/// Pause or resume one postback
///
/// Deliveries of a paused postback wait.
#[utoipa::path(post, path = "/v1/postbacks/{affiliate}/{postback}/{order}", operation_id = "orderPostback", tag = "affiliates",
    security(("bearer" = ["configure"])), extensions(("x-affiliates" = json!("own"))),
    params(("affiliate" = AffiliateId, Path, description = "The affiliate"),
        ("postback" = PostbackName, Path, description = "Its postback"),
        ("order" = inline(PostbackOrder), Path, description = "What is ordered")),
    request_body(content = OrderBody),
    responses((status = 200, description = "The postback behind it", body = OrderedPostbacks), Pausing))]
pub(super) async fn postback(
    Extract(state): Extract<State>,
    identity: Identity,
    Named((affiliate, postback, order)): Named<(String, String, PostbackOrder)>,
    given: Given<OrderBody>,
) -> Result<Json<OrderedPostbacks>, Problem> {
    let only = Some(postback.as_str());
    pause_or_resume(&state, &identity, &affiliate, only, order, &body(given)?).await
}

/// Pause or resume all postbacks of an affiliate
#[utoipa::path(post, path = "/v1/affiliates/{affiliate}/{order}", operation_id = "orderAffiliate", tag = "affiliates",
    security(("bearer" = ["configure"])), extensions(("x-affiliates" = json!("own"))),
    params(("affiliate" = AffiliateId, Path, description = "The affiliate"),
        ("order" = inline(PostbackOrder), Path, description = "What is ordered")),
    request_body(content = OrderBody),
    responses((status = 200, description = "The postbacks behind it", body = OrderedPostbacks), Pausing))]
pub(super) async fn affiliate(
    Extract(state): Extract<State>,
    identity: Identity,
    Named((affiliate, order)): Named<(String, PostbackOrder)>,
    given: Given<OrderBody>,
) -> Result<Json<OrderedPostbacks>, Problem> {
    pause_or_resume(&state, &identity, &affiliate, None, order, &body(given)?).await
}

async fn pause_or_resume(
    state: &State,
    identity: &Identity,
    affiliate: &str,
    only: Option<&str>,
    order: PostbackOrder,
    given: &OrderBody,
) -> Result<Json<OrderedPostbacks>, Problem> {
    identity.require(Scope::Configure)?;
    identity.require_affiliate(affiliate)?;
    let (pausing, order) = match order {
        PostbackOrder::Pause => (true, "pause"),
        PostbackOrder::Resume => (false, "resume"),
    };
    let reason = reason(&given.reason)?;
    let rules = state.rules();
    let id = AffiliateId::parse(affiliate).ok();
    let configured = id.as_ref().and_then(|id| rules.routing.affiliates.get(id));
    let configured = configured.iter().flat_map(|affiliate| &affiliate.postbacks).map(|postback| postback.reference());
    let stored = id.iter().flat_map(|id| state.outbox.reader().postbacks_of(id));
    let mut names: BTreeSet<PostbackRef> = configured.chain(stored).collect();
    names.retain(|name| only.is_none_or(|only| name.postback.as_str() == only));
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
    let shown = names.iter().map(|name| OrderedPostback { postback: name.to_string(), paused: pausing });
    Ok(Json(OrderedPostbacks { postbacks: shown.collect() }))
}

/// Take the configuration anew, whole or not at all
#[utoipa::path(post, path = "/v1/reload", operation_id = "reload", tag = "daemon",
    security(("bearer" = ["configure"])), extensions(("x-affiliates" = json!("all"))),
    responses((status = 200, description = "It is in use", body = Reloaded), Reloading))]
pub(super) async fn reload(Extract(state): Extract<State>, identity: Identity) -> Result<Json<Reloaded>, Problem> {
    identity.require(Scope::Configure)?;
    identity.require_all_affiliates()?;
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::from(OutboxError::Stopped("the daemon is stopping".into()));
    state.reload.send(answer).await.map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())? {
        Ok(warnings) => Ok(Json(Reloaded { warnings })),
        Err(errors) => Err(Problem::bad_configuration(errors)),
    }
}
