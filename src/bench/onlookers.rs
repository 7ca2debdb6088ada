//! Do those who look slow the flow down? The same flow with and without the commands of on-call, in turns, over one store.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::sample::request;
use super::server::{self, Setup};
use super::stored::{self, accepted};
use super::{BenchError, BenchOptions, failed};
use crate::app::Daemon;
use crate::config;
use crate::domain::event::Event;
use crate::domain::id::DeliveryId;
use crate::ops::clock::{Clock as _, SystemClock, monotonic};
use crate::outbox::Outbox;

/// One of so many stored deliveries is a dead letter.
const A_DEAD_LETTER: usize = 50;
/// How long the flow is watched each time.
const WINDOW: Duration = Duration::from_secs(25);
/// How often a window is measured without and with onlookers.
const TURNS: usize = 2;
/// The report of the affiliate whose conversions are reconciled.
const REPORT: &str = "report.csv";
/// Exits of a command that did what it was asked for: reconcile ends with 6 where it finds differences.
const DONE: [i32; 2] = [0, 6];
/// How often the flow hands events over.
const TICK: Duration = Duration::from_millis(20);
/// Longest that the last deliveries of a window are waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the flow was like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Flow {
    /// Events delivered a second, from the first one handed over to the last one settled.
    pub per_second: f64,
    /// Milliseconds from acceptance until the outcome was written down: the median.
    pub p50_ms: f64,
    /// The same of the slowest hundredth.
    pub p99_ms: f64,
}

/// What came of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Looking {
    /// Events in the store before.
    pub stored: usize,
    /// Events a second that were handed over.
    pub offered: usize,
    /// The flow of each window alone, and with onlookers, in turns.
    pub turns: Vec<(Flow, Flow)>,
    /// The rate with onlookers by that without, over all turns.
    pub ratio: f64,
    /// What each command took in milliseconds: how often it ran, its median and its slowest run.
    pub commands: BTreeMap<String, (usize, f64, f64)>,
}

/// Fills a store, lets events flow, and has commands look at it.
///
/// # Errors
/// When the daemon, the receiver, the disk or a command fails.
pub async fn run(
    options: &BenchOptions,
    events: usize,
    rate: usize,
    say: &dyn Fn(&str),
) -> Result<Looking, BenchError> {
    let (directory, engine) = (options.directory.as_path(), options.engine);
    let receiver = server::receiver().await?;
    let path = Setup { socket: true, ..Setup::of(engine) }.write(directory, &receiver)?;
    say("filling the store");
    let outbox = super::open(&directory.join("outbox"), engine)?;
    stored::fill(&outbox, 0..events, Some(A_DEAD_LETTER)).await?;
    outbox.close().await;
    let settings = config::load(&path).map_err(failed)?.settings;
    let daemon = Daemon::start(settings, Some(path.clone())).await.map_err(failed)?;
    write_report(&directory.join(REPORT), events).map_err(failed)?;
    let mut flowing = Flowing { outbox: daemon.outbox().clone(), next: events, rate };
    flowing.window().await?; // warms up
    let (mut turns, mut times) = (Vec::new(), BTreeMap::new());
    for turn in 1..=TURNS {
        say(&format!("turn {turn} of {TURNS}: the flow alone, then with commands"));
        let alone = flowing.window().await?;
        let commands = commands(&path, &flowing.outbox, flowing.next);
        // Each turn begins with others: some take longer than a window.
        let first = commands.len() * (turn - 1) / TURNS;
        let looking = Onlookers::start(&path, commands, first);
        let watched = flowing.window().await;
        looking.stop(&mut times)?;
        turns.push((alone, watched?));
    }
    receiver.stop().await;
    daemon.stop().await;
    let sum = |of: fn(&(Flow, Flow)) -> f64| turns.iter().map(of).sum::<f64>();
    let ratio = sum(|turn| turn.1.per_second) / sum(|turn| turn.0.per_second);
    let commands = times.into_iter().map(|(command, times)| (command, summary(times))).collect();
    Ok(Looking { stored: events, offered: rate, turns, ratio, commands })
}

/// A report of what was stored of one affiliate, as it would make it; one in a hundred is missing.
fn write_report(path: &Path, events: usize) -> std::io::Result<()> {
    let mut report = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(report, "tx,payout,cur")?;
    for number in (7..events).step_by(50).filter(|number| number % 5_000 != 7) {
        writeln!(report, "dep-{number:012},120.00,EUR")?;
    }
    report.flush()
}

/// Events that are handed over at a steady rate, whether the last ones were delivered or not.
struct Flowing {
    outbox: Outbox,
    next: usize,
    rate: usize,
}

impl Flowing {
    async fn window(&mut self) -> Result<Flow, BenchError> {
        let mut ids: Vec<DeliveryId> = Vec::new();
        let began = SystemClock.now();
        let started = monotonic();
        let mut ticks = tokio::time::interval(TICK);
        while monotonic().duration_since(started) < WINDOW {
            ticks.tick().await;
            let passed = monotonic().duration_since(started).as_millis();
            let due = usize::try_from(passed).unwrap_or(usize::MAX).saturating_mul(self.rate) / 1_000;
            let count = due.saturating_sub(ids.len());
            let requests = (self.next..self.next + count).map(fresh).collect::<Result<Vec<_>, _>>()?;
            self.next += count;
            ids.extend(accepted(self.outbox.accept(requests).await?)?);
        }
        self.settled(&ids, began).await
    }

