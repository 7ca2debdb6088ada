//! Lints: what a postback may be, and what is most likely a mistake all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::problem::Weight;
use super::quantity;
use super::section::Section;
use crate::domain::dictionary::{Dictionary, Reverses};
use crate::domain::id::EventType;
use crate::domain::postback::Postback;
use crate::domain::request::RequestTemplate;

/// Clicks are kept for 30 to 90 days by most receivers.
const CLICK_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// Names by which a receiver can tell one conversion from the next.
const UNIQUE: [&str; 5] = ["transaction_id", "event_id", "delivery_id", "idempotency_key", "original.transaction_id"];

/// Reports what is odd about a postback.
pub(super) fn postback(
    postback: &Postback,
    macros: &BTreeMap<String, String>,
    section: &Section<'_>,
    dictionary: &Dictionary,
) {
    let names = names(&postback.request, macros);
    let warn = |key: &str, message: &str, remedy: &str| section.locate(key).add(Weight::Warning, message, remedy);
    identity(postback, &names, section);
    reversals(postback, &names, section, dictionary);
    schedule(postback, section);
    if !postback.receiver_dedupes && postback.timeouts.total < Duration::from_secs(5) {
        warn(
            "timeout.total",
            "is short for a receiver that does not recognise duplicates: each answer that comes late is held for a person",
            "give it 15s or more",
        );
    }
}

/// What the request's macros read, with the partner's tokens resolved.
fn names(request: &RequestTemplate, macros: &BTreeMap<String, String>) -> BTreeSet<String> {
    let name = |text: &str| text.split('|').next().unwrap_or_default().trim().to_owned();
    let read = request.expressions().map(|expression| {
        let read = name(expression.text());
        macros.get(&read).map_or(read, |stands_for| name(stands_for))
    });
    read.collect()
}

/// A receiver must know which click converted, and whether it has heard of it before.
fn identity(postback: &Postback, names: &BTreeSet<String>, section: &Section<'_>) {
    if !postback.request.expressions().any(|expression| expression.identifies()) {
        section.spot("").add(
            Weight::Warning,
            "sends neither click_id nor transaction_id: the receiver cannot tell which conversion is meant",
            "add the partner's parameter with {click_id}",
        );
        return;
    }
    let signs_id = postback.request.expressions().next().is_some() && UNIQUE.iter().any(|name| names.contains(*name));
    if postback.receiver_dedupes && !signs_id {
        section.locate("url").add(
            Weight::Warning,
            "sends no {transaction_id}, so that the receiver cannot tell a retry from a second conversion",
            "add the partner's transaction parameter, or set receiver_dedupes = false",
        );
    }
}

/// A reversal must not look like another conversion.
fn reversals(postback: &Postback, names: &BTreeSet<String>, section: &Section<'_>, dictionary: &Dictionary) {
    let wanted = |kind: &EventType| postback.wants.events.as_ref().is_none_or(|events| events.contains(kind));
    let (reversals, others): (Vec<_>, Vec<_>) =
        dictionary.types.iter().filter(|(kind, _)| wanted(kind)).partition(|(_, rule)| rule.reverses == Reverses::Must);
    let Some((reversal, _)) = reversals.first().filter(|_| !others.is_empty()) else { return };
    let tells =
        |name: &String| matches!(name.as_str(), "type" | "status" | "reverses") || name.starts_with("original.");
    if !names.iter().any(tells) {
        let message = format!("wants {reversal} too, but sends it like any other event: no macro tells it apart");
        let remedy = "send {type} or {status}, or give reversals a postback of their own";
        section.locate("events").add(Weight::Warning, message, remedy);
    }
}

fn schedule(postback: &Postback, section: &Section<'_>) {
    let delays = postback.retry.delays();
    if delays.is_empty() {
        section.locate("retry").add(
            Weight::Warning,
            "allows one attempt: a receiver that is away for a moment loses the conversion to the dead letters",
            "allow more attempts",
        );
    }
    let whole = delays.iter().fold(Duration::ZERO, |sum, delay| sum.saturating_add(*delay));
    if whole > CLICK_LIFE {
        let days = Duration::from_secs(whole.as_secs() / 86_400 * 86_400);
        let message = format!("goes on for {}, longer than many receivers keep a click", quantity::show_duration(days));
        section.locate("retry").add(Weight::Warning, message, "stop within 30d");
    }
}
