//! Logs: to standard error, as text for people or as JSON lines for programs, at a level that can be changed while the
//! daemon runs.
//!
//! There is one log for the process, as there is one standard error; so its level is held here, and not handed around.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};
use utoipa::ToSchema;

use super::clock::{Clock as _, SystemClock};
use crate::config::{LogFormat, LogSettings};

/// Who changed the level is logged whatever the level is.
const AUDIT: &str = "postbackd::audit=info";
/// The names of levels, which may stand alone in a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Longest that a level is changed for before it goes back by itself.
pub const LONGEST: Duration = Duration::from_hours(24);

static LEVEL: OnceLock<Level> = OnceLock::new();

/// The level, and how to change it.
struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    standing: Mutex<Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    shown: LogLevel,
    /// Counts changes, so that one that goes back by itself does not undo a later one.
    changes: u64,
}

/// The level of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLevel {
    /// The filter in use.
    pub filter: String,
    /// The filter of the configuration.
    pub configured: String,
    /// When the filter of the configuration comes back by itself.
    pub until: Option<Timestamp>,
    /// Who changed it; absent where it is as configured.
    pub by: Option<String>,
}

/// Why a level is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelRefused {
    /// It is no filter.
    #[error(
        "{filter:?} is no filter: {why}; write a level such as debug, or a filter such as info,postbackd::dispatch=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is to go back too late, or at once.
    #[error("the level can be changed for a second to 24 hours, then it goes back by itself")]
    Time,
    /// This process has no log of its own.
    #[error("this process keeps no log of its own")]
    NoLog,
}

/// Starts logging; does nothing where logging has been started already.
///
/// # Errors
/// When the level is not a level or filter.
pub fn start(settings: &LogSettings) -> Result<(), tracing_subscriber::filter::ParseError> {
    let (filter, handle) = reload::Layer::new(audited(EnvFilter::builder().parse(&settings.level)?));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let started = match settings.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init(),
    };
    if started.is_ok() {
        let standing = Mutex::new(Standing { shown: configured(&settings.level), changes: 0 });
        let _ = LEVEL.set(Level { handle, standing });
    }
    Ok(())
}

/// The level as it is; `None` where this process has no log of its own.
pub fn level() -> Option<LogLevel> {
    LEVEL.get().map(|level| level.standing().shown.clone())
}

/// Changes the level, for a time or until the configuration is read anew. Has to be called on the runtime.
///
/// # Errors
/// When it is no filter, or the time makes no sense. The level stays then.
pub fn change(filter: &str, time: Option<Duration>, by: &str) -> Result<LogLevel, LevelRefused> {
    let parsed = parse(filter)?;
    if time.is_some_and(|time| time < Duration::from_secs(1) || time > LONGEST) {
        return Err(LevelRefused::Time);
    }
    let level = LEVEL.get().ok_or(LevelRefused::NoLog)?;
    let back = time.and_then(|time| SignedDuration::try_from(time).ok());
    let until = back.and_then(|back| SystemClock.now().checked_add(back).ok());
    let mut standing = level.standing();
    let before = standing.shown.filter.clone();
    standing.changes += 1;
    let configured = standing.shown.configured.clone();
    standing.shown = LogLevel { filter: filter.to_owned(), configured, until, by: Some(by.to_owned()) };
    level.set(parsed);
    let until = until.map(tracing::field::display);
    tracing::info!(target: "postbackd::audit", by, filter, before, until, "log.level_changed");
    if let Some(time) = time {
        let change = standing.changes;
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            level.go_back(change);
        });
    }
    Ok(standing.shown.clone())
}

/// Takes the level of a configuration that was read anew; what was changed meanwhile is over.
pub fn configure(filter: &str) {
    let (Some(level), Ok(parsed)) = (LEVEL.get(), EnvFilter::builder().parse(filter)) else { return };
    let mut standing = level.standing();
    let before = std::mem::replace(&mut standing.shown, configured(filter)).filter;
    standing.changes += 1;
    if before != filter {
        level.set(audited(parsed));
        tracing::info!(target: "postbackd::audit", by = "configuration", filter, before, "log.level_changed");
    }
}

impl Level {
    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, filter: EnvFilter) {
        // It fails only where the subscriber is gone, and then there is no log to filter.
        let _ = self.handle.reload(filter);
    }

    /// Goes back to the configuration's filter, where nothing was changed since.
    fn go_back(&self, change: u64) {
        let mut standing = self.standing();
        if standing.changes != change {
            return;
        }
        let filter = standing.shown.configured.clone();
        let Ok(parsed) = EnvFilter::builder().parse(&filter) else { return };
        let before = std::mem::replace(&mut standing.shown, configured(&filter)).filter;
        self.set(audited(parsed));
        tracing::info!(target: "postbackd::audit", by = "its time is over", filter, before, "log.level_changed");
    }
}

fn configured(filter: &str) -> LogLevel {
    LogLevel { filter: filter.to_owned(), configured: filter.to_owned(), until: None, by: None }
}

fn audited(filter: EnvFilter) -> EnvFilter {
    match AUDIT.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Reads a filter. A word alone that is no level would be taken for the name of a module, and would switch the rest of
/// the log off: most likely it is a level with a typing error.
fn parse(text: &str) -> Result<EnvFilter, LevelRefused> {
    let refused = |why: String| LevelRefused::Filter { filter: text.to_owned(), why };
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    if text.trim().is_empty() || directives.iter().any(|directive| directive.is_empty()) {
        return Err(refused("a part of it is empty".into()));
    }
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    if let Some(word) =
        directives.iter().find(|word| !word.contains(['=', '[', ']', '{', '}', ':', '"']) && !is_level(word))
    {
        return Err(refused(format!("{word:?} is no level")));
    }
    EnvFilter::builder().parse(text).map(audited).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_names_modules_and_a_word_that_is_neither_is_refused() {
        for good in ["debug", "INFO", "off", "info,postbackd::api=debug", "postbackd=trace", "postbackd::dispatch"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("debgu", "\"debgu\" is no level"),
            ("info,postbackd", "\"postbackd\" is no level"),
            ("", "is empty"),
            ("info,,warn", "is empty"),
            ("postbackd=loud", "expected one of"),
        ] {
            let refused = parse(wrong).unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains("info,postbackd::dispatch=debug"), "{refused}");
        }
    }

    #[test]
    fn without_a_log_nothing_is_changed() {
        assert_eq!(change("debug", Some(Duration::ZERO), "ops"), Err(LevelRefused::Time));
        assert_eq!(change("debug", Some(LONGEST + Duration::from_secs(1)), "ops"), Err(LevelRefused::Time));
        assert_eq!(change("debug", None, "ops"), Err(LevelRefused::NoLog));
        assert_eq!(level(), None);
    }
}
