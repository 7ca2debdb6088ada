//! JSON written as TOML: bodies, and values that answers are compared with.

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::item::Item;
use super::section::shown_key;

/// The JSON that a TOML value stands for; numbers keep their digits.
pub(super) fn value(item: &Item<'_>) -> Option<Value> {
    match item.value.get_ref() {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
            let found = number.and_then(|number| serde_json::from_str(&number.to_string()).ok());
            if found.is_none() {
                item.fault("is too large a number", "write it as a text in double quotes");
            }
            found
        }
        DeValue::Float(float) => {
            let found = serde_json::from_str(float.as_str().trim_start_matches('+')).ok();
            if found.is_none() {
                item.fault("is a number that JSON does not have", "write another number, or a text in double quotes");
            }
            found
        }
        DeValue::Datetime(_) => {
            item.fault("is a date, which JSON does not have", "write it as a text in double quotes");
            None
        }
        DeValue::Array(entries) => {
            let inner = |(index, entry)| value(&item.inner(entry, format!("[{index}]")));
            let read: Vec<_> = entries.iter().enumerate().map(inner).collect();
            read.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
        }
        DeValue::Table(table) => {
            let member = |(key, entry): (&'_ toml::Spanned<toml::de::DeString<'_>>, _)| {
                let name: &str = key.get_ref();
                Some((name.to_owned(), value(&item.inner(entry, format!(".{}", shown_key(name))))?))
            };
            let read: Vec<_> = table.iter().map(member).collect();
            read.into_iter().collect::<Option<Map<_, _>>>().map(Value::Object)
        }
    }
}
