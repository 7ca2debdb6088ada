//! `outbox`: backups of the store, and putting them back.

mod backup;
mod restore;

use clap::Subcommand;

use super::context::Context;
use super::exit::Ended;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// Take a backup, also while the daemon is up
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Put a backup back, while the daemon is down
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::RestoreArgs),
}

/// Takes a backup, or puts one back.
pub(super) async fn outbox(context: &Context, command: OutboxCommand) -> Ended {
    match command {
        OutboxCommand::Backup(args) => backup::back_up(context, &args).await,
        OutboxCommand::Restore(args) => restore::restore(context, args).await,
    }
}
