//! Kills of the daemon at any moment over one long-lived store.

use std::path::Path;
use std::time::Duration;

use crate::asked::Asked;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::load::Load;
use crate::past;
use crate::siege::{self, Stage};
use crate::tally::Tally;
use crate::world::World;

/// The longest that a daemon lives.
const LONGEST_LIFE: Duration = Duration::from_secs(1);
/// Looks at a copy of the whole store; large ones take long.
const LOOKS: u64 = 20;

/// Runs it.
pub(crate) async fn run(asked: &Asked) -> Tally {
    let (kills, events) = (asked.size("--kills", 10, 1_000), asked.size("--events", 2_000, 1_000_000));
    let mut tally = Tally::new("kill", asked.seed);
    let outbox = Path::new("outbox");
    let mut world = World::new(outbox).await;
    let load = Load::new("kill", 0, Dice::of(asked.seed, "load", 0));
    load.book().past = past::fill(&world.path("outbox"), asked.size("--past", 2_000, 50_000)).await;
    for kill in 0..kills {
        load.add((events / (kills + 1)).max(1));
        let lives = Dice::of(asked.seed, "kill", kill).moment(LONGEST_LIFE);
        let daemon = Daemon::start(&world, &[]);
        let killed = async {
            tokio::time::sleep(lives).await;
            daemon.kill();
        };
        let sending = match siege::hit(&load, &daemon, &mut tally, killed).await {
            Stage::Starting => false,
            Stage::NotReady(not_ready) => {
                tally.unopenable(&not_ready.to_string());
                break;
            }
            Stage::Running { .. } => true,
        };
        daemon.kill();
        tally.fault(sending);
        if kill % (kills / LOOKS).max(1) == 0 {
            siege::look(&world, &load, &world.path("outbox"), &mut tally).await;
            asked.say(&format!("kill: {} kills, {} failures", tally.faults, tally.failures()));
        }
        if tally.is_bad() {
            break;
        }
    }
    if !tally.is_bad() {
        siege::end(&world, &load, &mut tally).await;
    }
    if tally.is_bad() {
        tally.remark = format!("kept in {}", world.keep().display());
    }
    tally
}
