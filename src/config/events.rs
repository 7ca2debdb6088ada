//! The event dictionary's file: `events.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::item::{Item, quoted};
use super::problem::Weight;
use super::section::{Section, shown_key};
use toml::de::DeValue;

use crate::domain::dictionary::{Dictionary, Field, ParamKind, ParamRule, PersonalData, Reverses, TypeRule};
use crate::domain::event::MAX_KEY_LENGTH;
use crate::domain::id::EventType;
use crate::domain::money::Amount;
use crate::domain::personal_data::{self, Formats, IdFormat};

/// Characters that a text parameter may have unless the dictionary says otherwise.
const DEFAULT_MAX_LENGTH: usize = 256;

/// How long the events of a click are the same, where nothing else is said, and what can be said.
const DEFAULT_DEDUPE: Duration = Duration::from_hours(30 * 24);
const MIN_DEDUPE: Duration = Duration::from_secs(1);
const MAX_DEDUPE: Duration = Duration::from_hours(400 * 24);

/// Reads the whole dictionary. A type with faults is in it all the same, so that postbacks may name it.
pub(super) fn read(root: &Section<'_>) -> Dictionary {
    let mut dictionary = Dictionary::default();
    for (name, item) in root.entries() {
        match name {
            "click_ids" => dictionary.click_ids = item.section().map(formats).unwrap_or_default(),
            "transaction_ids" => dictionary.transaction_ids = item.section().map(formats).unwrap_or_default(),
            _ => event_type(name, &item, &mut dictionary.types),
        }
    }
    if dictionary.types.is_empty() {
        root.spot("").add(Weight::Error, "holds no event type", "add at least one, such as [ftd]");
    }
    dictionary
}

fn event_type(name: &str, item: &Item<'_>, types: &mut BTreeMap<EventType, TypeRule>) {
    match EventType::parse(name) {
        Ok(kind) => types.extend(item.section().map(|section| (kind, rule(section)))),
        Err(error) => {
            item.fault(format!("is no name of an event type: {error}"), "use letters, digits, -, _ and .");
        }
    }
}

/// The formats that ids are known to have.
fn formats(mut section: Section<'_>) -> Formats {
    let entries = section.require("formats", "name formats such as \"uuid\"").and_then(|item| item.list());
    let read = entries.unwrap_or_default().iter().filter_map(format).collect();
    section.finish();
    Formats::new(read)
}

