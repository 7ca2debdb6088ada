//! The schema of events: the fixed fields of every type.
//!
//! What a type requires and which parameters it has is the operator's event dictionary's, which is no part of the API.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::event::{Event, ParamValue, Status};
use crate::domain::id::{AffiliateId, ClickId, EventType, OfferId, TransactionId};
use crate::domain::money::{Amount, Currency};

/// A plain decimal number.
const DECIMAL: &str = r"^-?[0-9]+(\.[0-9]+)?$";

/// A conversion. Which fields and parameters a type requires and allows is said by the event dictionary.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it is only described: events are parsed by the domain, which reports every fault")]
struct Fields {
    /// The operator's name of the transaction; not required of types that are told apart by their clicks.
    transaction_id: Option<TransactionId>,
    /// What happened.
    #[serde(rename = "type")]
    kind: EventType,
    /// The affiliate whose player it was.
    affiliate_id: AffiliateId,
    /// The click that led to it; required unless the dictionary says otherwise.
    click_id: Option<ClickId>,
    /// The offer it belongs to.
    offer_id: Option<OfferId>,
    /// How far it is decided; approved where nothing is said.
    status: Option<Status>,
    /// When it happened, at most 5 minutes ahead; now where nothing is said.
    #[schema(example = "2026-11-20T10:00:00Z")]
    occurred_at: Option<Timestamp>,
    /// What the affiliate is paid. Requires a currency.
    #[schema(schema_with = amount)]
    payout: Option<Amount>,
    /// What the operator took. Requires a currency.
    #[schema(schema_with = amount)]
    revenue: Option<Amount>,
    /// The ISO 4217 currency of both amounts.
    currency: Option<Currency>,
    /// The affiliate's own markers: at most 30, each of at most 512 characters.
    #[schema(example = json!({ "sub1": "banner-3" }))]
    sub_ids: Option<BTreeMap<String, String>>,
    /// The transaction that this event undoes.
    reverses: Option<TransactionId>,
    /// Further parameters that the dictionary allows.
    #[schema(example = json!({ "country": "DE" }))]
    params: Option<BTreeMap<String, ParamValue>>,
}

impl PartialSchema for Event {
    fn schema() -> RefOr<Schema> {
        Fields::schema()
    }
}

impl ToSchema for Event {
    fn name() -> Cow<'static, str> {
        "Event".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Fields::schemas(schemas);
    }
}

impl PartialSchema for ParamValue {
    fn schema() -> RefOr<Schema> {
        let kinds = SchemaType::from_iter([Type::String, Type::Number, Type::Boolean, Type::Null]);
        ObjectBuilder::new().schema_type(kinds).description(Some("The value of a parameter.")).build().into()
    }
}

impl ToSchema for ParamValue {
    fn name() -> Cow<'static, str> {
        "ParamValue".into()
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        decimal().description(Some("An exact decimal amount.")).examples(["120.00"]).build().into()
    }
}

impl ToSchema for Amount {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        let code = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Z]{3}$"));
        code.description(Some("A currency of ISO 4217.")).examples(["EUR"]).build().into()
    }
}

impl ToSchema for Currency {
    fn name() -> Cow<'static, str> {
        "Currency".into()
    }
}

fn decimal() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(DECIMAL))
}

/// An amount as it may be given: a text, or a number, of which every digit counts.
fn amount() -> Schema {
    let number = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Number, Type::Null]));
    let text = "An exact decimal amount of at most 28 digits, as a text or a number.";
    OneOfBuilder::new().item(decimal()).item(number).description(Some(text)).examples(["120.00"]).build().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::event::FIELDS;

    #[test]
    fn the_schema_has_the_fields_that_are_read_and_no_others() {
        let schema = serde_json::to_value(Event::schema()).unwrap();
        let described: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, BTreeSet::from(FIELDS));
        assert_eq!(schema["additionalProperties"], false);
    }
}
