//! `outbox`: backups of the store, and putting them back.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use jiff::Timestamp;
use serde_json::json;

use super::client::Client;
use super::configuration;
use super::context::Context;
use super::exit::{Ended, Exit, Failure, with_causes};
use super::export::WholeFile;
use super::output::{Form, Output, Unit};
use super::store;
use super::time::shown;
use crate::ops::clock::{Clock as _, SharedClock, SystemClock};
use crate::outbox::{
    self, BackupCheck, BackupError, Damage, Options, Outbox, Pause, RestoreError, RestoreObserver, Restored,
    SledEngine, TakeError, Taken, VerifyObserver, take_at_rest,
};

/// Memory for the store's pages while a backup is put back.
const CACHE_BYTES: u64 = 256 << 20;
/// Where a store is built before it stands under its name.
const UNFINISHED: &str = "restoring";
/// Where the engine keeps a store.
const ENGINE: &str = "sled";
/// How often progress is shown, in bytes.
const STEP: u64 = 4 << 20;
/// Most damage that is told.
const DAMAGE_TOLD: usize = 20;

const BACKUP_EXAMPLES: &str =
    "The backup is the store as it stands when the backup ends. It holds what the store holds: personal data
that the dictionary allows, and no secrets. Copies of the store's directory are no backup while the daemon is up.

Examples:
  postbackd outbox backup /backup/postbackd-2026-11-20
  postbackd outbox backup - | zstd > /backup/postbackd.zst";
const RESTORE_EXAMPLES: &str =
    "Needs the daemon to be down, and no store where the backup is put: move a damaged one away. What happened
after the backup is unknown to it: events accepted since are to be handed in again, and what was open then may
have been sent since. Every postback is therefore paused, until somebody has looked and resumes it.

Examples:
  sudo -u postbackd postbackd outbox restore /backup/postbackd-2026-11-20
  zstd -d < /backup/postbackd.zst | sudo -u postbackd postbackd outbox restore -
  postbackd outbox restore /backup/postbackd-2026-11-20 --outbox /tmp/look-at-it";

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// Take a backup, also while the daemon is up
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Put a backup back, while the daemon is down
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
}

/// Where a backup goes.
#[derive(Debug, Clone, Args)]
pub(super) struct BackupArgs {
    /// The file, which appears once the backup is whole; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Overwrite the file if there is one
    #[arg(long)]
    yes: bool,
}

