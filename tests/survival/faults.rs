//! Disks that fail: syncs and writes that are refused, and no room. Nothing may be acknowledged that is not there
//! afterwards; the daemon stops, says why, and comes back once the disk is good again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postbackd::domain::engine_kind::EngineKind;

use crate::asked::Asked;
use crate::daemon::{Daemon, NotReady};
use crate::dice::Dice;
use crate::disk::{Cut, Disk, Fate, Image, Mount, Policy, Refusal};
use crate::full;
use crate::load::Load;
use crate::power;
use crate::siege::{self, Stage};
use crate::tally::Tally;
use crate::tracer::{self, Point};
use crate::world::{World, engine};

/// Faults that one store lives through.
const FAULTS_IN_A_LIFE: u64 = 25;
/// The latest operation that is refused.
const LATEST: u64 = 300;
/// Events for each fault.
const EVENTS: u64 = 150;
/// How long a daemon whose disk has failed may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// How long a fault is waited for; the load may be done before it comes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs it.
pub(crate) async fn run(asked: &Asked) -> Tally {
    let (eio, enospc) = (asked.size("--eio", 5, 200), asked.size("--enospc", 3, 50));
    let mut tally = Tally::new("faults", asked.seed);
    let mut left_out = Vec::new();
    // The tracer's faults leave the kernel's cache as it is, so that only those of our own disk can show a loss.
    let traced = if tracer::usable().is_ok() { eio / 5 } else { 0 };
    match power::usable() {
        Ok(()) => refusals(asked, eio - traced, enospc / 2, &mut tally).await,
        Err(why) => left_out.push(why),
    }
    match tracer::usable() {
        Ok(()) if !tally.is_bad() => by_tracer(asked, traced, &mut tally).await,
        Ok(()) => {}
        Err(why) => left_out.push(why),
    }
    match crate::partition::usable() {
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

/// Faults of our own disk, over stores that live through many.
async fn refusals(asked: &Asked, eio: u64, enospc: u64, tally: &mut Tally) {
    let mut number = 0;
    while number < eio + enospc && !tally.is_bad() {
        let mut world = World::new(Path::new("disk/outbox")).await;
        let load = Load::new(&format!("refused{number}"), 0, Dice::of(asked.seed, "load", number));
        let mut image = Image::empty();
        let end = (number + FAULTS_IN_A_LIFE).min(eio + enospc);
        while number < end && !tally.is_bad() {
            let mut dice = Dice::of(asked.seed, "refusal", number);
            // Spread over the life, so that both kinds meet new stores and old ones.
            let full = number % (eio + enospc).div_ceil(enospc.max(1)) == 1;
            let refusal = Refusal { syncs: !full && dice.percent(60), after: dice.by_magnitude(LATEST), full };
            let policy = Policy::ALL[dice.place(Policy::ALL.len())];
            let fate = Fate { cut: Some(Cut { after: u64::MAX, policy, dice }), lies: false, refusal: Some(refusal) };
            let disk = Disk::on(image.clone(), fate);
            let mount = Mount::new(&disk, &world.path("disk")).unwrap();
            load.add(EVENTS);
            one(&world, &load, &[], tally, || disk.has_refused()).await;
            disk.cut_now();
            drop(mount);
            if tally.is_bad() {
                tally.fail(format!("refused was {refusal:?}"));
            }
            image = disk.survivor();
            look(&world, &load, &image, tally).await;
            number += 1;
        }
        if !tally.is_bad() {
            let disk = Disk::on(image, Fate::default());
            let _mount = Mount::new(&disk, &world.path("disk")).unwrap();
            siege::end(&world, &load, tally).await;
        }
        asked.say(&format!("faults: {} refused, {} failures", tally.faults, tally.failures()));
        if tally.is_bad() {
            tally.remark = format!("refusal {number}, kept in {}", world.keep().display());
        }
    }
}

async fn look(world: &World, load: &Load, image: &Image, tally: &mut Tally) {
    let disk = Disk::on(image.clone(), Fate::default());
    let mount = Mount::new(&disk, &world.path("copy")).unwrap();
    crate::check::copy(world, load, &mount.path().join("outbox"), tally).await;
}

/// Has a daemon meet a fault; `came` tells whether it did.
pub(crate) async fn one(world: &World, load: &Load, before: &[String], tally: &mut Tally, came: impl Fn() -> bool) {
    let daemon = Daemon::start(world, before);
    let over = async {
        daemon.over(PATIENCE).await;
    };
    let stage = siege::hit(load, &daemon, tally, over).await;
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
        return;
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
}

/// Syncs that fail on a real file system, below the daemon.
async fn by_tracer(asked: &Asked, faults: u64, tally: &mut Tally) {
    if faults == 0 {
        return;
    }
    let world = World::new(Path::new("outbox")).await;
    let load = Load::new("traced", EVENTS, Dice::of(asked.seed, "load", 1 << 32));
    siege::end(&world, &load, tally).await;
    // What is made durable before it is acknowledged, and how it is written.
    let (name, write) = match engine() {
        EngineKind::Sled => ("sled/db", "pwrite64"),
        EngineKind::Fjall => ("fjall/0.jnl", "write"),
    };
    let file: PathBuf = world.path("outbox").join(name);
    let files = [file.to_str().unwrap().to_owned()].into();
    for number in 0..faults {
        let mut dice = Dice::of(asked.seed, "traced", number);
        let call = ["fdatasync", write][dice.place(2)].to_owned();
        let point = Point { call, number: dice.by_magnitude(40) };
        load.add(EVENTS);
        let trace = world.path("trace");
        let before = tracer::failing(&point, "EIO", &files, &trace);
        let _ = std::fs::remove_file(&trace);
        let came = || std::fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("(INJECTED)"));
        one(&world, &load, &before, tally, came).await;
        siege::look(&world, &load, &world.path("outbox"), tally).await;
        if tally.is_bad() {
            return;
        }
    }
    siege::end(&world, &load, tally).await;
}
