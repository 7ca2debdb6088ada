//! A kill at every call by which the daemon changes its store, on a new store and on one that it has to recover.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::asked::Asked;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::load::Load;
use crate::siege::{self, Stage};
use crate::tally::Tally;
use crate::tracer::{self, Point, Seen};
use crate::world::World;

/// Longest that a traced daemon may take for its load.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a daemon goes on settling behind its load, where no kill came before.
const SETTLES: Duration = Duration::from_secs(1);

/// What a run begins with.
struct Beginning<'a> {
    world: &'a World,
    /// A store that is to be recovered; none where a new one is made.
    store: Option<PathBuf>,
    load: Load,
}

/// Runs it.
pub(crate) async fn run(asked: &Asked) -> Tally {
    if let Err(why) = tracer::usable() {
        return Tally::not_run("points", asked.seed, why);
    }
    let events = asked.size("--events", 200, 500);
    // How many of all points, evenly spread; all of them by hand.
    let most = asked.size("--points", 10, u64::MAX);
    // Several processes may share the points of a large run: it waits more than it works.
    let lanes = (asked.size("--lane", 0, 0), asked.size("--lanes", 1, 1).max(1));
    let mut tally = Tally::new("points", asked.seed);
    let mut world = World::new(Path::new("outbox")).await;
    campaign(asked, (events, most), lanes, &world, &mut tally).await;
    if tally.is_bad() {
        tally.remark = format!("kept in {}", world.keep().display());
    }
    tally
}

async fn campaign(
    asked: &Asked,
    (events, most): (u64, u64),
    (lane, lanes): (u64, u64),
    world: &World,
    tally: &mut Tally,
) {
    let new = Load::new("new", events, Dice::of(asked.seed, "load", 0));
    let old = Load::new("old", events, Dice::of(asked.seed, "load", 1));
    siege::end(world, &old, tally).await;
    let kept = world.path("old");
    let _ = std::fs::rename(world.path("outbox"), &kept);
    old.add(events);
    let beginnings = [Beginning { world, store: None, load: new }, Beginning { world, store: Some(kept), load: old }];
    for beginning in &beginnings {
        let seen = beginning.count(tally).await;
        asked.say(&format!("points: {} calls: {}", seen.points.len(), seen.summary()));
        for point in chosen(&seen, most).into_iter().filter(|point| point.number % lanes == lane) {
            beginning.kill_at(point, &seen, tally).await;
            if tally.is_bad() {
                tally.fail(format!("at {} number {}", point.call, point.number));
                return;
            }
            if tally.faults.is_multiple_of(20) {
                asked.say(&format!("points: {} kills, {} failures", tally.faults, tally.failures()));
            }
        }
    }
}

/// So many of the points, evenly spread; half of them for each beginning. Those that are left out when not all are
/// meant are the last of each kind, too: threads share the calls differently in each run, and may not get as far.
fn chosen(seen: &Seen, most: u64) -> Vec<&Point> {
    let most = usize::try_from(most / 2).unwrap_or(usize::MAX).max(1);
    if most >= seen.points.len() {
        return seen.points.iter().collect();
    }
    let last = |point: &Point| seen.points.iter().filter(|other| other.call == point.call).count() as u64;
    let mut early: Vec<&Point> = seen.points.iter().filter(|point| point.number * 2 <= last(point) + 1).collect();
    // By how far into the run they are, so that every part of it and every kind of call has its share.
    early.sort_by_key(|point| (point.number * 1_000 / last(point), point.call.clone()));
    (0..most).filter_map(|at| early.get((2 * at + 1) * early.len() / (2 * most)).copied()).collect()
}

impl Beginning<'_> {
    /// Puts the store in its place.
    fn prepare(&self) {
        let outbox = self.world.path("outbox");
        let _ = std::fs::remove_dir_all(&outbox);
        if let Some(store) = &self.store {
            Command::new("cp").arg("-a").arg(store).arg(&outbox).status().unwrap();
        }
    }

    /// Finds out which calls a run makes.
    async fn count(&self, tally: &mut Tally) -> Seen {
        self.prepare();
        let trace = self.world.path("trace");
        let load = self.load.fork();
        let daemon = Daemon::start(self.world, &tracer::counting(&trace));
        if let Stage::NotReady(not_ready) = siege::hit(&load, &daemon, tally, daemon.dead(PATIENCE)).await {
            tally.fail(format!("the daemon does not start below strace: {not_ready}"));
        }
        daemon.over(SETTLES).await;
        daemon.kill();
        tally.interrupted();
        let trace = std::fs::read_to_string(&trace).unwrap_or_default();
        let seen = tracer::read(&trace, &self.world.path("outbox"));
        if seen.points.is_empty() {
            tally.fail("strace saw no call on the store".into());
        }
        siege::end(self.world, &load, tally).await;
        seen
    }

    async fn kill_at(&self, point: &Point, seen: &Seen, tally: &mut Tally) {
        self.prepare();
        let load = self.load.fork();
        let daemon = Daemon::start(self.world, &tracer::killing(point, &seen.files));
        match siege::hit(&load, &daemon, tally, daemon.dead(PATIENCE)).await {
            Stage::Starting | Stage::NotReady(_) => tally.fault(false),
            Stage::Running { unhurt: false } => tally.fault(true),
            Stage::Running { unhurt: true } if daemon.over(SETTLES).await => tally.fault(true),
            // Threads differ from run to run, and so do the last calls: this one was not made.
            Stage::Running { unhurt: true } => tally.interrupted(),
        }
        daemon.kill();
        siege::look(self.world, &load, &self.world.path("outbox"), tally).await;
        siege::end(self.world, &load, tally).await;
    }
}
