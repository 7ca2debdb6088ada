//! Listeners and routes, and what all handlers share.

use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::auth::{Access, Identity};
use super::problem::Problem;
use super::reads::Reads;
use super::{ingest, operate, read};
use crate::config::Settings;
use crate::dispatch::{Dispatch, Intake, IntakeRules, Replays};
use crate::ops::clock::SharedClock;
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
    /// Bulk replays.
    pub replays: Replays,
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
}

impl State {
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    pub(super) fn rules(&self) -> Arc<IntakeRules> {
        self.rules.borrow().clone()
    }
}

/// Who a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(Access);

impl Connected<IncomingStream<'_, TcpListener>> for Caller {
    fn connect_info(_: IncomingStream<'_, TcpListener>) -> Self {
        Self(Access::Tcp)
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(Access::Socket { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) })
    }
}

impl FromRequestParts<State> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<ConnectInfo<Caller>>().map(|info| info.0);
        let Caller(access) = caller.ok_or_else(Problem::unauthenticated)?;
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
        .route("/v1/replays", get(operate::replays).post(operate::replay))
        .route("/v1/replays/{id}", get(operate::replay_view))
        .route("/v1/replays/{id}/stop", post(operate::stop_replay))
        .route("/v1/stats", get(read::stats))
        .route("/v1/affiliates", get(read::affiliates))
        .route("/v1/affiliates/{id}/{order}", post(operate::affiliate))
        .route("/v1/postbacks/{affiliate}/{postback}/{order}", post(operate::postback))
        .route("/v1/reload", post(operate::reload))
        .route("/healthz", get(read::health))
        .route("/readyz", get(read::ready))
        .fallback(async || Problem::not_found("there is no such path; see the README for those there are"))
        .with_state(state)
}

/// Listeners that are bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    tcp: Option<TcpListener>,
    socket: Option<(UnixListener, PathBuf)>,
}

/// Why a listener cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The TCP address cannot be bound.
    #[error("listening on {address}: another process may use it; change [api] listen")]
    Tcp {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The Unix socket cannot be bound.
    #[error("listening on the socket {path}; its directory must exist and be writable, and no other daemon may use it")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Listeners {
    /// The TCP address that was bound.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }
}

/// Binds the listeners that the configuration asks for.
///
/// # Errors
/// When one of them cannot be bound.
pub async fn bind(settings: &Settings) -> Result<Listeners, ServeError> {
    let tcp = match settings.api.listen {
        None => None,
        Some(address) => Some(TcpListener::bind(address).await.map_err(|source| ServeError::Tcp { address, source })?),
    };
    let socket = match &settings.api.socket {
        None => None,
        Some(path) => {
            let bound = bind_socket(path).await.map_err(|source| ServeError::Socket { path: path.clone(), source })?;
            Some((bound, path.clone()))
        }
    };
    Ok(Listeners { tcp, socket })
}

/// Binds a Unix socket that only its owner and group may use; takes over one that nobody answers on.
async fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    if path.exists() {
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "a daemon answers on it"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves until it is told to stop; requests under way are answered first.
pub async fn serve(listeners: Listeners, state: State, stop: CancellationToken) {
    let tcp = listeners.tcp.map(|listener| {
        let service = routes(state.clone()).into_make_service_with_connect_info::<Caller>();
        ended(
            "tcp",
            axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future(),
        )
    });
    let path = listeners.socket.as_ref().map(|(_, path)| path.clone());
    let socket = listeners.socket.map(|(listener, _)| {
        let service = routes(state).into_make_service_with_connect_info::<Caller>();
        ended("socket", axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).into_future())
    });
    let (tcp, socket) =
        (futures_util::future::OptionFuture::from(tcp), futures_util::future::OptionFuture::from(socket));
    futures_util::future::join(tcp, socket).await;
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
}

async fn ended(listener: &str, serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(listener, %error, "a listener failed");
    }
}
