//! What one event costs the processor: taking it in, and sending it with its outcome written down. By threads.

use std::collections::BTreeMap;
use std::time::Duration;

use super::child::Child;
use super::client::Load;
use super::figure::{Figure, Series, Unit, number};
use super::server;
use super::{BenchError, BenchOptions, failed};

/// Threads that took less than this part of a stage are told together.
const LEAST_PART: f64 = 0.05;

/// Measures a daemon in a process of its own, so that clients and receivers do not count.
///
/// # Errors
/// When the daemon, the receiver or a client fails.
pub(super) async fn run(options: &BenchOptions, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    say("processor time of an event, by stage and thread");
    let directory = options.directory.join("stages");
    let affiliates = options.affiliates;
    let receiver = server::receiver().await?;
    let config = options.setup().write(&directory, &receiver)?;
    let outbox = super::open(&directory.join("outbox"), options.engine)?;
    server::pause(&outbox, affiliates).await?;
    outbox.close().await;
    let child = Child::start(&config).await?;
    let load = Load { clients: 64, batch: 1, events: options.events, first: 0, first_affiliate: 0, affiliates };
    let before = child.cpu()?;
    load.run(child.address).await?;
    let taken = child.cpu()?;
    let batches = Load { clients: 16, batch: 100, first: load.count(), ..load };
    batches.run(child.address).await?;
    let in_batches = child.cpu()?;
    for affiliate in 0..affiliates {
        child.resume(affiliate).await?;
    }
    let count = load.count() + batches.count();
    child.settled(&receiver, 0, count).await?;
    let sent = child.cpu()?;
    child.stop().await?;
    receiver.stop().await;
    let mut figures = stage("accept, single events", &before, &taken, load.count());
    figures.extend(stage("accept, batches of 100", &taken, &in_batches, batches.count()));
    figures.extend(stage("dispatch + settle", &in_batches, &sent, count));
    if figures.is_empty() { Err(failed("the kernel does not tell processor times")) } else { Ok(figures) }
}

/// The stage as a whole, and the threads that took most of it.
fn stage(
    name: &str,
    before: &BTreeMap<String, Duration>,
    after: &BTreeMap<String, Duration>,
    events: usize,
) -> Vec<Figure> {
    let of_event = |time: Duration| time.as_secs_f64() * 1e6 / number(events);
    let spent = |thread: &str| {
        let (before, after) = (before.get(thread).copied(), after.get(thread).copied());
        after.unwrap_or_default().saturating_sub(before.unwrap_or_default())
    };
    let all = of_event(after.keys().map(|thread| spent(thread)).sum());
    let mut threads: Vec<(&String, f64)> = after.keys().map(|thread| (thread, of_event(spent(thread)))).collect();
    threads.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let most = threads.into_iter().filter(|(_, time)| *time >= all * LEAST_PART);
    let whole = Series::once(format!("CPU an event, {name}"), Unit::Micros, all);
    let of_threads = most.map(|(thread, time)| {
        Series::once(format!("CPU an event, {name}: {thread}"), Unit::Micros, time).beside(&whole, None)
    });
    std::iter::once(whole.figure(None)).chain(of_threads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_counts_what_was_spent_in_it_also_by_threads_that_are_new() {
        let times = |all: &[(&str, u64)]| {
            all.iter().map(|(name, micros)| ((*name).to_owned(), Duration::from_micros(*micros))).collect()
        };
        let before = times(&[("build", 1_000), ("sync", 500)]);
        let after = times(&[("build", 2_000), ("sync", 501), ("worker", 3_000)]);
        let figures = stage("x", &before, &after, 100);
        let told: Vec<String> = figures.iter().map(|figure| format!("{} {:.0}", figure.name, figure.value)).collect();
        assert_eq!(told, ["CPU an event, x 40", "CPU an event, x: worker 30", "CPU an event, x: build 10"]);
    }
}
