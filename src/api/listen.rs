//! Sockets: bound, accepted from within bounds, served and taken down.
//!
//! Each listener has its own bound of open connections, so that nobody on the TCP address can lock operators
//! out of the socket. One connection beyond the bound is told so; when too many have to be told at once, the
//! rest waits in the kernel's queue. Knows no route.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::auth::Access;
use super::problem::Problem;
use super::stall::Stalling;
use crate::config::{ApiSettings, Settings};
use crate::ops::systemd::Inherited;

/// Bytes of a head, and of a body on its way, that are held of one connection.
const MAX_BUFFER: usize = 64 * 1024;
/// Connections beyond the bound that are told so at once.
const MAX_REFUSALS: usize = 64;
/// Longest that telling one of them may take.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);
/// Longest that an answer without an end may take for its last words once the daemon ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longest that the first request of a connection is waited for once the daemon ends: whoever has just been let in may be
/// about to speak, and would have been refused nothing had he waited outside.
const FIRST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait when the system has no more to give, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listeners that are bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    tcp: Option<TcpListener>,
    socket: Option<Socket>,
    bounds: Bounds,
}

/// A Unix socket.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    /// Where others find it; `None` where it is systemd's to remove.
    file: Option<SocketFile>,
}

/// The file of a Unix socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Its device and number: one of another daemon is not ours to remove.
    identity: (u64, u64),
}

/// What connections may do.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    stalled_after: Duration,
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
        source: io::Error,
    },
    /// The Unix socket cannot be bound.
    #[error("listening on the socket {path}; its directory must exist and be writable")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The Unix socket is somebody else's.
    #[error(
        "listening on the socket {path}: somebody answers on it or may do so, such as another daemon; end that, or \
         change [api] socket"
    )]
    SocketInUse {
        /// Its path.
        path: PathBuf,
    },
    /// A listener of systemd cannot be taken over.
    #[error("taking over a listener from systemd")]
    Inherited(#[source] io::Error),
    /// Something else has the path of the Unix socket.
    #[error(
        "listening on the socket {path}: there is something that is no socket; move it away, or change [api] socket"
    )]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
}

impl Listeners {
    /// The TCP address that was bound.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }
}

/// Binds the listeners that the configuration asks for. One that systemd holds takes the place of the configured one of
/// its kind.
///
/// # Errors
/// When one of them cannot be bound.
pub async fn bind(settings: &Settings, inherited: Inherited) -> Result<Listeners, ServeError> {
    let ApiSettings { listen, socket, max_connections, stalled_after, .. } = &settings.api;
    let tcp = match (inherited.tcp, *listen) {
        (Some(tcp), configured) => Some(inherit_tcp(tcp, configured).map_err(ServeError::Inherited)?),
        (None, None) => None,
        (None, Some(address)) => {
            Some(TcpListener::bind(address).await.map_err(|source| ServeError::Tcp { address, source })?)
        }
    };
    let socket = match (inherited.socket, socket) {
        (Some(socket), configured) => {
            Some(inherit_socket(socket, configured.as_deref()).map_err(ServeError::Inherited)?)
        }
        (None, None) => None,
        (None, Some(path)) => Some(bind_socket(path, !settings.api.socket_users.is_empty()).await?),
    };
    Ok(Listeners { tcp, socket, bounds: Bounds { connections: *max_connections, stalled_after: *stalled_after } })
}

/// What is told of a listener that is not the configured one.
const DIFFERS: &str = "systemd's listener is used, not the configured one: write the same into both files";

fn inherit_tcp(tcp: std::net::TcpListener, configured: Option<std::net::SocketAddr>) -> io::Result<TcpListener> {
    tcp.set_nonblocking(true)?;
    let address = tcp.local_addr()?;
    if configured == Some(address) {
        tracing::info!(%address, "listener.inherited");
    } else {
        let configured = configured.map(|address| address.to_string());
        tracing::warn!(%address, configured, key = "[api] listen", what = DIFFERS, "listener.inherited");
    }
    TcpListener::from_std(tcp)
}

fn inherit_socket(socket: std::os::unix::net::UnixListener, configured: Option<&Path>) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let path = address.as_pathname().map(|path| path.display().to_string());
    let configured = configured.map(|configured| std::path::absolute(configured).unwrap_or(configured.to_path_buf()));
    if configured.is_some() && configured.as_deref() == address.as_pathname() {
        tracing::info!(path, "listener.inherited");
    } else {
        let configured = configured.map(|path| path.display().to_string());
        tracing::warn!(path, configured, key = "[api] socket", what = DIFFERS, "listener.inherited");
    }
    Ok(Socket { listener: UnixListener::from_std(socket)?, file: None })
}

