//! From an event handed in over HTTP to its signed request received and its outcome durable, beside a bare loop that sends
//! the same requests to the same receiver.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::client::Load;
use super::figure::{Figure, Measured, Series, Unit};
use super::server::{self, Served};
use super::{BenchError, BenchOptions, disk, failed, sample};
use crate::ops::clock::monotonic;
use crate::receiver::Receiver;
use crate::transport::api_client;

/// Clients at once, and events of a request.
const SHAPES: [(usize, usize); 2] = [(64, 1), (16, 100)];
/// Requests at once of which the bare loop takes the number that it is fastest with.
const BARE_AT_ONCE: [usize; 4] = [16, 64, 128, 256];
/// Requests by which that is found out.
const TRIAL: usize = 2_000;
/// Records that wait for a sync of the bare loop.
const MAX_WAITING: usize = 1_024;

/// Takes the figures of the whole way.
///
/// # Errors
/// When the daemon, the receiver, a client or the disk fails.
pub(super) async fn run(options: &BenchOptions, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    say("the whole way: handed in over HTTP, received, settled");
    let served = Served::start(&options.directory.join("whole-way"), options.setup(), None).await?;
    let bare = Bare::new(&served.receiver)?;
    let at_once = bare.fastest(options.events.min(TRIAL)).await?;
    let rate = |name: String| Series::new(name, Unit::PerSecond);
    let mut sending = rate(format!("bare reqwest loop, {at_once} at once"));
    let mut keeping = rate(format!("bare reqwest loop, {at_once} at once, one fdatasync a group"));
    let mut whole_way = SHAPES.map(|(clients, batch)| {
        let shape = if batch == 1 { "single events".to_owned() } else { format!("batches of {batch}") };
        (rate(format!("the whole way, {clients} clients, {shape}")), clients, batch)
    });
    for _ in 0..options.turns {
        served.receiver.start_over();
        sending.push(bare.send(options.events, at_once).await?.per_second());
        let received = served.receiver.ledger().accepted_requests;
        if received != options.events as u64 {
            return Err(failed(format!("the bare loop reached the receiver {received} times")));
        }
        for (series, clients, batch) in &mut whole_way {
            let load = Load {
                clients: *clients,
                batch: *batch,
                events: options.events,
                first: 0,
                first_affiliate: 0,
                affiliates: options.affiliates,
            };
            series.push(once(&served, load).await?.per_second());
        }
        keeping.push(bare.send_and_keep(&options.directory, options.events, at_once).await?.per_second());
    }
    served.stop().await;
    let mut figures = Vec::new();
    for (series, _, batch) in &whole_way {
        figures.push(series.beside(&sending, Some(options.targets().whole_way(*batch))));
        figures.push(series.beside(&keeping, None));
    }
    Ok(figures)
}

/// Hands events in, and waits until all of them are received and settled.
pub(super) async fn once(served: &Served, load: Load) -> Result<Measured, BenchError> {
    served.receiver.start_over();
    let load = Load { first: served.numbers(load.count()), ..load };
    let started = monotonic();
    load.run(served.address).await?;
    served.settled(load.count() as u64).await?;
    Ok(Measured { count: load.count(), took: monotonic().duration_since(started), times: Vec::new() })
}

/// Sends requests as an affiliate's postbacks are, without an event, a store or a plan.
#[derive(Debug, Clone)]
pub(super) struct Bare {
    client: reqwest::Client,
    base: String,
}

impl Bare {
    pub(super) fn new(receiver: &Receiver) -> Result<Self, BenchError> {
        let client = api_client().map_err(failed)?.build().map_err(failed)?;
        Ok(Self { client, base: format!("http://{}", receiver.address()) })
    }

    /// Sends one request and reads its answer.
    pub(super) async fn one(&self, number: usize) -> Result<(), BenchError> {
        let url = format!("{}{}", self.base, server::bare_path(number));
        let response = self.client.get(url).send().await.map_err(failed)?;
        if response.status() != 200 {
            return Err(failed(format!("the receiver answered {}", response.status())));
        }
        response.bytes().await.map(drop).map_err(failed)
    }

    /// Round trips one after the other; the times are theirs.
    pub(super) async fn round_trips(&self, count: usize) -> Result<Measured, BenchError> {
        let mut times = Vec::with_capacity(count);
        let started = monotonic();
        for number in 0..count {
            let begun = monotonic();
            self.one(number).await?;
            times.push(monotonic().duration_since(begun));
        }
        Ok(Measured { count, took: monotonic().duration_since(started), times })
    }

    /// How many at once it is fastest with: a baseline is the best that it can be.
    async fn fastest(&self, events: usize) -> Result<usize, BenchError> {
        let mut best = (0.0, 1);
        self.send(events, 64).await?; // warms up
        for at_once in BARE_AT_ONCE {
            let rate = self.send(events, at_once).await?.per_second();
            if rate > best.0 {
                best = (rate, at_once);
            }
        }
        Ok(best.1)
    }

    /// Sends so many requests, so many at once.
    async fn send(&self, events: usize, at_once: usize) -> Result<Measured, BenchError> {
        self.each(events, at_once, |_| async { Ok(()) }).await
    }

    /// The same, with each outcome appended to a file and synced before the next request: one sync for all that wait.
    async fn send_and_keep(&self, directory: &Path, events: usize, at_once: usize) -> Result<Measured, BenchError> {
        let kept = sample::json(&sample::transaction(1), 1, 1).len() + sample::bytes(&sample::attempt())?;
        let (records, waiting) = mpsc::channel::<oneshot::Sender<()>>(MAX_WAITING);
        let file = disk::Appending::create(directory)?;
        let writer = tokio::task::spawn_blocking(move || keep(file, kept, waiting));
        let measured = self
            .each(events, at_once, move |_| {
                let records = records.clone();
                async move {
                    let (done, synced) = oneshot::channel();
                    records.send(done).await.map_err(failed)?;
                    synced.await.map_err(failed)
                }
            })
            .await?;
        writer.await.map_err(failed)??;
        Ok(measured)
    }

    async fn each<F>(
        &self,
        events: usize,
        at_once: usize,
        then: impl Fn(usize) -> F + Clone + Send + 'static,
    ) -> Result<Measured, BenchError>
    where
        F: Future<Output = Result<(), BenchError>> + Send,
    {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let started = monotonic();
        for _ in 0..at_once {
            let (bare, next, then) = (self.clone(), Arc::clone(&next), then.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= events {
                        return Ok::<_, BenchError>(());
                    }
                    bare.one(number).await?;
                    then(number).await?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(failed)??;
        }
        Ok(Measured { count: events, took: monotonic().duration_since(started), times: Vec::<Duration>::new() })
    }
}

/// Appends what waits and syncs it, until nobody is left.
fn keep(
    mut file: disk::Appending,
    bytes: usize,
    mut waiting: mpsc::Receiver<oneshot::Sender<()>>,
) -> Result<(), BenchError> {
    let mut group = Vec::with_capacity(MAX_WAITING);
    while waiting.blocking_recv_many(&mut group, MAX_WAITING) > 0 {
        file.append(bytes * group.len())?;
        for done in group.drain(..) {
            // Whoever does not wait any more has failed, and tells so itself.
            let _ = done.send(());
        }
    }
    Ok(())
}