/// Which backup is put back, and where.
#[derive(Debug, Clone, Args)]
pub(super) struct RestoreArgs {
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

/// Takes a backup, or puts one back.
pub(super) async fn outbox(context: &Context, command: OutboxCommand) -> Ended {
    match command {
        OutboxCommand::Backup(args) => back_up(context, &args).await,
        OutboxCommand::Restore(args) => restore(context, args).await,
    }
}

const TAKING: &str = "taking a backup";

async fn back_up(context: &Context, args: &BackupArgs) -> Ended {
    let output = &context.output;
    if args.file == Path::new("-") && output.is_at_terminal() {
        let next = "name a file, or pass it on to another program";
        return Err(Failure::new(Exit::Usage, TAKING, "a backup is nothing that a terminal can show", next));
    }
    let client = context.client()?;
    let file = WholeFile::begin_anywhere(output, &args.file, args.yes)?;
    let mut writer = file.writer()?;
    output.begin(None, Unit::Bytes);
    let taken = if client.is_reachable().await {
        from_daemon(&client, output, &mut *writer).await
    } else {
        let directory = configuration::locate(&context.globals)?.outbox;
        at_rest(output, &directory, &mut *writer)
    };
    output.end();
    let taken = taken?;
    writer.flush().map_err(|error| unwritten(&error))?;
    drop(writer);
    file.finish()?;
    let Taken { begun, stood, pairs, writes, bytes } = taken;
    if output.form() == Form::Json && args.file != Path::new("-") {
        output
            .document(&json!({ "begun": begun, "stood": stood, "pairs": pairs, "writes": writes, "bytes": bytes }))?;
    }
    let size = HumanBytes(bytes);
    output.say(&format!("{size} in {}: the store as it stood at {}", args.file.display(), shown(stood)));
    Ok(Exit::Ok)
}

async fn from_daemon(client: &Client, output: &Output, writer: &mut (dyn Write + Send)) -> Result<Taken, Failure> {
    let answer = client.stream(&["v1", "outbox", "backup"]).await;
    let mut answer = answer.map_err(|error| error.failing(TAKING))?;
    let (mut check, mut bytes, mut told) = (BackupCheck::default(), 0_u64, 0);
    let broken = |why: &dyn std::error::Error| {
        let next = "the daemon's log tells whether it gave up, and why; begin again";
        Failure::new(Exit::Error, TAKING, with_causes(why), next)
    };
    while let Some(part) = answer.chunk().await.map_err(|error| broken(&error))? {
        check.look(&part).map_err(|error| broken(&error))?;
        writer.write_all(&part).map_err(|error| unwritten(&error))?;
        bytes += part.len() as u64;
        if bytes - told >= STEP {
            told = bytes;
            output.proceed(bytes, String::new());
        }
    }
    check.finish().map_err(|error| broken(&error))
}

fn at_rest(output: &Output, directory: &Path, writer: &mut dyn Write) -> Result<Taken, Failure> {
    let Some(engine) = store::open_engine(directory)? else {
        let why = format!("the daemon is down, and there is no store in {}", directory.display());
        return Err(Failure::new(Exit::NotFound, TAKING, why, "name another configuration: --config FILE"));
    };
    output.say(&format!("postbackd: the daemon is down; the backup is of its store in {}", directory.display()));
    let clock: SharedClock = Arc::new(SystemClock);
    let (mut failed, mut bytes) = (None, 0);
    let taken = take_at_rest(&engine, &clock, &mut |part| {
        bytes += part.len() as u64;
        output.proceed(bytes, String::new());
        failed = writer.write_all(&part).err();
        failed.is_none()
    });
    match (taken, failed) {
        (_, Some(error)) => Err(unwritten(&error)),
        (Ok(taken), None) => Ok(taken),
        (Err(error @ (TakeError::Outbox(_) | TakeError::Busy | TakeError::TooSlow | TakeError::Gone)), None) => {
            let next = "postbackd doctor --verify tells what is damaged";
            Err(Failure::new(Exit::Error, TAKING, with_causes(&error), next))
        }
    }
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Error, "writing the backup", error, "see whether the disk is full")
}

async fn restore(context: &Context, args: RestoreArgs) -> Ended {
    let output = &context.output;
    let directory = match &args.outbox {
        Some(directory) => directory.clone(),
        None => configuration::locate(&context.globals)?.outbox,
    };
    let mut backup: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&args.file).map_err(|error| {
            Failure::new(Exit::NotFound, format!("opening the backup {}", args.file.display()), error, "")
        })?)
    };
    let site = Site::prepare(&directory)?;
    let length = std::fs::metadata(&args.file).ok().filter(std::fs::Metadata::is_file).map(|found| found.len());
    let restored = site.fill(output, &mut *backup, length)?;
    site.verify(output, args.damaged)?;
    let paused = if args.unpaused { 0 } else { site.pause(&restored).await? };
    site.finish()?;
    let Restored { stood, version, pairs, writes } = restored;
    if output.form() == Form::Json {
        output.document(&json!({
            "stood": stood, "version": version, "pairs": pairs, "writes": writes, "paused": paused, "outbox": directory,
        }))?;
    }
    output.say(&format!("{} holds the store as it stood at {}", directory.display(), shown(stood)));
    if paused > 0 {
        output.say(&format!(
            "{paused} postbacks are paused: what was open then may have been sent since. Start the daemon, look \
             (postbackd list --state scheduled), then: postbackd affiliate resume ID"
        ));
    }
    Ok(Exit::Ok)
}

const RESTORING: &str = "restoring the outbox";

/// Where a store is put: built beside its place, and moved there when it is whole.
struct Site {
    directory: PathBuf,
    unfinished: PathBuf,
}

