//! A daemon with a large backlog: its memory, its place on disk, how long it takes to start, and whether it still works
//! as fast as over an empty store.

use std::path::Path;
use std::time::{Duration, Instant};

use super::child::Child;
use super::client::Load;
use super::figure::{Figure, Series, Target, Unit, number};
use super::sample::{self, AFFILIATES};
use super::server::{self, Setup};
use super::{BenchError, BenchOptions, cycle, failed, stored};
use crate::ops::clock::{Clock as _, SystemClock, monotonic};
use crate::outbox::{Outbox, Pause};
use crate::receiver::Receiver;

/// Affiliates whose deliveries are pending, since they are paused; the others take part in the work.
const PENDING: usize = AFFILIATES / 2;
/// Events handed over at a time, and callers that do so.
const BATCH: usize = 500;
const FILLERS: usize = 8;
/// How long a store that has just been opened is given to read what it keeps in memory: enough for some millions of events.
const WARMING: Duration = Duration::from_secs(5);
/// How often it is told how far the filling is.
const TOLD: usize = 500_000;

/// Takes the figures of a backlog of so many deliveries.
///
/// # Errors
/// When a daemon, the receiver, a client or the disk fails.
pub(super) async fn run(options: &BenchOptions, pending: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    let receiver = server::receiver().await?;
    let setup = Setup::of(options.engine);
    let (empty, full) = (options.directory.join("empty"), options.directory.join("full"));
    let configs = [setup.write(&empty, &receiver)?, setup.write(&full, &receiver)?];
    let mut figures = fill_up(options, &full.join("outbox"), pending, say).await?;
    say("starting daemons over both, and letting both work");
    let [empty_config, full_config] = &configs;
    let (idle, loaded) = (Child::start(empty_config).await?, Child::start(full_config).await?);
    let targets = options.targets();
    let (fast, little, soon) = (targets.speed(pending), targets.memory(pending), targets.start(pending));
    let told = |what: &str| format!("{pending} pending: {what}");
    let size = |what: &str, bytes: f64, target| Series::once(told(what), Unit::Bytes, bytes).figure(target);
    let seconds = |what: &str, child: &Child| Series::once(told(what), Unit::Seconds, child.ready_after.as_secs_f64());
    // The engine has all of the filling to look through, as where it was killed in the middle of it.
    figures.push(seconds("ready at the first start behind the filling", &loaded).figure(soon));
    figures.push(size("memory once ready", loaded.resident_bytes()?, None));
    figures.extend(whole_way(options, pending, &receiver, [&idle, &loaded]).await?.figures(fast));
    figures.push(size("memory after that work", loaded.resident_bytes()?, little));
    say("killing the daemon, and starting it again");
    loaded.kill()?;
    let again = Child::start(full_config).await?;
    figures.push(seconds("ready after kill -9", &again).figure(soon));
    figures.push(size("memory after kill -9", again.resident_bytes()?, little));
    again.stop().await?;
    idle.stop().await?;
    receiver.stop().await;
    say("full cycles through the port, over both");
    figures.extend(cycles(options, pending, &empty, &full).await?.figures(fast));
    Ok(figures)
}

/// A figure of the full store and of the empty one: just opened, while both read what they keep in memory, and behind that.
struct Both {
    cold: [Series; 2],
    warm: [Series; 2],
    opened: Instant,
    turns_left: usize,
}

impl Both {
    fn new(what: &str, pending: usize, turns: usize) -> Self {
        let series = |what: &str| {
            [format!("empty store: {what}"), format!("{pending} pending: {what}")]
                .map(|name| Series::new(name, Unit::PerSecond))
        };
        let cold = series(&format!("{what}, just opened"));
        Self { cold, warm: series(what), opened: monotonic(), turns_left: turns }
    }

    /// The series of the next turn, of the empty store and of the full one; none once there were enough.
    fn turn(&mut self) -> Option<&mut [Series; 2]> {
        if monotonic().duration_since(self.opened) < WARMING {
            return Some(&mut self.cold);
        }
        self.turns_left = self.turns_left.checked_sub(1)?;
        Some(&mut self.warm)
    }

