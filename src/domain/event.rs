//! An event: a conversion on the operator's side, parsed once and valid ever after.
//!
//! Parsing is the only validation there is. It reports every fault of an event at once, each with the
//! JSON pointer of its place.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dictionary::{Dictionary, Field, ParamKind, ParamRule, Reverses, TypeRule};
use super::id::{AffiliateId, ClickId, EventType, InvalidId, OfferId, TransactionId};
use super::money::{Amount, Currency};
use super::personal_data;
use super::timestamp;

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

/// A conversion event, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The operator's name of the transaction.
    pub transaction_id: TransactionId,
    /// What happened.
    pub kind: EventType,
    /// The affiliate whose player it was.
    pub affiliate_id: AffiliateId,
    /// The click that led to it.
    pub click_id: Option<ClickId>,
    /// The offer it belongs to.
    pub offer_id: Option<OfferId>,
    /// How far it is decided.
    pub status: Status,
    /// When it happened.
    #[serde(with = "super::timestamp")]
    pub occurred_at: Timestamp,
    /// What the affiliate is paid.
    pub payout: Option<Amount>,
    /// What the operator took.
    pub revenue: Option<Amount>,
    /// The currency of both amounts.
    pub currency: Option<Currency>,
    /// The affiliate's own markers.
    pub sub_ids: BTreeMap<String, String>,
    /// The transaction that this event undoes.
    pub reverses: Option<TransactionId>,
    /// Further parameters that the dictionary allows.
    pub params: BTreeMap<String, ParamValue>,
}

/// How far a conversion is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not yet decided.
    Pending,
    /// Counts.
    #[default]
    Approved,
    /// Does not count.
    Rejected,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Approved, Self::Rejected];

    /// The status as it stands in an event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParamValue {
    /// Text.
    Text(String),
    /// A whole or decimal number, exact.
    Number(Amount),
    /// True or false.
    Boolean(bool),
}

impl ParamValue {
    /// The value as JSON; numbers keep every digit.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Number(number) => exact_number(*number),
            Self::Boolean(value) => Value::Bool(*value),
        }
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}

/// A JSON number with exactly the digits of the amount.
pub fn exact_number(amount: Amount) -> Value {
    serde_json::from_str(&amount.to_string()).unwrap_or(Value::Null)
}

/// One thing wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) of the place in the event.
    pub pointer: String,
    /// A stable name of the kind of fault.
    pub code: FaultCode,
    /// What is wrong and how to put it right.
    pub detail: String,
}

/// Kinds of faults, stable for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The event, or a part of it, has the wrong JSON type.
    WrongType,
    /// A field that must be there is not.
    Missing,
    /// A field that events do not have.
    UnknownField,
    /// A type that the dictionary does not have.
    UnknownType,
    /// An affiliate that the configuration does not have.
    UnknownAffiliate,
    /// Not an ISO 4217 currency.
    UnknownCurrency,
    /// A parameter that the dictionary does not allow for the type.
    UnknownParameter,
    /// A value out of its bounds or form.
    InvalidValue,
    /// More text or entries than an event may hold.
    TooLarge,
    /// A value that looks like personal data.
    PersonalData,
    /// `reverses` where the type reverses nothing.
    NotAReversal,
}

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

    /// The event as the JSON that it was accepted as, defaults filled in.
    pub fn to_json(&self) -> Value {
        let text = |value: &dyn fmt::Display| Value::String(value.to_string());
        let optional = |value: Option<&dyn fmt::Display>| value.map_or(Value::Null, text);
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
        put("transaction_id", text(&self.transaction_id));
        put("type", text(&self.kind));
        put("affiliate_id", text(&self.affiliate_id));
        put("click_id", optional(self.click_id.as_ref().map(|v| v as _)));
        put("offer_id", optional(self.offer_id.as_ref().map(|v| v as _)));
        put("status", self.status.name().into());
        put("occurred_at", text(&self.occurred_at));
        put("payout", optional(self.payout.as_ref().map(|v| v as _)));
        put("revenue", optional(self.revenue.as_ref().map(|v| v as _)));
        put("currency", optional(self.currency.as_ref().map(|v| v as _)));
        put("sub_ids", self.sub_ids.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect());
        put("reverses", optional(self.reverses.as_ref().map(|v| v as _)));
        put("params", self.params.iter().map(|(k, v)| (k.clone(), v.to_json())).collect());
        Value::Object(fields)
    }

    /// The transaction whose order group the event joins by itself: the one it reverses, or its own.
    pub fn group_transaction(&self) -> &TransactionId {
        self.reverses.as_ref().unwrap_or(&self.transaction_id)
    }

    /// Names of the fields in which two events with the same dedupe key differ.
    ///
    /// A difference in `occurred_at` counts only where the sender gave it; a default of "now" does not
    /// make a retry of the same request a conflict. `given_occurred_at` says whether `self` was given one.
    pub fn differences(&self, first: &Event, given_occurred_at: bool) -> Vec<&'static str> {
        let mut names = Vec::new();
        let mut compare = |name, same: bool| {
            if !same {
                names.push(name);
            }
        };
        compare("click_id", self.click_id == first.click_id);
        compare("offer_id", self.offer_id == first.offer_id);
        compare("occurred_at", !given_occurred_at || self.occurred_at == first.occurred_at);
        compare("payout", self.payout == first.payout);
        compare("revenue", self.revenue == first.revenue);
        compare("currency", self.currency == first.currency);
        compare("sub_ids", self.sub_ids == first.sub_ids);
        compare("reverses", self.reverses == first.reverses);
        compare("params", self.params == first.params);
        names
    }
}

