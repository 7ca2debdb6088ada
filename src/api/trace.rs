//! Timelines: all that happened for one click, transaction, event or delivery.

use axum::Json;
use axum::extract::State as Extract;
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Identity;
use super::openapi::Tracing;
use super::problem::Problem;
use super::query::Asked;
use super::server::State;
use crate::config::Scope;
use crate::inspect::{self, Onlooker, Trace};

/// What to trace. The key stands in the query: as a part of the path, one such as `a/../b` would not come through.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TraceQuery {
    /// A click, a transaction, an event's id or a delivery's.
    #[param(example = "dep-88121")]
    key: String,
    /// Whether each attempt has its request and response.
    #[serde(default)]
    #[param(required = false)]
    requests: bool,
}

/// One timeline of all that happened for a click, a transaction, an event or a delivery
///
/// What reverses it is in it, too.
#[utoipa::path(get, path = "/v1/trace", operation_id = "trace", tag = "deliveries",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    params(TraceQuery),
    responses((status = 200, description = "The timeline", body = Trace), Tracing))]
pub(super) async fn trace(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Asked<TraceQuery>,
) -> Result<Json<Trace>, Problem> {
    identity.require(Scope::Read)?;
    let TraceQuery { key, requests } = query.read()?;
    let outbox = state.outbox.clone();
    let read = move || {
        let in_flight = |id| outbox.is_claimed(id);
        let sees = |affiliate: &str| identity.may_see(affiliate);
        let onlooker = Onlooker { in_flight: &in_flight, sees: &sees };
        let missing = || Problem::not_found(format!("{key:?} names no event, delivery, transaction or click"));
        inspect::trace(outbox.reader(), &key, requests, &onlooker)?.map(Json).ok_or_else(missing)
    };
    state.reads.run(read).await
}
