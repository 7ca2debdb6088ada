//! Measures what this machine's disk allows and what the outbox makes of it, in the same run.
//!
//! Every figure stands beside its baseline: an append and an `fdatasync` of the same number of bytes, by
//! itself and in groups of the size that the outbox commits. Ratios hold from run to run; seconds do not.

pub mod churn;
mod isolation;
pub mod onlookers;
mod stored;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::domain::delivery::{Conclusion, DeliveredHow};
use crate::domain::event::{Event, Status};
use crate::domain::id::{DeliveryId, InvalidId, PostbackRef};
use crate::domain::money::{Amount, Currency, InvalidMoney};
use crate::domain::outcome::Outcome;
use crate::domain::postback::OrderPolicy;
use crate::domain::record::{AttemptRecord, RecordedResponse, Timings};
use crate::domain::request::RecordedRequest;
use crate::ops::clock::{Clock as _, SystemClock, monotonic};
use crate::outbox::{
    AcceptRequest, EngineError, Ingested, Options, Outbox, OutboxError, PlannedDelivery, Settlement, SledEngine,
};

/// Clients that accept or cycle at once.
const CLIENTS: usize = 64;
/// Events in flight in the full cycle: what a busy dispatcher and its producers keep under way.
const CYCLES_AT_ONCE: usize = 512;

/// How the benchmark is run.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Where its files are kept: on the disk that is to be measured.
    pub directory: PathBuf,
    /// Events for each figure.
    pub events: usize,
}

/// One figure beside its baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// How often a second.
    pub per_second: f64,
    /// The median time of one, in microseconds, where one was waited for at a time.
    pub p50_us: Option<f64>,
    /// What it is compared with.
    pub baseline: Option<&'static str>,
    /// The figure's rate divided by the baseline's; by their medians where both have one.
    pub ratio: Option<f64>,
}

/// Why a figure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file of the baseline cannot be written.
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
    /// An event of the benchmark is not valid.
    #[error("making an event: {0}")]
    Event(String),
}

impl From<InvalidId> for BenchError {
    fn from(error: InvalidId) -> Self {
        Self::Event(error.to_string())
    }
}

impl From<InvalidMoney> for BenchError {
    fn from(error: InvalidMoney) -> Self {
        Self::Event(error.to_string())
    }
}

/// Takes all figures; `say` is told what is being measured.
///
/// # Errors
/// When the disk or the store fails.
pub async fn run(options: &BenchOptions, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    let bytes = sample_bytes()?;
    say("the disk alone: append and fdatasync of the same bytes");
    let alone = append(&options.directory, bytes.event, 1, (options.events / 10).max(50))?;
    let grouped = append(&options.directory, bytes.event, CLIENTS, options.events)?;
    let cycle_disk = append(&options.directory, bytes.event + bytes.attempt, CYCLES_AT_ONCE, options.events)?;
    let mut figures = vec![
        alone.figure("disk: append + fdatasync of one event", None),
        grouped.figure("disk: append + fdatasync, 64 events a time", None),
        cycle_disk.figure("disk: append + fdatasync, 512 events with attempts a time", None),
    ];
    say("durable accepts, one client");
    let outbox = open(&options.directory.join("accept"))?;
    let one = accept(&outbox, 1, (options.events / 10).max(50), 0).await?;
    figures.push(one.figure("accept, one client", Some(("disk: append + fdatasync of one event", &alone))));
    say("durable accepts, 64 clients");
    let many = accept(&outbox, CLIENTS, options.events, options.events).await?;
    figures.push(many.figure("accept, 64 clients", Some(("disk: append + fdatasync, 64 events a time", &grouped))));
    outbox.close().await;
    say("full cycles: accept, begin, settle with the attempt's record, each durable");
    let outbox = open(&options.directory.join("cycle"))?;
    let cycles = cycle(&outbox, options.events).await?;
    outbox.close().await;
    let beside = ("disk: append + fdatasync, 512 events with attempts a time", &cycle_disk);
    figures.push(cycles.figure("full cycle, 512 at once", Some(beside)));
    say("isolation: 49 affiliates without and with one that hangs on 20,000 deliveries");
    figures.extend(isolation::run(&options.directory, options.events).await?);
    Ok(figures)
}

