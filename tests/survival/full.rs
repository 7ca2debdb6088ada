//! A real file system without room: below the daemon's reserve, and then none at all.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use tokio_util::sync::CancellationToken;

use crate::asked::Asked;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::load::Load;
use crate::partition::Partition;
use crate::siege;
use crate::tally::Tally;
use crate::world::World;

/// MiB of the file system.
const SIZE: u64 = 96;
/// The most that is left free, in bytes: below this nothing can go on for long.
const LEFT: u64 = 6 << 20;
/// Events that are handed in until the disk is filled, and while it is full.
const EVENTS: u64 = 400;
/// How long a daemon works on a full disk.
const FULL_FOR: Duration = Duration::from_millis(1_500);

/// Fills the disk so many times below a daemon at work.
pub(crate) async fn run(asked: &Asked, faults: u64, tally: &mut Tally) {
    let mut world = World::new(Path::new("disk/outbox")).await;
    let load = Load::new("full", 0, Dice::of(asked.seed, "load", 2 << 32));
    if let Err(error) = campaign(asked, faults, &world, &load, tally).await {
        tally.fail(error);
    }
    if tally.is_bad() {
        tally.remark = format!("kept in {}", world.keep().display());
    }
}

async fn campaign(asked: &Asked, faults: u64, world: &World, load: &Load, tally: &mut Tally) -> Result<(), String> {
    let place = world.path("disk");
    let _partition = Partition::make(&world.path("image"), &place, SIZE)?;
    let filler = place.join("filler");
    for number in 0..faults {
        let mut dice = Dice::of(asked.seed, "full", number);
        load.add(EVENTS);
        let daemon = Daemon::start(world, &[]);
        let (address, took) = match daemon.ready().await {
            Ok(ready) => ready,
            Err(not_ready) => {
                tally.unopenable(&not_ready.to_string());
                return Ok(());
            }
        };
        tally.recoveries.push(took);
        let stop = CancellationToken::new();
        let fill = async {
            tokio::time::sleep(dice.moment(Duration::from_millis(300))).await;
            fill(&filler, dice.below(LEFT))?;
            tokio::time::sleep(FULL_FOR).await;
            stop.cancel();
            Ok::<(), String>(())
        };
        let (done, ()) = tokio::join!(fill, async {
            load.run(&address, &stop, true).await;
            // Those who were sent away come back while there is still no room.
            stop.cancelled().await;
        });
        done?;
        // It ends only where a write has failed; otherwise it answers 507 and waits for room.
        if daemon.ended(Duration::from_millis(20)).await.is_some_and(|code| code == 0) {
            tally.fail("the disk was full, and the daemon ended without saying so".into());
        }
        daemon.kill();
        tally.fault(true);
        if number % 2 == 1 {
            start_without_room(world, tally).await;
        }
        std::fs::remove_file(&filler).map_err(|error| error.to_string())?;
        siege::look(world, load, &place.join("outbox"), tally).await;
        if tally.is_bad() {
            return Ok(());
        }
    }
    siege::end(world, load, tally).await;
    Ok(())
}

/// Starts it on the full disk: it may not come up, but must not harm the store.
async fn start_without_room(world: &World, tally: &mut Tally) {
    let daemon = Daemon::start(world, &[]);
    if let Err(not_ready) = daemon.ready().await
        && not_ready.code.is_none_or(|code| code == 0)
    {
        tally.fail(format!("the disk is full, and the daemon does not say so: {not_ready}"));
    }
    daemon.kill();
    tally.interrupted();
}

/// Takes all room but so many bytes.
fn fill(filler: &Path, left: u64) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("filling the disk: {error}");
    let file = File::create(filler).map_err(|error| told(&error))?;
    let room = rustix::fs::statvfs(filler).map_err(|error| told(&error))?;
    let free = room.f_bavail * room.f_frsize;
    let mut taken = free.saturating_sub(left).max(1);
    while let Err(error) = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, taken) {
        // The daemon takes room, too.
        taken /= 2;
        if taken == 0 {
            return Err(told(&error));
        }
    }
    Ok(())
}
