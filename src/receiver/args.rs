//! The command line of `postbackd receiver`: what may be typed and what it means.
//!
//! Refuses to print; the subcommand does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::notation;
use super::{LedgerKey, ReceiverError, ReceiverOptions, Rule, Script, Verify};
use crate::ops::clock::SystemClock;

/// Runs a scriptable receiver of postbacks.
#[derive(Debug, Clone, clap::Args)]
pub struct ReceiverArgs {
    /// Address to listen on; port 0 picks one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,

    /// Answers in turn for each key, such as "500,200" or "/path=429 retry-after=1,200"; repeatable
    #[arg(long = "answer", value_name = "RULE")]
    pub answers: Vec<String>,

    /// File with one rule a line; its rules come before those of --answer
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// What tells transactions apart: NAME of a query parameter, header:NAME or /POINTER into a JSON body; "a,b" takes the
    /// first that is there, "a+b" joins both [default: header:webhook-id,txid]
    #[arg(long, value_name = "KEY")]
    pub key: Option<LedgerKey>,

    /// Require signatures; a wrong one is answered 401
    #[arg(long, value_name = "SCHEME", requires = "secret_file")]
    pub verify: Option<VerifyScheme>,

    /// File with the secrets, one a line
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub secret_file: Option<PathBuf>,

    /// Query parameter that carries the signature of query-hmac
    #[arg(long, value_name = "NAME", default_value = "sig")]
    pub signature_parameter: String,

    /// How far the timestamp of standard-webhooks may be off
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = notation::duration)]
    pub tolerance: Duration,

    /// Keep request bodies in the ledger
    #[arg(long)]
    pub record_bodies: bool,

    /// Print no line for each request
    #[arg(long)]
    pub quiet: bool,

    /// Print JSON lines
    #[arg(long)]
    pub json: bool,

    /// Write the ledger here at exit, as JSON
    #[arg(long, value_name = "FILE")]
    pub ledger_file: Option<PathBuf>,
}

/// A signature scheme that can be required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VerifyScheme {
    /// The headers of the Standard Webhooks specification
    StandardWebhooks,
    /// HMAC-SHA256 in hex of path and query without the signature's parameter
    QueryHmac,
}

impl ReceiverArgs {
    /// What was typed, as options of a receiver.
    ///
    /// # Errors
    /// When a file cannot be read, or a script, key or secret makes no sense.
    pub fn into_options(self) -> Result<ReceiverOptions, ReceiverError> {
        let script = self.rules()?;
        let verify = self.verify.map(|scheme| self.verification(scheme)).transpose()?;
        Ok(ReceiverOptions {
            listen: self.listen,
            script,
            key: self.key.unwrap_or_default(),
            verify,
            record_bodies: self.record_bodies,
        })
    }

    fn rules(&self) -> Result<Script, ReceiverError> {
        let mut rules = Vec::new();
        if let Some(path) = &self.script {
            let wrong = |source| ReceiverError::Script { origin: path.display().to_string(), source };
            rules.extend(Rule::parse_lines(&read(path)?).map_err(wrong)?);
        }
        let wrong = |source| ReceiverError::Script { origin: "--answer".to_owned(), source };
        for answer in &self.answers {
            rules.extend(Rule::parse_lines(answer).map_err(wrong)?);
        }
        let origin = if self.script.is_some() { "--script and --answer" } else { "--answer" };
        Script::new(rules).map_err(|source| ReceiverError::Script { origin: origin.to_owned(), source })
    }

    fn verification(&self, scheme: VerifyScheme) -> Result<Verify, ReceiverError> {
        let path = self.secret_file.as_ref().ok_or(ReceiverError::NoSecretFile)?;
        let text = read(path)?;
        let secrets: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let verify = match scheme {
            VerifyScheme::StandardWebhooks => {
                Verify::standard_webhooks(&secrets, self.tolerance, Arc::new(SystemClock))
            }
            VerifyScheme::QueryHmac => {
                Verify::query_hmac(secrets.first().copied().unwrap_or_default(), &self.signature_parameter)
            }
        };
        verify.map_err(|source| ReceiverError::Secrets { path: path.clone(), source })
    }
}

fn read(path: &Path) -> Result<String, ReceiverError> {
    std::fs::read_to_string(path).map_err(|source| ReceiverError::ReadFile { path: path.to_owned(), source })
}
