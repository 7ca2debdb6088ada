//! `demo`: a daemon, an affiliate and some trouble, on this machine alone.

use std::path::PathBuf;

/// How large a demonstration.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Events to send
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub events: u64,

    /// What decides what goes wrong
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Keep configuration and store here
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Runs the demonstration.
///
/// # Errors
/// When it does not come to its end.
#[allow(clippy::unused_async, reason = "until demo::run is connected")]
pub(super) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let DemoArgs { events, seed, keep } = args;
    anyhow::bail!("this build has no demo of {events} events (seed {seed}, keep {keep:?})")
}
