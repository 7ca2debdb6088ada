//! The event dictionary's file: `events.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::item::{Item, quoted};
use super::problem::Weight;
use super::section::{Section, shown_key};
use crate::domain::dictionary::{Dictionary, Field, ParamKind, ParamRule, Reverses, TypeRule};
use crate::domain::event::MAX_KEY_LENGTH;
use crate::domain::id::EventType;

/// Characters that a text parameter may have unless the dictionary says otherwise.
const DEFAULT_MAX_LENGTH: usize = 256;

/// How long the events of a click are the same, where nothing else is said, and what can be said.
const DEFAULT_DEDUPE: Duration = Duration::from_hours(30 * 24);
const MIN_DEDUPE: Duration = Duration::from_secs(1);
const MAX_DEDUPE: Duration = Duration::from_hours(400 * 24);

/// Reads the whole dictionary. A type with faults is in it all the same, so that postbacks may name it.
pub(super) fn read(root: &Section<'_>) -> Dictionary {
    let mut types = BTreeMap::new();
    for (name, item) in root.entries() {
        let kind = match EventType::parse(name) {
            Ok(kind) => kind,
            Err(error) => {
                item.fault(format!("is no name of an event type: {error}"), "use letters, digits, -, _ and .");
                continue;
            }
        };
        if let Some(section) = item.section() {
            types.insert(kind, rule(section));
        }
    }
    if types.is_empty() {
        root.spot("").add(Weight::Error, "holds no event type", "add at least one, such as [ftd]");
    }
    Dictionary { types }
}

fn rule(mut section: Section<'_>) -> TypeRule {
    let description = section.require("description", "describe the event in one sentence");
    let description = description.and_then(|item| item.filled_text()).unwrap_or_default().to_owned();
    let optional = section.get("click_id").and_then(|item| item.choose(&[("optional", true), ("required", false)]));
    let mut required = BTreeSet::new();
    for entry in section.get("required").and_then(|item| item.list()).unwrap_or_default() {
        required.extend(field(&entry));
        if optional == Some(true) && required.remove(&Field::ClickId) {
            entry.fault("requires click_id, which is optional here", "remove one of the two");
        }
    }
    if optional != Some(true) {
        required.insert(Field::ClickId);
    }
    let billable = section.get("billable").and_then(|item| item.boolean()).unwrap_or(false);
    let choices = [("never", Reverses::Never), ("may", Reverses::May), ("must", Reverses::Must)];
    let reverses = section.get("reverses").and_then(|item| item.choose(&choices)).unwrap_or_default();
    let click_dedupe = section.section("dedupe").and_then(dedupe);
    let params = section.section("params").map(|section| params(&section)).unwrap_or_default();
    section.finish();
    TypeRule { description, required, params, billable, reverses, click_dedupe }
}

/// What tells two events of a type apart: the transaction, or the click within a time.
fn dedupe(mut section: Section<'_>) -> Option<Duration> {
    let by = section.require("by", "use click_id; without this table events are told apart by their transaction_id");
    let by_click = by.and_then(|item| item.choose(&[("click_id", true), ("transaction_id", false)])) == Some(true);
    let within = section.get("within").and_then(|item| item.duration(MIN_DEDUPE..=MAX_DEDUPE));
    section.finish();
    by_click.then(|| within.unwrap_or(DEFAULT_DEDUPE))
}

fn field(item: &Item<'_>) -> Option<Field> {
    let name = item.value.get_ref().as_str();
    if let Some("transaction_id" | "type" | "affiliate_id") = name {
        item.fault("is required of every event", "remove it from the list");
        return None;
    }
    if name == Some("currency") {
        item.fault("comes with every amount", "require payout or revenue instead");
        return None;
    }
    item.choose(&Field::ALL.map(|field| (field.name(), field)))
}

fn params(section: &Section<'_>) -> BTreeMap<String, ParamRule> {
    let mut rules = BTreeMap::new();
    for (name, item) in section.entries() {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !plain || name.len() > MAX_KEY_LENGTH {
            let message = format!("has the name {}, which no macro can hold", shown_key(name));
            item.fault(message, format!("use letters, digits, _ and -, at most {MAX_KEY_LENGTH}"));
        }
        if let Some(section) = item.section() {
            rules.insert(name.to_owned(), param(section));
        }
    }
    rules
}

fn param(mut section: Section<'_>) -> ParamRule {
    const KINDS: [ParamKind; 4] = [ParamKind::Text, ParamKind::Integer, ParamKind::Decimal, ParamKind::Boolean];
    let kind = section.require("type", "use one of text, integer, decimal, boolean");
    let kind = kind.and_then(|item| item.choose(&KINDS.map(|kind| (kind.name(), kind)))).unwrap_or_default();
    let max_length = section.get("max_length").and_then(|item| {
        if kind != ParamKind::Text {
            item.fault(format!("means nothing for type {}", quoted(kind.name())), "remove it");
        }
        usize::try_from(item.integer(1..=4096)?).ok()
    });
    let required = section.get("required").and_then(|item| item.boolean()).unwrap_or(false);
    let personal_data = section.get("personal_data").and_then(|item| {
        let allowed = item.boolean()?;
        if allowed {
            item.warn(
                "lets personal data into events, and from there to affiliates",
                "hash it at the producer, or use a pseudonym",
            );
        }
        Some(allowed)
    });
    section.finish();
    ParamRule {
        kind,
        max_length: max_length.unwrap_or(DEFAULT_MAX_LENGTH),
        required,
        personal_data: personal_data.unwrap_or(false),
    }
}
