//! Attempts as somebody sees them who watches: in short, and by a filter.
//!
//! Requests and responses are left to the record: what is kept in memory for those who watch stays small.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::attempt::AttemptNote;
use crate::domain::delivery::{State, StateKind};
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::outcome::Outcome;

/// An attempt in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeenAttempt {
    /// When it ended.
    pub at: Timestamp,
    /// The delivery.
    #[schema(value_type = DeliveryId)]
    pub delivery_id: String,
    /// Its event.
    #[schema(value_type = EventId)]
    pub event_id: String,
    /// The affiliate that is told.
    pub affiliate: String,
    /// Its postback.
    pub postback: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's transaction.
    pub transaction_id: String,
    /// The event's click.
    pub click_id: Option<String>,
    /// The attempt's number in the delivery's life.
    pub number: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// The response's status code.
    pub http_status: Option<u16>,
    /// The rule that decided.
    pub rule: String,
    /// Why there was no whole answer.
    pub error: Option<String>,
    /// Microseconds that it took.
    pub total_us: u64,
    /// How the delivery stands behind it.
    pub state: StateKind,
    /// Why it stands there.
    pub reason: Option<String>,
    /// When it goes out next, where it is scheduled.
    pub due: Option<Timestamp>,
}

impl SeenAttempt {
    /// The attempt of a note.
    pub fn new(note: &AttemptNote) -> Self {
        let state = &note.delivery.state;
        Self {
            at: note.at,
            delivery_id: note.id.to_string(),
            event_id: note.id.event.to_string(),
            affiliate: note.postback.affiliate.to_string(),
            postback: note.postback.postback.to_string(),
            kind: note.kind.to_string(),
            transaction_id: note.transaction_id.to_string(),
            click_id: note.click_id.as_ref().map(ToString::to_string),
            number: note.number,
            outcome: note.outcome,
            http_status: note.status,
            rule: note.rule.clone(),
            error: note.error.clone(),
            total_us: u64::try_from(note.timings.total.as_micros()).unwrap_or(u64::MAX),
            state: state.kind(),
            reason: state.reason().map(Into::into),
            due: match state {
                State::Scheduled { due } => Some(*due),
                _ => None,
            },
        }
    }
}

/// Conditions on an attempt; all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptFilter {
    /// The affiliate that is told.
    pub affiliate: Option<String>,
    /// Its postback.
    pub postback: Option<String>,
    /// The event's type.
    pub kind: Option<String>,
    /// The event's transaction.
    pub transaction: Option<String>,
    /// The event's click.
    pub click: Option<String>,
    /// What it came to.
    pub outcome: Option<Outcome>,
    /// The response's status code.
    pub http_status: Option<u16>,
    /// How the delivery stands behind it.
    pub state: Option<StateKind>,
    /// Why it stands there.
    pub reason: Option<String>,
}

impl AttemptFilter {
    /// Whether an attempt is meant.
    pub fn matches(&self, attempt: &SeenAttempt) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        same(&self.affiliate, Some(&attempt.affiliate))
            && same(&self.postback, Some(&attempt.postback))
            && same(&self.kind, Some(&attempt.kind))
            && same(&self.transaction, Some(&attempt.transaction_id))
            && same(&self.click, attempt.click_id.as_deref())
            && same(&self.reason, attempt.reason.as_deref())
            && self.outcome.is_none_or(|outcome| outcome == attempt.outcome)
            && self.http_status.is_none_or(|status| attempt.http_status == Some(status))
            && self.state.is_none_or(|state| state == attempt.state)
    }
}
