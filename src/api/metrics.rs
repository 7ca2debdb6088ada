//! Prometheus looks at the metrics.

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::auth::Identity;
use super::openapi::Scraping;
use super::problem::{Kind, Problem};
use super::server::State;
use crate::config::Scope;
use crate::ops::metrics::{Format, Sources, Standing};

/// Metrics for Prometheus
///
/// docs/metrics.md lists them. The configuration can show them without a token.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "daemon",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("all"))),
    responses((status = 200, description = "As `Accept` asks for", content(
        (String = "text/plain"), (String = "application/openmetrics-text"),
    )), Scraping))]
pub(super) async fn scrape(
    Extract(state): Extract<State>,
    identity: Result<Identity, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let settings = state.settings();
    if !settings.api.open_metrics {
        let identity = identity?;
        identity.require(Scope::Read)?;
        // They name every affiliate.
        identity.require_all_affiliates()?;
    }
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::preferred(&accept.join(","));
    let live = state.dispatch.status().await;
    let (outbox, metrics, now) = (state.outbox.clone(), state.metrics.clone(), state.clock.now());
    let read = move || {
        let standing = Standing::take(Sources {
            reader: outbox.reader(),
            affiliates: &settings.affiliates,
            live: &live,
            directory: &settings.outbox.path,
            keep_free: settings.outbox.keep_free,
            now,
        })?;
        metrics.exposition(standing, format).map_err(|_| {
            let detail = "the text of the metrics could not be written";
            Problem::new(Kind::MetricsFailed, detail)
        })
    };
    let text = state.scrapes.run(read).await?;
    Ok(([(CONTENT_TYPE, format.content_type())], text).into_response())
}
