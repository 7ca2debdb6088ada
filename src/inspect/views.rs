//! What is shown: stable names for programs, complete for people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::decision::Decision;
use crate::domain::delivery::{State, StateKind};
use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::outcome::Outcome;
use crate::domain::record::{AttemptRecord, Cause, RecordedResponse, Timings};
use crate::domain::request::RecordedRequest;
use crate::outbox::{DeliveryView, EventRecord, Flag, HistoryView, Pause};

/// One line of a list of deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliverySummary {
    /// The delivery; also its idempotency key.
    #[schema(value_type = DeliveryId)]
    pub delivery_id: String,
    /// Its event.
    #[schema(value_type = EventId)]
    pub event_id: String,
    /// The affiliate that is told.
    pub affiliate: String,
    /// Its postback.
    pub postback: String,
    /// Its order lane, where it is not the affiliate's own.
    pub lane: Option<String>,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's transaction.
    pub transaction_id: String,
    /// The event's click.
    pub click_id: Option<String>,
    /// The event's status.
    pub status: String,
    /// What the affiliate is paid.
    pub payout: Option<String>,
    /// In which currency.
    pub currency: Option<String>,
    /// The transaction that the event reverses.
    pub reverses: Option<String>,
    /// Where the delivery stands.
    pub state: StateKind,
    /// Why it stands there.
    pub reason: Option<String>,
    /// When it goes out, where it is scheduled.
    pub due: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// Attempts spent from the retry schedule.
    pub spent: u32,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// When the delivery last changed.
    pub changed_at: Timestamp,
    /// The last attempt, where the last thing that happened was one.
    pub last_attempt: Option<LastAttempt>,
}

/// The last attempt in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastAttempt {
    /// Its number.
    pub number: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: String,
    /// The response's status code.
    pub http_status: Option<u16>,
    /// Why there was no whole answer.
    pub error: Option<String>,
}

/// A delivery with its event and its whole history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryDetail {
    /// The delivery in short.
    pub delivery: DeliverySummary,
    /// The event as it was accepted.
    #[schema(value_type = Event)]
    pub event: Value,
    /// Who handed the event in.
    pub source: String,
    /// Entries of its history that are older than those that follow.
    #[serde(default)]
    pub earlier_entries: u32,
    /// What happened to the delivery, oldest first; where it is long, its end.
    pub history: Vec<HistoryEntryView>,
    /// What a person has to decide, where the delivery is held.
    #[serde(default)]
    pub decision: Option<Decision>,
}

/// One entry of a delivery's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntryView {
    /// When it happened.
    pub at: Timestamp,
    /// What happened: `attempted`, `ordered`, `freed`, `held`, `interrupted`, `reversed`, `superseded`, `planned`.
    pub what: String,
    /// The order, where it was one.
    pub order: Option<String>,
    /// Who ordered it.
    pub by: Option<String>,
    /// The reason given, or the event that caused it.
    pub why: Option<String>,
    /// The bulk order that it was part of.
    #[serde(default)]
    pub order_id: Option<String>,
    /// The state behind it.
    pub state: StateKind,
    /// Why it stands there.
    pub reason: Option<String>,
    /// When it goes out next, where it is scheduled.
    pub due: Option<Timestamp>,
    /// The attempt, where it was one.
    pub attempt: Option<AttemptView>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// Its number in the delivery's life.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// What it came to.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: String,
    /// The response's status code.
    #[serde(default)]
    pub http_status: Option<u16>,
    /// Why there was no whole answer.
    pub error: Option<String>,
    /// The request, secrets masked.
    pub request: Option<RecordedRequest>,
    /// SHA-256 of the exact bytes sent, in hex.
    pub digest: Option<String>,
    /// What came back.
    pub response: Option<RecordedResponse>,
    /// Microseconds each part took.
    pub timings_us: TimingsView,
    /// The address at the other end.
    pub remote: Option<String>,
}

/// Microseconds that each part of an attempt took; a part that did not happen is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimingsView {
    /// Name resolution.
    pub dns: Option<u64>,
    /// TCP connection.
    pub connect: Option<u64>,
    /// TLS handshake.
    pub tls: Option<u64>,
    /// Until the response's head.
    pub first_byte: Option<u64>,
    /// The whole attempt.
    pub total: u64,
}

/// Why a postback is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseView {
    /// Since when.
    pub at: Timestamp,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self { at: pause.at, by: pause.by, reason: pause.reason }
    }
}

/// Why a postback is taken for misconfigured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlagView {
    /// When it was noticed last.
    pub at: Timestamp,
    /// The delivery whose attempt showed it.
    pub delivery: String,
    /// The rule that decided so.
    pub rule: String,
}

