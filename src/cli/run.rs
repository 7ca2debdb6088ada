//! `run`: the daemon.

use std::io::ErrorKind;
use std::path::Path;

use super::configuration;
use super::exit::{Exit, Failure};
use crate::app;
use crate::ops::systemd::{self, Inherited};
use crate::ops::telemetry;

/// Takes the listeners that systemd holds for the daemon. Has to be called before there are other threads.
pub(super) fn inherit() -> Result<Inherited, Failure> {
    systemd::inherit().map_err(|error| {
        let next = "see systemctl cat postbackd.socket";
        Failure::new(Exit::Configuration, "taking over listeners", error, next)
    })
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the configuration cannot be used, or the daemon does not start or fails.
pub async fn run(config: &Path, inherited: Inherited) -> Result<(), Failure> {
    let loaded = configuration::load(config)?;
    telemetry::start(&loaded.settings.log).map_err(|error| {
        let next = "use a level such as \"info\", or a filter such as \"info,postbackd::api=debug\"";
        Failure::new(Exit::Configuration, "[log] level cannot be used", error, next)
    })?;
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration.doubtful");
    }
    app::run(loaded.settings, config, inherited).await.map_err(|error| {
        let next = advice(&error);
        Failure::new(Exit::Error, "the daemon ended", chain(&error), next)
    })
}

/// What to do about an error that ends the daemon.
fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    if kinds.any(|kind| kind == ErrorKind::StorageFull) {
        "make room on the outbox's disk, then start again: nothing that was acknowledged is lost"
    } else {
        "see the log above; postbackd check tells what is wrong with the configuration"
    }
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
