//! Power cuts below the real daemon: after any operation of its disk, first start and recovery included. The disk has a file system
//! of ours, which promises nothing beyond POSIX, or ext4, whose promises the daemon may rely on.

use std::path::Path;
use std::time::Duration;

use crate::asked::Asked;
use crate::check;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::disk::{Cut, Disk, Fate, Image, Mount, Policy};
use crate::load::Load;
use crate::partition;
use crate::past;
use crate::siege::{self, Stage};
use crate::tally::Tally;
use crate::volume::Format;
use crate::world::World;

/// Cuts that one store lives through.
const CUTS_IN_A_LIFE: u64 = 25;
/// Events of long ago that every other store begins with.
const PAST: u64 = 10_000;
/// The most operations between two cuts.
const MOST_OPERATIONS: u64 = 4_000;
/// How long a daemon without power may take to notice.
const NOTICED: Duration = Duration::from_secs(5);

/// How the campaign is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Power {
    /// How many cuts.
    pub(crate) cuts: u64,
    /// How many events.
    pub(crate) events: u64,
    /// Whether the disk forgets what it was told to sync.
    pub(crate) lies: bool,
    /// What stands on the disk.
    pub(crate) format: Format,
}

/// Runs it.
pub(crate) async fn run(name: &'static str, power: Power, asked: &Asked) -> Tally {
    let mut tally = Tally::new(name, asked.seed);
    let usable = usable().and_then(|()| if power.format == Format::Ext4 { partition::usable() } else { Ok(()) });
    if let Err(why) = usable {
        return Tally::not_run(name, asked.seed, why);
    }
    let lives = power.cuts.div_ceil(CUTS_IN_A_LIFE).max(1);
    for life in 0..lives {
        let cuts = (power.cuts - life * CUTS_IN_A_LIFE).min(CUTS_IN_A_LIFE);
        let mut life = Life::new(life, cuts, power.events / lives, power.format, asked.seed).await;
        life.live(cuts, power.lies, &mut tally).await;
        asked.say(&format!("{name}: {} cuts, {} failures", tally.faults, tally.failures()));
        if tally.is_bad() {
            if !power.lies {
                life.keep(&mut tally);
            }
            break;
        }
    }
    tally
}

/// Whether this machine can mount a disk of ours.
pub(crate) fn usable() -> Result<(), String> {
    if !Path::new("/dev/fuse").exists() {
        return Err("there is no /dev/fuse".into());
    }
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::on(Image::empty(), Fate::default());
    Mount::new(&disk, place.path()).map(drop).map_err(|error| format!("a FUSE file system cannot be mounted: {error}"))
}

/// One store from its first start on.
struct Life {
    number: u64,
    seed: u64,
    format: Format,
    image: Image,
    world: World,
    load: Load,
    events_each: u64,
}

impl Life {
    async fn new(number: u64, cuts: u64, events: u64, format: Format, seed: u64) -> Self {
        let world = World::new(Path::new("disk/outbox")).await;
        let events_each = (events / (cuts + 1)).max(1);
        let load = Load::new(&format!("life{number}"), 0, Dice::of(seed, "load", number));
        let image = format.empty(&world.path("disk")).unwrap();
        let mut life = Self { number, seed, format, image, world, load, events_each };
        // The others begin with their first start.
        if number % 2 == 1 {
            life.have_past().await;
        }
        life
    }

    /// Fills the store with what the daemon deletes from its first start on.
    async fn have_past(&mut self) {
        let disk = Disk::on(self.image.clone(), Fate::default());
        let volume = self.format.mount(&disk, &self.world.path("disk")).unwrap();
        self.load.book().past = past::fill(&self.world.path("disk/outbox"), PAST).await;
        drop(volume);
        self.image = disk.survivor();
    }

    async fn live(&mut self, cuts: u64, lies: bool, tally: &mut Tally) {
        for cut in 0..cuts {
            self.load.add(self.events_each);
            self.until_cut(cut, lies, tally).await;
            self.look(tally).await;
            if tally.is_bad() {
                tally.fail(format!("the failing cut is number {cut} of life {}", self.number));
                return;
            }
        }
        self.load.add(self.events_each);
        self.end(tally).await;
    }

    /// Runs the daemon until the power goes.
    async fn until_cut(&mut self, cut: u64, lies: bool, tally: &mut Tally) {
        let mut dice = Dice::of(self.seed, "cut", self.number * CUTS_IN_A_LIFE + cut);
        let after = dice.by_magnitude(MOST_OPERATIONS);
        let policy = Policy::ALL[dice.place(Policy::ALL.len())];
        let disk = Disk::on(self.image.clone(), Fate { cut: Some(Cut { after, policy, dice }), lies, refusal: None });
        let volume = match self.format.mount(&disk, &self.world.path("disk")) {
            Ok(volume) => volume,
            // It was cut while the file system was on its way up.
            Err(_) if disk.is_dark() => {
                tally.fault(false);
                self.image = disk.survivor();
                return;
            }
            Err(error) => {
                tally.fail(error);
                return;
            }
        };
        let daemon = Daemon::start(&self.world, &[]);
        let gone = async {
            disk.dark().await;
            // It still answers whoever waits; what it acknowledges now must have been durable before.
            daemon.over(NOTICED).await;
            daemon.kill();
        };
        let sending = match siege::hit(&self.load, &daemon, tally, gone).await {
            Stage::Starting => false,
            // Without power it may end before its end is waited for.
            Stage::NotReady(_) if disk.is_dark() => false,
            Stage::NotReady(not_ready) => {
                tally.unopenable(&not_ready.to_string());
                return;
            }
            Stage::Running { .. } => true,
        };
        disk.cut_now();
        daemon.kill();
        tally.fault(sending);
        drop(volume);
        self.image = disk.survivor();
    }

    /// Looks at a copy of what survived.
    async fn look(&self, tally: &mut Tally) {
        let disk = Disk::on(self.image.clone(), Fate::default());
        match self.format.mount(&disk, &self.world.path("copy")) {
            Ok(_volume) => check::copy(&self.world, &self.load, &self.world.path("copy/outbox"), tally).await,
            Err(error) => tally.unopenable(&error),
        }
    }

    /// Lets everything settle on a disk whose power stays.
    async fn end(&mut self, tally: &mut Tally) {
        let disk = Disk::on(self.image.clone(), Fate::default());
        let _volume = self.format.mount(&disk, &self.world.path("disk")).unwrap();
        siege::end(&self.world, &self.load, tally).await;
    }

    /// Keeps what survived the cut that went wrong.
    fn keep(&mut self, tally: &mut Tally) {
        let disk = Disk::on(self.image.clone(), Fate::default());
        if let Ok(_volume) = self.format.mount(&disk, &self.world.path("disk")) {
            let (from, to) = (self.world.path("disk/outbox"), self.world.path("survivor"));
            let _ = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
            tally.remark = format!("kept in {}", self.world.keep().display());
        } else {
            tally.remark = "what survived has no file system that can be mounted; the same seed cuts again".into();
        }
    }
}
