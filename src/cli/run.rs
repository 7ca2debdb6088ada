//! `run`: the daemon.

use std::path::Path;

use super::configuration;
use super::exit::{Exit, Failure};
use crate::app;
use crate::ops::telemetry;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the configuration cannot be used, or the daemon does not start or fails.
pub async fn run(config: &Path) -> Result<(), Failure> {
    let loaded = configuration::load(config)?;
    telemetry::start(&loaded.settings.log).map_err(|error| {
        let next = "use a level such as \"info\", or a filter such as \"info,postbackd::api=debug\"";
        Failure::new(Exit::Configuration, "[log] level cannot be used", error, next)
    })?;
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration.doubtful");
    }
    app::run(loaded.settings, config).await.map_err(|error| {
        let next = "see the log above; postbackd check tells what is wrong with the configuration";
        Failure::new(Exit::Error, "the daemon ended", chain(&error), next)
    })
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
