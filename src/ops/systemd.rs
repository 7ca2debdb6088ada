//! What systemd and the daemon tell each other: listeners and the watchdog's limit in, how the daemon stands out.
//!
//! Does nothing where systemd did not start it. When the watchdog is fed is decided elsewhere.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;

/// Listeners that systemd holds and has handed over. They stay open when the daemon ends: whoever connects meanwhile waits.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The one for `[api] listen`.
    pub tcp: Option<TcpListener>,
    /// The one for `[api] socket`.
    pub socket: Option<UnixListener>,
}

/// Why listeners of systemd cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InheritError {
    /// One is neither of the two kinds.
    #[error(
        "listener {0} from systemd is neither a TCP nor a Unix stream socket: correct ListenStream= in the socket unit"
    )]
    Unusable(usize),
    /// One is a connection.
    #[error("listener {0} from systemd does not listen: the socket unit must not have Accept=yes")]
    Connection(usize),
    /// There are several of a kind.
    #[error("systemd has handed over more than one {0}: leave one ListenStream= of each kind in the socket unit")]
    Several(&'static str),
}

/// Takes the listeners that systemd has handed to this process. Has to be called before there are other threads: the
/// environment that names them is cleared, so that nothing takes them twice.
///
/// # Errors
/// When they cannot be used.
pub fn inherit() -> Result<Inherited, InheritError> {
    let mut handed = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for number in 0..handed.len() {
        if let Ok(Some(tcp)) = handed.take_tcp_listener(number) {
            listening(&tcp, number)?;
            if inherited.tcp.replace(tcp).is_some() {
                return Err(InheritError::Several("TCP listener"));
            }
        } else if let Ok(Some(socket)) = handed.take_unix_listener(number) {
            listening(&socket, number)?;
            if inherited.socket.replace(socket).is_some() {
                return Err(InheritError::Several("Unix socket"));
            }
        } else {
            return Err(InheritError::Unusable(number));
        }
    }
    Ok(inherited)
}

fn listening(socket: impl std::os::fd::AsFd, number: usize) -> Result<(), InheritError> {
    if socket_acceptconn(socket).unwrap_or(false) { Ok(()) } else { Err(InheritError::Connection(number)) }
}

/// How often the watchdog has to be fed; `None` where nobody waits for it.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The daemon opens its store, and is worth waiting for this much longer.
pub fn opening(patience: Duration) {
    notify(&[NotifyState::Status("opening the store"), NotifyState::ExtendTimeoutUsec(micros(patience))]);
}

/// The daemon takes events and sends deliveries.
pub fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("takes events and sends deliveries")]);
}

/// The daemon makes progress.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The daemon takes no more events and finishes what is in flight, which may take this long.
pub fn stopping(patience: Duration) {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("finishes what is in flight"),
        NotifyState::ExtendTimeoutUsec(micros(patience)),
    ]);
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the daemon stands");
    }
}
