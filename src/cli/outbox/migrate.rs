//! `outbox migrate`: the store of a daemon that is down is moved to another engine.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::owned;
use crate::cli::configuration;
use crate::cli::context::Context;
use crate::cli::exit::{Ended, Exit, Failure, with_causes};
use crate::cli::output::{Form, Output, Unit};
use crate::domain::engine_kind::EngineKind;
use crate::outbox::{
    self, Copying, Damage, EngineError, MigrateError, MigrateObserver, Migration, Move, VerifyObserver, store_name,
};

/// Memory for the pages of each of the two stores.
const CACHE_BYTES: u64 = 128 << 20;
/// Most damage that is told.
const DAMAGE_TOLD: usize = 20;
const WHAT: &str = "moving the outbox to another engine";

pub(super) const EXAMPLES: &str =
    "Needs the daemon to be down, and room for a second copy of the store. The new store is built beside its place and
compared with the old one, byte by byte, before it is moved there; the old one is kept. A run that was ended goes on
where it was when it is begun again; until then no daemon starts there. What has been changed is the store alone:
set [outbox] engine before you start the daemon.

Examples:
  sudo -u postbackd postbackd outbox migrate --to fjall
  postbackd outbox migrate --to sled --outbox /tmp/a-copy --json";

/// Where the store is, and what it is to be.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct MigrateArgs {
    /// The engine that the store is moved to
    #[arg(long, value_name = "ENGINE", value_enum)]
    to: EngineName,

    /// The outbox, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    outbox: Option<PathBuf>,

    /// Move it although records in it are damaged; they are as damaged afterwards
    #[arg(long)]
    damaged: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineName {
    Sled,
    Fjall,
}

impl From<EngineName> for EngineKind {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Sled => Self::Sled,
            EngineName::Fjall => Self::Fjall,
        }
    }
}

/// What a migration came to.
#[derive(Debug)]
struct Migrated {
    from: EngineKind,
    pairs: Option<u64>,
    resumed: bool,
    kept: PathBuf,
}

/// Moves the store of a daemon that is down to another engine.
pub(super) fn migrate(context: &Context, args: &MigrateArgs) -> Ended {
    let output = &context.output;
    let directory = match &args.outbox {
        Some(directory) => directory.clone(),
        None => configuration::locate(&context.globals)?.outbox,
    };
    let to = EngineKind::from(args.to);
    if directory.is_dir() {
        owned(WHAT, &directory, "migrate")?;
    }
    let way = Way { output, directory: &directory, to };
    let migrated = match Migration::begin(&directory, to, CACHE_BYTES).map_err(|error| way.failed(error))? {
        Migration::Done => None,
        Migration::Moving(moving) => Some(way.finish(moving, None, true)?),
        Migration::Copying(copying) => Some(way.copy(copying, args.damaged)?),
    };
    way.tell(migrated.as_ref())?;
    Ok(Exit::Ok)
}

/// A migration, as whoever asked for it sees it.
struct Way<'a> {
    output: &'a Output,
    directory: &'a Path,
    to: EngineKind,
}

