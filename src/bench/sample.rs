//! The events and attempts of all figures: the same everywhere, so that what is compared carries the same bytes.

use jiff::Timestamp;

use super::BenchError;
use crate::domain::event::{Event, Status};
use crate::domain::id::PostbackRef;
use crate::domain::money::{Amount, Currency};
use crate::domain::outcome::Outcome;
use crate::domain::postback::OrderPolicy;
use crate::domain::record::{AttemptRecord, RecordedResponse, Timings};
use crate::domain::request::RecordedRequest;
use crate::ops::clock::{Clock as _, SystemClock};
use crate::outbox::{AcceptRequest, PlannedDelivery};

/// Affiliates that events are spread over.
pub(super) const AFFILIATES: usize = 50;
/// The one postback of each.
pub(super) const POSTBACK: &str = "conversion";

/// The name of an affiliate.
pub(super) fn affiliate(number: usize) -> String {
    format!("affiliate-{number}")
}

/// The postback of an affiliate.
pub(super) fn postback(affiliate: &str) -> Result<PostbackRef, BenchError> {
    Ok(PostbackRef { affiliate: affiliate.parse()?, postback: POSTBACK.parse()? })
}

/// An event as a backend writes it, in about 450 bytes of JSON.
pub(super) fn json(transaction: &str, number: usize, affiliate: usize) -> String {
    format!(
        "{{\"transaction_id\":\"{transaction}\",\"type\":\"ftd\",\"affiliate_id\":\"affiliate-{affiliate}\",\
         \"click_id\":\"w7KJ9X2PQ8LM4N6R{number:016x}\",\"offer_id\":\"welcome-100\",\"status\":\"approved\",\
         \"occurred_at\":\"2026-11-20T10:00:00Z\",\"payout\":\"120.00\",\"revenue\":\"100.00\",\"currency\":\"EUR\",\
         \"sub_ids\":{{\"sub1\":\"banner-3\",\"sub2\":\"campaign-{}\",\"sub3\":\"placement-left-hand-column\"}},\
         \"params\":{{}}}}",
        number % 100
    )
}

/// The name of a transaction.
pub(super) fn transaction(number: usize) -> String {
    format!("dep-{number:012}")
}

/// An event as the port of the outbox takes it.
pub(super) fn request(number: usize) -> Result<AcceptRequest, BenchError> {
    request_of(&transaction(number), number, number % AFFILIATES)
}

/// The same, of a transaction and an affiliate.
pub(super) fn request_of(transaction: &str, number: usize, of: usize) -> Result<AcceptRequest, BenchError> {
    let affiliate = affiliate(of);
    Ok(AcceptRequest {
        event: event(transaction, number, &affiliate)?,
        occurred_at_given: true,
        click_dedupe: None,
        plan: vec![PlannedDelivery { postback: postback(&affiliate)?, lane: None, order: OrderPolicy::default() }],
        source: "bench".into(),
    })
}

/// What [`json`] says, parsed.
fn event(transaction: &str, number: usize, affiliate: &str) -> Result<Event, BenchError> {
    let text = |name: &str, value: String| (name.to_owned(), value);
    Ok(Event {
        transaction_id: transaction.parse()?,
        transaction_given: true,
        kind: "ftd".parse()?,
        affiliate_id: affiliate.parse()?,
        click_id: Some(format!("w7KJ9X2PQ8LM4N6R{number:016x}").parse()?),
        offer_id: Some("welcome-100".parse()?),
        status: Status::Approved,
        occurred_at: Timestamp::UNIX_EPOCH,
        payout: Some(Amount::parse("120.00")?),
        revenue: Some(Amount::parse("100.00")?),
        currency: Some(Currency::parse("EUR")?),
        sub_ids: [
            text("sub1", "banner-3".into()),
            text("sub2", format!("campaign-{}", number % 100)),
            text("sub3", "placement-left-hand-column".into()),
        ]
        .into(),
        reverses: None,
        params: std::collections::BTreeMap::new(),
    })
}

/// An attempt's record of about 1.2 kB, as receivers' answers make them.
pub(super) fn attempt() -> AttemptRecord {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    AttemptRecord {
        number: 1,
        started_at: SystemClock.now(),
        request: Some(RecordedRequest {
            method: "GET".into(),
            url: format!("https://track.acme.example/postback?{}", "cid=w7KJ9X2PQ8LM4N6R0000&payout=120.00&".repeat(8)),
            headers: vec![header("user-agent", "postbackd")],
            body: String::new(),
        }),
        digest: Some([7; 32]),
        response: Some(RecordedResponse {
            status: 200,
            headers: vec![
                header("content-type", "text/plain"),
                header("server", "nginx"),
                header("date", &"d".repeat(29)),
            ],
            body: "success=true; ".repeat(50),
            body_bytes: 700,
            truncated: false,
        }),
        timings: Timings::default(),
        remote: Some("203.0.113.7:443".into()),
        outcome: Outcome::Delivered,
        rule: "default: 2xx".into(),
        error: None,
    }
}

/// Bytes of a record as the outbox writes it: what baselines append.
pub(super) fn bytes(record: &impl serde::Serialize) -> Result<usize, BenchError> {
    let bytes = postcard::to_stdvec(record).map_err(super::failed)?;
    Ok(bytes.len())
}
