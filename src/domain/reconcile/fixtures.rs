//! Conversions and rows for the tests of reconciliation.

use jiff::SignedDuration;
use rust_decimal::Decimal;

use super::{OurEvent, Period, Rules, Theirs, Told};
use crate::domain::delivery::StateKind;
use crate::domain::event::Status;
use crate::domain::money::{Amount, Currency};

/// An FTD of 120.00 EUR that was accepted at noon and arrived at once.
pub(crate) fn event(transaction: &str) -> OurEvent {
    let noon = "2026-11-20T12:00:00Z".parse().unwrap();
    OurEvent {
        event_id: format!("evt_{transaction}"),
        transaction: transaction.into(),
        reverses: None,
        click: Some(format!("click-{transaction}")),
        kind: "ftd".into(),
        status: Status::Approved,
        amount: Some(Amount::parse("120.00").unwrap()),
        currency: Some(Currency::parse("EUR").unwrap()),
        told: Told {
            delivery_id: format!("dlv_{transaction}"),
            state: StateKind::Delivered,
            reason: Some("accepted".into()),
            attempts: 1,
            accepted_at: noon,
            delivered_at: Some(noon),
            outcome: Some("delivered".into()),
            http_status: Some(200),
            answer: Some("2xx".into()),
        },
    }
}

/// The row that agrees with it.
pub(crate) fn row(line: u64, transaction: &str) -> Theirs {
    let ours = event(transaction);
    Theirs {
        line,
        transaction: Some(transaction.into()),
        click: ours.click,
        amount: ours.amount,
        currency: ours.currency,
        status: Some(ours.status),
        kind: Some(ours.kind),
        at: Some(ours.told.accepted_at),
        day_only: false,
    }
}

/// Exact, an hour, everything compared.
pub(crate) fn rules() -> Rules {
    Rules { tolerance: Decimal::ZERO, late: SignedDuration::from_hours(1), amounts: true, statuses: true }
}

/// The day of the events.
pub(crate) fn period() -> Period {
    Period { since: "2026-11-20T00:00:00Z".parse().unwrap(), until: "2026-11-21T00:00:00Z".parse().unwrap() }
}
