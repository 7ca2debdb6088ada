//! What unit tests of many places begin with: a plain event, a plain attempt, a fixed time.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::event::{Event, Status};
use crate::domain::outcome::Outcome;
use crate::domain::record::{AttemptRecord, Timings};

/// The time at which tests take place.
pub(crate) fn now() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

/// An event of the affiliate `acme` that says no more than it must.
pub(crate) fn event(transaction: &str, kind: &str, status: Status) -> Event {
    Event {
        transaction_id: transaction.parse().unwrap(),
        transaction_given: true,
        kind: kind.parse().unwrap(),
        affiliate_id: "acme".parse().unwrap(),
        click_id: None,
        offer_id: None,
        status,
        occurred_at: now(),
        payout: None,
        revenue: None,
        currency: None,
        sub_ids: BTreeMap::new(),
        reverses: None,
        params: BTreeMap::new(),
    }
}

/// An attempt of which nothing is known but what it came to.
pub(crate) fn attempt(number: u32, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        number,
        started_at: now(),
        request: None,
        digest: None,
        response: None,
        timings: Timings::default(),
        remote: None,
        outcome,
        rule: "test".into(),
        error: None,
    }
}
