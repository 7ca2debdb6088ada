//! `outbox restore`: a backup becomes the store of a daemon that is down.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::owned;
use crate::cli::configuration;
use crate::cli::context::Context;
use crate::cli::exit::{Ended, Exit, Failure, with_causes};
use crate::cli::output::{Form, Output, Unit};
use crate::cli::time::shown;
use crate::domain::engine_kind::EngineKind;
use crate::domain::id::PostbackRef;
use crate::ops::clock::{Clock as _, SystemClock};
use crate::outbox::{
    self, BackupError, BulkState, Damage, Engine, Options, Outbox, Pause, RESTORING, RestoreError, RestoreObserver,
    Restored, VerifyObserver, lock_directory, open_engine, store_name, unfinished_migration,
};

/// Memory for the store's pages while a backup is put back.
const CACHE_BYTES: u64 = 256 << 20;
/// Most damage that is told.
const DAMAGE_TOLD: usize = 20;
/// By whom postbacks and orders are paused.
const BY: &str = "restore";

pub(super) const EXAMPLES: &str =
    "Needs the daemon to be down, and no store where the backup is put: move a damaged one away. What happened
after the backup is unknown to it. What was open then may have been sent since, and events that are handed in
again have new ids: a receiver that has them may not know them again. Every postback of the backup and of the
configuration is therefore paused, and every bulk order, until somebody has looked and resumes them.

Examples:
  sudo -u postbackd postbackd outbox restore /backup/postbackd-2026-11-20
  zstd -d < /backup/postbackd.zst | sudo -u postbackd postbackd outbox restore -
  postbackd outbox restore /backup/postbackd-2026-11-20 --outbox /tmp/look-at-it";

/// Which backup is put back, and where.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The backup; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Put it here instead of where the configuration has the outbox
    #[arg(long, value_name = "DIR")]
    outbox: Option<PathBuf>,

    /// Pause nothing: whatever was open in the backup is sent as soon as the daemon starts, maybe again
    #[arg(long)]
    unpaused: bool,

    /// Put it back although records in it are damaged
    #[arg(long)]
    damaged: bool,
}

const WHAT: &str = "restoring the outbox";

/// Puts a backup where the store of a daemon is to be.
pub(super) async fn restore(context: &Context, args: RestoreArgs) -> Ended {
    let output = &context.output;
    let (directory, kind) = match (&args.outbox, configuration::locate(&context.globals)) {
        (Some(directory), located) => (directory.clone(), located.map_or(EngineKind::Sled, |places| places.engine)),
        (None, located) => located.map(|places| (places.outbox, places.engine))?,
    };
    let mut backup: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file).map_err(|error| {
            Failure::new(Exit::NotFound, format!("opening the backup {}", args.file.display()), error, "")
        })?)
    };
    let site = Site::prepare(&directory, kind)?;
    let length = std::fs::metadata(&args.file).ok().filter(std::fs::Metadata::is_file).map(|found| found.len());
    let restored = site.fill(output, &mut *backup, length)?;
    site.verify(output, args.damaged)?;
    let stopped = if args.unpaused { None } else { Some(site.pause(context, &restored).await?) };
    site.finish()?;
    let Restored { stood, version, pairs, writes } = restored;
    if output.form() == Form::Json {
        let (postbacks, orders) = stopped.map_or((0, 0), |stopped| (stopped.postbacks, stopped.orders));
        output.document(&json!({
            "stood": stood, "version": version, "pairs": pairs, "writes": writes, "paused": postbacks,
            "orders_paused": orders, "outbox": directory, "engine": kind.name(),
        }))?;
    }
    output.say(&format!("{} holds the store as it stood at {}", directory.display(), shown(stood)));
    if let Some(Stopped { postbacks, orders }) = stopped {
        output.say(&format!(
            "{postbacks} postbacks and {orders} bulk orders have been paused: what was open then may have been sent since, \
             and events that are handed in again have new ids. Start the daemon, look (postbackd list --state scheduled, \
             postbackd orders list), then: postbackd affiliate resume ID --reason …"
        ));
    }
    Ok(Exit::Ok)
}

/// What a restore has kept from going on by itself.
#[derive(Debug, Clone, Copy)]
struct Stopped {
    postbacks: usize,
    orders: usize,
}

/// Where a store is put: built beside its place, and moved there when it is whole. What was not finished goes.
struct Site {
    directory: PathBuf,
    kind: EngineKind,
    unfinished: PathBuf,
    /// Keeps the daemon and other restores away.
    _lock: File,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.unfinished);
    }
}

