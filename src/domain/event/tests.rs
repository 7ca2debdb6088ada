//! Events as they are handed in: what is kept, and every fault at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::dictionary::{Dictionary, Field, ParamKind, ParamRule, PersonalData, Reverses, TypeRule};
use crate::domain::personal_data::{Formats, IdFormat};

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

fn with_rule(change: impl FnOnce(&mut TypeRule), json: &Value) -> Result<Event, Vec<(String, FaultCode)>> {
    let mut dictionary = dictionary();
    dictionary.click_ids = Formats::new(vec![IdFormat::named("decimal").unwrap()]);
    change(dictionary.types.get_mut(&EventType::parse("ftd").unwrap()).unwrap());
    let parsed = Event::parse(json, Rules { dictionary: &dictionary, knows_affiliate: &|_| true, now: now() });
    parsed.map_err(|faults| faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect())
}

fn with(field: &str, value: Value) -> Value {
    let mut json = valid();
    json[field] = value;
    json
}

#[test]
fn names_betray_personal_data_that_no_pattern_finds() {
    let params = with("params", json!({"firstname": "Jo"}));
    let declared = |policy: PersonalData| {
        let rule = ParamRule { max_length: 64, personal_data: policy, ..ParamRule::default() };
        with_rule(|ftd| drop(ftd.params.insert("firstname".into(), rule)), &params)
    };
    assert_eq!(declared(PersonalData::Refuse).unwrap_err(), [("/params/firstname".into(), FaultCode::PersonalData)]);
    assert_eq!(declared(PersonalData::Mask).unwrap().params["firstname"].to_string(), "***");
    assert_eq!(declared(PersonalData::Allow).unwrap().params["firstname"].to_string(), "Jo");
    let sub_ids = with("sub_ids", json!({"surname": "Doe", "4111-1111-1111-1111": "x"}));
    let expected =
        ["/sub_ids/4111-1111-1111-1111", "/sub_ids/surname"].map(|at| (at.to_owned(), FaultCode::PersonalData));
    assert_eq!(with_rule(|_| (), &sub_ids).unwrap_err(), expected);
}

#[test]
fn texts_of_a_type_are_masked_where_it_says_so_and_ids_never() {
    let mask = |ftd: &mut TypeRule| ftd.personal_data = PersonalData::Mask;
    let event = with_rule(mask, &with("sub_ids", json!({"sub1": "u=jo%40example.com&n=3"}))).unwrap();
    assert_eq!(event.sub_ids["sub1"], "u=***&n=3");
    assert_eq!(with_rule(|_| (), &event.to_json()).unwrap(), event, "what is masked needs no further leave");
    for id in ["transaction_id", "click_id", "offer_id"] {
        let found = with_rule(mask, &with(id, json!("jo@example.com"))).unwrap_err();
        assert_eq!(found, [(format!("/{id}"), FaultCode::PersonalData)]);
    }
}

#[test]
fn a_number_may_be_a_card() {
    let wager = |kind: ParamKind, value: Value| {
        let rule = ParamRule { kind, personal_data: PersonalData::Mask, ..ParamRule::default() };
        with_rule(|ftd| drop(ftd.params.insert("n".into(), rule)), &with("params", json!({"n": value}))).map(drop)
    };
    let refused = Err(vec![("/params/n".to_owned(), FaultCode::PersonalData)]);
    assert_eq!(wager(ParamKind::Integer, json!(4_111_111_111_111_111_u64)), refused, "a number cannot be masked");
    assert_eq!(wager(ParamKind::Decimal, json!("4111111111111111")), refused);
    assert_eq!(wager(ParamKind::Integer, json!(4_111_111_111_111_112_u64)), Ok(()));
}

#[test]
fn an_id_of_a_known_format_is_no_card() {
    let click = |id: &str| with_rule(|_| (), &with("click_id", json!(id))).map(drop);
    assert_eq!(click("4111111111111111"), Ok(()));
    let refused = |field: &str| Err(vec![(format!("/{field}"), FaultCode::PersonalData)]);
    assert_eq!(click("4111-1111-1111-1111"), refused("click_id"));
    let transaction = with("transaction_id", json!("4111111111111111"));
    assert_eq!(with_rule(|_| (), &transaction).map(drop), refused("transaction_id"), "formats are those of clicks");
}

#[test]
fn parameters_keep_to_their_bounds() {
    let rule = |value: Value| {
        let product = ParamRule { max_length: 9, one_of: ["live".to_owned()].into(), ..ParamRule::default() };
        let bound = |text: &str| Some(Amount::parse(text).unwrap());
        let odds = ParamRule { kind: ParamKind::Decimal, min: bound("1"), max: bound("99.5"), ..ParamRule::default() };
        let params = [("product".to_owned(), product), ("odds".to_owned(), odds)];
        with_rule(|ftd| ftd.params = params.into(), &with("params", value)).map(drop)
    };
    for fine in [json!({"product": "live"}), json!({"odds": "1.00"}), json!({"odds": 99.5}), json!({})] {
        assert_eq!(rule(fine.clone()), Ok(()), "{fine}");
    }
    for (key, value) in [("product", json!("Live")), ("odds", json!("0.99")), ("odds", json!("99.51"))] {
        assert_eq!(
            rule(json!({key: value})),
            Err(vec![(format!("/params/{key}"), FaultCode::InvalidValue)]),
            "{value}"
        );
    }
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
