//! The daemon's own file: `postbackd.toml` without its events and affiliates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::item::{Item, quoted};
use super::problem::Weight;
use super::quantity;
use super::section::Section;
use super::settings::{
    ApiSettings, DispatchSettings, EgressSettings, IngestSettings, LogFormat, LogSettings, OutboxSettings, Retain,
    Scope, SocketUser, TelemetrySettings, Token, UnknownAffiliate,
};
use crate::domain::engine_kind::EngineKind;
use crate::domain::id::{AffiliateId, ConsumerName};
use crate::domain::retention::SizeLimits;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the daemon's file says.
#[derive(Debug)]
pub(super) struct Daemon<'a> {
    pub(super) events: PathBuf,
    pub(super) affiliates: PathBuf,
    pub(super) outbox: OutboxSettings,
    pub(super) api: ApiSettings,
    pub(super) ingest: IngestSettings,
    pub(super) egress: EgressSettings,
    pub(super) dispatch: DispatchSettings,
    pub(super) log: LogSettings,
    pub(super) telemetry: TelemetrySettings,
    /// What every postback is behind its own words.
    pub(super) defaults: Option<Section<'a>>,
    /// Where tokens name affiliates, to be checked once these are known.
    pub(super) narrowed: Vec<(AffiliateId, Item<'a>)>,
}

/// Reads the whole file; faulty values are reported and stand as their defaults.
pub(super) fn read<'a>(mut root: Section<'a>, base: &Path) -> Daemon<'a> {
    let mut narrowed = Vec::new();
    let path = |item: Option<Item<'_>>, default: &str| {
        let given = item.and_then(|item| item.filled_text());
        base.join(given.unwrap_or(default))
    };
    let daemon = Daemon {
        events: path(root.get("events"), "events.toml"),
        affiliates: path(root.get("affiliates"), "affiliates"),
        outbox: outbox(root.section("outbox"), base),
        api: api(&mut root, base, &mut narrowed),
        ingest: ingest(root.section("ingest")),
        egress: egress(root.section("egress")),
        dispatch: dispatch(root.section("dispatch")),
        log: log(root.section("log")),
        telemetry: telemetry(root.section("telemetry")),
        defaults: root.section("defaults"),
        narrowed,
    };
    root.finish();
    daemon
}

fn outbox(section: Option<Section<'_>>, base: &Path) -> OutboxSettings {
    let mut settings = OutboxSettings {
        engine: EngineKind::Sled,
        path: PathBuf::from("/var/lib/postbackd"),
        cache: 256 * MIB,
        keep_free: 512 * MIB,
        retain: Retain {
            delivered: 90 * DAY,
            dead: 400 * DAY,
            until_exported: Vec::new(),
            sizes: SizeLimits::default(),
        },
    };
    let Some(mut section) = section else { return settings };
    if let Some(item) = section.get("engine")
        && let Some(name) = item.text()
    {
        match EngineKind::named(name) {
            Some(kind) => settings.engine = kind,
            None => item.fault(format!("{} is not a storage engine", quoted(name)), "use \"sled\" or \"fjall\""),
        }
    }
    if let Some(path) = section.get("path").and_then(|item| item.filled_text()) {
        settings.path = base.join(path);
    }
    set(&mut settings.cache, section.get("cache").and_then(|item| item.size(8 * MIB..=64 * GIB)));
    set(&mut settings.keep_free, section.get("keep_free").and_then(|item| item.size(16 * MIB..=1024 * GIB)));
    if let Some(mut retain) = section.section("retain") {
        let bounds = HOUR..=3650 * DAY;
        set(&mut settings.retain.delivered, retain.get("delivered").and_then(|item| item.duration(bounds.clone())));
        set(&mut settings.retain.dead, retain.get("dead").and_then(|item| item.duration(bounds)));
        for entry in retain.get("until_exported").and_then(|item| item.list()).unwrap_or_default() {
            let name = entry.parsed(|text| ConsumerName::parse(text), "write a name such as \"finance\"");
            settings.retain.until_exported.extend(name);
        }
        settings.retain.sizes = retain.get("size").map(|item| size_limits(&item)).unwrap_or_default();
        retain.finish();
    }
    section.finish();
    settings
}

