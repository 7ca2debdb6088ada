//! Disks that fail: syncs and writes that are refused, and no room. Nothing may be acknowledged that is not there
//! afterwards; the daemon stops, says why, and comes back once the disk is good again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postbackd::domain::engine_kind::EngineKind;

use crate::asked::Asked;
use crate::daemon::{Daemon, NotReady};
use crate::dice::Dice;
use crate::disk::{Cut, Disk, Fate, Image, Policy, Refusal};
use crate::full;
use crate::load::Load;
use crate::partition;
use crate::power;
use crate::siege::{self, Stage};
use crate::tally::Tally;
use crate::tracer::{self, Point};
use crate::volume::Format;
use crate::world::{World, engine};

/// Faults that one store lives through.
const FAULTS_IN_A_LIFE: u64 = 25;
/// The latest operation that is refused.
const LATEST: u64 = 300;
/// How often as many faults as asked for are tried: some come when the load is done.
const TRIES: u64 = 3;
/// Events at hand for each fault: many more than come in until it is met, on a machine that puts ever so many into a group.
const EVENTS: u64 = 5_000;
/// Events that a store has seen before its calls fail.
const BEFORE: u64 = 150;
/// How long a daemon whose disk has failed may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// How long a fault is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs it.
pub(crate) async fn run(asked: &Asked) -> Tally {
    let (eio, enospc) = (asked.size("--eio", 5, 200), asked.size("--enospc", 3, 50));
    let mut tally = Tally::new("faults", asked.seed);
    let mut left_out = Vec::new();
    // The tracer's faults leave the kernel's cache as it is, so that only those of our own disk can show a loss.
    let traced = if tracer::usable().is_ok() { eio / 5 } else { 0 };
    let below_ext4 = if partition::usable().is_ok() { eio / 5 } else { 0 };
    match power::usable() {
        Ok(()) => {
            let left = Left { eio: eio - traced - below_ext4, enospc: enospc / 2 };
            refusals(asked, Format::Ours, left, &mut tally).await;
            if !tally.is_bad() {
                refusals(asked, Format::Ext4, Left { eio: below_ext4, enospc: 0 }, &mut tally).await;
            }
        }
        Err(why) => left_out.push(why),
    }
    match tracer::usable() {
        Ok(()) if !tally.is_bad() => by_tracer(asked, traced, &mut tally).await,
        Ok(()) => {}
        Err(why) => left_out.push(why),
    }
    match partition::usable() {
        Ok(()) if !tally.is_bad() => full::run(asked, enospc - enospc / 2, &mut tally).await,
        Ok(()) => {}
        Err(why) => left_out.push(why),
    }
    if !left_out.is_empty() && !tally.is_bad() {
        let why = left_out.join("; ");
        if tally.faults == 0 || asked.requires("faults") {
            return Tally::not_run("faults", asked.seed, why);
        }
        tally.remark = format!("in part not run: {why}");
    }
    tally
}

/// Faults of our own disk, with a file system of its own or below ext4, over stores that live through many. Those that come too late
/// to be met are made up for.
async fn refusals(asked: &Asked, format: Format, mut left: Left, tally: &mut Tally) {
    let Left { eio, enospc } = left;
    let mut number = 0;
    while left.any() && number < TRIES * (eio + enospc) && !tally.is_bad() {
        let mut world = World::new(Path::new("disk/outbox")).await;
        let load = Load::new(&format!("{format:?}-refused{number}"), 0, Dice::of(asked.seed, "load", number));
        let mut image = format.empty(&world.path("disk")).unwrap();
        let end = number + FAULTS_IN_A_LIFE;
        while number < end && left.any() && !tally.is_bad() {
            let mut dice = Dice::of(asked.seed, "refusal", number);
            // Spread over the life, so that both kinds meet new stores and old ones.
            let full = left.enospc > 0 && (left.eio == 0 || number % (eio + enospc).div_ceil(enospc) == 1);
            let refusal = Refusal { syncs: !full && dice.percent(60), after: dice.by_magnitude(LATEST), full };
            let policy = Policy::ALL[dice.place(Policy::ALL.len())];
            let fate = Fate { cut: Some(Cut { after: u64::MAX, policy, dice }), lies: false, refusal: Some(refusal) };
            let disk = Disk::on(image.clone(), fate);
            let volume = format.mount(&disk, &world.path("disk"));
            let met = match &volume {
                // Mounting has met it, and gone on: nobody tells the daemon.
                Ok(_) if disk.has_refused() => false,
                Ok(_) => one(&world, &load, &[], tally, || disk.has_refused()).await,
                Err(error) => {
                    assert!(disk.has_refused(), "{error}");
                    tally.fault(false);
                    true
                }
            };
            if met {
                let kind = if full { &mut left.enospc } else { &mut left.eio };
                *kind = kind.saturating_sub(1);
            }
            disk.cut_now();
            drop(volume);
            if tally.is_bad() {
                tally.fail(format!("refused was {refusal:?}"));
            }
            image = disk.survivor();
            look(&world, &load, format, &image, tally).await;
            number += 1;
        }
        if !tally.is_bad() {
            let disk = Disk::on(image, Fate::default());
            let _volume = format.mount(&disk, &world.path("disk")).unwrap();
            siege::end(&world, &load, tally).await;
        }
        asked.say(&format!("faults: {} refused, {} failures", tally.faults, tally.failures()));
        if tally.is_bad() {
            tally.remark = format!("refusal {number}, kept in {}", world.keep().display());
        }
    }
    if left.any() && !tally.is_bad() {
        tally.fail(format!("{} EIO and {} ENOSPC came too late to be met", left.eio, left.enospc));
    }
}