/// The names an event's fields have.
const FIELDS: [&str; 13] = [
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

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    rules: Rules<'a>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn event(&mut self) -> Option<Event> {
        self.check_names();
        self.check_size();
        let transaction_id = self.required_name("transaction_id", TransactionId::parse);
        let kind = self.required_name("type", EventType::parse);
        let affiliate_id = self.affiliate_id();
        let rule = kind.as_ref().and_then(|kind| self.type_rule(kind));
        let click_id = self.optional_name("click_id", ClickId::parse);
        let offer_id = self.optional_name("offer_id", OfferId::parse);
        let status = self.status();
        let occurred_at = self.occurred_at();
        let payout = self.amount("payout");
        let revenue = self.amount("revenue");
        let currency = self.currency(payout.is_some() || revenue.is_some());
        let sub_ids = self.sub_ids();
        let reverses = self.optional_name("reverses", TransactionId::parse);
        if let Some(rule) = rule {
            self.check_required(rule);
            self.check_reverses(rule, reverses.is_some());
        }
        let params = self.params(rule);
        Some(Event {
            transaction_id: transaction_id?,
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

    fn fault(&mut self, pointer: &str, code: FaultCode, detail: impl Into<String>) {
        self.faults.push(Fault { pointer: pointer.into(), code, detail: detail.into() });
    }

    /// A field's value; `null` counts as absent.
    fn get(&self, name: &str) -> Option<&'a Value> {
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

    fn required_name<T>(&mut self, name: &str, parse: impl FnOnce(String) -> Result<T, InvalidId>) -> Option<T> {
        if self.get(name).is_none() {
            self.fault(&pointer(&[name]), FaultCode::Missing, "is required");
            return None;
        }
        self.optional_name(name, parse)
    }

    fn optional_name<T>(&mut self, name: &str, parse: impl FnOnce(String) -> Result<T, InvalidId>) -> Option<T> {
        let text = match self.get(name)? {
            Value::String(text) => text.clone(),
            other => {
                let detail = format!("must be a JSON string, this is {}", type_name(other));
                self.fault(&pointer(&[name]), FaultCode::WrongType, detail);
                return None;
            }
        };
        if let Some(kind) = personal_data::find(&text) {
            self.personal_data(&pointer(&[name]), kind);
        }
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(&pointer(&[name]), FaultCode::InvalidValue, error.to_string());
                None
            }
        }
    }

    fn personal_data(&mut self, pointer: &str, kind: personal_data::Kind) {
        let detail = format!("looks like {}; personal data must not be sent to affiliates", kind.name());
        self.fault(pointer, FaultCode::PersonalData, detail);
    }

    fn affiliate_id(&mut self) -> Option<AffiliateId> {
        let affiliate = self.required_name("affiliate_id", AffiliateId::parse)?;
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
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => {
                let detail = format!("must be a JSON string or number, this is {}", type_name(other));
                self.fault(&pointer(&[name]), FaultCode::WrongType, detail);
                return None;
            }
        };
        self.parse_amount(&pointer(&[name]), &text)
    }

    fn parse_amount(&mut self, pointer: &str, text: &str) -> Option<Amount> {
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

    fn object(&mut self, name: &str, limit: usize) -> Option<&'a Map<String, Value>> {
        match self.get(name)? {
            Value::Object(entries) if entries.len() > limit => {
                let detail = format!("has {} entries, at most {limit} are allowed", entries.len());
                self.fault(&pointer(&[name]), FaultCode::TooLarge, detail);
                None
            }
            Value::Object(entries) => Some(entries),
            other => {
                let detail = format!("must be a JSON object, this is {}", type_name(other));
                self.fault(&pointer(&[name]), FaultCode::WrongType, detail);
                None
            }
        }
    }

    fn check_key(&mut self, place: &str, key: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let fine = !key.is_empty() && key.len() <= MAX_KEY_LENGTH && key.chars().all(allowed);
        if !fine {
            let detail =
                format!("a name here has 1 to {MAX_KEY_LENGTH} of the characters a-z, A-Z, 0-9, \"_\", \"-\", \".\"");
            self.fault(&pointer(&[place, key]), FaultCode::InvalidValue, detail);
        }
        fine
    }

    fn sub_ids(&mut self) -> BTreeMap<String, String> {
        let mut sub_ids = BTreeMap::new();
        for (key, value) in self.object("sub_ids", MAX_SUB_IDS).into_iter().flatten() {
            let place = pointer(&["sub_ids", key]);
            if !self.check_key("sub_ids", key) || value.is_null() {
                continue;
            }
            let Some(text) = value.as_str() else {
                self.fault(
                    &place,
                    FaultCode::WrongType,
                    format!("must be a JSON string, this is {}", type_name(value)),
                );
                continue;
            };
            if let Some(text) = self.text(&place, text, MAX_SUB_ID_LENGTH, false) {
                sub_ids.insert(key.clone(), text);
            }
        }
        sub_ids
    }

    fn text(&mut self, place: &str, text: &str, limit: usize, personal_data_allowed: bool) -> Option<String> {
        let length = text.chars().count();
        if length > limit {
            let detail = format!("has {length} characters, at most {limit} are allowed");
            self.fault(place, FaultCode::TooLarge, detail);
            return None;
        }
        if text.chars().any(char::is_control) {
            self.fault(place, FaultCode::InvalidValue, "must not hold control characters");
            return None;
        }
        if !personal_data_allowed && let Some(kind) = personal_data::find(text) {
            self.personal_data(place, kind);
            return None;
        }
        Some(text.to_owned())
    }

    fn check_required(&mut self, rule: &TypeRule) {
        for field in &rule.required {
            if self.get(field.name()).is_none() {
                self.fault(&pointer(&[field.name()]), FaultCode::Missing, "is required for events of this type");
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

    fn params(&mut self, rule: Option<&TypeRule>) -> BTreeMap<String, ParamValue> {
        let mut params = BTreeMap::new();
        let given = self.object("params", MAX_PARAMS);
        for (key, value) in given.into_iter().flatten() {
            let Some(rule) = rule else { break };
            let place = pointer(&["params", key]);
            match rule.params.get(key) {
                None => {
                    let near = nearest(key, rule.params.keys().map(String::as_str));
                    let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                    let detail = format!("the event dictionary does not allow this parameter for the type{near}");
                    self.fault(&place, FaultCode::UnknownParameter, detail);
                }
                Some(_) if value.is_null() => {}
                Some(param) => {
                    if let Some(value) = self.param(&place, value, param) {
                        params.insert(key.clone(), value);
                    }
                }
            }
        }
        let required = rule.into_iter().flat_map(|rule| &rule.params).filter(|(_, param)| param.required);
        for (key, _) in required {
            if given.and_then(|given| given.get(key)).is_none_or(Value::is_null) {
                self.fault(&pointer(&["params", key]), FaultCode::Missing, "is required for events of this type");
            }
        }
        params
    }

    fn param(&mut self, place: &str, value: &Value, rule: &ParamRule) -> Option<ParamValue> {
        match (rule.kind, value) {
            (ParamKind::Text, Value::String(text)) => {
                self.text(place, text, rule.max_length, rule.personal_data).map(ParamValue::Text)
            }
            (ParamKind::Boolean, Value::Bool(value)) => Some(ParamValue::Boolean(*value)),
            (ParamKind::Decimal, Value::String(text)) => self.parse_amount(place, text).map(ParamValue::Number),
            (ParamKind::Decimal, Value::Number(number)) => {
                self.parse_amount(place, &number.to_string()).map(ParamValue::Number)
            }
            (ParamKind::Integer, Value::Number(number)) => {
                let amount = self.parse_amount(place, &number.to_string())?;
                if amount.decimal().scale() > 0 {
                    self.fault(place, FaultCode::InvalidValue, "must be a whole number");
                    return None;
                }
                Some(ParamValue::Number(amount))
            }
            (kind, other) => {
                let detail = format!("must be of type {}, this is {}", kind.name(), type_name(other));
                self.fault(place, FaultCode::WrongType, detail);
                None
            }
        }
    }
}

/// A JSON pointer of RFC 6901 to the place named by its steps.
pub fn pointer(steps: &[&str]) -> String {
    let mut pointer = String::new();
    for step in steps {
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

/// The candidate most like a mistyped name, if one is near enough to be meant.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const NEAR: f64 = 0.8;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn type_name(value: &Value) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn dictionary() -> Dictionary {
        let text = ParamRule { kind: ParamKind::Text, max_length: 2, required: false, personal_data: false };
        let ftd = TypeRule {
            description: "first deposit".into(),
            required: BTreeSet::from([Field::ClickId, Field::Payout]),
            params: BTreeMap::from([("country".into(), text)]),
            billable: true,
            reverses: Reverses::Never,
        };
        let reversed = TypeRule { required: BTreeSet::new(), reverses: Reverses::Must, ..ftd.clone() };
        Dictionary {
            types: BTreeMap::from([
                (EventType::parse("ftd").unwrap(), ftd),
                (EventType::parse("ftd_reversed").unwrap(), reversed),
            ]),
        }
    }

    fn now() -> Timestamp {
        "2026-11-20T10:00:00Z".parse().unwrap()
    }

    fn parse(json: &Value) -> Result<Event, Vec<Fault>> {
        let dictionary = dictionary();
        let knows = |id: &AffiliateId| id.as_str() == "acme";
        Event::parse(json, Rules { dictionary: &dictionary, knows_affiliate: &knows, now: now() })
    }

    fn valid() -> Value {
        json!({
            "transaction_id": "dep-1", "type": "ftd", "affiliate_id": "acme", "click_id": "c-1",
            "payout": "120.00", "currency": "EUR", "params": {"country": "DE"}, "sub_ids": {"sub1": "x"},
        })
    }

    fn faults(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<(String, FaultCode)> {
        let mut json = valid();
        change(json.as_object_mut().unwrap());
        parse(&json).unwrap_err().into_iter().map(|f| (f.pointer, f.code)).collect()
    }

    #[test]
    fn a_valid_event_keeps_its_values() {
        let event = parse(&valid()).unwrap();
        assert_eq!(event.payout.unwrap().to_string(), "120.00");
        assert_eq!(event.status, Status::Approved);
        assert_eq!(event.occurred_at, now());
        let again = parse(&event.to_json()).unwrap();
        assert_eq!(again, event);
    }

    #[test]
    fn json_numbers_are_exact() {
        let json: Value = serde_json::from_str(&valid().to_string().replace("\"120.00\"", "0.10")).unwrap();
        assert_eq!(parse(&json).unwrap().payout.unwrap().to_string(), "0.10");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let found = faults(|event| {
            event.remove("click_id");
            event.insert("clickid".into(), json!("c-1"));
            event.insert("type".into(), json!("ftdd"));
            event.insert("affiliate_id".into(), json!("nobody"));
            event.insert("payout".into(), json!("12,34"));
            event.insert("currency".into(), json!("eur"));
            event.insert("status".into(), json!("Approved"));
            event.insert("occurred_at".into(), json!("2026-11-20T10:05:01Z"));
        });
        let expected = [
            ("/clickid", FaultCode::UnknownField),
            ("/affiliate_id", FaultCode::UnknownAffiliate),
            ("/type", FaultCode::UnknownType),
            ("/status", FaultCode::InvalidValue),
            ("/occurred_at", FaultCode::InvalidValue),
            ("/payout", FaultCode::InvalidValue),
            ("/currency", FaultCode::UnknownCurrency),
        ];
        assert_eq!(found, expected.map(|(p, c)| (p.to_owned(), c)));
    }

    #[test]
    fn what_the_type_requires_must_be_there() {
        let found = faults(|event| {
            event.remove("click_id");
            event.remove("payout");
            event.remove("currency");
        });
        let expected = ["/click_id", "/payout", "/currency"].map(|p| (p.to_owned(), FaultCode::Missing));
        assert_eq!(found, expected);
        assert_eq!(faults(|e| drop(e.remove("currency"))), [("/currency".to_owned(), FaultCode::Missing)]);
    }

    #[test]
    fn reversals_name_their_original_and_others_do_not() {
        let named = |e: &mut Map<String, Value>| drop(e.insert("reverses".into(), json!("dep-0")));
        assert_eq!(faults(named), [("/reverses".to_owned(), FaultCode::NotAReversal)]);
        let unnamed = |e: &mut Map<String, Value>| drop(e.insert("type".into(), json!("ftd_reversed")));
        assert_eq!(faults(unnamed), [("/reverses".to_owned(), FaultCode::Missing)]);
    }

    #[test]
    fn parameters_follow_the_dictionary() {
        let set = |value: Value| move |e: &mut Map<String, Value>| drop(e.insert("params".into(), value));
        assert_eq!(faults(set(json!({"contry": "DE"}))), [("/params/contry".to_owned(), FaultCode::UnknownParameter)]);
        assert_eq!(faults(set(json!({"country": "DEU"}))), [("/params/country".to_owned(), FaultCode::TooLarge)]);
        assert_eq!(faults(set(json!({"country": 1}))), [("/params/country".to_owned(), FaultCode::WrongType)]);
        assert_eq!(faults(set(json!([]))), [("/params".to_owned(), FaultCode::WrongType)]);
    }

    #[test]
    fn personal_data_is_refused_wherever_it_hides() {
        let sub = |e: &mut Map<String, Value>| drop(e.insert("sub_ids".into(), json!({"a": "jo@example.com"})));
        assert_eq!(faults(sub), [("/sub_ids/a".to_owned(), FaultCode::PersonalData)]);
        let click = |e: &mut Map<String, Value>| drop(e.insert("click_id".into(), json!("jo@example.com")));
        assert_eq!(faults(click), [("/click_id".to_owned(), FaultCode::PersonalData)]);
    }

    #[test]
    fn events_that_would_not_fit_a_record_are_refused() {
        let big: Map<String, Value> = (0..30).map(|i| (format!("s{i}"), json!("x".repeat(500)))).collect();
        let found = faults(|e| drop(e.insert("sub_ids".into(), Value::Object(big))));
        assert_eq!(found, [(String::new(), FaultCode::TooLarge)]);
    }

    #[test]
    fn differences_name_the_fields() {
        let first = parse(&valid()).unwrap();
        let mut json = valid();
        json["payout"] = json!("121.00");
        json["occurred_at"] = json!("2026-11-20T09:00:00Z");
        let second = parse(&json).unwrap();
        assert_eq!(second.differences(&first, true), ["occurred_at", "payout"]);
        assert_eq!(second.differences(&first, false), ["payout"]);
    }
}
