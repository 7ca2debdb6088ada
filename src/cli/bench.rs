//! `bench`: what this machine's disk allows, and what the outbox makes of it.

use std::path::PathBuf;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
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
