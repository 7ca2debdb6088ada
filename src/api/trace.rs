//! Timelines: all that happened for one click, transaction, event or delivery.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use serde::Deserialize;

use super::auth::Identity;
use super::problem::Problem;
use super::server::State;
use crate::config::Scope;
use crate::inspect::{self, Onlooker, Trace};

/// What to trace. The key stands in the query: as a part of the path, one such as `a/../b` would not come through.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    key: String,
    #[serde(default)]
    requests: bool,
}

/// `GET /v1/trace`
pub(super) async fn trace(
    Extract(state): Extract<State>,
    identity: Identity,
    query: Result<Query<TraceQuery>, QueryRejection>,
) -> Result<Json<Trace>, Problem> {
    identity.require(Scope::Read)?;
    let Query(TraceQuery { key, requests }) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    let outbox = state.outbox;
    let read = move || {
        let in_flight = |id| outbox.is_claimed(id);
        let sees = |affiliate: &str| identity.may_see(affiliate);
        let onlooker = Onlooker { in_flight: &in_flight, sees: &sees };
        let missing = || Problem::not_found(format!("{key:?} names no event, delivery, transaction or click"));
        inspect::trace(outbox.reader(), &key, requests, &onlooker)?.map(Json).ok_or_else(missing)
    };
    state.reads.run(read).await
}
