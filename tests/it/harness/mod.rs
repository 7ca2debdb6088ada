//! The world of a test: affiliates with scripted receivers, and the real daemon between them and the test.

mod daemon;
mod session;
mod tls;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postbackd::domain::engine_kind::EngineKind;
use postbackd::ops::clock::SystemClock;
use postbackd::receiver::{LedgerSnapshot, Receiver, ReceiverOptions, Script, Verify};
use serde_json::{Value, json};

pub(crate) use daemon::{Answer, Daemon, Listeners, Running, activated, command};
pub(crate) use session::Session;
pub(crate) use tls::{Authority, Front, TlsFront};

/// Longest a test waits for anything: `POSTBACKD_TEST_PATIENCE` seconds, for runs of many events.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(number("POSTBACKD_TEST_PATIENCE", 30))
}

/// A number from the environment, so that a test can be run larger than by default.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// The engine that daemons keep their stores in: `POSTBACKD_TEST_ENGINE`, sled by default.
pub(crate) fn engine() -> EngineKind {
    std::env::var("POSTBACKD_TEST_ENGINE").map_or(EngineKind::Sled, |name| EngineKind::named(&name).unwrap())
}

/// The token that may do everything.
pub(crate) const TOKEN: &str = "test-token-of-everything";
/// The token that may only hand events in.
pub(crate) const INGEST_TOKEN: &str = "test-token-of-ingest";

/// A token that is for the affiliate acme only, where [`narrowed`] is configured.
pub(crate) const NARROWED_TOKEN: &str = "test-token-of-acme";

/// Lines for `[api]` that make [`NARROWED_TOKEN`] known.
pub(crate) fn narrowed() -> String {
    use sha2::{Digest as _, Sha256};
    let sha256 = hex::encode(Sha256::digest(NARROWED_TOKEN));
    format!(
        "[[api.token]]\nname = \"narrowed\"\nsha256 = \"{sha256}\"\nscopes = [\"ingest\", \"read\"]\naffiliates = [\"acme\"]\n"
    )
}

/// An affiliate of the test: a receiver and what its file says.
pub(crate) struct Partner {
    id: String,
    script: String,
    affiliate: String,
    postback: String,
    tail: String,
    query: String,
    front: Option<Front>,
    verify: Option<Verify>,
}

/// An affiliate whose receiver answers by a script.
pub(crate) fn partner(id: &str, script: &str) -> Partner {
    Partner {
        id: id.into(),
        script: script.into(),
        affiliate: String::new(),
        postback: String::new(),
        tail: String::new(),
        verify: None,
        query: "eid={event_id}&txid={transaction_id}&cid={click_id}&status={status}&payout={payout}&cur={currency}"
            .into(),
        front: None,
    }
}

impl Partner {
    /// Lines for the affiliate's head: limits, global, secrets.
    pub(crate) fn affiliate(mut self, lines: &str) -> Self {
        writeln!(self.affiliate, "{lines}").unwrap();
        self
    }

    /// Keys of its postback.
    pub(crate) fn postback(mut self, lines: &str) -> Self {
        writeln!(self.postback, "{lines}").unwrap();
        self
    }

    /// Tables behind its postback: retry, signature, response rules.
    pub(crate) fn tables(mut self, lines: &str) -> Self {
        writeln!(self.tail, "{lines}").unwrap();
        self
    }

    /// Has the receiver accept only what is signed by Standard Webhooks with one of these secrets.
    pub(crate) fn knows(mut self, secrets: &[&str]) -> Self {
        let clock = std::sync::Arc::new(SystemClock);
        self.verify = Some(Verify::standard_webhooks(secrets, Duration::from_mins(5), clock).unwrap());
        self
    }

    /// More of the query.
    pub(crate) fn query(mut self, more: &str) -> Self {
        self.query.push_str(more);
        self
    }

    /// Puts its receiver behind TLS.
    pub(crate) fn behind(mut self, front: Front) -> Self {
        self.front = Some(front);
        self
    }

    fn file(&self, url: &str) -> String {
        format!(
            "id = \"{id}\"\nname = \"{id}\"\n{}\n[[postback]]\nname = \"conversions\"\nmethod = \"GET\"\n\
             url = \"{url}?{}\"\ninsecure_http = true\n{}\n{}",
            self.affiliate,
            self.query,
            if self.postback.contains("events") {
                self.postback.clone()
            } else {
                format!("events = \"*\"\n{}", self.postback)
            },
            self.tail,
            id = self.id,
        )
    }
}

/// A running world.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) daemon: Daemon,
    receivers: BTreeMap<String, Receiver>,
    fronts: BTreeMap<String, TlsFront>,
}

/// Quick retries, so that a story is told in a second.
pub(crate) const QUICK_RETRY: &str =
    "[defaults.retry]\ninitial = \"100ms\"\nfactor = 1.2\nmax_delay = \"200ms\"\nmax_attempts = 4\njitter = \"20%\"\n";

impl World {
    /// A world with these affiliates.
    pub(crate) async fn with(partners: Vec<Partner>) -> Self {
        Self::configured(partners, QUICK_RETRY).await
    }

    /// A world with these affiliates and more lines for the daemon's file.
    pub(crate) async fn configured(partners: Vec<Partner>, daemon_lines: &str) -> Self {
        Self::build(partners, "", daemon_lines, &[]).await
    }

    /// The same, with variables in the daemon's environment; it trusts the authority of the fronts unless they say
    /// otherwise.
    pub(crate) async fn in_environment(
        partners: Vec<Partner>,
        daemon_lines: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::build(partners, "", daemon_lines, environment).await
    }