/// Binds a Unix socket that only its owner may use and, where it is `shared` with other users, its group; takes over one
/// that nobody answers on.
async fn bind_socket(path: &Path, shared: bool) -> Result<Socket, ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_path_buf(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(ServeError::NoSocket { path: path.to_path_buf() }),
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) | Err(_) => return Err(ServeError::SocketInUse { path: path.to_path_buf() }),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let mode = if shared { 0o660 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    let file = SocketFile { path: path.to_path_buf(), identity: identity(path).map_err(failed)? };
    Ok(Socket { listener, file: Some(file) })
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Serves until it is told to stop; requests under way are answered first, idle connections are closed.
pub(super) async fn serve(listeners: Listeners, routes: &Router, stop: &CancellationToken) {
    let Listeners { tcp, socket, bounds } = listeners;
    let (socket, file) = socket.map_or((None, None), |Socket { listener, file }| (Some(listener), file));
    let tcp = tcp.map(|listener| attend(listener, routes, bounds, stop));
    let socket = socket.map(|listener| attend(listener, routes, bounds, stop));
    futures_util::future::join(
        futures_util::future::OptionFuture::from(tcp),
        futures_util::future::OptionFuture::from(socket),
    )
    .await;
    if let Some(file) = file
        && identity(&file.path).is_ok_and(|found| found == file.identity)
    {
        let _ = std::fs::remove_file(file.path);
    }
}

/// A listener with what is known of whoever connects to it.
trait Door: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Access)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Access)> {
        let (stream, _) = TcpListener::accept(self).await?;
        Ok((stream, Access::Tcp))
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Access)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        Ok((stream, Access::Socket { uid }))
    }
}

/// Accepts connections until it is told to stop, and ends with the last of them.
async fn attend(door: impl Door, routes: &Router, bounds: Bounds, stop: &CancellationToken) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let connections = TaskTracker::new();
    let attending = async {
        loop {
            let (stream, access) = match door.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    failed_to_accept(&error).await;
                    continue;
                }
            };
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let (routes, stop) = (routes.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    converse(stream, access, routes, bounds.stalled_after, stop).await;
                });
            } else if let Ok(place) = Arc::clone(&refusals).acquire_owned().await {
                let most = bounds.connections;
                connections.spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(REFUSAL_DEADLINE, refuse(stream, most)).await;
                });
            }
        }
    };
    stop.run_until_cancelled(attending).await;
    drop(door);
    connections.close();
    connections.wait().await;
}

/// A connection that broke before it was accepted is nobody's loss; for anything else the system needs a pause.
async fn failed_to_accept(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "a connection cannot be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Notes that the answer on a connection goes on until the daemon ends: whoever does not read it must not delay that.
#[derive(Debug, Clone, Default)]
pub(super) struct Endless(Arc<AtomicBool>);

impl Endless {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves the requests of one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    access: Access,
    routes: Router,
    stalled_after: Duration,
    stop: CancellationToken,
) {
    let endless = Endless::default();
    let noted = endless.clone();
    let spoken = CancellationToken::new();
    let begun = spoken.clone();
    let answer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        begun.cancel();
        request.extensions_mut().insert(access);
        request.extensions_mut().insert(noted.clone());
        let answer = routes.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(stalled_after)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(Stalling::new(stream, stalled_after)), answer)
    );
    // How a connection ends is its caller's affair: he is told by answers, or he is gone.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = spoken.cancelled() => {}
                () = tokio::time::sleep(FIRST_WORDS) => {}
            }
            connection.as_mut().graceful_shutdown();
            if endless.is_noted() {
                let _ = tokio::time::timeout(LAST_WORDS, connection).await;
            } else {
                let _ = connection.await;
            }
        }
    }
}

/// Tells a connection beyond the bound to come back.
///
/// Its request is looked for first, and read on behind the answer: who has not finished speaking does not
/// listen, and what is unread when a connection is closed takes the answer with it.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, most: usize) -> io::Result<()> {
    let mut buffer = [0; 2048];
    if stream.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    let body = serde_json::to_string(&Problem::too_many_connections(most)).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_answers_on_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.sock");
        std::fs::write(&path, "precious").unwrap();
        let refused = bind_socket(&path, false).await.unwrap_err();
        assert!(matches!(refused, ServeError::NoSocket { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(bind_socket(&link, false).await.unwrap_err(), ServeError::NoSocket { .. }));
        std::fs::remove_file(&path).unwrap();

        let first = bind_socket(&path, false).await.unwrap();
        let refused = bind_socket(&path, false).await.unwrap_err();
        assert!(matches!(refused, ServeError::SocketInUse { .. }), "{refused}");
        assert!(UnixStream::connect(&path).await.is_ok(), "it is still the first one's");
        drop(first);
        assert!(path.exists(), "a crash leaves the file behind");
        bind_socket(&path, false).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_another_daemon_has_put_there_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.sock");
        let socket = bind_socket(&path, false).await.unwrap();
        std::fs::rename(&path, directory.path().join("old.sock")).unwrap();
        let _other = bind_socket(&path, false).await.unwrap();
        let bounds = Bounds { connections: 1, stalled_after: Duration::from_secs(1) };
        let stop = CancellationToken::new();
        stop.cancel();
        serve(Listeners { tcp: None, socket: Some(socket), bounds }, &Router::new(), &stop).await;
        assert!(path.exists());
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone_unless_it_is_shared() {
        let directory = tempfile::tempdir().unwrap();
        for (shared, expected) in [(false, 0o600), (true, 0o660)] {
            let path = directory.path().join(format!("{shared}.sock"));
            let _socket = bind_socket(&path, shared).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, expected);
        }
    }
}
