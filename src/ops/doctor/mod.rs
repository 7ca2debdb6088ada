//! What whoever is on call looks at first, as data: each check measures something, and judges what it measured.
//!
//! Measuring and judging are apart: a judgement is a pure function of facts. Nothing here prints, asks the daemon, or
//! ends anything; a check that cannot measure says so instead of failing.

pub mod clock;
pub mod configuration;
pub mod daemon;
pub mod directory;
pub mod durability;
pub mod limits;
pub mod receivers;
pub mod secrets;
pub mod store;
pub mod trust;

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it should, or not for long.
    Warning,
    /// Something does not work.
    Failure,
}

impl Level {
    /// The level for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), remedy: String::new() }
    }

    /// It works, but.
    pub fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), remedy: remedy.into() }
    }

    /// It does not work.
    pub fn failure(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Failure, found: found.into(), remedy: remedy.into() }
    }
}

/// A check, for the page that explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// What it looks at, and what it warns of or fails on.
    pub looks_at: &'static str,
    /// What to do about what it finds.
    pub remedy: &'static str,
}

/// Every check, in the order in which they are made.
pub const CHECKS: [About; 14] = [
    configuration::ABOUT,
    secrets::ABOUT,
    directory::ABOUT,
    durability::ABOUT,
    clock::ABOUT,
    clock::ABOUT_STORE,
    receivers::ABOUT_NAMES,
    receivers::ABOUT_EGRESS,
    trust::ABOUT,
    limits::ABOUT_FILES,
    limits::ABOUT_MEMORY,
    daemon::ABOUT,
    store::ABOUT,
    store::ABOUT_VERIFY,
];

/// At most so many things are named one by one.
const NAMED: usize = 5;

/// The first few of a list, and how many more there are.
fn first_few(items: &[String]) -> String {
    let text = items.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match items.len().checked_sub(NAMED) {
        None | Some(0) => text,
        Some(more) => format!("{text}; and {more} more"),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Bytes for people.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| count >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", count / size, count % size * 10 / size),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_explains_every_check_in_its_own_words() {
        let page = include_str!("../../../docs/doctor.md");
        let rows = CHECKS.map(|about| format!("| `{}` | {} | {} |", about.name, about.looks_at, about.remedy));
        let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(shown, rows, "put this into the page:\n{}", rows.join("\n"));
        assert_eq!(CHECKS.map(|about| about.name).into_iter().collect::<BTreeSet<_>>().len(), CHECKS.len());
    }

    #[test]
    fn lists_and_sizes_are_short_to_read() {
        let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(first_few(&many), "0; 1; 2; 3; 4; and 2 more");
        assert_eq!(first_few(&many[..5]), "0; 1; 2; 3; 4");
        assert_eq!([bytes(512), bytes(3 << 29), bytes(2_048)], ["512 B", "1.5 GiB", "2.0 KiB"]);
    }
}