/// A format by its name, or by `{ pattern = "…" }`.
fn format(item: &Item<'_>) -> Option<IdFormat> {
    if item.value.get_ref().is_table() {
        let mut section = item.section()?;
        let pattern = section.require("pattern", "write a regular expression that fits whole ids");
        section.finish();
        return pattern?.parsed(IdFormat::pattern, "write a regular expression that fits your ids and little else");
    }
    let name = item.choose(&IdFormat::NAMES.map(|name| (name, name)))?;
    IdFormat::named(name)
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
    let choices = [("refuse", PersonalData::Refuse), ("mask", PersonalData::Mask)];
    let personal_data = section.get("personal_data").and_then(|item| item.choose(&choices)).unwrap_or_default();
    let params = section.section("params").map(|section| params(&section, personal_data)).unwrap_or_default();
    section.finish();
    TypeRule { description, required, params, billable, reverses, click_dedupe, personal_data }
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

fn params(section: &Section<'_>, personal_data: PersonalData) -> BTreeMap<String, ParamRule> {
    let mut rules = BTreeMap::new();
    for (name, item) in section.entries() {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !plain || name.len() > MAX_KEY_LENGTH {
            let message = format!("has the name {}, which no macro can hold", shown_key(name));
            item.fault(message, format!("use letters, digits, _ and -, at most {MAX_KEY_LENGTH}"));
        }
        if let Some(section) = item.section() {
            let rule = param(section, personal_data);
            if rule.personal_data == PersonalData::Refuse
                && let Some(kind) = personal_data::named(name, "1990-01-01")
            {
                let message =
                    format!("says by its name that it holds {}, and every event with it is refused", kind.name());
                item.warn(message, "name it for what it is, or set personal_data to \"mask\" or \"allow\"");
            }
            rules.insert(name.to_owned(), rule);
        }
    }
    rules
}

fn param(mut section: Section<'_>, behind: PersonalData) -> ParamRule {
    const KINDS: [ParamKind; 4] = [ParamKind::Text, ParamKind::Integer, ParamKind::Decimal, ParamKind::Boolean];
    let kind = section.require("type", "use one of text, integer, decimal, boolean");
    let kind = kind.and_then(|item| item.choose(&KINDS.map(|kind| (kind.name(), kind)))).unwrap_or_default();
    let max_length = section.get("max_length").and_then(|item| {
        means_something(&item, kind, &[ParamKind::Text]);
        usize::try_from(item.integer(1..=4096)?).ok()
    });
    let max_length = max_length.unwrap_or(DEFAULT_MAX_LENGTH);
    let one_of = section.get("one_of").map(|item| one_of(&item, kind, max_length)).unwrap_or_default();
    let [min, max] = ["min", "max"].map(|key| section.get(key));
    let bound = |item: &Option<Item<'_>>| amount(item.as_ref()?, kind);
    let (least, most) = (bound(&min), bound(&max));
    if let (Some(least), Some(most), Some(item)) = (least, most, &max)
        && most < least
    {
        item.fault(format!("is less than min, {least}"), "swap the two, or remove one");
    }
    let required = section.get("required").and_then(|item| item.boolean()).unwrap_or(false);
    let personal_data = section.get("personal_data").and_then(|item| personal_data_of(&item)).unwrap_or(behind);
    section.finish();
    ParamRule { kind, max_length, one_of, min: least, max: most, required, personal_data }
}

fn means_something(item: &Item<'_>, kind: ParamKind, kinds: &[ParamKind]) {
    if !kinds.contains(&kind) {
        item.fault(format!("means nothing for type {}", quoted(kind.name())), "remove it");
    }
}

/// The only texts that a parameter may be.
fn one_of(item: &Item<'_>, kind: ParamKind, max_length: usize) -> BTreeSet<String> {
    means_something(item, kind, &[ParamKind::Text]);
    let mut texts = BTreeSet::new();
    for entry in item.filled_list().unwrap_or_default() {
        let Some(text) = entry.text() else { continue };
        if text.chars().count() > max_length {
            entry.fault(format!("is longer than max_length, {max_length}"), "shorten it, or raise max_length");
        }
        if !texts.insert(text.to_owned()) {
            entry.fault(format!("{} is there twice", quoted(text)), "remove one of the two");
        }
    }
    texts
}

/// A bound of a number, exact.
fn amount(item: &Item<'_>, kind: ParamKind) -> Option<Amount> {
    means_something(item, kind, &[ParamKind::Integer, ParamKind::Decimal]);
    let text = match item.value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Float(float) => float.as_str(),
        _ => item.text()?,
    };
    let found = Amount::parse(text).ok().filter(|found| kind != ParamKind::Integer || found.decimal().scale() == 0);
    if found.is_none() {
        let remedy = "write a plain number such as 0, 12.5 or \"12.50\"; a whole one for type \"integer\"";
        item.fault(format!("{} is no bound of type {}", quoted(text), quoted(kind.name())), remedy);
    }
    found
}

/// A parameter's policy; `true` and `false` stand for allow and refuse.
fn personal_data_of(item: &Item<'_>) -> Option<PersonalData> {
    let choices = [("refuse", PersonalData::Refuse), ("mask", PersonalData::Mask), ("allow", PersonalData::Allow)];
    let policy = match item.value.get_ref().as_bool() {
        Some(true) => PersonalData::Allow,
        Some(false) => PersonalData::Refuse,
        None => item.choose(&choices)?,
    };
    if policy == PersonalData::Allow {
        item.warn(
            "lets personal data into events, and from there to affiliates",
            "hash it at the producer, or use a pseudonym",
        );
    }
    Some(policy)
}
