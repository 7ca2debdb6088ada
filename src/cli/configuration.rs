//! The seam between the command line and the configuration.
//!
//! Commands that talk to the daemon need two paths only and must work for people who may not read secrets
//! or affiliates' files; [`locate`] reads just these. `check` and `run` load everything.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::options::Globals;

use crate::config::{self, Examined, Loaded, Problem, Settings};
use crate::domain::engine_kind::EngineKind;

/// Where packages put the configuration.
const SYSTEM_CONFIG: &str = "/etc/postbackd/postbackd.toml";
/// Where it lies in a checkout.
const LOCAL_CONFIG: &str = "config/postbackd.toml";
/// The socket when the configuration does not say.
const DEFAULT_SOCKET: &str = "/run/postbackd/postbackd.sock";
/// The outbox when the configuration does not say.
const DEFAULT_OUTBOX: &str = "/var/lib/postbackd";

/// Where the daemon's things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// Its socket.
    pub(super) socket: PathBuf,
    /// Its outbox.
    pub(super) outbox: PathBuf,
    /// The engine of its outbox.
    pub(super) engine: EngineKind,
}

/// One thing wrong or doubtful in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// `error` or `warning`.
    pub(super) severity: Severity,
    /// The file.
    pub(super) file: String,
    /// The line in it, where known.
    pub(super) line: Option<usize>,
    /// The key.
    pub(super) key: String,
    /// What is wrong.
    pub(super) message: String,
    /// The way out.
    pub(super) remedy: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// The daemon does not start with it.
    Error,
    /// It probably is not what was meant.
    Warning,
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    /// Errors, then warnings.
    pub(super) findings: Vec<Finding>,
    /// What is configured, when there is no error.
    pub(super) summary: Option<Summary>,
}

/// What is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Affiliates.
    pub(super) affiliates: usize,
    /// Postbacks that are switched on.
    pub(super) postbacks: usize,
    /// Event types.
    pub(super) types: usize,
}

/// The configuration file that is meant: the one named, else the first of the usual places that exists.
pub(super) fn path(globals: &Globals) -> PathBuf {
    if let Some(path) = &globals.config {
        return path.clone();
    }
    let system = PathBuf::from(SYSTEM_CONFIG);
    let local = PathBuf::from(LOCAL_CONFIG);
    if !system.exists() && local.exists() { local } else { system }
}

/// Where the daemon's socket and outbox are, without looking at the rest of the configuration.
///
/// # Errors
/// When a named file does not exist, or the file is not readable or not TOML.
pub(super) fn locate(globals: &Globals) -> Result<Places, Failure> {
    let path = path(globals);
    let failed = |why: String| {
        let next = format!("postbackd check --config {}", path.display());
        Failure::new(Exit::Configuration, format!("reading the configuration {}", path.display()), why, next)
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && globals.config.is_none() => String::new(),
        Err(error) => return Err(failed(error.to_string())),
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| failed(error.to_string()))?;
    Ok(places(&table, path.parent().unwrap_or(Path::new("."))))
}

fn places(table: &toml::Table, directory: &Path) -> Places {
    let written = |section: &str, key: &str| table.get(section)?.get(key)?.as_str();
    let place = |written: Option<&str>, default: &str| directory.join(written.unwrap_or(default));
    Places {
        socket: place(written("api", "socket"), DEFAULT_SOCKET),
        outbox: place(written("outbox", "path"), DEFAULT_OUTBOX),
        engine: written("outbox", "engine").and_then(EngineKind::named).unwrap_or(EngineKind::Sled),
    }
}

/// Loads a whole configuration.
///
/// # Errors
/// When it cannot be used; every error is told.
pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    config::load(path).map_err(|problems| {
        let what = format!("the configuration {} cannot be used", path.display());
        let count = problems.0.len();
        let mut why = format!("{count} {}", if count == 1 { "error" } else { "errors" });
        for problem in &problems.0 {
            let _ = write!(why, "\n  {problem}");
        }
        let next = format!("put it right, then: postbackd check --config {}", path.display());
        Failure::new(Exit::Configuration, what, why, next)
    })
}

/// Reads a whole configuration, whether it can be used or not.
pub(super) fn examine(path: &Path) -> Examined {
    config::examine(path)
}

/// Loads a whole configuration and tells what is wrong with it.
pub(super) fn check(path: &Path) -> Checked {
    let Examined { settings, readable: _, errors, warnings } = config::examine(path);
    let errors = errors.iter().map(|problem| finding(problem, Severity::Error));
    let warnings = warnings.iter().map(|problem| finding(problem, Severity::Warning));
    Checked { findings: errors.chain(warnings).collect(), summary: settings.as_ref().map(summary) }
}

fn summary(settings: &Settings) -> Summary {
    Summary {
        affiliates: settings.affiliates.len(),
        postbacks: settings.affiliates.values().map(|affiliate| affiliate.postbacks.len()).sum(),
        types: settings.dictionary.types.len(),
    }
}

fn finding(problem: &Problem, severity: Severity) -> Finding {
    Finding {
        severity,
        file: problem.file.display().to_string(),
        line: problem.line,
        key: problem.key.clone(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_relative_to_the_file_and_have_defaults() {
        let table = "[api]\nsocket = \"run/p.sock\"\n[outbox]\npath = \"/data\"\nengine = \"fjall\"\n".parse().unwrap();
        let found = places(&table, Path::new("/etc/postbackd"));
        assert_eq!(found.socket, Path::new("/etc/postbackd/run/p.sock"));
        assert_eq!(found.outbox, Path::new("/data"));
        assert_eq!(found.engine, EngineKind::Fjall);
        let found = places(&toml::Table::new(), Path::new("/etc/postbackd"));
        assert_eq!(found.socket, Path::new(DEFAULT_SOCKET));
    }

    #[test]
    fn a_named_file_must_exist_and_be_toml() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.toml");
        let globals = Globals { config: Some(file.clone()), ..Globals::default() };
        assert_eq!(locate(&globals).unwrap_err().exit(), Exit::Configuration);
        std::fs::write(&file, "[api").unwrap();
        assert_eq!(locate(&globals).unwrap_err().exit(), Exit::Configuration);
        std::fs::write(&file, "[affiliates]\nnonsense = 1").unwrap();
        assert_eq!(locate(&globals).unwrap().outbox, Path::new(DEFAULT_OUTBOX));
    }

    #[test]
    fn a_finding_names_file_line_key_and_the_way_out() {
        let finding = Finding {
            severity: Severity::Error,
            file: "a.toml".into(),
            line: Some(3),
            key: "limits.rate".into(),
            message: "is no rate".into(),
            remedy: "write 50/s".into(),
        };
        assert_eq!(finding.to_string(), "error: a.toml:3: limits.rate: is no rate; write 50/s");
    }
}
