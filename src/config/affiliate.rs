//! An affiliate's file: who it is, its limits, its secrets and its postbacks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::document::Document;
use super::item::quoted;
use super::lint::Demand;
use super::postback;
use super::problem::Weight;
use super::quantity;
use super::secrets::{self, Secret, Variables};
use super::section::Section;
use crate::domain::affiliate::{Affiliate, BreakerPolicy, Limits};
use crate::domain::dictionary::Dictionary;
use crate::domain::id::AffiliateId;

/// What every affiliate's file is read against.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a, 's> {
    pub(super) dictionary: &'s Dictionary,
    /// Whether the dictionary could be read, so that unknown types are faults.
    pub(super) knows_types: bool,
    pub(super) variables: &'s Variables<'s>,
    /// `[defaults]` of the daemon's file.
    pub(super) defaults: Option<&'s Section<'a>>,
}

/// What a file told, even where it is faulty.
pub(super) struct Read {
    /// The id that it means to describe, so that others may name it.
    pub(super) id: Option<AffiliateId>,
    /// The affiliate, unless something is wrong with it.
    pub(super) affiliate: Option<Affiliate>,
}

/// Reads one file.
pub(super) fn read<'a>(
    mut root: Section<'a>,
    document: &Document<'_>,
    surroundings: Surroundings<'a, '_>,
    wanted: &mut Demand,
) -> Read {
    let id = id(&mut root, document);
    let name = root.require("name", "name the affiliate for people").and_then(|item| item.filled_text());
    let global = root.get("global").and_then(|item| item.boolean()).unwrap_or(false);
    let limits = limits(&mut root, surroundings.defaults);
    let declared = root.section("secrets").map(|section| secrets::declared(&section)).unwrap_or_default();
    // Postbacks are read also where the id is faulty, for the sake of their own faults.
    let owner = id.clone().or_else(|| AffiliateId::parse("unnamed").ok());
    let mut names = BTreeSet::new();
    let mut postbacks = Vec::new();
    let sections = root.sections("postback");
    let many = sections.len();
    for section in sections {
        let Some(affiliate) = &owner else { continue };
        let place = postback::Owner { affiliate, secrets: &declared, names: &mut names, wanted };
        postbacks.extend(postback::read(section, place, surroundings).map(Arc::new));
    }
    declared.values().flatten().for_each(Secret::warn_if_unused);
    let spot = root.spot("postback");
    if many == 0 {
        spot.add(Weight::Warning, "is missing: this affiliate hears of nothing", "add a [[postback]]");
    }
    root.finish();
    let affiliate = match (&id, name) {
        (Some(id), Some(name)) => Some(Affiliate { id: id.clone(), name: name.into(), global, limits, postbacks }),
        _ => None,
    };
    Read { id, affiliate }
}

/// Reads the id, which the file is named after.
fn id(root: &mut Section<'_>, document: &Document<'_>) -> Option<AffiliateId> {
    let stem = document.stem();
    let Some(item) = root.require("id", "write the affiliate's id, as events name it") else {
        return stem.and_then(|stem| AffiliateId::parse(stem).ok());
    };
    let id = item.parsed(|text| AffiliateId::parse(text), "use letters, digits, -, _ and .")?;
    if stem != Some(id.as_str()) {
        let file = format!("{}.toml", stem.unwrap_or_default());
        let message = format!("{} does not match the file's name {}", quoted(id.as_str()), quoted(&file));
        item.fault(message, format!("rename the file to {id}.toml, or correct the id"));
    }
    Some(id)
}

const BREAKER: BreakerPolicy =
    BreakerPolicy { failures: 10, open: Duration::from_secs(30), max_open: Duration::from_mins(10) };

fn limits<'a>(root: &mut Section<'a>, defaults: Option<&Section<'a>>) -> Limits {
    let behind = defaults.and_then(|defaults| defaults.clone().section("limits"));
    let section = match (root.section("limits"), behind) {
        (Some(own), behind) => Some(own.over(behind.as_ref())),
        (None, behind) => behind,
    };
    section.map_or(Limits { concurrency: 8, rate: None, breaker: Some(BREAKER) }, read_limits)
}

/// Reads `[limits]`; faulty values are reported and stand as their defaults.
pub(super) fn read_limits(mut section: Section<'_>) -> Limits {
    let concurrency = section.read("concurrency", |item| u32::try_from(item.integer(1..=1000)?).ok());
    let rate = section.read("rate", |item| {
        let parse = |text: &str| quantity::rate(text).ok_or("is not a rate");
        item.parsed(parse, "write it like \"50/s\", \"600/m\" or \"10/h\"")
    });
    let breaker = section.section("breaker").map_or(Some(BREAKER), breaker);
    section.finish();
    Limits { concurrency: concurrency.unwrap_or(8), rate, breaker }
}

fn breaker(mut section: Section<'_>) -> Option<BreakerPolicy> {
    let bounds = Duration::from_secs(1)..=Duration::from_hours(24);
    let failures = section.read("failures", |item| u32::try_from(item.integer(0..=1000)?).ok());
    let failures = failures.unwrap_or(BREAKER.failures);
    let max_open = section.read("max_open", |item| item.duration(bounds.clone()));
    let open = section.read("open", |item| item.duration(bounds)).unwrap_or(BREAKER.open);
    let max_open = max_open.unwrap_or(BREAKER.max_open.max(open));
    if open > max_open {
        let [open, max_open] = [open, max_open].map(quantity::show_duration);
        let message = format!("is {open}, longer than max_open ({max_open})");
        section.locate("open").add(Weight::Error, message, "shorten open, or raise max_open");
    }
    section.finish();
    (failures > 0).then_some(BreakerPolicy { failures, open, max_open })
}
