//! The daemon under test with its affiliates and their receiver, in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{BenchError, failed, sample};
use crate::app::Daemon;
use crate::config;
use crate::domain::engine_kind::EngineKind;
use crate::ops::clock::{Clock as _, SystemClock, monotonic};
use crate::ops::systemd::Inherited;
use crate::outbox::{Engine, Pause};
use crate::receiver::{LedgerSnapshot, Receiver, ReceiverOptions, Script};

/// The token of the clients.
pub(super) const TOKEN: &str = "bench-token";
/// Longest that anything under way is waited for.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);
/// How often it is looked whether all is settled.
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// What is configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// The storage engine.
    pub(super) engine: EngineKind,
    /// The affiliates.
    pub(super) affiliates: usize,
    /// The last so many of the affiliates have a receiver that hangs.
    pub(super) hanging: usize,
    /// Whether commands find the daemon by a socket beside its configuration.
    pub(super) socket: bool,
}

impl Setup {
    pub(super) fn of(engine: EngineKind) -> Self {
        Self { engine, affiliates: sample::AFFILIATES, hanging: 0, socket: false }
    }

    /// Writes the configuration; returns its main file.
    pub(super) fn write(self, directory: &Path, receiver: &Receiver) -> Result<PathBuf, BenchError> {
        let path = directory.join("postbackd.toml");
        self.write_files(&path, receiver).map_err(|source| BenchError::Disk { path: path.clone(), source })?;
        Ok(path)
    }

    fn write_files(self, path: &Path, receiver: &Receiver) -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let affiliates = directory.join("affiliates");
        std::fs::create_dir_all(&affiliates)?;
        let socket = if self.socket { "socket = \"postbackd.sock\"\n" } else { "" };
        let daemon = format!(
            "events = \"events.toml\"\naffiliates = \"affiliates\"\n\
             [outbox]\nengine = \"{}\"\npath = \"outbox\"\nkeep_free = \"64MiB\"\n\
             [api]\nlisten = \"127.0.0.1:0\"\nmax_connections = 4096\n{socket}\
             [[api.token]]\nname = \"bench\"\nsha256 = \"{}\"\nscopes = [\"ingest\", \"read\", \"configure\"]\n\
             [egress]\nallow = [\"127.0.0.0/8\"]\nports = [{}]\n\
             [dispatch]\nshutdown = \"1s\"\n[log]\nlevel = \"warn,daemon.ready=info,postbackd::app=info\"\nformat = \"json\"\n\
             [defaults]\ninsecure_http = true\n",
            self.engine.name(),
            hex::encode(Sha256::digest(TOKEN)),
            receiver.address().port()
        );
        std::fs::write(path, daemon)?;
        std::fs::write(directory.join("events.toml"), include_str!("../../config/events.toml"))?;
        write_secret(&directory.join("secret"))?;
        for number in 0..self.affiliates {
            let path = if number + self.hanging >= self.affiliates { "hang" } else { "fine" };
            let id = sample::affiliate(number);
            let file = format!(
                "id = \"{id}\"\nname = \"{id}\"\n[secrets]\nhmac = {{ file = \"../secret\" }}\n\
                 [[postback]]\nname = \"{}\"\nevents = \"*\"\nmethod = \"GET\"\nurl = \"{}?{QUERY}\"\n\
                 [postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = \"hmac\"\n\
                 message = \"{{timestamp}}.{{path_and_query}}\"\nplace = {{ query = \"sig\", encoding = \"hex\" }}\n",
                sample::POSTBACK,
                receiver.url(&format!("/{path}"))
            );
            std::fs::write(affiliates.join(format!("{id}.toml")), file)?;
        }
        Ok(())
    }
}

/// What affiliates are told of an event.
const QUERY: &str = "eid={event_id}&txid={transaction_id}&cid={click_id}&payout={payout|fixed(2)}&cur={currency}\
                     &goal={type}&sub1={sub_ids.sub1}&ts={timestamp}";

/// A request as affiliates are sent it, for those who send it without us.
pub(super) fn bare_path(number: usize) -> String {
    format!(
        "/fine?eid=evt_{number:013}&txid={}&cid=w7KJ9X2PQ8LM4N6R{number:016x}&payout=120.00&cur=EUR&goal=ftd\
         &sub1=banner-3&ts=1795168800&sig={:064x}",
        sample::transaction(number),
        number
    )
}

fn write_secret(path: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(b"a secret of the benchmark")
}

/// A receiver that takes everything at `/fine`, and hangs at `/hang`; transactions are its keys.
pub(super) async fn receiver() -> Result<Receiver, BenchError> {
    let script = Script::parse("/hang=hang\n200").map_err(failed)?;
    let key = "txid".parse().map_err(failed)?;
    Receiver::start(ReceiverOptions { script, key, ..ReceiverOptions::default() }).await.map_err(failed)
}

/// A running daemon and what it talks to.
pub(super) struct Served {
    pub(super) daemon: Daemon,
    pub(super) address: SocketAddr,
    pub(super) receiver: Receiver,
    affiliates: usize,
    next: AtomicUsize,
}

impl Served {
    /// Starts a daemon in a directory, over an engine of its own or another one.
    pub(super) async fn start(
        directory: &Path,
        setup: Setup,
        over: Option<Arc<dyn Engine>>,
    ) -> Result<Self, BenchError> {
        let receiver = receiver().await?;
        let path = setup.write(directory, &receiver)?;
        let settings = config::load(&path).map_err(failed)?.settings;
        let daemon = match over {
            None => Daemon::start(settings, Some(path)).await,
            Some(engine) => Daemon::start_over(engine, settings, Some(path), Inherited::default()).await,
        };
        let daemon = daemon.map_err(failed)?;
        let address = daemon.address().ok_or_else(|| failed("the daemon has no address"))?;
        Ok(Self { daemon, address, receiver, affiliates: setup.affiliates, next: AtomicUsize::new(0) })
    }

    /// Numbers for so many events that were not used before; the first of them.
    pub(super) fn numbers(&self, count: usize) -> usize {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Has nothing be sent, so that taking events in is measured alone.
    pub(super) async fn pause(&self) -> Result<(), BenchError> {
        pause(self.daemon.outbox(), self.affiliates).await
    }

    /// Waits until so many deliveries were received, since the ledger's start, and everything is settled.
    pub(super) async fn settled(&self, received: u64) -> Result<(), BenchError> {
        let done = |ledger: &LedgerSnapshot| ledger.accepted_keys >= received;
        let waited = self.receiver.wait_for(done, PATIENCE).await;
        waited.map_err(|ledger| failed(format!("only {} of {received} arrived", ledger.accepted_keys)))?;
        let until = monotonic() + PATIENCE;
        while self.daemon.outbox().reader().counts().values().any(|counts| counts.open() > 0) {
            if monotonic() > until {
                return Err(failed("not everything was settled"));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        // Counts change before their group is durable.
        Ok(self.daemon.outbox().probe().await?)
    }

    pub(super) async fn stop(self) {
        // What hangs need not be waited for.
        self.receiver.stop().await;
        self.daemon.stop().await;
    }
}

/// Pauses the postbacks of all affiliates.
pub(super) async fn pause(outbox: &crate::outbox::Outbox, affiliates: usize) -> Result<(), BenchError> {
    for number in 0..affiliates {
        let pause = Pause { at: SystemClock.now(), by: "bench".into(), reason: "only accepts are measured".into() };
        outbox.pause(sample::postback(&sample::affiliate(number))?, Some(pause)).await?;
    }
    Ok(())
}
