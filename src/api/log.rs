//! The level of the log: looked at and changed while the daemon runs.

use std::time::Duration;

use axum::Json;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Identity;
use super::openapi::{KnowingOne, Levelling};
use super::operate::{Given, body};
use super::problem::Problem;
use crate::config::Scope;
use crate::ops::telemetry::{self, LevelRefused, LogLevel};

/// The body of a change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LevelBody {
    /// A level, or a filter such as `info,postbackd::dispatch=debug`.
    filter: String,
    /// Seconds until it goes back by itself; without them it stays until the configuration is read anew.
    #[serde(default)]
    for_seconds: Option<u64>,
}

/// Show the level of the log
#[utoipa::path(get, path = "/v1/log", operation_id = "showLog", tag = "daemon",
    security(("bearer" = ["configure"])), extensions(("x-affiliates" = json!("all"))),
    responses((status = 200, description = "The level in use", body = LogLevel), KnowingOne))]
pub(super) async fn show(identity: Identity) -> Result<Json<LogLevel>, Problem> {
    allowed(&identity)?;
    telemetry::level().map(Json).ok_or_else(|| refused(&LevelRefused::NoLog))
}

/// Change the level of the log, for a time where one asks for it
#[utoipa::path(put, path = "/v1/log", operation_id = "changeLog", tag = "daemon",
    security(("bearer" = ["configure"])), extensions(("x-affiliates" = json!("all"))),
    request_body(content = LevelBody),
    responses((status = 200, description = "The level in use", body = LogLevel), Levelling))]
pub(super) async fn change(identity: Identity, given: Given<LevelBody>) -> Result<Json<LogLevel>, Problem> {
    allowed(&identity)?;
    let LevelBody { filter, for_seconds } = body(given)?;
    let time = for_seconds.map(Duration::from_secs);
    telemetry::change(&filter, time, &identity.name).map(Json).map_err(|error| refused(&error))
}

fn allowed(identity: &Identity) -> Result<(), Problem> {
    identity.require(Scope::Configure)?;
    identity.require_all_affiliates()
}

fn refused(error: &LevelRefused) -> Problem {
    match error {
        LevelRefused::Filter { .. } | LevelRefused::Time => Problem::malformed(error.to_string()),
        LevelRefused::NoLog => Problem::not_found(error.to_string()),
    }
}