/// One size for all that is settled, or one for each way of being settled.
fn size_limits(item: &Item<'_>) -> SizeLimits {
    let bounds = 64 * MIB..=64 * 1024 * GIB;
    if item.is_table() {
        let Some(mut section) = item.section() else { return SizeLimits::default() };
        let mut limit = |key| section.get(key).and_then(|item| item.size(bounds.clone()));
        let limits = SizeLimits { delivered: limit("delivered"), dead: limit("dead") };
        section.finish();
        // Both are compared with the bytes of everything: below the other, dead letters would all go for nothing.
        if limits.dead.is_some_and(|dead| limits.delivered.is_none_or(|delivered| delivered > dead)) {
            let message = "has a limit for dead letters that is below the one for delivered ones";
            item.fault(message, "give delivered a limit, at most that of dead: dead letters are kept for longer");
        }
        return limits;
    }
    let limit = item.size(bounds);
    SizeLimits { delivered: limit, dead: limit }
}

fn api<'a>(root: &mut Section<'a>, base: &Path, narrowed: &mut Vec<(AffiliateId, Item<'a>)>) -> ApiSettings {
    let mut settings = ApiSettings {
        listen: None,
        socket: None,
        max_connections: 1024,
        stalled_after: Duration::from_secs(30),
        open_metrics: false,
        tokens: Vec::new(),
        socket_users: Vec::new(),
    };
    let Some(mut section) = root.section("api") else {
        root.spot("api").add(
            Weight::Warning,
            "is missing: the daemon can be reached neither by TCP nor by a Unix socket",
            "set listen or socket under [api]",
        );
        return settings;
    };
    if let Some(item) = section.get("listen") {
        settings.listen = item.parsed(
            |text| text.parse::<SocketAddr>().map_err(|_| "is not an address and a port"),
            "write it like \"127.0.0.1:8480\" or \"[::1]:8480\"",
        );
        if settings.listen.is_some_and(|address| !address.ip().is_loopback()) {
            item.warn(
                "is an address that others can reach, and this API speaks plain HTTP: tokens can be read on the way",
                "listen on 127.0.0.1 and put a TLS proxy in front",
            );
        }
    }
    settings.socket = section.get("socket").and_then(|item| item.filled_text()).map(|path| base.join(path));
    if !section.has("listen") && !section.has("socket") {
        let message = "has neither listen nor socket: nobody can reach the daemon";
        section.spot("").add(Weight::Warning, message, "set at least one of them");
    }
    set(&mut settings.max_connections, section.get("max_connections").and_then(|item| count(&item, 1..=65_536)));
    let bounds = Duration::from_secs(1)..=Duration::from_mins(10);
    set(&mut settings.stalled_after, section.get("stalled_after").and_then(|item| item.duration(bounds)));
    set(&mut settings.open_metrics, section.get("open_metrics").and_then(|item| item.boolean()));
    let mut names = BTreeMap::new();
    for token in section.sections("token") {
        settings.tokens.extend(self::token(token, &mut names, narrowed));
    }
    let mut uids = BTreeSet::new();
    for user in section.sections("socket_user") {
        settings.socket_users.extend(socket_user(user, &mut uids));
    }
    section.finish();
    settings
}

