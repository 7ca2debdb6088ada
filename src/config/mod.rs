//! Configuration: from what was written in TOML to what it means.
//!
//! [`load`] reads the daemon's file, the event dictionary and every affiliate, and reports everything that is wrong
//! with any of them in one pass, each problem with file, line, key and the way out. What it gives is complete: nothing
//! behind it asks for a default, and nothing behind it reads a file or a secret of the configuration again.
//!
//! The way of a file: `document` parses it, `section` and `item` take it apart key by key, and the readers
//! (`daemon`, `events`, `affiliate`, `postback`, `request`, `response`, `signature`) make [`Settings`] of it.
//! A key that no reader took is unknown.
//!
//! This module refuses to know what the settings are used for.

mod affiliate;
mod compile;
mod daemon;
mod document;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod item;
mod json;
mod lint;
mod postback;
mod problem;
mod quantity;
mod request;
mod response;
mod secrets;
mod section;
mod settings;
mod signature;

pub use problem::{Problem, Problems};
pub use settings::{
    ApiSettings, DispatchSettings, EgressSettings, IngestSettings, LogFormat, LogSettings, OutboxSettings, Retain,
    Scope, Settings, SocketUser, TelemetrySettings, Token, UnknownAffiliate,
};

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::affiliate::Affiliate;
use crate::domain::dictionary::Dictionary;
use crate::domain::id::AffiliateId;
use crate::domain::nearest::nearest;
use crate::domain::plan::{Affiliates, MAX_DELIVERIES};
use crate::ops::environment;
use affiliate::Surroundings;
use daemon::Daemon;
use document::{Document, Source};
use problem::{Report, Weight};
use secrets::Variables;
use section::Section;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it means.
    pub settings: Settings,
    /// What is most likely a mistake in it.
    pub warnings: Vec<Problem>,
}

/// Reads the configuration whose main file is at `path`, with all files that it names.
///
/// # Errors
/// Every problem of every file, unless there is none.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_with(path, &environment::variable)
}

/// A configuration with everything that is to be said of it, whether it can be used or not.
#[derive(Debug, Clone)]
pub struct Examined {
    /// What it means, where it can be used.
    pub settings: Option<Settings>,
    /// What could be read of one that cannot be used, its faults left out: to look at, never to run with.
    pub readable: Option<Settings>,
    /// What keeps it from being used.
    pub errors: Vec<Problem>,
    /// What is most likely a mistake in it.
    pub warnings: Vec<Problem>,
}

/// Reads a configuration, and tells errors and warnings alike.
pub fn examine(path: &Path) -> Examined {
    examine_with(path, &environment::variable)
}

/// Reads a rate such as `50/s`, `600/m` or `10/h`.
pub fn parse_rate(text: &str) -> Option<crate::domain::affiliate::Rate> {
    quantity::rate(text)
}

/// Reads a configuration with variables from elsewhere.
fn load_with(path: &Path, variables: &Variables<'_>) -> Result<Loaded, Problems> {
    match examine_with(path, variables) {
        Examined { settings: Some(settings), warnings, .. } => Ok(Loaded { settings, warnings }),
        Examined { settings: None, errors, .. } => Err(Problems(errors)),
    }
}

fn examine_with(path: &Path, variables: &Variables<'_>) -> Examined {
    let report = Report::default();
    let settings = read(path, variables, &report);
    let (errors, warnings) = report.into_parts();
    let (settings, readable) = if errors.is_empty() { (settings, None) } else { (None, settings) };
    Examined { settings, readable, errors, warnings }
}

fn read(path: &Path, variables: &Variables<'_>, report: &Report) -> Option<Settings> {
    let base = path.parent().unwrap_or(Path::new(""));
    let source = Source::read(path, report)?;
    let document = Document::parse(&source, report);
    let daemon = daemon::read(Section::root(&document, report), base);
    let events = Source::read(&daemon.events, report);
    let events = events.as_ref().map(|source| Document::parse(source, report));
    let dictionary = events.as_ref().map(|document| dictionary(document, report));
    let sources: Vec<_> =
        affiliate_files(&daemon.affiliates, report).iter().filter_map(|path| Source::read(path, report)).collect();
    let documents: Vec<_> = sources.iter().map(|source| Document::parse(source, report)).collect();
    let empty = Dictionary::default();
    let surroundings = Surroundings {
        dictionary: dictionary.as_ref().map_or(&empty, |(dictionary, _)| dictionary),
        knows_types: dictionary.as_ref().is_some_and(|(_, whole)| *whole),
        variables,
        defaults: daemon.defaults.as_ref(),
    };
    if let Some(defaults) = &daemon.defaults {
        postback::check_defaults(defaults, surroundings);
    }
    let AllRead { affiliates, known, wanted } = read_affiliates(&documents, surroundings, report);
    check_tokens(&daemon, &known);
    if let (Some(document), Some((dictionary, _)), false) = (&events, &dictionary, documents.is_empty()) {
        lint::check_wanted(dictionary, &wanted, &Section::root(document, report));
    }
    Some(settings(daemon, dictionary?.0, affiliates))
}

