//! A casino's day at speed: a real daemon on a real store, real sockets, and receivers of every temper.
//!
//! Several producers hand in registrations, KYC approvals, first deposits, deposits and reversals; some twice,
//! some broken. When everything has come to rest, the books are compared: what was handed in, what the store
//! says, what each receiver counted. Prints nothing itself.

mod cast;
mod day;
mod producers;
mod reconcile;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::{AppError, Daemon};
use crate::config;
use crate::domain::delivery::StateKind;
use crate::ops::clock::monotonic;
use crate::ops::random;
use crate::outbox::Counts;
use crate::receiver::ReceiverError;

pub use cast::Temper;
pub use producers::Handed;
pub use reconcile::{Books, Row};

/// How the day goes.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Valid events handed in.
    pub events: usize,
    /// Where the day begins: the same seed is the same day.
    pub seed: u64,
    /// Where configuration and store are kept.
    pub directory: PathBuf,
    /// Longest the day may take to come to rest.
    pub patience: Duration,
}

/// A look at the day while it lasts.
#[derive(Debug, Clone)]
pub struct Glance {
    /// Since the beginning.
    pub elapsed: Duration,
    /// What was handed in so far.
    pub handed: Handed,
    /// Events of the day.
    pub events: usize,
    /// Deliveries by affiliate.
    pub affiliates: Vec<(String, Counts)>,
    /// Attempts made so far.
    pub attempts: u64,
}

/// Why the day could not be played.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file of the demo cannot be written.
    #[error("writing {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A receiver cannot be started.
    #[error("starting a receiver")]
    Receiver(#[from] ReceiverError),
    /// A receiver's script is not well-formed.
    #[error("a script of the demo: {0}")]
    Script(String),
    /// The configuration that the demo wrote is not valid.
    #[error("the demo's own configuration is not valid:\n{0}")]
    Configuration(#[from] config::Problems),
    /// The daemon cannot be started.
    #[error("starting the daemon")]
    Daemon(#[from] AppError),
    /// The daemon has no address.
    #[error("the daemon listens on no TCP address")]
    NoAddress,
    /// A producer could not hand in an event.
    #[error("handing in events: {0}")]
    Producer(String),
    /// The store cannot be read.
    #[error("reading the outbox")]
    Outbox(#[from] crate::outbox::OutboxError),
}

/// How often the day is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// Plays the day; `look` is shown how it goes.
///
/// # Errors
/// When the day cannot be played. Books that do not balance are no error: they say so themselves.
pub async fn run(options: &DemoOptions, look: &dyn Fn(&Glance)) -> Result<Books, DemoError> {
    let token = random::nonce();
    let cast = cast::start(options.seed).await?;
    let path = write_configuration(&options.directory, &cast.files(&token))?;
    let loaded = config::load(&path)?;
    let daemon = Daemon::start(loaded.settings, Some(path)).await?;
    let address = daemon.address().ok_or(DemoError::NoAddress)?;
    let day = day::generate(options.events, options.seed);
    let started = monotonic();
    let handing = producers::start(address, &token, &day, options.seed)?;
    let mut ticks = tokio::time::interval(GLANCE);
    let handed = loop {
        ticks.tick().await;
        let glance = glance(&daemon, handing.so_far(), options.events, monotonic().duration_since(started));
        look(&glance);
        let restless = glance.affiliates.iter().any(|(_, counts)| is_restless(counts));
        if handing.is_finished() && !restless {
            break handing.finish().await?;
        }
        if glance.elapsed > options.patience {
            break handing.finish().await?;
        }
    };
    let elapsed = monotonic().duration_since(started);
    let books = reconcile::compare(&cast, &day, handed, daemon.outbox(), elapsed)?;
    daemon.stop().await;
    Ok(books)
}

/// Whether something is still to be sent. What waits behind a held delivery waits for a person.
fn is_restless(counts: &Counts) -> bool {
    counts.of(StateKind::Scheduled) > 0
}

fn glance(daemon: &Daemon, handed: Handed, events: usize, elapsed: Duration) -> Glance {
    let reader = daemon.outbox().reader();
    let counts = reader.counts();
    let own = |number| counts.get(&number).copied().unwrap_or_default();
    let mut affiliates: Vec<(String, Counts)> =
        reader.postbacks().into_iter().map(|(number, name)| (name.affiliate.to_string(), own(number))).collect();
    affiliates.sort_by(|a, b| a.0.cmp(&b.0));
    let attempts = reader.totals().attempts.iter().sum();
    Glance { elapsed, handed, events, affiliates, attempts }
}

fn write_configuration(directory: &Path, files: &[(PathBuf, String)]) -> Result<PathBuf, DemoError> {
    for (name, text) in files {
        let path = directory.join(name);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| DemoError::Write { path, source })?;
    }
    Ok(directory.join("postbackd.toml"))
}