/// Reads one token; `seen` holds names and hashes of those before it.
fn token<'a>(
    mut section: Section<'a>,
    seen: &mut BTreeMap<String, &'static str>,
    narrowed: &mut Vec<(AffiliateId, Item<'a>)>,
) -> Option<Token> {
    let name = section.require("name", "name the program or person that holds the token");
    let name = name.and_then(|item| {
        let name = item.filled_text()?;
        if seen.insert(format!("name {name}"), "").is_some() {
            item.fault(format!("{} is the name of another token", quoted(name)), "give each token its own name");
        }
        Some(name.to_owned())
    });
    let sha256 = section.require("sha256", "write the output of: printf %s \"$TOKEN\" | sha256sum");
    let sha256 = sha256.and_then(|item| {
        let hash = self::sha256(&item)?;
        if seen.insert(format!("hash {}", hex::encode(hash)), "").is_some() {
            item.fault("is the hash of another token", "draw a token for each holder");
        }
        Some(hash)
    });
    let scopes = scopes(&mut section);
    let affiliates = section.get("affiliates").map(|item| {
        let mut ids = BTreeSet::new();
        for entry in item.filled_list()? {
            let id = entry.parsed(|text| AffiliateId::parse(text), "write the id of an affiliate");
            narrowed.extend(id.clone().map(|id| (id, entry)));
            ids.extend(id);
        }
        Some(ids)
    });
    section.finish();
    // A list that could not be read must not widen the token to every affiliate.
    let affiliates = match affiliates {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Token { name: name?, sha256: sha256?, scopes: scopes?, affiliates })
}

/// Reads a hash. What is not one is not repeated: it might be the token.
fn sha256(item: &Item<'_>) -> Option<[u8; 32]> {
    let hash = hex::decode(item.text()?).ok().and_then(|bytes| bytes.try_into().ok());
    if hash.is_none() {
        item.fault(
            "is not a SHA-256 hash of 64 hexadecimal digits",
            "never write the token itself; write the output of: printf %s \"$TOKEN\" | sha256sum",
        );
    }
    hash
}

fn scopes(section: &mut Section<'_>) -> Option<BTreeSet<Scope>> {
    let item = section.require("scopes", "list some of ingest, read, replay, configure")?;
    let choices = Scope::ALL.map(|scope| (scope.name(), scope));
    Some(item.filled_list()?.iter().filter_map(|entry| entry.choose(&choices)).collect())
}

fn socket_user(mut section: Section<'_>, seen: &mut BTreeSet<u32>) -> Option<SocketUser> {
    let uid = section.require("uid", "write the user's number, as `id -u NAME` tells it").and_then(|item| {
        let uid = u32::try_from(item.integer(0..=u64::from(u32::MAX - 1))?).ok()?;
        if !seen.insert(uid) {
            item.fault(format!("{uid} is listed twice"), "keep one [[api.socket_user]] for each user");
        }
        if uid == 0 {
            item.warn("is root, who may do everything anyway", "remove this [[api.socket_user]]");
        }
        Some(uid)
    });
    let name = section.require("name", "name the user, for the log").and_then(|item| item.filled_text());
    let scopes = scopes(&mut section);
    section.finish();
    Some(SocketUser { uid: uid?, name: name?.into(), scopes: scopes? })
}

fn ingest(section: Option<Section<'_>>) -> IngestSettings {
    let mut settings = IngestSettings {
        unknown_affiliate: UnknownAffiliate::Refuse,
        max_batch: 1000,
        max_body: 8 * MIB,
        max_buffered: 64 * MIB,
    };
    let Some(mut section) = section else { return settings };
    let choices = [("refuse", UnknownAffiliate::Refuse), ("accept", UnknownAffiliate::Accept)];
    set(&mut settings.unknown_affiliate, section.get("unknown_affiliate").and_then(|item| item.choose(&choices)));
    set(&mut settings.max_batch, section.get("max_batch").and_then(|item| count(&item, 1..=10_000)));
    set(&mut settings.max_body, section.get("max_body").and_then(|item| item.size(16 << 10..=64 * MIB)));
    if let Some(item) = section.get("max_buffered")
        && let Some(size) = item.size(16 << 10..=16 * GIB)
    {
        if size < settings.max_body {
            let body = quantity::show_size(settings.max_body);
            item.fault(format!("is less than max_body, which is {body}"), format!("use {body} or more"));
        }
        settings.max_buffered = size;
    }
    section.finish();
    settings
}

