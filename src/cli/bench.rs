//! `bench`: what this machine allows, and what the daemon makes of it.

use std::path::PathBuf;

use clap::ValueEnum as _;
use indicatif::HumanBytes;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use crate::bench::churn::{self, Churn};
use crate::bench::onlookers::{self, Flow, Looking};
use crate::bench::{self, BenchError, BenchOptions, Figure, Long, Subject, Target, Unit};
use crate::domain::engine_kind::EngineKind;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Events for each measurement; a tenth for one client, four times as many in batches
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub events: u32,

    /// A directory on the disk that is to be measured; what is written there is removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,

    /// The storage engine
    #[arg(long, value_name = "NAME", default_value = EngineKind::Sled.name(), value_parser = engine)]
    pub engine: EngineKind,

    /// How often each figure and its baseline are taken in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub turns: u8,

    /// Affiliates that events are spread over, each with a postback; not in cycles, a backlog and what comes and goes
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with_all = ["backlog", "looking", "churn"], value_parser = clap::value_parser!(u16).range(10..=20_000))]
    pub affiliates: u16,

    /// Only these figures
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub only: Vec<Subject>,

    /// Instead, measure a daemon with so many deliveries pending: memory, disk, start, speed
    #[arg(long, value_name = "N", group = "instead", conflicts_with = "only", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub backlog: Option<u32>,

    /// Instead, measure latency at 10, 100, 1,000 and 5,000 events a second
    #[arg(long, group = "instead", conflicts_with = "only")]
    pub latency: bool,

    /// Instead, measure healthy affiliates beside five that hang with 100,000 deliveries due each
    #[arg(long, group = "instead", conflicts_with = "only")]
    pub isolation: bool,

    /// Instead, fill a store with so many events, and measure whether those who look at it slow the flow down
    #[arg(long, value_name = "EVENTS", group = "instead", conflicts_with = "only", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub looking: Option<u32>,

    /// Instead, let so many events come and go while the same number is kept, and watch the store's size
    #[arg(long, value_name = "EVENTS", group = "instead", conflicts_with = "only", value_parser = clap::value_parser!(u32).range(100_000..=100_000_000))]
    pub churn: Option<u32>,

    /// Events that are kept while they come and go
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "churn", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub live: u32,

    /// Events a second that flow while they look
    #[arg(long, value_name = "N", default_value_t = 2_000, requires = "looking", value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub rate: u32,
}

/// The engine of a name.
fn engine(name: &str) -> Result<EngineKind, String> {
    let known = EngineKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| format!("known are {}", EngineKind::ALL.map(EngineKind::name).join(", ")))
}

/// What is measured instead of the usual figures.
fn long(args: &BenchArgs) -> Option<Long> {
    let backlog = args.backlog.map(|pending| Long::Backlog(pending as usize));
    backlog.or(args.latency.then_some(Long::Latency)).or(args.isolation.then_some(Long::Isolation))
}

/// Runs the benchmark.
///
/// # Errors
/// When the disk, the store or the daemon fails.
pub(super) async fn run(context: &Context, args: BenchArgs) -> Ended {
    let output = &context.output;
    let temporary = tempfile::Builder::new().prefix("postbackd-bench-").tempdir_in(&args.directory);
    let temporary = temporary.map_err(|error| failed(&error))?;
    let options = BenchOptions {
        directory: temporary.path().to_path_buf(),
        engine: args.engine,
        events: args.events as usize,
        turns: usize::from(args.turns),
        affiliates: usize::from(args.affiliates),
    };
    let say = |what: &str| output.say(what);
    if let Some(events) = args.churn {
        let churn = churn::run(&options, events as usize, args.live as usize, &say).await;
        return print_churn(context, &churn.map_err(|error| broken(&error))?);
    }
    if let Some(stored) = args.looking {
        let looking = onlookers::run(&options, stored as usize, args.rate as usize, &say).await;
        return print_looking(context, &looking.map_err(|error| broken(&error))?);
    }
    let subjects = if args.only.is_empty() { Subject::value_variants() } else { &args.only };
    let figures = match long(&args) {
        Some(long) => bench::run_long(&options, long, &say).await,
        None => bench::run(&options, subjects, &say).await,
    };
    let figures = figures.map_err(|error| broken(&error))?;
    print_figures(context, &figures)
}

fn broken(error: &BenchError) -> Failure {
    failed(error)
}

fn failed(error: &dyn std::error::Error) -> Failure {
    let causes: Vec<String> =
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    let next = "name a directory that can be written to with --directory";
    Failure::new(Exit::Error, "the benchmark", causes.join(": "), next)
}

/// Prints figures beside their baselines.
fn print_figures(context: &Context, figures: &[Figure]) -> Ended {
    let output = &context.output;
    if output.form() != Form::People {
        return output.document(&figures).map(|()| Exit::Ok);
    }
    let mut rows = Rows::new(vec!["figure", "value", "ratio", "target", "", "to", "baseline"]);
    for figure in figures {
        rows.push(vec![
            figure.name.clone(),
            shown(figure.value, figure.unit),
            figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            figure.target.map_or_else(String::new, |target| aim(target, figure)),
            figure.met.map_or("", |met| if met { "met" } else { "missed" }).into(),
            figure.baseline_value.map_or_else(String::new, |value| shown(value, figure.unit)),
            figure.baseline.clone().unwrap_or_default(),
        ]);
    }
    output.table(rows)?;
    Ok(Exit::Ok)
}

