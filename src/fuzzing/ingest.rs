//! Events as producers write them: by the API and by `enqueue`, which must find the same in the same bytes.

use serde_json::Value;

use super::{now, shipped};
use crate::api::fuzzing::cut;
use crate::cli::fuzzing::{Written, found, read_again};
use crate::domain::event::{Event, Fault, FaultCode, MAX_AHEAD, MAX_EVENT_BYTES, MAX_PARAMS, MAX_SUB_IDS, Rules};
use crate::domain::id::ClickId;

/// The mark that `enqueue` passes over, and the API takes for what it is: no JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event, or an array of them.
pub(super) fn json(input: &[u8]) {
    if let Ok(event) = serde_json::from_slice(input) {
        parse(&event);
    }
    let typed = found(Written::Json, input);
    if let Some(items) = cut(input, false) {
        same(&items, &typed);
    }
}

/// An event a line.
pub(super) fn ndjson(input: &[u8]) {
    let typed = found(Written::Ndjson, input);
    // Around a line, `enqueue` passes over form feeds, too.
    if input.starts_with(BYTE_ORDER_MARK) || input.contains(&b'\x0c') {
        return;
    }
    if let Some(items) = cut(input, true) {
        same(&items, &typed);
        for event in items.iter().flatten() {
            parse(event);
        }
    }
}

/// A header and rows; the first byte is what divides the cells.
pub(super) fn csv(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else { return };
    let delimiter = match choice {
        b';' => b';',
        b'\t' => b'\t',
        b'|' => b'|',
        _ => b',',
    };
    for event in found(Written::Csv { delimiter }, text).into_iter().flatten() {
        assert_eq!(read_again(&event, delimiter), event, "written down and read again");
        parse(&event);
    }
}

/// The API and `enqueue` take the same for events.
fn same(items: &[Result<Value, Fault>], typed: &[Option<Value>]) {
    let items: Vec<_> = items.iter().map(|item| item.as_ref().ok().filter(|value| value.is_object())).collect();
    let typed: Vec<_> = typed.iter().map(Option::as_ref).collect();
    assert_eq!(items, typed, "what the API finds, and what enqueue finds");
}

/// Parses an event: it is told what is wrong with it, or it is one that keeps to all bounds and survives being written.
fn parse(json: &Value) {
    let settings = shipped();
    let knows_affiliate = |id: &_| settings.affiliates.contains_key(id);
    let rules = Rules { dictionary: &settings.dictionary, knows_affiliate: &knows_affiliate, now: now() };
    let event = match Event::parse(json, rules) {
        Ok(event) => event,
        Err(faults) => return told(json, &faults),
    };
    bounded(&event);
    match Event::parse(&event.to_json(), rules) {
        Ok(again) => assert_eq!(again, event, "parsed from its own JSON"),
        // Its defaults are written out, which may be a few bytes too many.
        Err(faults) => assert!(faults.iter().all(|fault| fault.code == FaultCode::TooLarge), "{faults:?}"),
    }
    assert!(event.differences(&event, true).is_empty(), "an event differs from itself");
}

/// Each fault names a place in the document, or one that is missing from it.
fn told(json: &Value, faults: &[Fault]) {
    assert!(!faults.is_empty(), "refused without a reason: {json}");
    for fault in faults {
        assert!(!fault.detail.is_empty(), "{fault:?}");
        let parent = fault.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        assert!(json.pointer(parent).is_some(), "{fault:?} is nowhere in {json}");
    }
}

fn bounded(event: &Event) {
    let latest = now().saturating_add(MAX_AHEAD).unwrap_or_default();
    assert!(event.occurred_at <= latest, "lies ahead: {}", event.occurred_at);
    assert!(event.sub_ids.len() <= MAX_SUB_IDS && event.params.len() <= MAX_PARAMS, "too many entries");
    let money = event.payout.is_some() || event.revenue.is_some();
    assert!(!money || event.currency.is_some(), "money without a currency");
    let text: usize = event.sub_ids.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(text <= MAX_EVENT_BYTES, "{text} bytes of sub ids");
    let ids = [Some(event.transaction_id.as_str()), event.click_id.as_ref().map(ClickId::as_str)];
    for id in ids.into_iter().flatten() {
        assert!(!id.is_empty() && !id.chars().any(|c| c.is_control() || c.is_whitespace()), "{id:?}");
    }
}
