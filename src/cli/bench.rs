//! `bench`: what this machine's disk allows, and what the outbox makes of it.

use std::path::PathBuf;

use indicatif::HumanBytes;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use crate::bench::churn::{self, Churn};
use crate::bench::onlookers::{self, Flow, Looking};
use crate::bench::{self, BenchOptions};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Events for each figure
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub events: u32,

    /// A directory on the disk that is to be measured; what is written there is removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,

    /// Instead, fill a store with so many events, and measure whether those who look at it slow the flow down
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub looking: Option<u32>,

    /// Instead, let so many events come and go while the same number is kept, and watch the store's size
    #[arg(long, value_name = "EVENTS", conflicts_with = "looking", value_parser = clap::value_parser!(u32).range(100_000..=100_000_000))]
    pub churn: Option<u32>,

    /// Events that are kept while they come and go
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "churn", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub live: u32,

    /// Events a second that flow while they look
    #[arg(long, value_name = "N", default_value_t = 2_000, requires = "looking", value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub rate: u32,
}

/// Runs the benchmark.
///
/// # Errors
/// When the disk or the store fails.
pub(super) async fn run(context: &Context, args: BenchArgs) -> Ended {
    let output = &context.output;
    let failed = |error: &dyn std::error::Error| {
        let why = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        Failure::new(Exit::Error, "the benchmark", why, "name a directory that can be written to with --directory")
    };
    let temporary = tempfile::Builder::new().prefix("postbackd-bench-").tempdir_in(&args.directory);
    let temporary = temporary.map_err(|error| failed(&error))?;
    let events = usize::try_from(args.events).unwrap_or(usize::MAX);
    if let Some(events) = args.churn {
        let (events, live) = (events as usize, args.live as usize);
        let churn = churn::run(temporary.path(), events, live, &|what| output.say(what)).await;
        return print_churn(context, &churn.map_err(|error| failed(&error))?);
    }
    if let Some(stored) = args.looking {
        let (stored, rate) = (stored as usize, args.rate as usize);
        let looking = onlookers::run(temporary.path(), stored, rate, &|what| output.say(what)).await;
        return print_looking(context, &looking.map_err(|error| failed(&error))?);
    }
    let options = BenchOptions { directory: temporary.path().to_path_buf(), events };
    let figures = bench::run(&options, &|what| output.say(what)).await.map_err(|error| failed(&error))?;
    if output.form() != Form::People {
        return output.document(&figures).map(|()| Exit::Ok);
    }
    let mut rows = Rows::new(vec!["figure", "per second", "p50", "ratio", "to"]);
    for figure in &figures {
        rows.push(vec![
            figure.name.into(),
            format!("{:.0}", figure.per_second),
            figure.p50_us.map_or_else(String::new, |p50| format!("{:.2} ms", p50 / 1_000.0)),
            figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            figure.baseline.unwrap_or_default().into(),
        ]);
    }
    output.table(rows)?;
    Ok(Exit::Ok)
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
    let mut rows = Rows::new(vec!["came", "kept", "on disk", "of records", "memory"]);
    for sample in &churn.samples {
        rows.push(vec![
            sample.came.to_string(),
            sample.live.to_string(),
            HumanBytes(sample.disk_bytes).to_string(),
            HumanBytes(sample.record_bytes).to_string(),
            HumanBytes(sample.resident_bytes).to_string(),
        ]);
    }
    output.table(rows)?;
    output.text(&format!(
        "\n{:.0} came and went a second; in the second half the store's largest size was {:.3} of its smallest",
        churn.per_second, churn.growth
    ))?;
    Ok(Exit::Ok)
}
