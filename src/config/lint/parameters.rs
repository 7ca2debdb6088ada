//! Parameters whose name promises something else than what their value gives.

use super::{Pair, Subject, pairs};
use crate::domain::template::Expression;

/// Names of parameters in which receivers expect their click, without hyphens and underscores.
const CLICK_NAMES: [&str; 14] = [
    "clickid",
    "cid",
    "click",
    "clkid",
    "clid",
    "clickref",
    "refid",
    "subid",
    "affsub",
    "trackingid",
    "visitid",
    "cnvid",
    "externalid",
    "clicktoken",
];
/// Parts of names that promise milliseconds, and seconds.
const MILLIS: [&str; 4] = ["_ms", "millis", "msec", "timestampms"];
const SECONDS: [&str; 4] = ["_sec", "seconds", "unix", "epoch_s"];

/// Reports such parameters.
pub(super) fn check(subject: &Subject<'_, '_>) {
    let reads_click = subject.postback.request.expressions().any(Expression::reads_click);
    for pair in pairs(subject.source) {
        let Pair { name, value, key } = &pair;
        let expression = expression(subject, value);
        if !reads_click && is_click_name(name) {
            let message = format!("has the parameter {name:?}, which is for the click, but no macro of one");
            subject.warn(key, message, "send {click_id} in it, if it is the partner's parameter for the click");
        }
        let Some(expression) = expression else { continue };
        if reads(&expression, "currency") && expression.contains("lower") {
            let message = format!("sends the currency in lower case in {name:?}: ISO 4217 is in capitals");
            subject.warn(key, message, "leave the filter out, unless the partner asks for it");
        }
        time(subject, &pair, &expression);
    }
}

fn is_click_name(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    CLICK_NAMES.contains(&plain.as_str())
}

/// The text of the only macro of a value, in our own names.
fn expression(subject: &Subject<'_, '_>, value: &str) -> Option<String> {
    let delimiters = subject.source.delimiters;
    let inner = value.strip_prefix(delimiters.open())?.strip_suffix(delimiters.close())?;
    let text = inner.replace(' ', "");
    let name = text.split('|').next().unwrap_or_default();
    match subject.source.macros.get(name) {
        Some(ours) => Some(text.replacen(name, &ours.replace(' ', ""), 1)),
        None => Some(text),
    }
}

fn reads(expression: &str, name: &str) -> bool {
    expression.split('|').next() == Some(name)
}

/// A time a thousand times too large or too small is a date in 1970, or far ahead.
fn time(subject: &Subject<'_, '_>, pair: &Pair<'_>, expression: &str) {
    let filters: Vec<&str> = expression.split('|').skip(1).collect();
    let seconds = filters.contains(&"unix") || (reads(expression, "timestamp") && filters.is_empty());
    let promises = |parts: &[&str]| parts.iter().any(|part| pair.name.contains(part));
    let Pair { name, key, .. } = pair;
    if seconds && promises(&MILLIS) {
        let message = format!("sends seconds in {name:?}, whose name asks for milliseconds");
        subject.warn(key, message, "use the filter unix_ms");
    }
    if filters.contains(&"unix_ms") && promises(&SECONDS) && !promises(&MILLIS) {
        let message = format!("sends milliseconds in {name:?}, whose name asks for seconds");
        subject.warn(key, message, "use the filter unix");
    }
}
