//! Requests of any template over values of any content, for fuzzing.

mod leaving;
mod template;
mod url;

pub(crate) use leaving::{leaves_whole, sent};
pub(crate) use template::template;
pub(crate) use url::url;

use std::collections::BTreeMap;

use super::{BodySource, RequestSource};
use crate::domain::event::{Event, ParamValue, Status};
use crate::domain::id::{AffiliateId, ClickId, EventType, OfferId, TransactionId};
use crate::domain::money::{Amount, Currency};
use crate::domain::template::Delimiters;
use crate::fuzzing::{Pieces, now};

/// An event whose values are an input's pieces from `first` on: click, transaction, sub ids `a` and `b`, parameter
/// `text`, payout, offer. What an event could not carry is left out of it.
fn event(pieces: &Pieces<'_>, first: usize) -> Option<Event> {
    let text = |index: usize| pieces.text(first + index).into_owned();
    let sub_ids = [("a", text(2)), ("b", text(3))].into_iter().filter(|(_, value)| !value.is_empty());
    let transaction = TransactionId::parse(text(1)).or_else(|_| TransactionId::parse("dep-1"));
    Some(Event {
        transaction_id: transaction.ok()?,
        transaction_given: true,
        kind: EventType::parse("ftd").ok()?,
        affiliate_id: AffiliateId::parse("acme").ok()?,
        click_id: ClickId::parse(text(0)).ok(),
        offer_id: OfferId::parse(text(6)).ok(),
        status: Status::Approved,
        occurred_at: now(),
        payout: Amount::parse(&text(5)).ok(),
        revenue: Amount::parse("-7.5").ok(),
        currency: Currency::parse("EUR").ok(),
        sub_ids: sub_ids.map(|(key, value)| (key.to_owned(), value)).collect(),
        reverses: None,
        params: BTreeMap::from([("text".into(), ParamValue::Text(text(4))), ("vip".into(), ParamValue::Boolean(true))]),
    })
}

fn get(url: &str) -> RequestSource {
    RequestSource {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: BodySource::None,
        delimiters: Delimiters::Brace,
        macros: BTreeMap::new(),
        on_empty: BTreeMap::new(),
        insecure_http: true,
    }
}

fn post(body: BodySource) -> RequestSource {
    RequestSource { method: "POST".into(), body, ..get("https://track.example/p") }
}
