//! Lints: what a postback may be, and what is most likely a mistake all the same.

mod parameters;
mod refusals;
mod wanted;

pub(super) use wanted::{Demand, check as check_wanted};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::item::quoted;
use super::problem::Weight;
use super::section::Section;
use crate::domain::dictionary::{Dictionary, Reverses};
use crate::domain::id::EventType;
use crate::domain::money::Currency;
use crate::domain::postback::Postback;
use crate::domain::request::{BodySource, RequestSource, RequestTemplate};
use crate::domain::template::Expression;

/// Clicks are kept for 30 to 90 days by most receivers.
const CLICK_LIFE: Duration = Duration::from_secs(30 * DAY_SECONDS);
const DAY_SECONDS: u64 = 86_400;
/// Less time than this, and answers of a busy receiver are missed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Fewest characters of a value that is taken for a secret.
const MIN_SECRET_LENGTH: usize = 12;

/// Names by which a receiver can tell one conversion from the next.
const UNIQUE: [&str; 5] = ["transaction_id", "event_id", "delivery_id", "idempotency_key", "original.transaction_id"];

/// A postback with what is known of its making.
pub(super) struct Subject<'l, 'a> {
    pub(super) postback: &'l Postback,
    pub(super) source: &'l RequestSource,
    /// Whether its signature names the delivery, as Standard Webhooks do.
    pub(super) names_delivery: bool,
    pub(super) section: &'l Section<'a>,
    pub(super) dictionary: &'l Dictionary,
}

/// Reports what is odd about a postback.
pub(super) fn check(subject: &Subject<'_, '_>) {
    let names = names(&subject.postback.request, &subject.source.macros);
    identity(subject, &names);
    parameters::check(subject);
    refusals::check(subject);
    reversals(subject, &names);
    schedule(subject);
    for Pair { name, value, key } in pairs(subject.source) {
        literal(&name, value, &key, subject);
    }
    if !subject.postback.receiver_dedupes && subject.postback.timeouts.total < PATIENCE {
        let message = "is short for a receiver that does not recognise duplicates: a late answer is held for a person";
        subject.warn("timeout.total", message, "give it 15s or more");
    }
}

impl Subject<'_, '_> {
    fn warn(&self, key: &str, message: impl Into<String>, remedy: &str) {
        self.section.locate(key).add(Weight::Warning, message, remedy);
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
fn identity(subject: &Subject<'_, '_>, names: &BTreeSet<String>) {
    let Subject { postback, .. } = subject;
    if !postback.request.expressions().any(Expression::identifies) {
        let message = "sends neither click_id nor transaction_id: the receiver cannot tell which conversion is meant";
        subject.warn("url", message, "add the partner's parameter with {click_id}");
        return;
    }
    let unique = subject.names_delivery || UNIQUE.iter().any(|name| names.contains(*name));
    if postback.receiver_dedupes && !unique {
        let message = "sends no {transaction_id}, so that the receiver cannot tell a retry from a second conversion";
        subject.warn("url", message, "add the partner's transaction parameter, or set receiver_dedupes = false");
    }
}

/// A reversal must not look like another conversion.
fn reversals(subject: &Subject<'_, '_>, names: &BTreeSet<String>) {
    let wants = &subject.postback.wants.events;
    let wanted = |kind: &EventType| wants.as_ref().is_none_or(|events| events.contains(kind));
    let (reversals, others): (Vec<_>, Vec<_>) = subject
        .dictionary
        .types
        .iter()
        .filter(|(kind, _)| wanted(kind))
        .partition(|(_, rule)| rule.reverses == Reverses::Must);
    let Some((reversal, _)) = reversals.first().filter(|_| !others.is_empty()) else { return };
    let tells =
        |name: &String| matches!(name.as_str(), "type" | "status" | "reverses") || name.starts_with("original.");
    if !names.iter().any(tells) {
        let message = format!("wants {reversal} too, but sends it like any other event: no macro tells it apart");
        subject.warn("events", message, "send {type} or {status}, or give reversals a postback of their own");
    }
}

fn schedule(subject: &Subject<'_, '_>) {
    let delays = subject.postback.retry.delays();
    if delays.is_empty() {
        let message = "allows one attempt: a receiver that is away for a moment loses the conversion";
        subject.warn("retry", message, "allow more attempts");
    }
    let whole = delays.iter().fold(Duration::ZERO, |sum, delay| sum.saturating_add(*delay));
    if whole > CLICK_LIFE {
        let days = whole.as_secs() / DAY_SECONDS;
        let message = format!("goes on for {days} days, longer than many receivers keep a click");
        subject.warn("retry", message, "stop within 30 days");
    }
}

/// A name and a value as they are written, with the key where they stand.
struct Pair<'s> {
    /// In lower case.
    name: String,
    value: &'s str,
    key: String,
}

/// Names and values of query, headers and form.
fn pairs(source: &RequestSource) -> Vec<Pair<'_>> {
    let query = source.url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let pair = |(name, value): (&str, _)| Pair { name: name.to_ascii_lowercase(), value, key: "url".to_owned() };
    let mut found: Vec<_> = query.map(pair).collect();
    let form = match &source.body {
        BodySource::Form(pairs) => pairs.as_slice(),
        BodySource::None | BodySource::Json(_) | BodySource::Text { .. } => &[],
    };
    for (kind, pairs) in [("headers", source.headers.as_slice()), ("body", form)] {
        for (name, value) in pairs {
            found.push(Pair { name: name.to_ascii_lowercase(), value, key: format!("{kind}.{name}") });
        }
    }
    found
}

/// Looks at one value that stands in the configuration as it will be sent.
fn literal(name: &str, value: &str, key: &str, subject: &Subject<'_, '_>) {
    if value.is_empty() || value.contains(subject.source.delimiters.open()) {
        return;
    }
    if ["currency", "cur", "ccy", "currency_code", "conv_currency"].contains(&name) && Currency::parse(value).is_err() {
        let message = format!("sends the currency {}, which is no code of ISO 4217", quoted(value));
        subject.warn(key, message, "write it in capitals, such as EUR, or send {currency}");
    }
    // Secrets in the URL are found where requests are compiled.
    let secret = ["auth", "token", "secret", "api-key", "api_key", "apikey", "password"];
    if key != "url" && value.len() >= MIN_SECRET_LENGTH && secret.iter().any(|part| name.contains(part)) {
        let message = "seems to hold a secret";
        subject.warn(
            key,
            message,
            "keep it out of the configuration: refer to it in [secrets] and write {secret.NAME}",
        );
    }
}
