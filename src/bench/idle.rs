//! What a daemon costs that has nothing to do.

use std::time::Duration;

use super::child::Child;
use super::figure::{Figure, Series, Unit};
use super::server;
use super::{BenchError, BenchOptions};
use crate::ops::clock::monotonic;

/// How long it is left alone before it counts, and how long it is looked at.
const SETTLING: Duration = Duration::from_secs(2);
const LOOKED_AT: Duration = Duration::from_secs(10);

/// Measures a daemon in a process of its own, with all affiliates and nothing handed in.
///
/// # Errors
/// When the daemon or the receiver fails, or the kernel does not tell processor times.
pub(super) async fn run(options: &BenchOptions, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    say("a daemon with nothing to do");
    let directory = options.directory.join("idle");
    let receiver = server::receiver().await?;
    let child = Child::start(&options.setup().write(&directory, &receiver)?).await?;
    tokio::time::sleep(SETTLING).await;
    let (before, began) = (child.cpu()?, monotonic());
    tokio::time::sleep(LOOKED_AT).await;
    let (after, took) = (child.cpu()?, monotonic().duration_since(began));
    let memory = child.resident_bytes()?;
    child.stop().await?;
    receiver.stop().await;
    let total = |times: &std::collections::BTreeMap<String, Duration>| times.values().sum::<Duration>();
    let used = total(&after).saturating_sub(total(&before)).as_secs_f64() * 1e6 / took.as_secs_f64();
    Ok(vec![
        Series::once("idle: processor time a second", Unit::Micros, used).figure(Some(options.targets().idle())),
        Series::once("idle: memory", Unit::Bytes, memory).figure(None),
    ])
}
