//! Do dead affiliates slow the others down? The same steady load, before and after five of fifty hang with all their
//! deliveries due.

use super::figure::{Figure, Series, Unit};
use super::open_loop::OpenLoop;
use super::sample;
use super::server::{Served, Setup};
use super::{BenchError, BenchOptions, stored};

/// Affiliates that hang.
const HANGING: usize = 5;
/// Deliveries due for each of them, where nothing else is asked for.
pub(super) const QUICK_BACKLOG: usize = 4_000;
/// The same, in full.
pub(super) const BACKLOG: usize = 100_000;
/// Events a second for the healthy ones.
const RATE: u32 = 500;
/// Events of a measurement.
const EVENTS: usize = 2_500;
/// Events handed over at a time.
const BATCH: usize = 500;

/// Times the healthy affiliates without and with those that hang.
///
/// # Errors
/// When the daemon, the receiver or a client fails.
pub(super) async fn run(options: &BenchOptions, backlog: usize, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    let healthy = options.affiliates - HANGING;
    let load = OpenLoop { rate: RATE, events: EVENTS, affiliates: healthy };
    let name = |quantile: &str, rest: &str| format!("{healthy} healthy affiliates, {RATE}/s, {quantile}{rest}");
    let hanging = format!(", {HANGING} hang with {backlog} due each");
    let quantiles = [(500, "p50", None), (990, "p99", Some(options.targets().isolation())), (999, "p99.9", None)];
    let mut compared = quantiles.map(|(per_mille, quantile, target)| {
        let without = Series::new(name(quantile, ", none hangs"), Unit::Micros);
        (per_mille, without, Series::new(name(quantile, &hanging), Unit::Micros), target)
    });
    for turn in 1..=options.turns {
        say(&format!(
            "isolation, turn {turn} of {}: {HANGING} of {} hang with {backlog} due each",
            options.turns, options.affiliates
        ));
        let directory = options.directory.join(format!("isolation-{turn}"));
        let setup = Setup { hanging: HANGING, ..options.setup() };
        let served = Served::start(&directory, setup, None).await?;
        load.run(&served).await?; // warms up
        let mut without = load.run(&served).await?;
        hang(&served, healthy, backlog).await?;
        let mut with = load.run(&served).await?;
        for (per_mille, alone, beside, _) in &mut compared {
            alone.push(without.within(*per_mille));
            beside.push(with.within(*per_mille));
        }
        served.stop().await;
        // A hundred thousand deliveries each take their place: it is needed for the next turn.
        let _ = std::fs::remove_dir_all(&directory);
    }
    Ok(compared.iter().map(|(_, alone, beside, target)| beside.beside(alone, *target)).collect())
}

/// Hands over what hangs.
async fn hang(served: &Served, healthy: usize, backlog: usize) -> Result<(), BenchError> {
    let all = backlog * HANGING;
    for first in (0..all).step_by(BATCH) {
        let numbers = first..all.min(first + BATCH);
        let requests =
            numbers.map(|number| sample::request_of(&format!("hang-{number}"), number, healthy + number % HANGING));
        stored::accepted(served.daemon.outbox().accept(requests.collect::<Result<Vec<_>, _>>()?).await?)?;
    }
    Ok(())
}
