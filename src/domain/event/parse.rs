//! Parsing: from JSON to an event, or to every fault of it at once.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::fault::{Fault, FaultCode, pointer};
use super::{Event, Status};
use crate::domain::dictionary::{Dictionary, Field, Reverses, TypeRule};
use crate::domain::id::{AffiliateId, ClickId, EventType, InvalidId, OfferId, TransactionId};
use crate::domain::money::{Amount, Currency};
use crate::domain::nearest::nearest;
use crate::domain::timestamp;

/// Furthest `occurred_at` may lie ahead of our clock.
pub const MAX_AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// Most `sub_ids` an event may carry.
pub const MAX_SUB_IDS: usize = 30;
/// Most characters of a sub id's value.
pub const MAX_SUB_ID_LENGTH: usize = 512;
/// Most `params` an event may carry.
pub const MAX_PARAMS: usize = 50;
/// Most characters of a parameter's or sub id's name.
pub const MAX_KEY_LENGTH: usize = 64;
/// Most bytes of all texts of an event together; keeps its record well inside a page of the store.
pub const MAX_EVENT_BYTES: usize = 12 * 1024;

/// What an event is checked against.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The types that exist.
    pub dictionary: &'a Dictionary,
    /// Whether an affiliate is known, or unknown ones are accepted and kept unrouted.
    pub knows_affiliate: &'a dyn Fn(&AffiliateId) -> bool,
    /// The time of acceptance.
    pub now: Timestamp,
}

impl Event {
    /// Parses and checks an event.
    ///
    /// # Errors
    /// Every fault of the event, in the order of its fields.
    pub fn parse(json: &Value, rules: Rules<'_>) -> Result<Self, Vec<Fault>> {
        let Value::Object(fields) = json else {
            return Err(vec![Fault {
                pointer: String::new(),
                code: FaultCode::WrongType,
                detail: format!("an event is a JSON object, this is {}", type_name(json)),
            }]);
        };
        let mut reader = Reader { fields, rules, faults: Vec::new() };
        let event = reader.event();
        match event {
            Some(event) if reader.faults.is_empty() => Ok(event),
            _ => Err(reader.faults),
        }
    }
}

/// The names an event's fields have.
pub const FIELDS: [&str; 13] = [
    "transaction_id",
    "type",
    "affiliate_id",
    "click_id",
    "offer_id",
    "status",
    "occurred_at",
    "payout",
    "revenue",
    "currency",
    "sub_ids",
    "reverses",
    "params",
];

