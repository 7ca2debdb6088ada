//! What every command is handed: its common options, where it prints, how it reaches the daemon.

use super::client::{self, Client, read_token};
use super::configuration;
use super::exit::Failure;
use super::options::Globals;
use super::output::Output;

/// What every command is handed.
pub(super) struct Context {
    /// The common options.
    pub(super) globals: Globals,
    /// Where it prints.
    pub(super) output: Output,
}

impl Context {
    /// A client of the daemon: at `--url`, else at the configuration's socket.
    ///
    /// # Errors
    /// When the URL, the token or the configuration cannot be used.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        match &self.globals.url {
            Some(url) => {
                let token = self.globals.token_file.as_deref().map(read_token).transpose()?;
                if token.is_some() && client::sends_openly(url) {
                    self.output.say("the token goes over the network unencrypted; use an https --url");
                }
                Client::of_url(url, token)
            }
            None => Client::of_socket(&configuration::locate(&self.globals)?.socket),
        }
    }
}