/// So many in so long.
#[derive(Debug)]
struct Measured {
    count: usize,
    took: Duration,
    p50: Option<Duration>,
}

impl Measured {
    fn per_second(&self) -> f64 {
        // A count of a benchmark is far below 2^52.
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let count = self.count as f64;
        count / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn figure(&self, name: &'static str, baseline: Option<(&'static str, &Self)>) -> Figure {
        Figure {
            name,
            per_second: self.per_second(),
            p50_us: self.p50.map(|p50| p50.as_secs_f64() * 1e6),
            baseline: baseline.map(|(name, _)| name),
            ratio: baseline.map(|(_, other)| match (self.p50, other.p50) {
                (Some(mine), Some(theirs)) => theirs.as_secs_f64() / mine.as_secs_f64().max(f64::EPSILON),
                _ => self.per_second() / other.per_second(),
            }),
        }
    }
}

fn median(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// Appends `events` times `bytes`, with an `fdatasync` behind each `group` of them.
fn append(directory: &Path, bytes: usize, group: usize, events: usize) -> Result<Measured, BenchError> {
    let path = directory.join("baseline");
    let failed = |source| BenchError::Disk { path: path.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut file = File::create(&path).map_err(failed)?;
    let block = vec![0x5a_u8; bytes * group];
    let rounds = (events / group).max(1);
    let mut times = Vec::with_capacity(rounds);
    let started = monotonic();
    for _ in 0..rounds {
        let begun = monotonic();
        file.write_all(&block).and_then(|()| file.sync_data()).map_err(failed)?;
        times.push(monotonic().duration_since(begun));
    }
    let took = monotonic().duration_since(started);
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(Measured { count: rounds * group, took, p50: median(times).filter(|_| group == 1) })
}

fn open(path: &Path) -> Result<Outbox, BenchError> {
    let engine = SledEngine::open(path, 256 << 20)?;
    Ok(Outbox::open(Arc::new(engine), Options { clock: Arc::new(SystemClock), keep_free: None, observer: None })?)
}

async fn accept(outbox: &Outbox, clients: usize, events: usize, first: usize) -> Result<Measured, BenchError> {
    let each = (events / clients).max(1);
    let mut tasks = JoinSet::new();
    let started = monotonic();
    for client in 0..clients {
        let outbox = outbox.clone();
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(each);
            for number in 0..each {
                let begun = monotonic();
                accept_one(&outbox, first + client * each + number).await?;
                times.push(monotonic().duration_since(begun));
            }
            Ok::<_, BenchError>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.map_err(|error| BenchError::Event(error.to_string()))??);
    }
    Ok(Measured { count: times.len(), took: monotonic().duration_since(started), p50: median(times) })
}

async fn cycle(outbox: &Outbox, events: usize) -> Result<Measured, BenchError> {
    let each = (events / CYCLES_AT_ONCE).max(1);
    let mut tasks = JoinSet::new();
    let started = monotonic();
    for client in 0..CYCLES_AT_ONCE {
        let outbox = outbox.clone();
        tasks.spawn(async move {
            for number in 0..each {
                let id = accept_one(&outbox, client * each + number).await?;
                let Some(lease) = outbox.begin(id)?.leased() else {
                    return Err(BenchError::Event(format!("{id} is not scheduled")));
                };
                let attempt = attempt();
                let conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
                let at = SystemClock.now();
                outbox.settle(Settlement { lease, attempt, conclusion, at, pause: None }).await?;
                // Nobody dispatches here: what arrives is not waited for.
                drop(outbox.arrivals().take());
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| BenchError::Event(error.to_string()))??;
    }
    Ok(Measured { count: each * CYCLES_AT_ONCE, took: monotonic().duration_since(started), p50: None })
}

async fn accept_one(outbox: &Outbox, number: usize) -> Result<DeliveryId, BenchError> {
    let answers = outbox.accept(vec![request(number)?]).await?;
    match answers.into_iter().next() {
        Some(Ok(Ingested::Accepted(accepted))) => {
            accepted.deliveries.first().copied().ok_or_else(|| BenchError::Event("it was not planned".into()))
        }
        Some(Err(error)) => Err(error.into()),
        other => Err(BenchError::Event(format!("it was not accepted: {other:?}"))),
    }
}

fn request(number: usize) -> Result<AcceptRequest, BenchError> {
    let affiliate = format!("affiliate-{}", number % 50);
    let postback = PostbackRef { affiliate: affiliate.parse()?, postback: "conversion".parse()? };
    Ok(AcceptRequest {
        event: event(number, &affiliate)?,
        occurred_at_given: true,
        click_dedupe: None,
        plan: vec![PlannedDelivery { postback, lane: None, order: OrderPolicy::default() }],
        source: "bench".into(),
    })
}

/// An event of about 550 bytes of JSON, as backends send them.
fn event(number: usize, affiliate: &str) -> Result<Event, BenchError> {
    let text = |name: &str, value: String| (name.to_owned(), value);
    Ok(Event {
        transaction_id: format!("dep-{number:012}").parse()?,
        transaction_given: true,
        kind: "ftd".parse()?,
        affiliate_id: affiliate.parse()?,
        click_id: Some(format!("w7KJ9X2PQ8LM4N6R{number:016x}").parse()?),
        offer_id: Some("welcome-100".parse()?),
        status: Status::Approved,
        occurred_at: Timestamp::UNIX_EPOCH,
        payout: Some(Amount::parse("120.00")?),
        revenue: Some(Amount::parse("100.00")?),
        currency: Some(Currency::parse("EUR")?),
        sub_ids: [text("sub1", "banner-3".into()), text("sub2", format!("campaign-{}", number % 100))].into(),
        reverses: None,
        params: std::collections::BTreeMap::new(),
    })
}

/// An attempt's record of about 1.2 kB, as receivers' answers make them.
fn attempt() -> AttemptRecord {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    AttemptRecord {
        number: 1,
        started_at: SystemClock.now(),
        request: Some(RecordedRequest {
            method: "GET".into(),
            url: format!("https://track.acme.example/postback?{}", "cid=w7KJ9X2PQ8LM4N6R0000&payout=120.00&".repeat(8)),
            headers: vec![header("user-agent", "postbackd")],
            body: String::new(),
        }),
        digest: Some([7; 32]),
        response: Some(RecordedResponse {
            status: 200,
            headers: vec![
                header("content-type", "text/plain"),
                header("server", "nginx"),
                header("date", &"d".repeat(29)),
            ],
            body: "success=true; ".repeat(50),
            body_bytes: 700,
            truncated: false,
        }),
        timings: Timings::default(),
        remote: Some("203.0.113.7:443".into()),
        outcome: Outcome::Delivered,
        rule: "default: 2xx".into(),
        error: None,
    }
}

/// Bytes of an event and of an attempt as the outbox writes them: what the baselines append.
struct SampleBytes {
    event: usize,
    attempt: usize,
}

fn sample_bytes() -> Result<SampleBytes, BenchError> {
    let length = |bytes: Result<Vec<u8>, postcard::Error>| {
        bytes.map(|bytes| bytes.len()).map_err(|error| BenchError::Event(error.to_string()))
    };
    let event = length(postcard::to_stdvec(&event(1, "affiliate-1")?))?;
    let attempt = length(postcard::to_stdvec(&attempt()))?;
    Ok(SampleBytes { event, attempt })
}