impl Site {
    fn prepare(directory: &Path) -> Result<Self, Failure> {
        let unusable = |error: std::io::Error| {
            let next = "run as the daemon's user: sudo -u postbackd postbackd outbox restore …";
            Failure::new(Exit::Auth, format!("{RESTORING} in {}", directory.display()), error, next)
        };
        let engine = directory.join(ENGINE);
        if engine.symlink_metadata().is_ok() {
            let why = format!("there is a store already: {}", engine.display());
            let next = format!("stop the daemon and move it away: mv {0} {0}.old", engine.display());
            return Err(Failure::new(Exit::Refused, RESTORING, why, next));
        }
        if !directory.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        }
        let owner = std::fs::metadata(directory).map_err(unusable)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            let why = format!("{} belongs to another user, whose daemon could not read it", directory.display());
            let next = format!("run as its owner: sudo -u '#{owner}' postbackd outbox restore …");
            return Err(Failure::new(Exit::Auth, RESTORING, why, next));
        }
        let unfinished = directory.join(UNFINISHED);
        match std::fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unusable(error)),
            _ => {}
        }
        Ok(Self { directory: directory.to_path_buf(), unfinished })
    }

    fn engine(&self) -> Result<SledEngine, Failure> {
        SledEngine::open(&self.unfinished, CACHE_BYTES).map_err(|error| unmade(&error))
    }

    fn fill(&self, output: &Output, backup: &mut dyn Read, length: Option<u64>) -> Result<Restored, Failure> {
        let engine = self.engine()?;
        output.begin(length, Unit::Bytes);
        let restored = outbox::restore(backup, &engine, &mut Watching { output, damage: Vec::new() });
        output.end();
        restored.map_err(|error| match error {
            RestoreError::Backup(BackupError::Foreign) => {
                Failure::new(Exit::Usage, RESTORING, error, "name a file that postbackd outbox backup has made")
            }
            RestoreError::Backup(_) => Failure::new(Exit::Error, RESTORING, error, "take another backup"),
            RestoreError::Read(_) | RestoreError::Engine(_) | RestoreError::NotEmpty => unmade(&error),
        })
    }

    fn verify(&self, output: &Output, may_be_damaged: bool) -> Result<(), Failure> {
        let engine = self.engine()?;
        let mut watching = Watching { output, damage: Vec::new() };
        output.begin(None, Unit::Deliveries);
        let verified = outbox::verify(&engine, &mut watching);
        output.end();
        let verified = verified.map_err(|error| unmade(&error))?;
        for Damage { space, key, what } in &watching.damage {
            output.say(&format!("damaged in the backup: {space} {key} {what}"));
        }
        if verified.damaged > 0 && !may_be_damaged {
            let why = format!("{} things in the backup are damaged", verified.damaged);
            let next = "put an earlier backup back, or this one as it is with --damaged";
            return Err(Failure::new(Exit::Refused, RESTORING, why, next));
        }
        Ok(())
    }

    /// Pauses every postback that has deliveries to send.
    async fn pause(&self, restored: &Restored) -> Result<usize, Failure> {
        let engine = Arc::new(self.engine()?);
        let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
        let store = Outbox::open(engine, options).map_err(|error| unmade(&error))?;
        let at: Timestamp = SystemClock.now();
        let reason = format!(
            "the store was restored from a backup of {}; what was open then may have been sent since",
            shown(restored.stood)
        );
        let already = store.reader().pauses();
        let running = store.reader().postbacks().into_iter().filter(|(number, _)| !already.contains_key(number));
        let mut paused = 0;
        for (_, postback) in running {
            let pause = Pause { at, by: "restore".into(), reason: reason.clone() };
            store.pause(postback, Some(pause)).await.map_err(|error| unmade(&error))?;
            paused += 1;
        }
        store.close().await;
        Ok(paused)
    }

    fn finish(self) -> Result<(), Failure> {
        let moved = || {
            std::fs::rename(self.unfinished.join(ENGINE), self.directory.join(ENGINE))?;
            std::fs::remove_dir_all(&self.unfinished)?;
            File::open(&self.directory)?.sync_all()
        };
        moved().map_err(|error: std::io::Error| unmade(&error))
    }
}

fn unmade(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Error, RESTORING, with_causes(error), "see whether the disk is full, and begin again")
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
