//! The world around the daemon: its configuration, and the affiliates' receivers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use postbackd::domain::engine_kind::EngineKind;
use postbackd::receiver::{LedgerSnapshot, Receiver, ReceiverOptions, Script};
use sha2::{Digest as _, Sha256};

/// The token that may do everything.
pub(crate) const TOKEN: &str = "survival-token-of-everything";
/// Attempts at once for each affiliate.
const CONCURRENCY: u64 = 4;

/// An affiliate, and how its receiver behaves.
pub(crate) struct Partner {
    pub(crate) id: &'static str,
    script: &'static str,
    lines: &'static str,
    tables: &'static str,
    /// Whether its deliveries can die, so that a replay may send them behind later ones.
    pub(crate) gives_up: bool,
    /// Whether its receiver takes repeated requests for what they are.
    pub(crate) dedupes: bool,
}

/// Who has events of their own. `audit` hears of all of them, too.
pub(crate) const PARTNERS: [Partner; 6] = [
    Partner { id: "acme", script: "200", lines: "", tables: "", gives_up: false, dedupes: true },
    Partner { id: "beta", script: "20% => 500,200\n200", lines: "", tables: "", gives_up: false, dedupes: true },
    Partner { id: "gamma", script: "5% => reset,503,200\n200", lines: "", tables: "", gives_up: false, dedupes: true },
    Partner {
        id: "delta",
        script: "10% => 500*3,200\n200",
        lines: "",
        tables: "[postback.retry]\nmax_attempts = 2",
        gives_up: true,
        dedupes: true,
    },
    Partner {
        id: "strict",
        script: "10% => 500,200\n200",
        lines: "receiver_dedupes = false",
        tables: "",
        gives_up: false,
        dedupes: false,
    },
    Partner { id: "audit", script: "200", lines: "", tables: "", gives_up: false, dedupes: true },
];

/// The affiliates that events are handed in for.
pub(crate) fn players_partners() -> impl Iterator<Item = &'static Partner> {
    PARTNERS.iter().filter(|partner| partner.id != "audit")
}

/// Most attempts in flight at once, over all affiliates.
pub(crate) fn most_in_flight() -> u64 {
    CONCURRENCY * PARTNERS.len() as u64
}

static ENGINE: OnceLock<EngineKind> = OnceLock::new();

/// Has all daemons keep their stores in this engine.
pub(crate) fn keep_in(engine: EngineKind) {
    ENGINE.set(engine).unwrap();
}

/// The engine that daemons keep their stores in.
pub(crate) fn engine() -> EngineKind {
    *ENGINE.get_or_init(|| EngineKind::Sled)
}

/// A daemon's files, and the receivers that it sends to.
pub(crate) struct World {
    directory: Option<tempfile::TempDir>,
    receivers: Vec<Receiver>,
}

impl World {
    /// Files in a new directory, whose store is to be at `outbox`, relative to them.
    pub(crate) async fn new(outbox: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("survival-").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("affiliates")).unwrap();
        let mut receivers = Vec::new();
        for partner in &PARTNERS {
            let options = ReceiverOptions {
                script: Script::parse(partner.script).unwrap(),
                key: "did".parse().unwrap(),
                ..ReceiverOptions::default()
            };
            let receiver = Receiver::start(options).await.unwrap();
            let file = affiliate(partner, &receiver.url("/postback"));
            std::fs::write(directory.path().join(format!("affiliates/{}.toml", partner.id)), file).unwrap();
            receivers.push(receiver);
        }
        let dictionary = include_str!("../../config/events.toml");
        std::fs::write(directory.path().join("events.toml"), dictionary).unwrap();
        let world = Self { directory: Some(directory), receivers };
        world.store_at(outbox);
        world
    }

    /// Has the daemon keep its store elsewhere from its next start on.
    pub(crate) fn store_at(&self, outbox: &Path) {
        std::fs::write(self.configuration(), self.daemon_file(outbox, "postbackd.sock")).unwrap();
    }

    /// A configuration beside the daemon's, for looking at a copy of its store.
    pub(crate) fn configuration_for(&self, copy: &Path) -> PathBuf {
        let path = self.path("copy.toml");
        std::fs::write(&path, self.daemon_file(copy, "copy.sock")).unwrap();
        path
    }

    fn daemon_file(&self, outbox: &Path, socket: &str) -> String {
        let ports: String = self.receivers.iter().fold(String::new(), |mut ports, receiver| {
            write!(ports, ", {}", receiver.address().port()).unwrap();
            ports
        });
        format!(
            "events = \"events.toml\"\naffiliates = \"affiliates\"\n\
             [outbox]\nengine = \"{}\"\npath = \"{}\"\nkeep_free = \"16MiB\"\ncache = \"8MiB\"\n\
             retain = {{ delivered = \"24h\", dead = \"24h\" }}\n\
             [api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{socket}\"\n\
             [[api.token]]\nname = \"survival\"\nsha256 = \"{}\"\n\
             scopes = [\"ingest\", \"read\", \"replay\", \"configure\"]\n\
             [egress]\nallow = [\"127.0.0.0/8\"]\nports = [80{ports}]\n[log]\nformat = \"json\"\n\
             [defaults.retry]\ninitial = \"100ms\"\nfactor = 1.5\nmax_delay = \"1s\"\nmax_attempts = 30\njitter = \"20%\"\n\
             [defaults.limits]\nconcurrency = {CONCURRENCY}\n",
            engine().name(),
            outbox.display(),
            hex::encode(Sha256::digest(TOKEN)),
        )
    }

    /// The daemon's configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("postbackd.toml")
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.as_ref().unwrap().path().join(name)
    }

    /// What an affiliate's receiver has seen; the key is the delivery's id.
    pub(crate) fn received(&self, partner: &str) -> LedgerSnapshot {
        let place = PARTNERS.iter().position(|known| known.id == partner).unwrap();
        self.receivers[place].ledger()
    }

    /// Leaves its directory to whoever looks into what went wrong.
    pub(crate) fn keep(&mut self) -> PathBuf {
        let path = self.path("");
        if let Some(directory) = self.directory.as_mut() {
            directory.disable_cleanup(true);
        }
        path
    }
}

fn affiliate(partner: &Partner, url: &str) -> String {
    format!(
        "id = \"{id}\"\nname = \"{id}\"\nglobal = {}\n[limits.breaker]\nfailures = 0\n\
         [[postback]]\nname = \"all\"\nevents = \"*\"\nmethod = \"GET\"\ninsecure_http = true\n{}\n\
         url = \"{url}?did={{delivery_id}}&key={{idempotency_key}}&txid={{transaction_id}}&type={{type}}&status={{status}}\"\n{}\n",
        partner.id == "audit",
        partner.lines,
        partner.tables,
        id = partner.id,
    )
}