    fn figures(&self, target: Option<Target>) -> [Figure; 2] {
        let beside = |[empty, full]: &[Series; 2], target| full.beside(empty, target);
        [beside(&self.cold, None), beside(&self.warm, target)]
    }
}

async fn whole_way(
    options: &BenchOptions,
    pending: usize,
    receiver: &Receiver,
    [empty_daemon, full_daemon]: [&Child; 2],
) -> Result<Both, BenchError> {
    let mut both = Both::new("the whole way, batches of 100", pending, options.turns);
    let affiliates = AFFILIATES - PENDING;
    let mut load =
        Load { clients: 16, batch: 100, events: options.events, first: pending, first_affiliate: PENDING, affiliates };
    while let Some([empty, full]) = both.turn() {
        empty.push(empty_daemon.whole_way(receiver, load).await?.per_second());
        full.push(full_daemon.whole_way(receiver, load).await?.per_second());
        load.first += load.count();
    }
    Ok(both)
}

async fn cycles(options: &BenchOptions, pending: usize, empty: &Path, full: &Path) -> Result<Both, BenchError> {
    let empty_store = super::open(&empty.join("outbox"), options.engine)?;
    let full_store = super::open(&full.join("outbox"), options.engine)?;
    let mut both = Both::new("full cycles through the port", pending, options.turns);
    // Far behind the numbers of everything else.
    let mut first = 1_000_000_000;
    while let Some([empty, full]) = both.turn() {
        empty.push(cycle::through_port(&empty_store, options.events, first).await?.per_second());
        full.push(cycle::through_port(&full_store, options.events, first).await?.per_second());
        first += options.events;
    }
    empty_store.close().await;
    full_store.close().await;
    Ok(both)
}

/// Fills a store with events of paused postbacks.
async fn fill_up(
    options: &BenchOptions,
    path: &Path,
    pending: usize,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, BenchError> {
    let outbox = super::open(path, options.engine)?;
    for affiliate in 0..PENDING {
        let pause = Pause { at: SystemClock.now(), by: "bench".into(), reason: "a backlog".into() };
        outbox.pause(sample::postback(&sample::affiliate(affiliate))?, Some(pause)).await?;
    }
    let started = monotonic();
    for first in (0..pending).step_by(TOLD) {
        say(&format!("filling the store: {first} of {pending}"));
        fill(&outbox, first, pending.min(first + TOLD)).await?;
    }
    let rate = number(pending) / monotonic().duration_since(started).as_secs_f64();
    let disk = outbox.reader().disk_bytes()?;
    outbox.close().await;
    #[allow(clippy::cast_precision_loss, reason = "sizes of a benchmark stay far below 2^52")]
    let each = disk as f64 / number(pending);
    Ok(vec![
        Series::once(format!("{pending} pending: accepted through the port until then"), Unit::PerSecond, rate)
            .figure(None),
        Series::once(format!("{pending} pending: on disk, each"), Unit::Bytes, each).figure(None),
    ])
}

async fn fill(outbox: &Outbox, first: usize, end: usize) -> Result<(), BenchError> {
    let mut tasks = tokio::task::JoinSet::new();
    for filler in 0..FILLERS {
        let outbox = outbox.clone();
        tasks.spawn(async move {
            for first in (first..end).step_by(BATCH).skip(filler).step_by(FILLERS) {
                let numbers = first..end.min(first + BATCH);
                let requests =
                    numbers.map(|number| sample::request_of(&sample::transaction(number), number, number % PENDING));
                let requests = requests.collect::<Result<Vec<_>, _>>()?;
                stored::accepted(outbox.accept(requests).await?)?;
                // Nobody dispatches here: what arrives is not waited for.
                drop(outbox.arrivals().take());
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(failed)??;
    }
    Ok(())
}
