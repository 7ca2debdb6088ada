//! Options of every command: where the daemon is, and how to print.

use std::path::PathBuf;

use clap::Args;

use super::output::Form;

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
pub(super) struct Globals {
    /// Configuration file [default: /etc/postbackd/postbackd.toml, else ./config/postbackd.toml]
    #[arg(long, global = true, value_name = "FILE", env = "POSTBACKD_CONFIG")]
    pub(super) config: Option<PathBuf>,

    /// Talk to the daemon at this URL instead of its socket
    #[arg(long, global = true, value_name = "URL", env = "POSTBACKD_URL")]
    pub(super) url: Option<String>,

    /// File with the bearer token for --url
    #[arg(long, global = true, value_name = "FILE", env = "POSTBACKD_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Print a JSON document a line
    #[arg(long, global = true, conflicts_with = "json")]
    pub(super) ndjson: bool,

    /// Print without colours
    #[arg(long = "no-color", alias = "no-colour", global = true)]
    pub(super) no_colour: bool,
}

impl Globals {
    /// The form that was asked for.
    pub(super) fn form(&self) -> Form {
        match (self.json, self.ndjson) {
            (_, true) => Form::Ndjson,
            (true, false) => Form::Json,
            (false, false) => Form::People,
        }
    }
}
