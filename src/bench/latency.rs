//! From acceptance to the first byte at the receiver, at steady rates, beside a bare request's round trip and beside bare requests
//! at the same rates.

use super::end_to_end::Bare;
use super::figure::{Figure, Series, Unit};
use super::open_loop::OpenLoop;
use super::server::Served;
use super::{BenchError, BenchOptions, failed};

/// Events a second, and for how many seconds in each turn.
const RATES: [(u32, usize); 4] = [(10, 10), (100, 5), (1_000, 4), (5_000, 2)];
/// The rate with a target, which alone is measured where nothing else is asked for.
const USUAL: u32 = 1_000;
/// Round trips by which a bare request is timed, on each side of a measurement.
const ROUND_TRIPS: usize = 500;
/// What is told of a distribution, per mille.
const QUANTILES: [(usize, &str); 3] = [(500, "p50"), (990, "p99"), (999, "p99.9")];

/// Takes the figures of latency: at every rate, or at the usual one.
///
/// # Errors
/// When the daemon, the receiver or a client fails.
pub(super) async fn run(options: &BenchOptions, all: bool, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    let served = Served::start(&options.directory.join("latency"), options.setup(), None).await?;
    let bare = Bare::new(&served.receiver)?;
    let mut figures = Vec::new();
    for (rate, seconds) in RATES.into_iter().filter(|(rate, _)| all || *rate == USUAL) {
        say(&format!("latency at {rate} events a second"));
        let events = usize::try_from(rate).map_err(failed)? * seconds;
        figures.extend(at(options, rate, events, &served, &bare).await?);
    }
    served.stop().await;
    Ok(figures)
}

async fn at(
    options: &BenchOptions,
    rate: u32,
    events: usize,
    served: &Served,
    bare: &Bare,
) -> Result<Vec<Figure>, BenchError> {
    let mut trip = Series::new("bare reqwest round trip, p50", Unit::Micros);
    let mut quantiles = QUANTILES.map(|(per_mille, name)| {
        let series =
            Series::new(format!("accept → first byte, {rate}/s, {name} of {}", events * options.turns), Unit::Micros);
        let late = Series::new(format!("due → first byte of bare requests at the same rate, {name}"), Unit::Micros);
        let target = options.targets().first_byte(per_mille).filter(|_| rate == USUAL);
        (series, late, per_mille, target)
    });
    let load = OpenLoop { rate, events, affiliates: options.affiliates };
    for _ in 0..options.turns {
        let mut trips = bare.round_trips(ROUND_TRIPS).await?;
        let mut measured = load.run(served).await?;
        trips.times.extend(bare.round_trips(ROUND_TRIPS).await?.times);
        trip.push(trips.within(500));
        let mut late = load.bare(bare, served).await?;
        for (series, beside, per_mille, _) in &mut quantiles {
            series.push(measured.within(*per_mille));
            beside.push(late.within(*per_mille));
        }
    }
    let figures = quantiles.iter().flat_map(|(series, late, _, target)| {
        // The machine's own stalls are in both of the second.
        let mut same_rate = series.beside(late, None);
        same_rate.name.push_str(", beside the same rate");
        [series.beside(&trip, *target), same_rate]
    });
    Ok(figures.collect())
}
