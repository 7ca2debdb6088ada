//! Settings: what a configuration means, checked and complete.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::dictionary::Dictionary;
use crate::domain::engine_kind::EngineKind;
use crate::domain::id::{AffiliateId, ConsumerName};
use crate::domain::plan::Affiliates;
use crate::domain::retention::SizeLimits;

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where events and deliveries are kept.
    pub outbox: OutboxSettings,
    /// Who may talk to the daemon, and where.
    pub api: ApiSettings,
    /// What is taken in.
    pub ingest: IngestSettings,
    /// Where requests may go.
    pub egress: EgressSettings,
    /// How much happens at once.
    pub dispatch: DispatchSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Where traces go.
    pub telemetry: TelemetrySettings,
    /// The event types there are.
    pub dictionary: Arc<Dictionary>,
    /// The affiliates, with the postbacks that are switched on.
    pub affiliates: Affiliates,
}

/// Where events and deliveries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxSettings {
    /// The storage engine.
    pub engine: EngineKind,
    /// The directory.
    pub path: PathBuf,
    /// Bytes of memory for pages of the store.
    pub cache: u64,
    /// Bytes of disk that stay free: below it, nothing more is accepted.
    pub keep_free: u64,
    /// How long settled deliveries are kept.
    pub retain: Retain,
}

impl OutboxSettings {
    /// What needs a restart to change.
    pub fn without_retain(&self) -> (EngineKind, &std::path::Path, u64, u64) {
        (self.engine, &self.path, self.cache, self.keep_free)
    }
}

/// How long settled deliveries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retain {
    /// Those that need nobody's attention any more.
    pub delivered: Duration,
    /// Dead letters.
    pub dead: Duration,
    /// Those who must have exported them before, however old they are.
    pub until_exported: Vec<ConsumerName>,
    /// Bytes of all records above which settled ones go before their time.
    pub sizes: SizeLimits,
}

/// Who may talk to the daemon, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// The TCP address; port 0 picks one.
    pub listen: Option<SocketAddr>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// Most connections that are open at once, on the TCP address and on the socket each.
    pub max_connections: usize,
    /// How long a connection may take to send the head of its first or next request, or take nothing of an answer.
    pub stalled_after: Duration,
    /// Whether metrics are shown to whoever asks, without a token.
    pub open_metrics: bool,
    /// Who holds a bearer token.
    pub tokens: Vec<Token>,
    /// Who is known on the Unix socket, beside root and the daemon's own user, who may do everything.
    pub socket_users: Vec<SocketUser>,
}

/// The holder of a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who holds it, for the log.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// The affiliates it is narrowed to; `None` for all.
    pub affiliates: Option<BTreeSet<AffiliateId>>,
}

/// A user known on the Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketUser {
    /// The user's number.
    pub uid: u32,
    /// The user's name, for the log.
    pub name: String,
    /// What the user may do.
    pub scopes: BTreeSet<Scope>,
}

/// A thing that one may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Hand over events.
    Ingest,
    /// Look at events, deliveries and attempts.
    Read,
    /// Replay, cancel, hold and release deliveries.
    Replay,
    /// Pause and resume postbacks, reload the configuration.
    Configure,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Replay, Self::Configure];

    /// The scope's name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Replay => "replay",
            Self::Configure => "configure",
        }
    }
}

/// What is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestSettings {
    /// What happens to an event whose affiliate is unknown.
    pub unknown_affiliate: UnknownAffiliate,
    /// Most events in a batch.
    pub max_batch: usize,
    /// Most bytes of a request's body.
    pub max_body: u64,
    /// Most bytes of bodies that are held in memory at once, until their events are durable.
    pub max_buffered: u64,
}

/// What happens to an event whose affiliate is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownAffiliate {
    /// It is refused.
    Refuse,
    /// It is kept as unrouted.
    Accept,
}

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSettings {
    /// Networks that may be reached although they are private.
    pub allow: Vec<IpNet>,
    /// Ports that may be reached.
    pub ports: Vec<u16>,
}

/// How much happens at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchSettings {
    /// Most attempts in flight, over all affiliates.
    pub in_flight: usize,
    /// Most bytes that are read of a response's body.
    pub response_cap: u64,
    /// How long attempts in flight may take to end when the daemon stops.
    pub shutdown: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// The level, or a filter such as `info,postbackd::api=debug`.
    pub level: String,
}

/// Where traces go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// The base URL of an OTLP receiver that takes protobuf over HTTP.
    pub otlp: Option<url::Url>,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}