/// Reads the fields of one event, and collects its faults.
pub(super) struct Reader<'a> {
    fields: &'a Map<String, Value>,
    pub(super) rules: Rules<'a>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn event(&mut self) -> Option<Event> {
        self.check_names();
        self.check_size();
        let told_by_click = self.is_told_by_click();
        let given =
            if told_by_click { None } else { self.required_name("transaction_id", str::parse::<TransactionId>) };
        let kind = self.required_name("type", str::parse::<EventType>);
        let affiliate_id = self.affiliate_id();
        let rule = kind.as_ref().and_then(|kind| self.type_rule(kind));
        let click_id = self.optional_name("click_id", str::parse::<ClickId>);
        let transaction_id = match (&kind, &click_id) {
            (Some(kind), Some(click)) if told_by_click => Some(TransactionId::of_click(kind, click)),
            _ => given,
        };
        let offer_id = self.optional_name("offer_id", str::parse::<OfferId>);
        let status = self.status();
        let occurred_at = self.occurred_at();
        let payout = self.amount("payout");
        let revenue = self.amount("revenue");
        let currency = self.currency(payout.is_some() || revenue.is_some());
        let sub_ids = self.sub_ids(rule);
        let reverses = self.optional_name("reverses", str::parse::<TransactionId>);
        if let Some(rule) = rule {
            self.check_required(rule);
            self.check_reverses(rule, reverses.is_some());
        }
        let params = self.params(rule);
        Some(Event {
            transaction_id: transaction_id?,
            transaction_given: !told_by_click,
            kind: kind?,
            affiliate_id: affiliate_id?,
            click_id,
            offer_id,
            status,
            occurred_at,
            payout,
            revenue,
            currency,
            sub_ids,
            reverses,
            params,
        })
    }

    pub(super) fn fault(&mut self, pointer: &str, code: FaultCode, detail: impl Into<String>) {
        self.faults.push(Fault { pointer: pointer.into(), code, detail: detail.into() });
    }

    /// A field's value; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn check_names(&mut self) {
        for name in self.fields.keys() {
            if !FIELDS.contains(&name.as_str()) {
                let near = nearest(name, FIELDS).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                let detail = format!("an event has no field of this name{near}");
                self.fault(&pointer(&[name]), FaultCode::UnknownField, detail);
            }
        }
    }

    fn check_size(&mut self) {
        let size: usize = self.fields.iter().map(|(name, value)| name.len() + text_size(value)).sum();
        if size > MAX_EVENT_BYTES {
            let detail = format!("the event holds {size} bytes of text, at most {MAX_EVENT_BYTES} are allowed");
            self.fault("", FaultCode::TooLarge, detail);
        }
    }

    fn required_name<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, InvalidId>) -> Option<T> {
        if self.get(name).is_none() {
            self.fault(&pointer(&[name]), FaultCode::Missing, "is required");
            return None;
        }
        self.optional_name(name, parse)
    }

    fn optional_name<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, InvalidId>) -> Option<T> {
        let text = match self.get(name)? {
            Value::String(text) => text,
            other => {
                let detail = format!("must be a JSON string, this is {}", type_name(other));
                self.fault(&pointer(&[name]), FaultCode::WrongType, detail);
                return None;
            }
        };
        self.guard_id(name, text);
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(&pointer(&[name]), FaultCode::InvalidValue, error.to_string());
                None
            }
        }
    }

    /// Whether the event has no transaction id and its type allows that: the click tells it apart from others.
    fn is_told_by_click(&mut self) -> bool {
        let kind = self.get("type").and_then(Value::as_str).and_then(|kind| EventType::parse(kind).ok());
        let rule = kind.and_then(|kind| self.rules.dictionary.rule(&kind));
        let told = rule.is_some_and(|rule| rule.click_dedupe.is_some()) && self.get("transaction_id").is_none();
        if told && self.get("click_id").is_none() {
            let detail = "is required of an event without a transaction_id: it tells it apart from others";
            self.fault("/click_id", FaultCode::Missing, detail);
        }
        told
    }

    fn affiliate_id(&mut self) -> Option<AffiliateId> {
        let affiliate = self.required_name("affiliate_id", str::parse::<AffiliateId>)?;
        if !(self.rules.knows_affiliate)(&affiliate) {
            let detail = format!("no affiliate {affiliate:?} is configured", affiliate = affiliate.as_str());
            self.fault("/affiliate_id", FaultCode::UnknownAffiliate, detail);
        }
        Some(affiliate)
    }

    fn type_rule(&mut self, kind: &EventType) -> Option<&'a TypeRule> {
        let dictionary = self.rules.dictionary;
        let rule = dictionary.rule(kind);
        if rule.is_none() {
            let names = dictionary.types.keys().map(EventType::as_str);
            let near =
                nearest(kind.as_str(), names).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            let detail = format!("the event dictionary has no type {:?}{near}", kind.as_str());
            self.fault("/type", FaultCode::UnknownType, detail);
        }
        rule
    }

    fn status(&mut self) -> Status {
        let Some(value) = self.get("status") else { return Status::default() };
        let found = value.as_str().and_then(|text| Status::ALL.into_iter().find(|status| status.name() == text));
        if found.is_none() {
            self.fault("/status", FaultCode::InvalidValue, "must be \"pending\", \"approved\" or \"rejected\"");
        }
        found.unwrap_or_default()
    }

    fn occurred_at(&mut self) -> Timestamp {
        let now = timestamp::to_micros(self.rules.now);
        let Some(value) = self.get("occurred_at") else { return now };
        let parsed = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        match parsed {
            Some(at) if at > now.saturating_add(MAX_AHEAD).unwrap_or(Timestamp::MAX) => {
                let detail =
                    format!("lies more than 5 minutes ahead of this clock ({now:.0}); check time zone and clock");
                self.fault("/occurred_at", FaultCode::InvalidValue, detail);
            }
            Some(at) => return timestamp::to_micros(at),
            None => {
                let detail = "must be a time of RFC 3339 with a zone, such as \"2026-11-20T10:00:00Z\"";
                self.fault("/occurred_at", FaultCode::InvalidValue, detail);
            }
        }
        now
    }

    fn amount(&mut self, name: &str) -> Option<Amount> {
        let text = match self.get(name)? {
            Value::String(text) => text.as_str(),
            Value::Number(number) => number.as_str(),
            other => {
                let detail = format!("must be a JSON string or number, this is {}", type_name(other));
                self.fault(&pointer(&[name]), FaultCode::WrongType, detail);
                return None;
            }
        };
        self.parse_amount(&pointer(&[name]), text)
    }

    pub(super) fn parse_amount(&mut self, pointer: &str, text: &str) -> Option<Amount> {
        match Amount::parse(text) {
            Ok(amount) => Some(amount),
            Err(error) => {
                self.fault(pointer, FaultCode::InvalidValue, error.to_string());
                None
            }
        }
    }

    fn currency(&mut self, needed: bool) -> Option<Currency> {
        let Some(value) = self.get("currency") else {
            if needed {
                self.fault("/currency", FaultCode::Missing, "is required with payout or revenue");
            }
            return None;
        };
        let Some(code) = value.as_str() else {
            self.fault("/currency", FaultCode::WrongType, "must be a JSON string such as \"EUR\"");
            return None;
        };
        match Currency::parse(code) {
            Ok(currency) => Some(currency),
            Err(error) => {
                self.fault("/currency", FaultCode::UnknownCurrency, error.to_string());
                None
            }
        }
    }

    fn check_required(&mut self, rule: &TypeRule) {
        for field in &rule.required {
            let pointer = pointer(&[field.name()]);
            let known = self.faults.iter().any(|fault| fault.pointer == pointer);
            if self.get(field.name()).is_none() && !known {
                self.fault(&pointer, FaultCode::Missing, "is required for events of this type");
            }
        }
        let needs_money = rule.required.contains(&Field::Payout) || rule.required.contains(&Field::Revenue);
        let already = self.faults.iter().any(|fault| fault.pointer == "/currency");
        if needs_money && self.get("currency").is_none() && !already {
            self.fault("/currency", FaultCode::Missing, "is required for events of this type");
        }
    }

    fn check_reverses(&mut self, rule: &TypeRule, given: bool) {
        match (rule.reverses, given) {
            (Reverses::Never, true) => {
                let detail = "events of this type reverse nothing; use a reversing type, or leave the field out";
                self.fault("/reverses", FaultCode::NotAReversal, detail);
            }
            (Reverses::Must, false) if self.get("reverses").is_none() => {
                let detail = "is required for events of this type: the transaction_id of the event it undoes";
                self.fault("/reverses", FaultCode::Missing, detail);
            }
            _ => {}
        }
    }
}

pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn text_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(text_size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + text_size(value)).sum(),
    }
}
