//! Stands in for an affiliate's tracker: answers by script and keeps a ledger of what it was sent.
//!
//! Used by the tests, the demo, the benchmarks and `postbackd receiver`. It reads HTTP/1.1 strictly and
//! misbehaves only as told. It refuses to know what a postback is: to it, a request has a key, and that
//! is all. Plain HTTP, no authentication: let it listen on a loopback address.
//!
//! # Scripts
//!
//! A script has one rule a line; the first rule that fits decides, 200 answers what none fits. `#`
//! begins a comment.
//!
//! ```text
//! ANSWERS                       for every request
//! /path=ANSWERS                 for paths that start so
//! CONDITIONS => ANSWERS         where all conditions hold
//! ```
//!
//! Conditions, divided by spaces:
//!
//! | condition | holds for |
//! |---|---|
//! | `/acme` | paths that start so |
//! | `?type=ftd` | a query parameter with this value |
//! | `nth=2` | the second request of its key |
//! | `every=10` | every tenth request that meets the other conditions |
//! | `5%` or `0.5% seed=7` | this share of all keys, always the same ones |
//! | `shared` | always; the answers are one sequence for all keys instead of one for each |
//!
//! Answers are divided by commas and given in turn, the last for ever; `500*3,200` repeats one. Requests
//! without a key share one sequence. An answer is made of words:
//!
//! | answer | what a client sees |
//! |---|---|
//! | `200`, `500`, … | a whole response |
//! | `429 retry-after=1` | with this header |
//! | `302 location=http://a.example/` | with this header |
//! | `200 type=text/html body="<html>"` | this content type and body (`\n \r \t \" \\` in quotes) |
//! | `200 header="X-Name: value"` | any header; `connection=close` also closes |
//! | `200 huge=10MiB` | so much filler as body |
//! | `drip 10ms 200` | a byte at a time |
//! | `delay 50ms 200` | nothing for a while, then the rest of the answer |
//! | `1xx-flood 200` | a thousand 103 responses first (`count=N` for another number) |
//! | `hang` | nothing, until the client leaves or the receiver stops |
//! | `close` | an orderly close instead of an answer |
//! | `reset` | a TCP reset instead of an answer |
//! | `reset-after-headers` | headers, then a TCP reset |
//! | `half` | a shorter body than announced, then a close |
//! | `junk` | bytes that are no HTTP, then a close |
//! | `endless` | a body without end |
//! | `headers-flood` | header fields without end |
//!
//! The words from `reset-after-headers` on, except `junk`, take a status, a body and headers too.
//!
//! # Control
//!
//! On the same port, not counted: `GET /_receiver/ledger` (with `?key=…` or `?entries=true`),
//! `PUT /_receiver/script` with a script as body, `POST /_receiver/reset` for an empty ledger and the
//! script from its beginning.

mod answer;
mod args;
mod connection;
mod control;
mod key;
mod ledger;
mod notation;
mod play;
mod playbook;
mod script;
mod shared;
mod snapshot;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use answer::{Act, Answer, AnswerError, Body, Response};
pub use args::{ReceiverArgs, VerifyScheme};
pub use key::{LedgerKey, LedgerKeyError};
pub use ledger::{BODY_DETAIL, DETAILED_REQUESTS, KeyHistory, LISTED_DUPLICATES, RECORDED_REQUESTS, Seen};
pub use notation::NotationError;
pub use script::{Condition, Rule, RuleError, SCRIPT_LIMIT, Script, ScriptError};
pub use snapshot::LedgerSnapshot;
pub use verify::{SecretError, Verify};
pub use wire::{BODY_LIMIT, HEADER_LIMIT};

use shared::Shared;

/// How many connections are served at once; more wait to be accepted.
pub const CONNECTION_LIMIT: usize = 4_096;
/// The pause after the system refused to give a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How a receiver is to run.
#[derive(Debug)]
pub struct ReceiverOptions {
    /// Where it listens; port 0 picks one.
    pub listen: SocketAddr,
    /// What it answers.
    pub script: Script,
    /// What tells one transaction from another.
    pub key: LedgerKey,
    /// How requests must be signed, if at all.
    pub verify: Option<Verify>,
    /// Whether the ledger keeps bodies (and more requests in full).
    pub record_bodies: bool,
}

impl Default for ReceiverOptions {
    /// Any free port of 127.0.0.1, 200 for everything, the usual key, no signatures, no bodies.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            script: Script::default(),
            key: LedgerKey::default(),
            verify: None,
            record_bodies: false,
        }
    }
}

/// Why a receiver cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// The address cannot be listened on.
    #[error("listening on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The script of a file or an option cannot be used.
    #[error("reading the script of {origin}")]
    Script {
        /// Where it was written.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: ScriptError,
    },
    /// The secrets cannot be used.
    #[error("reading the secrets of {}", path.display())]
    Secrets {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        #[source]
        source: SecretError,
    },
    /// A signature scheme was asked for without a secret.
    #[error("--verify needs --secret-file")]
    NoSecretFile,
}

/// A running receiver; stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Receiver {
    /// Listens, and answers from then on.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(options: ReceiverOptions) -> Result<Self, ReceiverError> {
        let ReceiverOptions { listen, script, key, verify, record_bodies } = options;
        let refused = |source| ReceiverError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared::new(script, key, verify, record_bodies));
        let receiver = Self { address, shared, stopping: CancellationToken::new(), tasks: TaskTracker::new() };
        let accepting =
            accept(listener, Arc::clone(&receiver.shared), receiver.stopping.clone(), receiver.tasks.clone());
        receiver.tasks.spawn(accepting);
        Ok(receiver)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path (with its query) here.
    pub fn url(&self, path_and_query: &str) -> String {
        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        format!("http://{}{slash}{path_and_query}", self.address)
    }

    /// The ledger now.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.shared.state().ledger.snapshot()
    }

    /// Answers by another script from the next request on; the ledger stays.
    pub fn set_script(&self, script: Script) {
        self.shared.set_script(script);
    }

    /// Empties the ledger and begins the script anew; exchanges under way count for the old ledger.
    pub fn start_over(&self) {
        self.shared.start_over();
        self.shared.signal();
    }

    /// Shows every request from now on; who lags behind by more than 4,096 misses some.
    pub fn subscribe(&self) -> broadcast::Receiver<Seen> {
        self.shared.watchers.subscribe()
    }

    /// Waits until the ledger satisfies `done`, looked at after each change.
    ///
    /// # Errors
    /// Gives the ledger as it is when the time is over.
    pub async fn wait_for(
        &self,
        done: impl Fn(&LedgerSnapshot) -> bool,
        within: Duration,
    ) -> Result<LedgerSnapshot, LedgerSnapshot> {
        tokio::time::timeout(within, self.shared.until(done)).await.map_err(|_| self.ledger())
    }

    /// Ends all connections, hanging ones too, and stops listening.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stopping: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let serving = connection::serve(stream, Arc::clone(&shared));
            let stopping = stopping.clone();
            tasks.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = serving => {}
                }
            });
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = accepting => {}
    }
}
