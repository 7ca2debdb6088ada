//! What is kept of a delivery's life: each attempt with its request and response, and each order.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::Delivery;
use super::id::{BulkId, EventId};
use super::outcome::Outcome;
use super::request::RecordedRequest;

/// Most bytes kept of a response body.
pub const KEPT_BODY_BYTES: usize = 4 * 1024;
/// Most bytes kept of a request: its URL, headers and body together, each cut to its share.
pub const KEPT_REQUEST_BYTES: usize = 8 * 1024;
/// Most bytes kept of the reason why there was no whole answer.
pub const KEPT_ERROR_BYTES: usize = 1024;
/// Most response headers kept, and most bytes of them together.
pub const KEPT_HEADERS: usize = 32;
/// Most bytes kept of all response headers.
pub const KEPT_HEADER_BYTES: usize = 2 * 1024;

/// One entry of a delivery's history: what happened and how the delivery stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it happened.
    #[serde(with = "super::timestamp")]
    pub at: Timestamp,
    /// What happened.
    pub cause: Cause,
    /// The delivery behind it.
    pub delivery: Delivery,
}

/// What changed a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It was sent, or the sending was tried.
    Attempted(Box<AttemptRecord>),
    /// An operator ordered it.
    Ordered(OrderRecord),
    /// The earlier deliveries of its order group are settled.
    Freed,
    /// It was held by rule: its original is dead or unknown, or its postback is no longer configured.
    HeldByRule,
    /// The daemon died during its attempt.
    Interrupted,
    /// It was reversed before it was ever sent.
    Reversed {
        /// The reversing event.
        by: EventId,
    },
    /// A later event of its group made it pointless.
    Superseded {
        /// That event.
        by: EventId,
    },
    /// It was planned for an event that had been kept unrouted.
    Planned,
    /// The original that it was held for turned up, or is to be sent again.
    Queued,
}

/// An operator's order as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// What was ordered.
    pub order: OrderKind,
    /// Who gave it.
    pub by: String,
    /// Why, in his words.
    pub reason: String,
    /// The bulk order that it was part of.
    pub bulk: Option<BulkId>,
}

/// Kinds of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// Send it again.
    Replay,
    /// Do not send it.
    Cancel,
    /// Wait for a person.
    Hold,
    /// Send it after all.
    Release,
    /// It has arrived.
    ConfirmDelivered,
    /// It is not sent any more, and no longer listed for a person to look at.
    Discard,
}

impl OrderKind {
    /// The order's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::ConfirmDelivered => "confirm_delivered",
            Self::Discard => "discard",
        }
    }
}

/// One attempt: the request as it was sent, secrets masked, and all that came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The attempt's number in the delivery's life, from 1.
    pub number: u32,
    /// When it began.
    #[serde(with = "super::timestamp")]
    pub started_at: Timestamp,
    /// The request with secrets and signatures masked; `None` when the template was not rendered.
    pub request: Option<RecordedRequest>,
    /// SHA-256 of the exact bytes sent (method, URL, headers, body).
    pub digest: Option<[u8; 32]>,
    /// What came back, if anything did.
    pub response: Option<RecordedResponse>,
    /// How long each part took.
    pub timings: Timings,
    /// The address that was connected to, if a connection was made for this attempt.
    pub remote: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: String,
    /// Why there was no whole answer.
    pub error: Option<String>,
}

/// What came back, capped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordedResponse {
    /// Status code.
    pub status: u16,
    /// Headers, as many as are kept.
    pub headers: Vec<(String, String)>,
    /// The body's first bytes; what is not UTF-8 is replaced.
    pub body: String,
    /// Bytes of the body that were read.
    pub body_bytes: u64,
    /// Whether more of the body was read, or offered, than is kept.
    pub truncated: bool,
}

/// How long each part of an attempt took. A part that did not happen (a pooled connection) is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Name resolution.
    pub dns: Option<Duration>,
    /// TCP connection.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// From the start to the response's head.
    pub first_byte: Option<Duration>,
    /// The whole attempt.
    pub total: Duration,
}

impl RecordedRequest {
    /// Cuts the record to its bounds: what is kept of a request must fit a record of the store.
    #[must_use]
    pub fn capped(mut self) -> Self {
        cut(&mut self.url, KEPT_REQUEST_BYTES / 2);
        cut(&mut self.body, KEPT_REQUEST_BYTES / 4);
        cap_headers(&mut self.headers, KEPT_REQUEST_BYTES / 4);
        self
    }
}

/// Keeps as many headers as fit the bounds.
pub fn cap_headers(headers: &mut Vec<(String, String)>, most_bytes: usize) {
    let mut bytes = 0;
    headers.truncate(KEPT_HEADERS);
    headers.retain_mut(|(name, value)| {
        cut(value, 1024);
        bytes += name.len() + value.len();
        bytes <= most_bytes
    });
}

/// Cuts a text to at most so many bytes, at a character's end, marked where something is missing.
pub fn cut(text: &mut String, most_bytes: usize) {
    const MARK: &str = "…";
    if text.len() > most_bytes {
        let mut end = most_bytes.saturating_sub(MARK.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_cut_to_its_bounds_at_whole_characters() {
        let mut text = "ä".repeat(100);
        cut(&mut text, 21);
        assert!(text.len() <= 21 && text.ends_with('…'));
        let request = RecordedRequest {
            method: "POST".into(),
            url: "u".repeat(100_000),
            headers: vec![("h".into(), "v".repeat(5_000)); 100],
            body: "b".repeat(100_000),
        }
        .capped();
        let size = request.url.len()
            + request.body.len()
            + request.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
        assert!(size <= KEPT_REQUEST_BYTES && size > KEPT_REQUEST_BYTES / 2, "{size}");
    }
}