    /// A world with these affiliates, more lines for `[api]`, and more for the daemon's file.
    pub(crate) async fn with_api(partners: Vec<Partner>, api_lines: &str, daemon_lines: &str) -> Self {
        Self::build(partners, api_lines, daemon_lines, &[]).await
    }

    async fn build(partners: Vec<Partner>, api_lines: &str, daemon_lines: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let mut receivers = BTreeMap::new();
        let mut fronts = BTreeMap::new();
        std::fs::create_dir(directory.path().join("affiliates")).unwrap();
        for mut partner in partners {
            let script = Script::parse(&partner.script).unwrap();
            let key = "eid".parse().unwrap();
            let options = ReceiverOptions { script, key, verify: partner.verify.take(), ..ReceiverOptions::default() };
            let receiver = Receiver::start(options).await.unwrap();
            let mut url = receiver.url("/postback");
            if let Some(front) = partner.front {
                let front = TlsFront::start(front, &authority, receiver.address()).await;
                url = format!("https://{}/postback", front.address);
                fronts.insert(partner.id.clone(), front);
            }
            let file = partner.file(&url);
            std::fs::write(directory.path().join(format!("affiliates/{}.toml", partner.id)), file).unwrap();
            receivers.insert(partner.id, receiver);
        }
        let ports = receivers.values().map(|receiver: &Receiver| receiver.address().port());
        let ports: Vec<_> = ports.chain(fronts.values().map(|front: &TlsFront| front.address.port())).collect();
        write_daemon_file(directory.path(), &ports, api_lines, daemon_lines);
        let trusted = directory.path().join("authority.pem");
        std::fs::write(&trusted, authority.pem()).unwrap();
        let trusted = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
        let daemon = Daemon::start_in(directory.path(), &[&trusted, environment].concat());
        Self { directory, daemon, receivers, fronts }
    }

    pub(crate) fn front(&self, id: &str) -> &TlsFront {
        &self.fronts[id]
    }

    pub(crate) fn receiver(&self, id: &str) -> &Receiver {
        &self.receivers[id]
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Hands an event in; it must be accepted. Returns its first delivery.
    pub(crate) async fn accept(&self, event: Value) -> String {
        let answer = self.daemon.post("/v1/events", &event).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["deliveries"][0].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a receiver's ledger is as told.
    pub(crate) async fn received(&self, id: &str, done: impl Fn(&LedgerSnapshot) -> bool) -> LedgerSnapshot {
        match self.receivers[id].wait_for(done, patience()).await {
            Ok(ledger) => ledger,
            Err(ledger) => panic!("receiver {id} did not get there: {}", ledger.to_json()),
        }
    }

    /// Waits until a delivery is in a state; returns it with its history.
    pub(crate) async fn until(&self, delivery: &str, state: &str) -> Value {
        self.daemon.poll(&format!("/v1/deliveries/{delivery}"), |body| body["delivery"]["state"] == state).await
    }

    /// Waits until no delivery is scheduled or waiting, and none is in flight; returns the stats.
    pub(crate) async fn at_rest(&self) -> Value {
        self.daemon
            .poll("/v1/stats", |stats| {
                let open = |state: &str| stats["deliveries"][state].as_u64().unwrap_or(0);
                open("scheduled") + open("waiting") == 0 && stats["in_flight"] == 0
            })
            .await
    }

    /// Waits until none is in flight. A delivery shows its state as soon as that is durable; observers and the dispatcher are told
    /// of the attempt behind that.
    pub(crate) async fn none_in_flight(&self) {
        self.daemon.poll("/v1/stats", |stats| stats["in_flight"] == 0).await;
    }
}

pub(crate) fn write_daemon_file(directory: &Path, ports: &[u16], api_lines: &str, lines: &str) {
    use sha2::{Digest as _, Sha256};
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    std::fs::write(directory.join("events.toml"), include_str!("../../../config/events.toml")).unwrap();
    let file = format!(
        "events = \"events.toml\"\naffiliates = \"affiliates\"\n\
         [outbox]\nengine = \"{}\"\npath = \"outbox\"\nkeep_free = \"16MiB\"\n\
         [api]\nlisten = \"127.0.0.1:0\"\nsocket = \"postbackd.sock\"\n{api_lines}\n\
         [[api.token]]\nname = \"tests\"\nsha256 = \"{}\"\nscopes = [\"ingest\", \"read\", \"replay\", \"configure\"]\n\
         [[api.token]]\nname = \"backend\"\nsha256 = \"{}\"\nscopes = [\"ingest\"]\n\
         [egress]\nallow = [\"127.0.0.0/8\"]\nports = [80, 443{}{}]\n\
         [log]\nformat = \"json\"\n{lines}",
        engine().name(),
        hex::encode(Sha256::digest(TOKEN)),
        hex::encode(Sha256::digest(INGEST_TOKEN)),
        if ports.is_empty() { "" } else { ", " },
        ports.join(", "),
    );
    std::fs::write(directory.join("postbackd.toml"), file).unwrap();
}

/// An FTD of an affiliate's player.
pub(crate) fn ftd(affiliate: &str, transaction: &str) -> Value {
    json!({
        "transaction_id": transaction, "type": "ftd", "affiliate_id": affiliate, "click_id": format!("click-{transaction}"),
        "payout": "120.00", "currency": "EUR",
    })
}

/// The reversal of an FTD.
pub(crate) fn reversal(affiliate: &str, transaction: &str, of: &str) -> Value {
    let mut event = ftd(affiliate, transaction);
    event["type"] = json!("ftd_reversed");
    event["reverses"] = json!(of);
    event
}