fn egress(section: Option<Section<'_>>) -> EgressSettings {
    let mut settings = EgressSettings { allow: Vec::new(), ports: vec![80, 443] };
    let Some(mut section) = section else { return settings };
    for entry in section.get("allow").and_then(|item| item.list()).unwrap_or_default() {
        let network = entry.parsed(network, "write it like \"10.20.0.0/16\" or \"10.20.0.5\"");
        if network.is_some_and(|network| network.prefix_len() == 0) {
            entry.warn("allows every address and switches the block list off", "name the networks that are needed");
        }
        settings.allow.extend(network);
    }
    if let Some(ports) = section.get("ports").and_then(|item| item.filled_list()) {
        let ports = ports.iter().filter_map(|entry| u16::try_from(entry.integer(1..=65_535)?).ok());
        settings.ports = ports.collect::<BTreeSet<_>>().into_iter().collect();
    }
    section.finish();
    settings
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let host = || text.parse::<IpAddr>().map(IpNet::from).ok();
    let network = text.parse::<IpNet>().ok().or_else(host).ok_or("is not a network")?;
    if network == network.trunc() { Ok(network) } else { Err("has bits set behind its prefix") }
}

fn dispatch(section: Option<Section<'_>>) -> DispatchSettings {
    let mut settings = DispatchSettings { in_flight: 256, response_cap: 64 << 10, shutdown: Duration::from_secs(30) };
    let Some(mut section) = section else { return settings };
    set(&mut settings.in_flight, section.get("in_flight").and_then(|item| count(&item, 1..=10_000)));
    set(&mut settings.response_cap, section.get("response_cap").and_then(|item| item.size(1 << 10..=MIB)));
    let bounds = Duration::from_secs(1)..=Duration::from_mins(10);
    set(&mut settings.shutdown, section.get("shutdown").and_then(|item| item.duration(bounds)));
    section.finish();
    settings
}

fn log(section: Option<Section<'_>>) -> LogSettings {
    let mut settings = LogSettings { format: LogFormat::Text, level: "info".into() };
    let Some(mut section) = section else { return settings };
    let choices = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    set(&mut settings.format, section.get("format").and_then(|item| item.choose(&choices)));
    let level = section.get("level").and_then(|item| {
        item.parsed(
            |text| match EnvFilter::try_new(text) {
                Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
                Ok(_) | Err(_) => Err("is not a level or a filter"),
            },
            "use error, warn, info, debug or trace, or a filter such as \"info,postbackd::api=debug\"",
        )
    });
    set(&mut settings.level, level);
    section.finish();
    settings
}

fn telemetry(section: Option<Section<'_>>) -> TelemetrySettings {
    let mut settings = TelemetrySettings::default();
    let Some(mut section) = section else { return settings };
    if let Some(item) = section.get("otlp") {
        if cfg!(feature = "otel") {
            // What is wrong with it is told without it: it might hold a key.
            match item.text().map(otlp) {
                Some(Ok(url)) => settings.otlp = Some(url),
                Some(Err(why)) => item.fault(why, "write it like \"http://127.0.0.1:4318\""),
                None => {}
            }
        } else {
            item.fault(
                "needs a build with the feature \"otel\", which this one is not",
                "remove it, or build with: cargo build --release --features otel",
            );
        }
    }
    section.finish();
    settings
}

/// The base URL of an OTLP receiver. What stands before an `@` in it would be a secret: it has no place here.
fn otlp(text: &str) -> Result<url::Url, &'static str> {
    let url: url::Url = text.parse().map_err(|_| "is not a URL")?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_http && is_plain && url.fragment().is_none() {
        Ok(url)
    } else {
        Err("is not the base URL of an OTLP receiver")
    }
}

fn count(item: &Item<'_>, bounds: std::ops::RangeInclusive<u64>) -> Option<usize> {
    usize::try_from(item.integer(bounds)?).ok()
}

/// Puts a value in the place of its default.
fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}
