//! `outbox`: backups of the store, putting them back, and moving the store to another engine.

mod backup;
mod migrate;
mod restore;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clap::Subcommand;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// Take a backup, also while the daemon is up
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Put a backup back, while the daemon is down
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::RestoreArgs),
    /// Move the store to another engine, while the daemon is down
    #[command(after_help = migrate::EXAMPLES)]
    Migrate(migrate::MigrateArgs),
}

/// Takes a backup, puts one back, or moves the store to another engine.
pub(super) async fn outbox(context: &Context, command: OutboxCommand) -> Ended {
    match command {
        OutboxCommand::Backup(args) => backup::back_up(context, &args).await,
        OutboxCommand::Restore(args) => restore::restore(context, args).await,
        OutboxCommand::Migrate(args) => migrate::migrate(context, &args),
    }
}

/// Sees to it that a directory is ours: its daemon could not read what somebody else makes there.
fn owned(what: &str, directory: &Path, command: &str) -> Result<(), Failure> {
    let unusable = |error: std::io::Error| {
        let next = format!("run as the daemon's user: sudo -u postbackd postbackd outbox {command} …");
        Failure::new(Exit::Auth, format!("{what} in {}", directory.display()), error, next)
    };
    let owner = std::fs::metadata(directory).map_err(unusable)?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let why = format!("{} belongs to another user, whose daemon could not read it", directory.display());
    let next = format!("run as its owner: sudo -u '#{owner}' postbackd outbox {command} …");
    Err(Failure::new(Exit::Auth, what, why, next))
}
