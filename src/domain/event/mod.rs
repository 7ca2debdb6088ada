//! An event: a conversion on the operator's side, parsed once and valid ever after.
//!
//! Parsing is the only validation there is. It reports every fault of an event at once, each with the
//! JSON pointer of its place.

mod entries;
mod fault;
mod guard;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use fault::{Fault, FaultCode, pointer};
pub use parse::{
    FIELDS, MAX_AHEAD, MAX_EVENT_BYTES, MAX_KEY_LENGTH, MAX_PARAMS, MAX_SUB_ID_LENGTH, MAX_SUB_IDS, Rules,
};

use super::id::{AffiliateId, ClickId, EventType, OfferId, TransactionId};
use super::money::{Amount, Currency};

/// A conversion event, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The operator's name of the transaction; where he gave none, one made of type and click.
    pub transaction_id: TransactionId,
    /// Whether the operator gave it. One that we made is shown to people, and never sent.
    pub transaction_given: bool,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, ToSchema)]
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

impl Event {
    /// The event as the JSON that it was accepted as, defaults filled in.
    pub fn to_json(&self) -> Value {
        let text = |value: &dyn fmt::Display| Value::String(value.to_string());
        let optional = |value: Option<&dyn fmt::Display>| value.map_or(Value::Null, text);
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
        put("transaction_id", optional(self.operators_transaction_id().map(|v| v as _)));
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

    /// The operator's name of the transaction, where he gave one.
    pub fn operators_transaction_id(&self) -> Option<&TransactionId> {
        Some(&self.transaction_id).filter(|_| self.transaction_given)
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