/// A value as people write it.
fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{value:.0}/s"),
        Unit::Micros if value < 1_000.0 => format!("{value:.0} µs"),
        Unit::Micros => format!("{:.2} ms", value / 1_000.0),
        Unit::Seconds => format!("{value:.2} s"),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are not negative")]
        Unit::Bytes => HumanBytes(value as u64).to_string(),
        Unit::Count => format!("{value:.1}"),
    }
}

/// What is aimed at: a ratio where there is one, else a value.
fn aim(target: Target, figure: &Figure) -> String {
    let shown = |number: f64| match figure.ratio {
        Some(_) => format!("{number}"),
        None => shown(number, figure.unit),
    };
    match target {
        Target::AtLeast(least) => format!("≥ {}", shown(least)),
        Target::AtMost(most) => format!("≤ {}", shown(most)),
    }
}

/// Prints the flow of each turn, and what each command took.
fn print_looking(context: &Context, looking: &Looking) -> Ended {
    let output = &context.output;
    if output.form() != Form::People {
        return output.document(looking).map(|()| Exit::Ok);
    }
    let mut rows = Rows::new(vec!["turn", "flow", "per second", "p50", "p99"]);
    for (turn, (alone, watched)) in (1..).zip(&looking.turns) {
        for (name, flow) in [("alone", alone), ("with commands", watched)] {
            let Flow { per_second, p50_ms, p99_ms } = flow;
            let turn: u32 = turn;
            rows.push(vec![
                turn.to_string(),
                name.into(),
                format!("{per_second:.0}"),
                format!("{p50_ms:.1} ms"),
                format!("{p99_ms:.1} ms"),
            ]);
        }
    }
    output.table(rows)?;
    output.text(&format!(
        "\n{} events stored, {} offered a second; with commands {:.3} of the rate without\n",
        looking.stored, looking.offered, looking.ratio
    ))?;
    let mut rows = Rows::new(vec!["command", "runs", "median", "slowest"]);
    for (command, (runs, median, slowest)) in &looking.commands {
        rows.push(vec![command.clone(), runs.to_string(), format!("{median:.0} ms"), format!("{slowest:.0} ms")]);
    }
    output.table(rows)?;
    Ok(Exit::Ok)
}

/// Prints the store's size over time.
fn print_churn(context: &Context, churn: &Churn) -> Ended {
    let output = &context.output;
    if output.form() != Form::People {
        return output.document(churn).map(|()| Exit::Ok);
    }
    let mut rows = Rows::new(vec!["came", "kept", "on disk", "at most", "of records", "memory"]);
    for sample in &churn.samples {
        rows.push(vec![
            sample.came.to_string(),
            sample.live.to_string(),
            HumanBytes(sample.disk_bytes).to_string(),
            HumanBytes(sample.most_disk_bytes).to_string(),
            HumanBytes(sample.record_bytes).to_string(),
            HumanBytes(sample.resident_bytes).to_string(),
        ]);
    }
    output.table(rows)?;
    let samples = &churn.samples;
    for (what, bytes) in [
        ("on disk", samples.iter().map(|sample| sample.disk_bytes).collect::<Vec<_>>()),
        ("of records", samples.iter().map(|sample| sample.record_bytes).collect()),
        ("memory", samples.iter().map(|sample| sample.resident_bytes).collect()),
    ] {
        output.text(&format!("{what:>10}  {}", plot(&bytes)))?;
    }
    output.text(&format!(
        "\n{:.0} came and went a second; in the second half the store's largest mean size was {:.3} of its smallest, and the most \
         that it took {:.3} of that in the first half",
        churn.per_second, churn.growth, churn.growth_of_most
    ))?;
    Ok(Exit::Ok)
}

/// Sizes over time, as bars that begin at nothing: what stays the same is a flat line.
fn plot(sizes: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = sizes.iter().copied().max().unwrap_or_default().max(1);
    let bar = |size: &u64| {
        let height = size.saturating_mul(BARS.len() as u64 - 1).div_ceil(most);
        usize::try_from(height).ok().and_then(|height| BARS.get(height)).copied().unwrap_or('█')
    };
    sizes.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_begins_at_nothing_and_ends_at_the_most() {
        assert_eq!(plot(&[0, 1, 50, 100, 100]), "▁▂▅██");
        assert_eq!(plot(&[7, 7, 7]), "███");
        assert_eq!(plot(&[0, 0]), "▁▁");
        assert_eq!(plot(&[]), "");
    }

    #[test]
    fn a_target_is_shown_in_what_it_is_meant_for() {
        let figure = Figure {
            name: "x".into(),
            value: 2e9,
            unit: Unit::Bytes,
            baseline: None,
            baseline_value: None,
            ratio: None,
            target: None,
            met: None,
        };
        assert_eq!(aim(Target::AtMost(1_073_741_824.0), &figure), "≤ 1.00 GiB");
        assert_eq!(aim(Target::AtLeast(0.8), &Figure { ratio: Some(0.5), ..figure }), "≥ 0.8");
    }

    #[test]
    fn engines_are_known_by_their_names() {
        assert_eq!(engine("sled"), Ok(EngineKind::Sled));
        assert!(engine("mongodb").unwrap_err().contains("sled"));
    }
}
