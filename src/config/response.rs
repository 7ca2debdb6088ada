//! Response rules: `[[postback.response]]`.

use regex::bytes::RegexBuilder;

use super::item::{Item, quoted};
use super::json;
use super::problem::Weight;
use super::section::Section;
use crate::domain::outcome::{
    Conditions, Expectation, JsonCondition, ResponseRule, StatusRange, Verdict, XmlCondition,
};

/// Most rules of a postback.
const MAX_RULES: usize = 64;
/// Most bytes that a compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Reads all rules of a postback, in order.
pub(super) fn read(section: &mut Section<'_>) -> Vec<ResponseRule> {
    let tables = section.sections("response");
    if tables.len() > MAX_RULES {
        let message = format!("has {} rules, at most {MAX_RULES} are allowed", tables.len());
        section.locate("response").add(Weight::Error, message, "join rules with the same outcome");
    }
    let last = tables.len().saturating_sub(1);
    let mut rules: Vec<(usize, ResponseRule)> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let spot = table.locate("when");
        let Some(rule) = rule(table, index == last) else { continue };
        // One that matches everything has been warned of where it stands.
        let covers = |(_, earlier): &&(usize, ResponseRule)| !earlier.when.is_any() && earlier.when.cover(&rule.when);
        if let Some((earlier, _)) = rules.iter().find(covers) {
            let message = format!("can never match: rule {} before it takes every answer that it is for", earlier + 1);
            spot.add(Weight::Warning, message, "move it before that rule, or remove it");
        }
        rules.push((index, rule));
    }
    rules.into_iter().map(|(_, rule)| rule).collect()
}

fn rule(mut section: Section<'_>, last: bool) -> Option<ResponseRule> {
    let choices = Verdict::ALL.map(|verdict| (verdict.outcome().name(), verdict));
    let then = section.require("then", "say what the answer means, such as \"duplicate\" or \"rejected\"");
    let then = then.and_then(|item| item.choose(&choices));
    let when = section.require("when", "say which answers are meant, such as { status = \"409\" }");
    let when = when.and_then(|item| {
        let conditions = conditions(item.section()?);
        let any = item.value.get_ref().as_table().is_some_and(toml::de::DeTable::is_empty);
        if any && !last {
            item.warn("matches every answer, so that no rule behind it is ever asked", "move it to the end");
        }
        Some(conditions)
    });
    section.finish();
    Some(ResponseRule { when: when?, then: then? })
}

fn conditions(mut section: Section<'_>) -> Conditions {
    let status = section.read("status", |item| {
        let parse = |text: &str| StatusRange::parse_list(text).ok_or("is not a list of status codes");
        item.parsed(parse, "write it like \"200\", \"2xx\", \"400-404\" or \"200,202\"")
    });
    let text = |item: &Item<'_>| item.filled_text().map(str::to_owned);
    let conditions = Conditions {
        status: status.unwrap_or_default(),
        content_type: section.read("content_type", text),
        body_contains: section.read("body_contains", text),
        body_matches: section.read("body_matches", |item| {
            let pattern = item.filled_text()?;
            let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build();
            let explain = |error: regex::Error| match error {
                regex::Error::CompiledTooBig(_) => "is too large a pattern".to_owned(),
                // The last line says what is wrong; those before it draw where.
                other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            };
            let failed = |error| {
                let message = format!("{} is not a regular expression: {}", quoted(pattern), explain(error));
                item.fault(message, "correct the pattern; a literal text goes into body_contains");
            };
            built.map_err(failed).ok()
        }),
        json: section.read("json", |item| all_of(item, json_condition)).unwrap_or_default(),
        xml: section.read("xml", |item| all_of(item, xml_condition)).unwrap_or_default(),
    };
    section.finish();
    conditions
}

/// Reads one table, or a list of tables of which all must hold.
fn all_of<'a, T>(item: &Item<'a>, read: impl Fn(Section<'a>) -> Option<T>) -> Option<Vec<T>> {
    if item.value.get_ref().is_array() {
        return item.filled_list()?.iter().map(|entry| read(entry.section()?)).collect();
    }
    read(item.section()?).map(|condition| vec![condition])
}

fn json_condition(mut section: Section<'_>) -> Option<JsonCondition> {
    let pointer = section.require("pointer", "write a JSON pointer such as \"/code\"").and_then(|item| {
        let parse = |text: &str| {
            let fine = text.is_empty() || text.starts_with('/');
            fine.then(|| text.to_owned()).ok_or("is not a JSON pointer")
        };
        item.parsed(parse, "begin with a slash, such as \"/code\" or \"/errors/0/name\"")
    });
    let expected = expectation(&mut section, json::value);
    section.finish();
    Some(JsonCondition { pointer: pointer?, expected: expected? })
}

fn xml_condition(mut section: Section<'_>) -> Option<XmlCondition> {
    let tag = section.require("tag", "write a tag's name, such as \"bad\"").and_then(|item| {
        let parse = |text: &str| {
            let fine = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "<>/&\"'=".contains(c));
            fine.then(|| text.to_owned()).ok_or("is not a tag's name")
        };
        item.parsed(parse, "write it without brackets, such as \"bad\"")
    });
    let text = |item: &Item<'_>| item.text().map(|text| text.trim().to_owned());
    let expected = expectation(&mut section, text);
    section.finish();
    Some(XmlCondition { tag: tag?, expected: expected? })
}

/// The keys by which a condition says what it expects; without any, that there is something.
pub(super) const EXPECTATIONS: [&str; 4] = ["equals", "not_equals", "one_of", "absent"];

/// Reads what is expected of a value: at most one of [`EXPECTATIONS`].
fn expectation<'a, T>(section: &mut Section<'a>, value: impl Fn(&Item<'a>) -> Option<T>) -> Option<Expectation<T>> {
    let given: Vec<_> = EXPECTATIONS.into_iter().filter(|key| section.has(key)).collect();
    if let [_, second, ..] = given.as_slice() {
        let message = format!("has {} at once", given.join(" and "));
        section.locate(second).add(Weight::Error, message, "keep one of them");
    }
    let [equals, not_equals, one_of, absent] = EXPECTATIONS.map(|key| section.get(key));
    match (equals, not_equals, one_of, absent) {
        (None, None, None, None) => Some(Expectation::Present),
        (Some(item), None, None, None) => value(&item).map(|value| Expectation::OneOf(vec![value])),
        (None, Some(item), None, None) => value(&item).map(Expectation::Not),
        (None, None, Some(item), None) => {
            let values: Option<Vec<_>> = item.filled_list()?.iter().map(value).collect();
            values.map(Expectation::OneOf)
        }
        (None, None, None, Some(item)) => {
            Some(if item.boolean()? { Expectation::Absent } else { Expectation::Present })
        }
        _ => None,
    }
}
