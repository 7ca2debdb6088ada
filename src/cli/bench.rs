//! `bench`: how much this machine can do.

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Events to send
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub events: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// When it does not come to its end.
#[allow(clippy::unused_async, reason = "until bench::run is connected")]
pub(super) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let BenchArgs { events } = args;
    anyhow::bail!("this build has no benchmark of {events} events")
}
