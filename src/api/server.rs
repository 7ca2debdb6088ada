//! Routes, and what all handlers share.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::auth::{Access, Identity};
use super::listen::{self, Listeners};
use super::problem::Problem;
use super::reads::Reads;
use super::stream::Streams;
use super::{export, ingest, log, metrics, operate, orders, read, stream, trace};
use crate::config::Settings;
use crate::dispatch::{BulkOrders, Dispatch, Intake, IntakeRules};
use crate::ops::clock::SharedClock;
use crate::ops::metrics::Metrics;
use crate::ops::traces::Traces;
use crate::outbox::Outbox;

/// What a reload came to: warnings, or every error.
pub type ReloadReport = Result<Vec<String>, Vec<String>>;
/// Asks the daemon to read its configuration anew.
pub type ReloadRequest = oneshot::Sender<ReloadReport>;

/// What all handlers share.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "parts of it have nothing to show")]
pub struct State {
    /// The store.
    pub outbox: Outbox,
    /// Takes events in.
    pub intake: Intake,
    /// The dispatcher.
    pub dispatch: Dispatch,
    /// Bulk orders.
    pub bulk: BulkOrders,
    /// The configuration as it changes.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The rules of ingest as they change.
    pub rules: watch::Receiver<Arc<IntakeRules>>,
    /// Asks for a reload.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// The time.
    pub clock: SharedClock,
    /// Who may hand in how much at once.
    pub admission: Admission,
    /// Who may be giving how large orders at once.
    pub orders: Admission,
    /// Places for reads of the store.
    pub reads: Reads,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Places for scrapes.
    pub scrapes: Reads,
    /// Streams of attempts.
    pub streams: Streams,
    /// Where spans of requests go.
    pub traces: Traces,
}

impl State {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    pub(super) fn rules(&self) -> Arc<IntakeRules> {
        self.rules.borrow().clone()
    }
}

impl FromRequestParts<State> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let access = *parts.extensions.get::<Access>().ok_or_else(Problem::unauthenticated)?;
        Self::of(access, &parts.headers, &state.settings().api)
    }
}

fn routes(state: State) -> Router {
    Router::new()
        .route("/v1/events", post(ingest::one))
        .route("/v1/events/batch", post(ingest::batch))
        .route("/v1/events/unrouted", get(read::unrouted))
        .route("/v1/events/{id}", get(read::event))
        .route("/v1/deliveries", get(read::deliveries))
        .route("/v1/deliveries/{id}", get(read::delivery))
        .route("/v1/deliveries/{id}/{order}", post(operate::order))
        .route("/v1/attempts/stream", get(stream::attempts))
        .route("/v1/trace", get(trace::trace))
        .route("/v1/orders", get(orders::list).post(orders::give))
        .route("/v1/orders/{id}", get(orders::show))
        .route("/v1/orders/{id}/{change}", post(orders::change))
        .route("/v1/stats", get(read::stats))
        .route("/v1/affiliates", get(read::affiliates))
        .route("/v1/affiliates/{id}", get(read::affiliate))
        .route("/v1/affiliates/{id}/{order}", post(operate::affiliate))
        .route("/v1/postbacks/{affiliate}/{postback}/{order}", post(operate::postback))
        .route("/v1/export/{what}", get(export::page))
        .route("/v1/exports/marks", get(export::marks).post(export::mark))
        .route("/v1/reload", post(operate::reload))
        .route("/v1/log", get(log::show).put(log::change))
        .route("/metrics", get(metrics::scrape))
        .route("/healthz", get(read::health))
        .route("/readyz", get(read::ready))
        .fallback(async || Problem::not_found("there is no such path; see the README for those there are"))
        .with_state(state)
}

/// Serves until it is told to stop; requests under way are answered first.
pub async fn serve(listeners: Listeners, state: State, stop: CancellationToken) {
    listen::serve(listeners, &routes(state), &stop).await;
}