impl Site {
    fn prepare(directory: &Path, kind: EngineKind) -> Result<Self, Failure> {
        let unusable = |error: io::Error| {
            let next = "run as the daemon's user: sudo -u postbackd postbackd outbox restore …";
            Failure::new(Exit::Auth, format!("{WHAT} in {}", directory.display()), error, next)
        };
        if !directory.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        }
        owned(WHAT, directory, "restore")?;
        let Some(lock) = lock_directory(directory).map_err(unusable)? else {
            let why = format!("a daemon, or another restore, is at work in {}", directory.display());
            return Err(Failure::new(
                Exit::Refused,
                WHAT,
                why,
                "stop the daemon, and the socket that would start it: systemctl stop postbackd.socket postbackd",
            ));
        };
        if let Some(to) = unfinished_migration(directory).map_err(unusable)? {
            let why = format!("a migration to {} was begun there and not finished", to.name());
            let next = format!("finish it first: postbackd outbox migrate --to {}", to.name());
            return Err(Failure::new(Exit::Refused, WHAT, why, next));
        }
        for store in EngineKind::ALL.map(|kind| directory.join(store_name(kind))) {
            if store.symlink_metadata().is_ok() {
                let why = format!("there is a store already: {}", store.display());
                let next = format!("move it away: mv {0} {0}.old", store.display());
                return Err(Failure::new(Exit::Refused, WHAT, why, next));
            }
        }
        let unfinished = directory.join(RESTORING);
        match std::fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
            _ => {}
        }
        Ok(Self { directory: directory.to_path_buf(), kind, unfinished, _lock: lock })
    }

    fn engine(&self) -> Result<Arc<dyn Engine>, Failure> {
        open_engine(self.kind, &self.unfinished, CACHE_BYTES).map_err(|error| unmade(&error))
    }

    fn fill(&self, output: &Output, backup: &mut dyn Read, length: Option<u64>) -> Result<Restored, Failure> {
        let engine = self.engine()?;
        output.begin(length, Unit::Bytes);
        let restored = outbox::restore(backup, &*engine, &mut Watching { output, damage: Vec::new() });
        output.end();
        restored.map_err(|error| match error {
            RestoreError::Backup(BackupError::Foreign) => {
                Failure::new(Exit::Usage, WHAT, error, "name a file that postbackd outbox backup has made")
            }
            RestoreError::Backup(_) => Failure::new(Exit::Error, WHAT, error, "take another backup"),
            RestoreError::Read(_) | RestoreError::Engine(_) | RestoreError::NotEmpty => unmade(&error),
        })
    }

    fn verify(&self, output: &Output, may_be_damaged: bool) -> Result<(), Failure> {
        let engine = self.engine()?;
        let mut watching = Watching { output, damage: Vec::new() };
        output.begin(None, Unit::Deliveries);
        let verified = outbox::verify(&*engine, &mut watching);
        output.end();
        let verified = verified.map_err(|error| unmade(&error))?;
        for Damage { space, key, what } in &watching.damage {
            output.say(&format!("damaged in the backup: {space} {key} {what}"));
        }
        if verified.damaged > 0 && !may_be_damaged {
            let why = format!("{} things in the backup are damaged", verified.damaged);
            let next = "put an earlier backup back, or this one as it is with --damaged";
            return Err(Failure::new(Exit::Refused, WHAT, why, next));
        }
        Ok(())
    }

    /// Pauses every postback of the backup and of the configuration, and every bulk order.
    async fn pause(&self, context: &Context, restored: &Restored) -> Result<Stopped, Failure> {
        let engine = self.engine()?;
        let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
        let store = Outbox::open(engine, options).map_err(|error| unmade(&error))?;
        let reason = format!(
            "the store was restored from a backup of {}; what was open then may have been sent since",
            shown(restored.stood)
        );
        let already = store.reader().pauses();
        let known = store.reader().postbacks();
        let paused: Vec<_> =
            known.iter().filter(|(number, _)| already.contains_key(number)).map(|(_, name)| name).collect();
        let mut stopped = Stopped { postbacks: 0, orders: 0 };
        let names = known.iter().map(|(_, name)| name.clone()).chain(configured(context));
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            if paused.contains(&&name) {
                continue;
            }
            let pause = Pause { at: SystemClock.now(), by: BY.into(), reason: reason.clone() };
            store.pause(name, Some(pause)).await.map_err(|error| unmade(&error))?;
            stopped.postbacks += 1;
        }
        for (id, order) in store.reader().bulks(None, usize::MAX) {
            if order.state == BulkState::Running {
                store.change_bulk(id, BulkState::Paused, BY).await.map_err(|error| unmade(&error))?;
                stopped.orders += 1;
            }
        }
        store.close().await;
        Ok(stopped)
    }

    /// Moves the store to its place; from then on it is there. What cannot be removed behind it is no failure.
    fn finish(self) -> Result<(), Failure> {
        let moved = || {
            let store = store_name(self.kind);
            std::fs::rename(self.unfinished.join(store), self.directory.join(store))?;
            File::open(&self.directory)?.sync_all()
        };
        moved().map_err(|error: io::Error| unmade(&error))
    }
}

/// The postbacks of the configuration, where it can be used: one that the backup does not know sends as well.
fn configured(context: &Context) -> Vec<PostbackRef> {
    let loaded = configuration::load(&configuration::path(&context.globals));
    let Ok(loaded) = loaded else {
        context
            .output
            .say("postbackd: the configuration cannot be used: postbacks that the backup does not know are not paused");
        return Vec::new();
    };
    let affiliates = loaded.settings.affiliates.values();
    affiliates.flat_map(|affiliate| &affiliate.postbacks).map(|postback| postback.reference()).collect()
}

fn unmade(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Error, WHAT, with_causes(error), "see whether the disk is full, and begin again")
}

/// Shows how far it has come, and keeps the first of what is damaged.
struct Watching<'o> {
    output: &'o Output,
    damage: Vec<Damage>,
}

impl RestoreObserver for Watching<'_> {
    fn progress(&mut self, bytes: u64) {
        self.output.proceed(bytes, String::new());
    }
}

impl VerifyObserver for Watching<'_> {
    fn damage(&mut self, damage: Damage) {
        if self.damage.len() < DAMAGE_TOLD {
            self.damage.push(damage);
        }
    }

    fn progress(&mut self, pairs: u64) {
        self.output.proceed(pairs, "verified".into());
    }
}
