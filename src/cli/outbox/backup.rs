//! `outbox backup`: from the daemon, or of the store of one that is down.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use crate::cli::client::Client;
use crate::cli::configuration;
use crate::cli::context::Context;
use crate::cli::exit::{Ended, Exit, Failure, with_causes};
use crate::cli::export::WholeFile;
use crate::cli::output::{Form, Output, Unit};
use crate::cli::store;
use crate::cli::time::shown;
use crate::ops::clock::{SharedClock, SystemClock};
use crate::outbox::{BackupCheck, Taken, take_at_rest};

/// How often progress is shown, in bytes.
const STEP: u64 = 4 << 20;

pub(super) const EXAMPLES: &str =
    "The backup is the store as it stands when the walk over it ends. It holds what the store holds: personal data
that the dictionary allows, and no secrets. Copies of the store's directory are no backup while the daemon is up.
Over --url it needs a token with the scopes configure and read.

Examples:
  postbackd outbox backup /backup/postbackd-2026-11-20
  postbackd outbox backup - | zstd > /backup/postbackd.zst";

/// Where a backup goes.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file, which appears once the backup is whole; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Overwrite the file if there is one
    #[arg(long)]
    yes: bool,
}

const TAKING: &str = "taking a backup";

/// Takes a backup: from the daemon, or of its store where it is down.
pub(super) async fn back_up(context: &Context, args: &BackupArgs) -> Ended {
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
    let taken = take_at_rest(&*engine, &clock, &mut |part| {
        bytes += part.len() as u64;
        output.proceed(bytes, String::new());
        failed = writer.write_all(&part).err();
        failed.is_none()
    });
    match (taken, failed) {
        (_, Some(error)) => Err(unwritten(&error)),
        (Ok(taken), None) => Ok(taken),
        (Err(error), None) => {
            let next = "postbackd doctor --verify tells what is damaged";
            Err(Failure::new(Exit::Error, TAKING, with_causes(&error), next))
        }
    }
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Error, "writing the backup", error, "see whether the disk is full")
}
