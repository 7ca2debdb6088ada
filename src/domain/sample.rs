//! Sample events: made from the dictionary alone, so that a postback can be looked at before anything has happened.
//!
//! A sample is parsed like any event that is handed in: what the dictionary would refuse is never shown.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::dictionary::{Dictionary, Field, ParamKind, ParamRule, Reverses, TypeRule};
use super::event::{Event, Fault, Rules, Status, exact_number};
use super::id::{AffiliateId, EventType, OfferId};
use super::money::Amount;

/// The transaction of a sample.
pub const TRANSACTION: &str = "sample-1001";
/// The click of a sample.
pub const CLICK: &str = "sample-click-77f3";
/// The transaction that a sample of a reversal undoes.
const ORIGINAL: &str = "sample-1000";
/// The affiliate's markers that a sample has beside those that are asked for.
const MARKERS: [&str; 5] = ["sub1", "sub2", "sub3", "sub4", "sub5"];

/// How much a sample carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything that its type requires and allows.
    Whole,
    /// Only what its type requires.
    Least,
}

/// What a sample is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'w> {
    /// Its type.
    pub kind: &'w EventType,
    /// Its affiliate.
    pub affiliate: &'w AffiliateId,
    /// How far it is decided.
    pub status: Status,
    /// Its offer, where it has to be a certain one.
    pub offer: Option<&'w OfferId>,
    /// Names of the affiliate's markers that it should have.
    pub sub_ids: &'w [&'w str],
    /// When it happens.
    pub now: Timestamp,
    /// How much it carries.
    pub extent: Extent,
}

/// A sample, with the event that it reverses where it is a reversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The event.
    pub event: Event,
    /// The event that it reverses.
    pub original: Option<Event>,
}

/// Makes a sample of a type.
///
/// # Errors
/// What the dictionary has against it: an unknown type, or a rule that no sample meets.
pub fn sample(dictionary: &Dictionary, wish: Wish<'_>) -> Result<Sample, Vec<Fault>> {
    let parse = |json: &Value| {
        let rules = Rules { dictionary, knows_affiliate: &|_| true, now: wish.now };
        Event::parse(json, rules)
    };
    let Some(rule) = dictionary.rule(wish.kind) else {
        let unknown = json!({ "transaction_id": TRANSACTION, "type": wish.kind.as_str(), "click_id": CLICK,
            "affiliate_id": wish.affiliate.as_str() });
        return parse(&unknown).map(|event| Sample { event, original: None });
    };
    let mut fields = fields(rule, wish, TRANSACTION);
    let mut original = None;
    if rule.reverses == Reverses::Must {
        fields.insert("reverses".into(), ORIGINAL.into());
        original = original_type(dictionary, wish.kind).and_then(|(kind, rule)| {
            parse(&Value::Object(self::fields(rule, Wish { kind, status: Status::Approved, ..wish }, ORIGINAL))).ok()
        });
    }
    Ok(Sample { event: parse(&Value::Object(fields))?, original })
}

/// The type that a reversal's name is made of, else one that money is paid for.
fn original_type<'d>(dictionary: &'d Dictionary, reversal: &EventType) -> Option<(&'d EventType, &'d TypeRule)> {
    let forward = || dictionary.types.iter().filter(|(_, rule)| rule.reverses != Reverses::Must);
    let stem = reversal.as_str().rsplit_once(['_', '-', '.']).map(|(stem, _)| stem);
    let named = forward().find(|(kind, _)| Some(kind.as_str()) == stem);
    named.or_else(|| forward().find(|(_, rule)| rule.billable)).or_else(|| forward().next())
}

fn fields(rule: &TypeRule, wish: Wish<'_>, transaction: &str) -> Map<String, Value> {
    let whole = wish.extent == Extent::Whole;
    let requires = |field| rule.required.contains(&field);
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.into(), value));
    put("type", wish.kind.as_str().into());
    put("affiliate_id", wish.affiliate.as_str().into());
    put("status", wish.status.name().into());
    put("occurred_at", wish.now.to_string().into());
    if whole || rule.click_dedupe.is_none() {
        put("transaction_id", transaction.into());
    }
    if whole || requires(Field::ClickId) || rule.click_dedupe.is_some() {
        put("click_id", CLICK.into());
    }
    let offer = wish.offer.map(OfferId::as_str).or((whole || requires(Field::OfferId)).then_some("sample-offer"));
    if let Some(offer) = offer {
        put("offer_id", offer.into());
    }
    let payout = requires(Field::Payout) || (whole && rule.billable);
    if payout {
        put("payout", "120.00".into());
    }
    if requires(Field::Revenue) {
        put("revenue", "400.00".into());
    }
    if payout || requires(Field::Revenue) {
        put("currency", "EUR".into());
    }
    if whole {
        let names = MARKERS.into_iter().chain(wish.sub_ids.iter().copied());
        let marker = |name: &str| (name.to_owned(), Value::String(format!("sample-{name}")));
        put("sub_ids", names.map(marker).collect());
    }
    let params = rule.params.iter().filter(|(_, rule)| whole || rule.required);
    put("params", params.map(|(name, rule)| (name.clone(), value(name, rule))).collect());
    fields
}

/// A number, or the bound of the rule that it is beyond.
fn within(rule: &ParamRule, number: Decimal) -> Decimal {
    let (min, max) = (rule.min.map(Amount::decimal), rule.max.map(Amount::decimal));
    let number = min.map_or(number, |min| number.max(min));
    max.map_or(number, |max| number.min(max))
}

/// A value that people recognise as one, and that is no personal data.
fn value(name: &str, rule: &ParamRule) -> Value {
    match rule.kind {
        ParamKind::Integer => exact_number(within(rule, Decimal::from(3)).into()),
        ParamKind::Decimal => within(rule, Decimal::new(15, 1)).to_string().into(),
        ParamKind::Boolean => true.into(),
        ParamKind::Text => {
            let text = match name {
                _ if !rule.one_of.is_empty() => rule.one_of.first().cloned().unwrap_or_default(),
                "country" => "DE".to_owned(),
                "period" => "2026-11".to_owned(),
                _ => format!("sample-{name}"),
            };
            text.chars().take(rule.max_length).collect::<String>().into()
        }
    }
}