impl Way<'_> {
    fn copy(&self, copying: Copying, may_be_damaged: bool) -> Result<Migrated, Failure> {
        let (output, to, resumed) = (self.output, self.to.name(), copying.is_resumed());
        let begun = if resumed { "going on with moving" } else { "moving" };
        output.say(&format!(
            "{begun} the store in {} from {} to {to}",
            self.directory.display(),
            copying.from().name()
        ));
        let mut watching = Watching { output, damage: Vec::new() };
        output.begin(None, Unit::Bytes);
        let copied = copying.copy(&mut watching);
        output.end();
        copied.map_err(|error| self.failed(error))?;
        output.begin(None, Unit::Deliveries);
        let compared = copying.compare(&mut watching);
        output.end();
        let pairs = compared.map_err(|error| self.failed(error))?;
        output.begin(Some(pairs), Unit::Deliveries);
        let verified = outbox::verify(copying.target(), &mut watching);
        output.end();
        let damaged = verified.map_err(|error| self.broken(&error))?.damaged;
        for Damage { space, key, what } in &watching.damage {
            output.say(&format!("damaged: {space} {key} {what}"));
        }
        if damaged > 0 && !may_be_damaged {
            copying.abandon().map_err(|error| self.failed(error))?;
            let why = format!("{damaged} things in the store are damaged; it stays as it was");
            return Err(Failure::new(
                Exit::Refused,
                WHAT,
                why,
                "restore a backup, or move the store as it is with --damaged",
            ));
        }
        self.finish(copying.close(), Some(pairs), resumed)
    }

    fn finish(&self, moving: Move, pairs: Option<u64>, resumed: bool) -> Result<Migrated, Failure> {
        let from = moving.from();
        let kept = moving.finish().map_err(|error| self.failed(error))?;
        Ok(Migrated { from, pairs, resumed, kept })
    }

    fn tell(&self, migrated: Option<&Migrated>) -> Result<(), Failure> {
        let (output, to, directory) = (self.output, self.to.name(), self.directory.display());
        if output.form() == Form::Json {
            output.document(&json!({
                "outbox": self.directory, "engine": to, "moved": migrated.is_some(),
                "from": migrated.map(|migrated| migrated.from.name()),
                "pairs": migrated.and_then(|migrated| migrated.pairs),
                "resumed": migrated.is_some_and(|migrated| migrated.resumed),
                "kept": migrated.map(|migrated| &migrated.kept),
            }))?;
        }
        match migrated {
            None => output.say(&format!("the store in {directory} is of {to} already; nothing was done")),
            Some(Migrated { kept, .. }) => output.say(&format!(
                "{directory} holds the store in {to} now. Set [outbox] engine = \"{to}\" before you start the daemon. The old \
                 store is kept; once you are sure: rm -r {}", kept.display()
            )),
        }
        Ok(())
    }

    fn failed(&self, error: MigrateError) -> Failure {
        let (to, beside) = (self.to.name(), self.directory.join(format!("{}.migrating", store_name(self.to))));
        let refused = |error: &MigrateError, next: String| Failure::new(Exit::Refused, WHAT, error, next);
        match &error {
            MigrateError::NoStore(_) => {
                Failure::new(Exit::NotFound, WHAT, error, "name another configuration, --config FILE, or --outbox DIR")
            }
            MigrateError::Taken { path, .. } => {
                refused(&error, format!("move away what is not wanted: mv {0} {0}.old", path.display()))
            }
            MigrateError::Kept(path) => {
                refused(&error, format!("remove it, or move it away: mv {0} {0}.old", path.display()))
            }
            MigrateError::Other(other) => {
                refused(&error, format!("finish it first: postbackd outbox migrate --to {}", other.name()))
            }
            MigrateError::Restoring => refused(&error, "finish it first: postbackd outbox restore".into()),
            MigrateError::Differs { .. } => {
                refused(&error, format!("nothing was moved; begin anew: rm -r {}", beside.display()))
            }
            MigrateError::Engine(EngineError::InUse { .. }) => Failure::new(
                Exit::Refused,
                WHAT,
                format!("a daemon, or another command, is at work in {}", self.directory.display()),
                "stop the daemon, and the socket that would start it: systemctl stop postbackd.socket postbackd",
            ),
            MigrateError::Engine(_) | MigrateError::Io(_) => {
                let next = format!(
                    "see whether the disk is full, and go on: postbackd outbox migrate --to {to}; or give it up: rm -r {}",
                    beside.display()
                );
                Failure::new(Exit::Error, WHAT, with_causes(&error), next)
            }
        }
    }

    fn broken(&self, error: &dyn std::error::Error) -> Failure {
        let next = format!(
            "nothing was moved; look at the store: postbackd doctor --verify --outbox {}",
            self.directory.display()
        );
        Failure::new(Exit::Error, WHAT, with_causes(error), next)
    }
}

/// Shows how far it has come, and keeps the first of what is damaged.
struct Watching<'o> {
    output: &'o Output,
    damage: Vec<Damage>,
}

impl MigrateObserver for Watching<'_> {
    fn copied(&mut self, bytes: u64) {
        self.output.proceed(bytes, "copied".into());
    }

    fn compared(&mut self, pairs: u64) {
        self.output.proceed(pairs, "compared".into());
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
