//! Requests as receivers see them.

mod bodies;
mod explained;
mod properties;
mod refusals;
mod styles;

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::domain::event::{Event, ParamValue, Status};
use crate::domain::id::{AffiliateId, ClickId, DeliveryId, EventId, EventType, OfferId, TransactionId};
use crate::domain::money::{Amount, Currency};
use crate::domain::signature::{
    Algorithm, CustomSource, Output, ParameterForm, PlaceSource, SecretEncoding, SignatureSource,
};

pub(super) fn event() -> Event {
    let amount = |text| Some(Amount::parse(text).unwrap());
    Event {
        transaction_id: TransactionId::parse("dep-88121").unwrap(),
        transaction_given: true,
        kind: EventType::parse("ftd").unwrap(),
        affiliate_id: AffiliateId::parse("acme").unwrap(),
        click_id: Some(ClickId::parse("c-77f3").unwrap()),
        offer_id: Some(OfferId::parse("welcome-100").unwrap()),
        status: Status::Approved,
        occurred_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        payout: amount("120.00"),
        revenue: amount("100.5"),
        currency: Some(Currency::parse("EUR").unwrap()),
        sub_ids: BTreeMap::from([("sub1".into(), "banner 3".into()), ("sub2".into(), "ü&=".into())]),
        reverses: None,
        params: BTreeMap::from([
            ("country".into(), ParamValue::Text("DE".into())),
            ("vip".into(), ParamValue::Boolean(true)),
            ("level".into(), ParamValue::Number(Amount::parse("3").unwrap())),
        ]),
    }
}

pub(super) fn secrets() -> Secrets {
    let value = |text: &str| vec![SecretString::from(text)];
    Secrets::new(BTreeMap::from([
        ("hmac".into(), value("top-secret")),
        ("token".into(), value("t0ken/1")),
        ("rotating".into(), vec!["whsec_Zmlyc3Qta2V5".into(), "whsec_c2Vjb25kLWtleQ==".into()]),
    ]))
}

pub(super) fn get(url: &str) -> RequestSource {
    RequestSource {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: BodySource::None,
        delimiters: Delimiters::Brace,
        macros: BTreeMap::new(),
        on_empty: BTreeMap::new(),
        insecure_http: false,
    }
}

/// Headers without those that every request carries.
pub(super) fn own(headers: &[(String, String)]) -> Vec<(String, String)> {
    headers.iter().filter(|(name, _)| !matches!(name.as_str(), "accept" | "user-agent")).cloned().collect()
}

pub(super) fn post(body: BodySource) -> RequestSource {
    RequestSource { method: "POST".into(), body, ..get("https://a.example/p") }
}

pub(super) fn with_scope<T>(event: &Event, act: impl FnOnce(&Scope<'_>) -> T) -> T {
    let secrets = secrets();
    let event_id = EventId::from_u64(1_763_632_800_000_000);
    act(&Scope {
        event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 0 },
        attempt: 2,
        timestamp: Timestamp::from_second(1_763_632_801).unwrap(),
        nonce: "n0nce",
        original: None,
        secrets: &secrets,
    })
}

pub(super) fn render(source: &RequestSource, event: &Event) -> Result<PreparedRequest, RenderError> {
    let request = RequestTemplate::compile(source, None).unwrap_or_else(|faults| panic!("{}: {faults:?}", source.url));
    with_scope(event, |scope| request.render(scope))
}

pub(super) fn url(template: &str) -> String {
    render(&get(template), &event()).unwrap().url
}

pub(super) fn faults(source: &RequestSource) -> Vec<String> {
    let faults = RequestTemplate::compile(source, None).err().unwrap_or_default();
    faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.detail)).collect()
}

#[test]
fn values_are_encoded_for_their_place() {
    assert_eq!(
        url("https://a.example/{sub_ids.sub2}?a={sub_ids.sub2}"),
        "https://a.example/%C3%BC%26%3D?a=%C3%BC%26%3D"
    );
    assert_eq!(url("https://a.example/?{params.country}={sub_ids.sub1}"), "https://a.example/?DE=banner%203");
}
