//! `sub_ids` and `params`: the entries whose names and values an affiliate or the operator chooses.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ParamValue;
use super::fault::{FaultCode, pointer};
use super::guard::Guard;
use super::parse::{MAX_KEY_LENGTH, MAX_PARAMS, MAX_SUB_ID_LENGTH, MAX_SUB_IDS, Reader, type_name};
use crate::domain::dictionary::{ParamKind, ParamRule, TypeRule};
use crate::domain::money::Amount;
use crate::domain::nearest::nearest;
use crate::domain::personal_data::Place;

impl<'a> Reader<'a> {
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

    pub(super) fn sub_ids(&mut self, rule: Option<&TypeRule>) -> BTreeMap<String, String> {
        let policy = rule.map(|rule| rule.personal_data).unwrap_or_default();
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
            self.guard_key(&place, key);
            let guard = Guard { key, place: Place::Marker, policy };
            if let Some(text) = self.text(&place, text, MAX_SUB_ID_LENGTH, guard) {
                sub_ids.insert(key.clone(), text);
            }
        }
        sub_ids
    }

    fn text(&mut self, place: &str, text: &str, limit: usize, guard: Guard<'_>) -> Option<String> {
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
        self.guard_text(place, text, guard)
    }

    pub(super) fn params(&mut self, rule: Option<&TypeRule>) -> BTreeMap<String, ParamValue> {
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
                    if let Some(value) = self.param(&place, key, value, param) {
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

    fn param(&mut self, place: &str, key: &str, value: &Value, rule: &ParamRule) -> Option<ParamValue> {
        let guard = Guard { key, place: Place::Parameter, policy: rule.personal_data };
        match (rule.kind, value) {
            (ParamKind::Text, Value::String(text)) => {
                if !rule.one_of.is_empty() && !rule.one_of.contains(text) {
                    self.fault(place, FaultCode::InvalidValue, one_of(rule));
                    return None;
                }
                self.text(place, text, rule.max_length, guard).map(ParamValue::Text)
            }
            (ParamKind::Boolean, Value::Bool(value)) => Some(ParamValue::Boolean(*value)),
            (ParamKind::Decimal, Value::String(text)) => self.number(place, text, rule, guard),
            (ParamKind::Decimal | ParamKind::Integer, Value::Number(number)) => {
                self.number(place, &number.to_string(), rule, guard)
            }
            (kind, other) => {
                let detail = format!("must be of type {}, this is {}", kind.name(), type_name(other));
                self.fault(place, FaultCode::WrongType, detail);
                None
            }
        }
    }

    fn number(&mut self, place: &str, text: &str, rule: &ParamRule, guard: Guard<'_>) -> Option<ParamValue> {
        let amount = self.parse_amount(place, text)?;
        let bound = |bound: Option<Amount>, beyond: fn(&Amount, &Amount) -> bool| {
            bound.filter(|bound| beyond(&amount, bound)).map(|bound| bound.to_string())
        };
        let problem = if rule.kind == ParamKind::Integer && amount.decimal().scale() > 0 {
            Some("must be a whole number".to_owned())
        } else {
            let least = bound(rule.min, |found, least| found < least).map(|least| format!("must be at least {least}"));
            least.or_else(|| bound(rule.max, |found, most| found > most).map(|most| format!("must be at most {most}")))
        };
        if let Some(detail) = problem {
            self.fault(place, FaultCode::InvalidValue, detail);
            return None;
        }
        // A number counts as an id: it may be a card's, and is rarely anything else that it looks like.
        self.guard_number(place, text, Guard { place: Place::Id, ..guard });
        Some(ParamValue::Number(amount))
    }
}

fn one_of(rule: &ParamRule) -> String {
    let texts: Vec<_> = rule.one_of.iter().map(|text| format!("{text:?}")).collect();
    format!("must be one of {}", texts.join(", "))
}
