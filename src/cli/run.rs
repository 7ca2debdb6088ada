//! `run`: the daemon.

use std::path::Path;

use super::configuration;
use super::exit::{Exit, Failure};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the configuration cannot be used, or the daemon does not start or fails.
#[allow(clippy::unused_async, reason = "until app::run is connected")]
pub async fn run(config: &Path) -> anyhow::Result<()> {
    let checked = configuration::check(config);
    if checked.summary.is_none() {
        let lines: Vec<String> = checked.findings.iter().map(|finding| format!("\n  {finding}")).collect();
        let what = format!("the configuration {} cannot be used", config.display());
        return Err(
            Failure::new(Exit::Configuration, what, lines.concat(), "put it right, then: postbackd check").into()
        );
    }
    pending::run()
}

/// Stands in for `crate::app` until that exists.
mod pending {
    pub(super) fn run() -> anyhow::Result<()> {
        anyhow::bail!("this build has no daemon")
    }
}
