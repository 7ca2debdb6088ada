//! Images of a real file system, taken while the daemon writes: what ext4 makes of a power cut.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::asked::Asked;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::load::Load;
use crate::partition::{self, Partition};
use crate::siege::{self, Stage};
use crate::tally::Tally;
use crate::world::World;

/// MiB of the image.
const SIZE: u64 = 512;
/// The longest time until an image is taken.
const LONGEST_LIFE: Duration = Duration::from_secs(2);

/// Runs it.
pub(crate) async fn run(asked: &Asked) -> Tally {
    if let Err(why) = partition::usable() {
        return Tally::not_run("images", asked.seed, why);
    }
    let (cuts, events) = (asked.size("--cuts", 3, 20), asked.size("--events", 1_200, 20_000));
    let mut tally = Tally::new("images", asked.seed);
    let mut world = World::new(Path::new("disk/outbox")).await;
    let load = Load::new("images", 0, Dice::of(asked.seed, "load", 0));
    if let Err(error) = campaign(asked, (cuts, events), &world, &load, &mut tally).await {
        tally.fail(error);
    }
    if tally.is_bad() {
        tally.remark = format!("kept in {}", world.keep().display());
    }
    tally
}

async fn campaign(
    asked: &Asked,
    (cuts, events): (u64, u64),
    world: &World,
    load: &Load,
    tally: &mut Tally,
) -> Result<(), String> {
    let place = world.path("disk");
    let image = |cut: u64| world.path(&format!("image-{cut}"));
    let mut partition = Partition::make(&image(0), &place, SIZE)?;
    for cut in 0..cuts {
        load.add((events / (cuts + 1)).max(1));
        let lives = Dice::of(asked.seed, "image", cut).moment(LONGEST_LIFE);
        let daemon = Daemon::start(world, &[]);
        let next = image(cut + 1);
        let mut copied = None;
        let taken = async {
            tokio::time::sleep(lives).await;
            daemon.signal(Signal::STOP);
            copied = Some(partition.copy(&next));
            daemon.kill();
        };
        let sending = match siege::hit(load, &daemon, tally, taken).await {
            Stage::Starting => false,
            Stage::NotReady(not_ready) => {
                tally.unopenable(&not_ready.to_string());
                return Ok(());
            }
            Stage::Running { .. } => true,
        };
        if copied.is_none() {
            // The load was done before: the image is taken while the daemon still sends.
            daemon.signal(Signal::STOP);
            copied = Some(partition.copy(&next));
        }
        daemon.kill();
        copied.unwrap_or(Ok(()))?;
        tally.fault(sending);
        drop(partition);
        let _ = std::fs::remove_file(image(cut));
        Partition::repair(&next)?;
        partition = Partition::mount(&next, &place)?;
        siege::look(world, load, &place.join("outbox"), tally).await;
        asked.say(&format!("images: {} cuts, {} failures", tally.faults, tally.failures()));
        if tally.is_bad() {
            return Ok(());
        }
    }
    siege::end(world, load, tally).await;
    Ok(())
}
