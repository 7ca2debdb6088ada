use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::dictionary::{Dictionary, Field, ParamRule, PersonalData, Reverses, TypeRule};

fn dictionary() -> Dictionary {
    let text = ParamRule { max_length: 2, ..ParamRule::default() };
    let ftd = TypeRule {
        description: "first deposit".into(),
        required: BTreeSet::from([Field::ClickId, Field::Payout]),
        params: BTreeMap::from([("country".into(), text)]),
        billable: true,
        reverses: Reverses::Never,
        click_dedupe: None,
        personal_data: PersonalData::Refuse,
    };
    let lead = TypeRule { click_dedupe: Some(Duration::from_hours(24)), required: BTreeSet::new(), ..ftd.clone() };
    let reversed = TypeRule { required: BTreeSet::new(), reverses: Reverses::Must, ..ftd.clone() };
    Dictionary {
        types: BTreeMap::from([
            (EventType::parse("ftd").unwrap(), ftd),
            (EventType::parse("ftd_reversed").unwrap(), reversed),
            (EventType::parse("lead").unwrap(), lead),
        ]),
        ..Dictionary::default()
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

#[test]
fn a_transaction_id_may_be_left_out_where_the_click_tells_events_apart() {
    let lead = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut json = valid();
        json["type"] = json!("lead");
        change(json.as_object_mut().unwrap());
        parse(&json)
    };
    let without = lead(&|event| drop(event.remove("transaction_id"))).unwrap();
    assert!(!without.transaction_given);
    assert_eq!(without.transaction_id.as_str(), "click:lead:c-1");
    assert_eq!(without.to_json()["transaction_id"], Value::Null, "it is not the operator's");
    assert_eq!(parse(&without.to_json()).unwrap(), without);
    assert!(lead(&|_| ()).unwrap().transaction_given);
    let neither = lead(&|event| {
        event.remove("transaction_id");
        event.remove("click_id");
    });
    let faults: Vec<_> = neither.unwrap_err().into_iter().map(|fault| (fault.pointer, fault.code)).collect();
    assert_eq!(faults, [("/click_id".to_owned(), FaultCode::Missing)]);
    assert_eq!(
        super::super::id::TransactionId::of_click(&"lead".parse().unwrap(), &"x".repeat(500).parse().unwrap())
            .as_str()
            .len(),
        "click:lead:".len() + 64
    );
}