    /// How long each took, once the last one is settled.
    async fn settled(&self, ids: &[DeliveryId], began: Timestamp) -> Result<Flow, BenchError> {
        let until = monotonic() + PATIENCE;
        let (mut times, mut last) = (Vec::with_capacity(ids.len()), began);
        for id in ids {
            let view = loop {
                let view = self.outbox.reader().delivery(*id)?.ok_or_else(|| failed("a delivery is gone"))?;
                if view.delivery.state.kind().is_settled() {
                    break view;
                }
                if monotonic() > until {
                    return Err(failed(format!("{id} was not delivered in time")));
                }
                tokio::time::sleep(TICK).await;
            };
            let accepted = Timestamp::from_microsecond(id.event.as_u64().cast_signed()).map_err(failed)?;
            times.push(view.changed_at.duration_since(accepted).as_secs_f64() * 1_000.0);
            last = last.max(view.changed_at);
        }
        times.sort_by(f64::total_cmp);
        let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied().unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let per_second = times.len() as f64 / last.duration_since(began).as_secs_f64().max(f64::EPSILON);
        Ok(Flow { per_second, p50_ms: at(50), p99_ms: at(99) })
    }
}

fn fresh(number: usize) -> Result<crate::outbox::AcceptRequest, BenchError> {
    let request = request(number)?;
    let transaction_id = format!("flow-{number}").parse()?;
    Ok(crate::outbox::AcceptRequest { event: Event { transaction_id, ..request.event }, ..request })
}

/// Runs the commands of on-call one after the other, as processes of their own, until it is told to stop.
struct Onlookers {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Vec<(String, Duration)>, BenchError>>,
}

impl Onlookers {
    fn start(config: &Path, commands: Vec<Vec<String>>, first: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, config) = (Arc::clone(&stop), config.to_path_buf());
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            for command in commands.iter().cycle().skip(first) {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                times.push((command.join(" "), look(&config, command)?));
            }
            Ok(times)
        });
        Self { stop, thread }
    }

    fn stop(self, all: &mut BTreeMap<String, Vec<Duration>>) -> Result<(), BenchError> {
        self.stop.store(true, Ordering::SeqCst);
        let times = self.thread.join().map_err(|_| failed("looking panicked"))??;
        for (command, took) in times {
            all.entry(command).or_default().push(took);
        }
        Ok(())
    }
}

fn look(config: &Path, command: &[String]) -> Result<Duration, BenchError> {
    let begun = monotonic();
    let program = std::env::current_exe().map_err(failed)?;
    let mut process = Command::new(program);
    process.arg("--config").arg(config).args(command).stdin(Stdio::null()).stdout(Stdio::null());
    let finished = process.stderr(Stdio::piped()).output().map_err(failed)?;
    if !finished.status.code().is_some_and(|code| DONE.contains(&code)) {
        let said = String::from_utf8_lossy(&finished.stderr).into_owned();
        return Err(failed(format!("postbackd {}: {said}", command.join(" "))));
    }
    Ok(monotonic().duration_since(begun))
}

/// What somebody on call types: about the newest, about one conversion, about everything.
fn commands(config: &Path, outbox: &Outbox, next: usize) -> Vec<Vec<String>> {
    let directory: PathBuf = config.parent().map(Path::to_path_buf).unwrap_or_default();
    let file = directory.join("export.csv").display().to_string();
    let newest = outbox.reader().deliveries(crate::outbox::Scan::Newest, None).find_map(Result::ok);
    let newest = newest.map(|(id, _)| id.to_string()).unwrap_or_default();
    let middle = format!("dep-{:012}", next / 2);
    let (report, map) =
        (directory.join(REPORT), "--affiliate affiliate-7 --map transaction_id=tx,amount=payout,currency=cur");
    let typed = [
        format!("reconcile {map} --report {} --since 1d --until 2099-01-01 --json", report.display()),
        "stats".to_owned(),
        "list --limit 50".to_owned(),
        "list --affiliate affiliate-7 --state dead --limit 50".to_owned(),
        "list --since 1m --http-status 200 --limit 1000".to_owned(),
        "list --since 10m --text no-such-words --limit 50".to_owned(),
        "dead list --group".to_owned(),
        "dead replay --affiliate affiliate-7 --dry-run".to_owned(),
        "affiliate list".to_owned(),
        "orders list".to_owned(),
        format!("trace {middle}"),
        format!("show {newest}"),
        format!("export deliveries --by accepted --yes --out {file}"),
        format!("export deliveries --affiliate affiliate-7 --since 30s --by accepted --yes --out {file}"),
    ];
    typed.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn summary(mut times: Vec<Duration>) -> (usize, f64, f64) {
    times.sort_unstable();
    let millis = |took: Option<&Duration>| took.map_or(0.0, |took| took.as_secs_f64() * 1_000.0);
    (times.len(), millis(times.get(times.len() / 2)), millis(times.last()))
}