/// Faults that are still to be met.
#[derive(Debug, Clone, Copy)]
struct Left {
    eio: u64,
    enospc: u64,
}

impl Left {
    fn any(&self) -> bool {
        self.eio + self.enospc > 0
    }
}

async fn look(world: &World, load: &Load, format: Format, image: &Image, tally: &mut Tally) {
    let disk = Disk::on(image.clone(), Fate::default());
    let _volume = format.mount(&disk, &world.path("copy")).unwrap();
    crate::check::copy(world, load, &world.path("copy/outbox"), tally).await;
}

/// Has a daemon meet a fault, and says whether it did; `came` tells.
pub(crate) async fn one(
    world: &World,
    load: &Load,
    before: &[String],
    tally: &mut Tally,
    came: impl Fn() -> bool,
) -> bool {
    let daemon = Daemon::start(world, before);
    let over = async {
        daemon.over(PATIENCE).await;
    };
    load.add(EVENTS);
    let stage = siege::hit(load, &daemon, tally, over).await;
    load.drop_rest();
    if let Stage::Running { unhurt: true } = &stage
        && came()
    {
        // What it settles meets the fault as well as what it accepts.
        daemon.over(ENDS_WITHIN).await;
    }
    let met = came();
    let code = daemon.ended(Duration::from_millis(50)).await;
    let alive = !daemon.over(Duration::ZERO).await && code.is_none();
    let log = daemon.log();
    daemon.kill();
    let sending = matches!(stage, Stage::Running { .. });
    if !met {
        tally.interrupted();
        if let Stage::NotReady(not_ready) = stage {
            tally.unopenable(&not_ready.to_string());
        }
        return false;
    }
    tally.fault(sending);
    let shown = NotReady { code, log };
    if alive && sending {
        tally.fail(format!("the disk failed, and the daemon goes on: {shown}"));
    } else if code.is_none_or(|code| code == 0) {
        tally.fail(format!("the disk failed, and the daemon ended without saying so: {shown}"));
    } else if !["outbox", "os error"].iter().any(|word| shown.log.contains(word)) {
        tally.fail(format!("the disk failed, and the daemon does not say so: {shown}"));
    }
    true
}

/// Writes and syncs that fail on a real file system, below the daemon.
async fn by_tracer(asked: &Asked, faults: u64, tally: &mut Tally) {
    if faults == 0 {
        return;
    }
    let world = World::new(Path::new("outbox")).await;
    let load = Load::new("traced", BEFORE, Dice::of(asked.seed, "load", 1 << 32));
    siege::end(&world, &load, tally).await;
    // What is made durable before it is acknowledged, and by which calls.
    let (name, calls) = match engine() {
        EngineKind::Sled => ("sled/db", ["pwrite64", "sync_file_range"]),
        EngineKind::Fjall => ("fjall/0.jnl", ["write", "fdatasync"]),
    };
    let file: PathBuf = world.path("outbox").join(name);
    let files = [file.to_str().unwrap().to_owned()].into();
    let mut met = 0;
    for number in 0..TRIES * faults {
        if met == faults {
            break;
        }
        let mut dice = Dice::of(asked.seed, "traced", number);
        let call = calls[dice.place(2)].to_owned();
        let point = Point { call, number: dice.by_magnitude(40) };
        let trace = world.path("trace");
        let before = tracer::failing(&point, "EIO", &files, &trace);
        let _ = std::fs::remove_file(&trace);
        let came = || std::fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("(INJECTED)"));
        met += u64::from(one(&world, &load, &before, tally, came).await);
        siege::look(&world, &load, &world.path("outbox"), tally).await;
        if tally.is_bad() {
            return;
        }
    }
    if met < faults {
        tally.fail(format!("{} traced faults came too late to be met", faults - met));
    }
    siege::end(&world, &load, tally).await;
}
