//! Durable accepts over HTTP, beside the disk, beside the same server when nothing is stored, and beside the port.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::client::Load;
use super::discard::Discard;
use super::figure::{Figure, Measured, Series, Unit};
use super::server::Served;
use super::targets::Targets;
use super::{BenchError, BenchOptions, disk, failed, sample, stored};
use crate::ops::clock::monotonic;
use crate::outbox::{Outbox, OutboxError};

/// Clients at once, and events of a request.
const SHAPES: [(usize, usize); 6] = [(1, 1), (64, 1), (1_024, 1), (1, 100), (64, 100), (1_024, 100)];
/// Events above which a shape is measured once only.
const ONCE: usize = 100_000;
/// Most events of one group of the disk's baseline: about as many as the outbox commits at once.
const MOST_IN_GROUP: usize = 2_048;

/// Takes the figures of ingest.
///
/// # Errors
/// When the daemon, a client or the disk fails.
pub(super) async fn run(options: &BenchOptions, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    let directory = &options.directory;
    let setup = options.setup();
    let storing = Served::start(&directory.join("storing"), setup, None).await?;
    let twin = Served::start(&directory.join("twin"), setup, Some(Arc::new(Discard))).await?;
    storing.pause().await?;
    twin.pause().await?;
    let port = super::open(&directory.join("port"), options.engine)?;
    let mut figures = Vec::new();
    for (clients, batch) in SHAPES {
        let load = Load {
            clients,
            batch,
            events: options.events_for(clients, batch),
            first: 0,
            first_affiliate: 0,
            affiliates: options.affiliates,
        };
        say(&format!("accepts over HTTP: {}", shown(load)));
        let turns = if load.count() > ONCE { 1 } else { options.turns };
        let mut compared = Compared::new(load);
        for _ in 0..turns {
            compared.turn(directory, &storing, &twin, &port).await?;
        }
        compared.figures(options.targets(), &mut figures);
    }
    port.close().await;
    storing.stop().await;
    twin.stop().await;
    Ok(figures)
}

fn shown(load: Load) -> String {
    let Load { clients, batch, .. } = load;
    let clients = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
    if batch == 1 { clients } else { format!("{clients}, batches of {batch}") }
}

/// One shape of load, measured on everything it is compared with.
struct Compared {
    load: Load,
    http: Series,
    twin: Series,
    disk: Series,
    port: Series,
    http_p50: Series,
    disk_p50: Series,
}

impl Compared {
    fn new(load: Load) -> Self {
        let shown = shown(load);
        let group = (load.clients * load.batch).min(MOST_IN_GROUP);
        let rate = |name: String| Series::new(name, Unit::PerSecond);
        let time = |name: String| Series::new(name, Unit::Micros);
        Self {
            load,
            http: rate(format!("accept over HTTP, {shown}")),
            twin: rate("the same, engine that throws writes away".into()),
            disk: rate(format!("append + fdatasync of the same bytes, {group} a time")),
            port: rate("the same through the port, without HTTP".into()),
            http_p50: time(format!("accept over HTTP, {shown}, p50")),
            disk_p50: time("append + fdatasync of the same bytes, p50".into()),
        }
    }

    async fn turn(
        &mut self,
        directory: &Path,
        storing: &Served,
        twin: &Served,
        port: &Outbox,
    ) -> Result<(), BenchError> {
        let load = self.load;
        let bytes = sample::json(&sample::transaction(1), 1, 1).len();
        let group = (load.clients * load.batch).min(MOST_IN_GROUP);
        let mut appended = disk::append(directory, bytes, group, load.count())?;
        self.disk.push(appended.per_second());
        let mut accepted = load_of(load, storing).run(storing.address).await?;
        self.http.push(accepted.per_second());
        self.twin.push(load_of(load, twin).run(twin.address).await?.per_second());
        if load.clients == 1 && load.batch == 1 {
            self.disk_p50.push(appended.within(500));
            self.http_p50.push(accepted.within(500));
        }
        if load.batch > 1 {
            // The numbers of the storing daemon: new to the port's store, too.
            let ported = Load { first: storing.numbers(load.count()), ..load };
            self.port.push(through_port(port, ported).await?.per_second());
        }
        Ok(())
    }

    fn figures(&self, targets: Targets, figures: &mut Vec<Figure>) {
        let Load { clients, batch, .. } = self.load;
        if (clients, batch) == (1, 1) {
            figures.push(self.http_p50.beside(&self.disk_p50, Some(targets.accept_alone())));
        }
        figures.push(self.http.beside(&self.disk, None));
        let singles = ((clients, batch) == (64, 1)).then_some(targets.accept_singles());
        figures.push(self.http.beside(&self.twin, singles));
        if batch > 1 {
            figures.push(self.http.beside(&self.port, Some(targets.accept_batches())));
        }
    }
}

/// The load with numbers that its server has not seen.
fn load_of(load: Load, served: &Served) -> Load {
    Load { first: served.numbers(load.count()), ..load }
}

/// The same events by as many callers of the port.
async fn through_port(outbox: &Outbox, load: Load) -> Result<Measured, BenchError> {
    let mut tasks = JoinSet::new();
    let each = load.count() / load.clients;
    let started = monotonic();
    for client in 0..load.clients {
        let outbox = outbox.clone();
        tasks.spawn(async move {
            let numbers = load.first + client * each..load.first + (client + 1) * each;
            for first in numbers.step_by(load.batch) {
                accept_all(&outbox, first..first + load.batch, load.affiliates).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(failed)??;
    }
    let took = monotonic().duration_since(started);
    // Nobody dispatches here: what arrives is not waited for.
    drop(outbox.arrivals().take());
    Ok(Measured { count: load.count(), took, times: Vec::new() })
}

async fn accept_all(outbox: &Outbox, numbers: std::ops::Range<usize>, affiliates: usize) -> Result<(), BenchError> {
    let request = |number| sample::request_of(&sample::transaction(number), number, number % affiliates);
    loop {
        let requests = numbers.clone().map(request).collect::<Result<Vec<_>, _>>()?;
        match outbox.accept(requests).await {
            // Other callers hold all the room there is: let them finish.
            Err(OutboxError::Overloaded) => outbox.probe().await?,
            answers => return stored::accepted(answers?).map(drop),
        }
    }
}
