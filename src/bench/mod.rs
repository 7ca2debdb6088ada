//! Measures what this machine allows and what the daemon makes of it, in the same run.
//!
//! Every figure stands beside its baseline, which is taken in turns with it: the same bytes, the same clients, the same
//! receiver. Ratios hold from run to run; seconds do not. Clients, daemon and receivers share the machine.

mod accept;
mod backlog;
mod child;
pub mod churn;
mod client;
mod cycle;
mod discard;
mod disk;
mod end_to_end;
mod figure;
mod idle;
mod isolation;
mod latency;
pub mod onlookers;
mod open_loop;
mod sample;
mod server;
mod stages;
mod stored;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use figure::{Figure, Target, Unit};
use server::Setup;
use targets::Targets;

use crate::domain::engine_kind::EngineKind;
use crate::domain::id::InvalidId;
use crate::domain::money::InvalidMoney;
use crate::ops::clock::SystemClock;
use crate::ops::descriptors;
use crate::outbox::{EngineError, Options, Outbox, OutboxError, open_engine};

/// Bytes of memory for pages of a store: as many as a daemon takes by default.
const CACHE_BYTES: u64 = 256 << 20;
/// The least events of a measurement.
const LEAST_EVENTS: usize = 50;

/// How the benchmark is run.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Where its files are kept: on the disk that is to be measured.
    pub directory: PathBuf,
    /// The storage engine.
    pub engine: EngineKind,
    /// Events for each measurement.
    pub events: usize,
    /// How often each figure and its baseline are taken.
    pub turns: usize,
    /// Affiliates that events are spread over.
    pub affiliates: usize,
}

impl BenchOptions {
    fn targets(&self) -> Targets {
        Targets(self.engine)
    }

    /// The configuration that is usual here.
    fn setup(&self) -> Setup {
        Setup { affiliates: self.affiliates, ..Setup::of(self.engine) }
    }

    /// Events for so many clients that send so many at a time. One that waits for each answer takes long; 64 that send batches
    /// would be through in three rounds, in which the store has nothing to do at first and the clients nothing at last. More of
    /// them have one round in any case: a burst.
    fn events_for(&self, clients: usize, batch: usize) -> usize {
        let events = if clients == 1 { (self.events / 10).max(LEAST_EVENTS) } else { self.events };
        if batch == 1 { events } else { events * 4 }
    }
}

/// What can be measured in a short while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Durable accepts over HTTP, by 1, 64 and 1,024 clients, single and in batches
    Accept,
    /// Full cycles through the port of the outbox: accept, begin, settle
    Cycle,
    /// The whole way: handed in over HTTP, received, settled
    WholeWay,
    /// From acceptance to the first byte at the receiver, at a steady rate
    Latency,
    /// Healthy affiliates beside five that hang
    Isolation,
    /// Processor time of an event, by stage and thread
    Stages,
    /// Processor time and memory of a daemon with nothing to do
    Idle,
}

/// What takes longer, and is measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Long {
    /// A daemon with so many deliveries pending.
    Backlog(usize),
    /// Latency at every rate.
    Latency,
    /// Isolation from affiliates with a hundred thousand deliveries due each.
    Isolation,
}

/// Why a figure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file cannot be written.
    #[error("writing to {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("opening the outbox")]
    Engine(#[from] EngineError),
    /// The store failed.
    #[error("running the outbox")]
    Outbox(#[from] OutboxError),
    /// Something under test, or around it, did not do its part.
    #[error("measuring: {0}")]
    Failed(String),
}

impl From<InvalidId> for BenchError {
    fn from(error: InvalidId) -> Self {
        failed(error)
    }
}

impl From<InvalidMoney> for BenchError {
    fn from(error: InvalidMoney) -> Self {
        failed(error)
    }
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Failed(error.to_string())
}

/// Takes the figures of some subjects; `say` is told what is being measured.
///
/// # Errors
/// When the disk, the store, the daemon or a client fails.
pub async fn run(options: &BenchOptions, subjects: &[Subject], say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    descriptors::raise();
    let mut figures = Vec::new();
    for subject in subjects {
        figures.extend(match subject {
            Subject::Accept => accept::run(options, say).await?,
            Subject::Cycle => cycle::run(options, say).await?,
            Subject::WholeWay => end_to_end::run(options, say).await?,
            Subject::Latency => latency::run(options, false, say).await?,
            Subject::Isolation => isolation::run(options, isolation::QUICK_BACKLOG, say).await?,
            Subject::Stages => stages::run(options, say).await?,
            Subject::Idle => idle::run(options, say).await?,
        });
    }
    Ok(figures)
}

/// Takes the figures of something that takes longer.
///
/// # Errors
/// As [`run`].
pub async fn run_long(options: &BenchOptions, long: Long, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    descriptors::raise();
    match long {
        Long::Backlog(pending) => backlog::run(options, pending, say).await,
        Long::Latency => latency::run(options, true, say).await,
        Long::Isolation => isolation::run(options, isolation::BACKLOG, say).await,
    }
}

fn open(path: &Path, engine: EngineKind) -> Result<Outbox, BenchError> {
    let engine = open_engine(engine, path, CACHE_BYTES)?;
    Ok(Outbox::open(engine, Options { clock: Arc::new(SystemClock), keep_free: None, observer: None })?)
}