fn settings(daemon: Daemon<'_>, dictionary: Dictionary, affiliates: Affiliates) -> Settings {
    let Daemon {
        outbox,
        api,
        ingest,
        egress,
        dispatch,
        log,
        telemetry,
        events: _,
        affiliates: _,
        defaults: _,
        narrowed: _,
    } = daemon;
    Settings { outbox, api, ingest, egress, dispatch, log, telemetry, dictionary: Arc::new(dictionary), affiliates }
}

/// Reads the dictionary, and says whether it is whole: without one, every event type would seem unknown.
fn dictionary(document: &Document<'_>, report: &Report) -> (Dictionary, bool) {
    (events::read(&Section::root(document, report)), !document.is_broken())
}

/// What the files of affiliates tell together.
struct AllRead {
    affiliates: Affiliates,
    /// The ids that they mean to describe, faulty files included.
    known: BTreeSet<AffiliateId>,
    wanted: lint::Demand,
}

/// The files of a directory that describe affiliates, in the order of their names.
fn affiliate_files(directory: &Path, report: &Report) -> Vec<PathBuf> {
    let entries = match fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("cannot be read: {error}");
            report.file_error(directory, message, "create the directory, or correct `affiliates`");
            return Vec::new();
        }
    };
    let describes = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|extension| extension == "toml")
    };
    let mut files: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(describes).collect();
    files.sort();
    if files.is_empty() {
        let message = "holds no affiliate: every event will be refused";
        report.file_problem(Weight::Warning, directory, message, "add a file such as acme.toml");
    }
    files
}

/// Reads all affiliates.
fn read_affiliates<'a>(
    documents: &'a [Document<'a>],
    surroundings: Surroundings<'a, '_>,
    report: &'a Report,
) -> AllRead {
    let mut wanted = lint::Demand::default();
    let mut affiliates = Vec::new();
    let mut known: BTreeSet<AffiliateId> = BTreeSet::new();
    for document in documents {
        let root = Section::root(document, report);
        let read = affiliate::read(root.clone(), document, surroundings, &mut wanted);
        if document.is_broken() {
            wanted.add(None);
        }
        if let Some(id) = read.id
            && !known.insert(id.clone())
        {
            let message = format!("\"{id}\" is the id of another file's affiliate");
            root.locate("id").add(Weight::Error, message, "give each affiliate its own id and one file");
        }
        affiliates.extend(read.affiliate.map(Arc::new));
    }
    let affiliates: Affiliates = affiliates.into_iter().collect();
    check_deliveries(&affiliates, documents, report);
    AllRead { affiliates, known, wanted }
}

/// Refuses more postbacks than one event may be delivered to: the plan would leave the rest out.
fn check_deliveries<'a>(affiliates: &Affiliates, documents: &'a [Document<'a>], report: &'a Report) {
    let count = |affiliate: &Arc<Affiliate>| affiliate.postbacks.len();
    let global: usize = affiliates.values().filter(|affiliate| affiliate.global).map(count).sum();
    for document in documents {
        let root = Section::root(document, report);
        let id = document.stem().and_then(|stem| AffiliateId::parse(stem).ok());
        let Some(affiliate) = id.and_then(|id| affiliates.get(&id)) else { continue };
        let most = if affiliate.global { global } else { global + affiliate.postbacks.len() };
        if most > MAX_DELIVERIES {
            let message = format!("may lead to {most} deliveries of one event, at most {MAX_DELIVERIES} are planned");
            root.locate("postback").add(Weight::Error, message, "join postbacks, or switch some off");
        }
    }
}

/// Checks that tokens are narrowed to affiliates that there are.
fn check_tokens(daemon: &Daemon<'_>, known: &BTreeSet<AffiliateId>) {
    for (id, item) in daemon.narrowed.iter().filter(|(id, _)| !known.contains(id)) {
        let remedy = match nearest(id.as_str(), known.iter().map(AffiliateId::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "name an affiliate that has a file".into(),
        };
        item.fault(format!("\"{id}\" is no affiliate"), remedy);
    }
}

#[cfg(test)]
mod tests;
