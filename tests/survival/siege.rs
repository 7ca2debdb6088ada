//! A daemon under load that is hit by a fault, and one that is left in peace.

use std::fmt;
use std::path::Path;
use std::process::Command;

use tokio_util::sync::CancellationToken;

use crate::check;
use crate::daemon::{Daemon, NotReady};
use crate::load::Load;
use crate::tally::Tally;
use crate::world::World;

/// Acknowledged events that are handed in again after each start.
const REPEATED: usize = 10;
/// Lines of a log that are shown.
const SHOWN: usize = 6;

/// How far a daemon had come when the fault was over.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It was on its way up.
    Starting,
    /// It ended on its way up.
    NotReady(NotReady),
    /// It was running.
    Running {
        /// Whether the load was done before the fault came.
        unhurt: bool,
    },
}

/// Has a daemon start and work until the fault is over, which leaves it dead.
pub(crate) async fn hit(load: &Load, daemon: &Daemon, tally: &mut Tally, fault: impl Future<Output = ()>) -> Stage {
    tokio::pin!(fault);
    let ready = tokio::select! {
        biased;
        () = &mut fault => return Stage::Starting,
        ready = daemon.ready() => ready,
    };
    let (address, took) = match ready {
        Ok(ready) => ready,
        Err(not_ready) => return Stage::NotReady(not_ready),
    };
    tally.recoveries.push(took);
    let stop = CancellationToken::new();
    let work = async {
        load.repeat_some(&address, REPEATED).await;
        load.run(&address, &stop, true).await;
    };
    tokio::pin!(work);
    let unhurt = tokio::select! {
        () = &mut work => true,
        () = &mut fault => false,
    };
    if !unhurt {
        // Answers under way are waited for: what reached a client counts.
        stop.cancel();
        work.await;
    }
    Stage::Running { unhurt }
}

/// Starts a daemon that nothing happens to: the rest of the load, and then everything has to settle.
pub(crate) async fn end(world: &World, load: &Load, tally: &mut Tally) {
    let daemon = Daemon::start(world, &[]);
    match daemon.ready().await {
        Err(not_ready) => tally.unopenable(&not_ready.to_string()),
        Ok((address, took)) => {
            tally.recoveries.push(took);
            load.repeat_some(&address, REPEATED).await;
            load.run(&address, &CancellationToken::new(), true).await;
            check::settle(world, load, &address, tally).await;
        }
    }
    daemon.kill();
}

/// Looks at a copy of a store that no daemon has open.
pub(crate) async fn look(world: &World, load: &Load, outbox: &Path, tally: &mut Tally) {
    let copy = world.path("copy");
    let copied = !outbox.exists() || Command::new("cp").arg("-a").arg(outbox).arg(&copy).status().unwrap().success();
    if copied {
        check::copy(world, load, &copy, tally).await;
    } else {
        tally.fail(format!("{} cannot be copied", outbox.display()));
    }
    let _ = std::fs::remove_dir_all(&copy);
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was sent says nothing about a store.
        let lines = self.log.lines().filter(|line| !line.contains("postback.attempted") && !line.contains("doubtful"));
        let lines: Vec<&str> = lines.collect();
        write!(f, "exit {:?}: {}", self.code, lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
    }
}