impl From<Flag> for FlagView {
    fn from(flag: Flag) -> Self {
        Self { at: flag.at, delivery: flag.delivery.to_string(), rule: flag.rule }
    }
}

pub(super) fn due(state: &State) -> Option<Timestamp> {
    match state {
        State::Scheduled { due } => Some(*due),
        _ => None,
    }
}

impl DeliverySummary {
    /// The summary of a stored delivery; `in_flight` where it is being sent at this moment.
    pub fn new(view: &DeliveryView, record: &EventRecord, in_flight: bool) -> Self {
        let event = &record.event;
        let state = &view.delivery.state;
        let sending = in_flight && state.kind() == StateKind::Scheduled;
        Self {
            delivery_id: view.id.to_string(),
            event_id: view.id.event.to_string(),
            affiliate: view.postback.affiliate.to_string(),
            postback: view.postback.postback.to_string(),
            lane: view.lane.as_ref().map(ToString::to_string),
            kind: event.kind.to_string(),
            transaction_id: event.transaction_id.to_string(),
            click_id: event.click_id.as_ref().map(ToString::to_string),
            status: event.status.name().into(),
            payout: event.payout.map(|amount| amount.to_string()),
            currency: event.currency.map(|currency| currency.to_string()),
            reverses: event.reverses.as_ref().map(ToString::to_string),
            state: if sending { StateKind::InFlight } else { state.kind() },
            reason: state.reason().map(Into::into),
            due: due(state),
            attempts: view.delivery.made,
            spent: view.delivery.spent,
            accepted_at: record.accepted_at,
            changed_at: view.changed_at,
            last_attempt: view.last.as_ref().and_then(|entry| match &entry.cause {
                Cause::Attempted(attempt) => Some(LastAttempt::new(attempt)),
                _ => None,
            }),
        }
    }
}

impl LastAttempt {
    fn new(attempt: &AttemptRecord) -> Self {
        Self {
            number: attempt.number,
            outcome: attempt.outcome,
            rule: attempt.rule.clone(),
            http_status: attempt.response.as_ref().map(|response| response.status),
            error: attempt.error.clone(),
        }
    }
}

impl HistoryEntryView {
    /// The view of a stored entry.
    pub fn new(view: HistoryView) -> Self {
        let entry = view.entry;
        let state = &entry.delivery.state;
        let mut shown = Self {
            at: entry.at,
            what: String::new(),
            order: None,
            by: None,
            why: None,
            order_id: None,
            state: state.kind(),
            reason: state.reason().map(Into::into),
            due: due(state),
            attempt: None,
        };
        match entry.cause {
            Cause::Attempted(attempt) => {
                shown.what = "attempted".into();
                shown.attempt = Some(AttemptView::new(*attempt));
            }
            Cause::Ordered(order) => {
                shown.what = "ordered".into();
                shown.order = Some(order.order.name().into());
                shown.by = Some(order.by);
                shown.why = Some(order.reason);
                shown.order_id = order.bulk.map(|bulk| bulk.to_string());
            }
            Cause::Freed => shown.what = "freed".into(),
            Cause::HeldByRule => shown.what = "held".into(),
            Cause::Interrupted => shown.what = "interrupted".into(),
            Cause::Reversed { by } => {
                shown.what = "reversed".into();
                shown.why = Some(by.to_string());
            }
            Cause::Superseded { by } => {
                shown.what = "superseded".into();
                shown.why = Some(by.to_string());
            }
            Cause::Planned => shown.what = "planned".into(),
            Cause::Queued => shown.what = "queued".into(),
        }
        shown
    }
}

impl AttemptView {
    /// The view of a record.
    pub fn new(attempt: AttemptRecord) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            outcome: attempt.outcome,
            rule: attempt.rule,
            http_status: attempt.response.as_ref().map(|response| response.status),
            error: attempt.error,
            request: attempt.request,
            digest: attempt.digest.map(hex::encode),
            response: attempt.response,
            timings_us: TimingsView::new(attempt.timings),
            remote: attempt.remote,
        }
    }
}

impl TimingsView {
    fn new(timings: Timings) -> Self {
        let micros = |part: std::time::Duration| u64::try_from(part.as_micros()).unwrap_or(u64::MAX);
        Self {
            dns: timings.dns.map(micros),
            connect: timings.connect.map(micros),
            tls: timings.tls.map(micros),
            first_byte: timings.first_byte.map(micros),
            total: micros(timings.total),
        }
    }
}
