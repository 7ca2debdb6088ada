//! Routes, and what all handlers share.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admission::Admission;
use super::auth::{Access, Identity};
use super::listen::{self, Listeners};
use super::problem::{Kind, Problem};
use super::reads::Reads;
use super::stream::Streams;
use super::{backup, export, ingest, log, metrics, openapi, operate, orders, read, stream, trace};
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

/// What all handlers share, by reference: every request has several clones of it.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "parts of it have nothing to show")]
pub struct State(Arc<Parts>);

/// What there is to share.
#[allow(missing_debug_implementations, reason = "parts of it have nothing to show")]
pub struct Parts {
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

impl From<Parts> for State {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    pub(super) fn rules(&self) -> Arc<IntakeRules> {
        self.rules.borrow().clone()
    }
}

impl FromRequestParts<State> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &State) -> Result<Self, Problem> {
        let access = *parts.extensions.get::<Access>().ok_or_else(Problem::unauthenticated)?;
        Self::of(access, &parts.headers, &state.settings().api)
    }
}

/// All routes, each with its description; what is not described cannot be served.
fn routes() -> OpenApiRouter<State> {
    let routes = [
        routes!(ingest::one),
        routes!(ingest::batch),
        routes!(read::unrouted),
        routes!(read::event),
        routes!(read::deliveries),
        routes!(read::delivery),
        routes!(operate::order),
        routes!(stream::attempts),
        routes!(trace::trace),
        routes!(orders::list, orders::give),
        routes!(orders::show),
        routes!(orders::change),
        routes!(read::stats),
        routes!(read::affiliates),
        routes!(read::affiliate),
        routes!(operate::affiliate),
        routes!(operate::postback),
        routes!(export::page),
        routes!(export::marks, export::mark),
        routes!(backup::take),
        routes!(operate::reload),
        routes!(log::show, log::change),
        routes!(openapi::show),
        routes!(metrics::scrape),
        routes!(read::health),
        routes!(read::ready),
    ];
    let document = OpenApiRouter::with_openapi(openapi::introduction());
    routes.into_iter().fold(document, OpenApiRouter::routes)
}

/// What the routes say of themselves.
pub(super) fn described() -> OpenApi {
    routes().into_openapi()
}

fn router(state: State) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(async || Problem::not_found("there is no such path; /openapi.json lists those there are"))
        .method_not_allowed_fallback(async || Problem::new(Kind::WrongMethod, "the header Allow names those that are"))
        .with_state(state)
}

/// Serves until it is told to stop; requests under way are answered first.
pub async fn serve(listeners: Listeners, state: State, stop: CancellationToken) {
    listen::serve(listeners, &router(state), &stop).await;
}
