//! Problem documents (RFC 9457): what went wrong, for programs and for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::domain::event::Fault;
use crate::inspect::ListError;
use crate::outbox::{Conflict, OrderRefused, OutboxError};

/// A problem document. `type` is stable.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// `urn:postbackd:problem:` with a stable name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, and what to do.
    pub detail: String,
    /// Every fault, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Value>,
    /// The stored event that is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Seconds to wait before trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// A count of things that are wrong.
pub(super) fn things(count: usize) -> String {
    if count == 1 { "1 thing is".into() } else { format!("{count} things are") }
}

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:postbackd:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            event_id: None,
            retry_after: None,
        }
    }

    /// The stable name of its kind.
    pub fn name(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// The same, with so many seconds to wait before trying again.
    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The request's body or query is not well-formed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", "The request is not well-formed", detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// The body is larger, or has more events, than is taken.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large", detail)
    }

    /// Nobody is known to have made the request.
    pub fn unauthenticated() -> Self {
        let detail =
            "send \"Authorization: Bearer TOKEN\" with a token that the configuration lists, or use the Unix socket";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Who are you?", detail)
    }

    /// Whoever made the request may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// One producer has too much under way; it is told to come back after some seconds.
    pub fn too_many(detail: impl Into<String>, seconds: u64) -> Self {
        let title = "Too many requests at once";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title, detail).after(seconds)
    }

    /// A listener has as many connections as it may.
    pub fn too_many_connections(most: usize) -> Self {
        let detail = format!("{most} connections are open, the most that [api] max_connections allows");
        let title = "Too many connections at once";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", title, detail).after(1)
    }

    /// An event has faults.
    pub fn invalid_event(faults: &[Fault]) -> Self {
        let detail = format!("{} wrong with the event, listed under errors; nothing was stored", things(faults.len()));
        let errors = faults.iter().filter_map(|fault| serde_json::to_value(fault).ok()).collect();
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-event", "The event is not valid", detail);
        Self { errors, ..problem }
    }

    /// Another event has the same dedupe key.
    pub fn conflict(conflict: &Conflict) -> Self {
        let detail = format!(
            "event {} has the same affiliate, type, transaction and status, but differs in: {}; nothing was stored",
            conflict.event_id,
            conflict.fields.join(", ")
        );
        let errors = conflict.fields.iter().map(|field| {
            serde_json::json!({ "pointer": format!("/{field}"), "code": "differs", "detail": "differs from the stored event" })
        });
        let errors = errors.collect();
        let problem =
            Self::new(StatusCode::CONFLICT, "conflicting-event", "The event contradicts a stored one", detail);
        Self { errors, event_id: Some(conflict.event_id.to_string()), ..problem }
    }
}

impl From<OutboxError> for Problem {
    fn from(error: OutboxError) -> Self {
        let detail = error.to_string();
        match error {
            OutboxError::Overloaded => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too much is waiting to be stored", detail)
                    .after(1)
            }
            OutboxError::DiskFull { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is nearly full", detail).after(30)
            }
            OutboxError::Stopped(_) | OutboxError::Engine(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "outbox-stopped", "The outbox has stopped", detail).after(5)
            }
            OutboxError::GroupFull { .. } => {
                Self::new(StatusCode::CONFLICT, "group-full", "The transaction takes no more events", detail)
            }
            OutboxError::Corrupt { .. } | OutboxError::Encode(_) | OutboxError::Format { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "outbox-failed", "The outbox failed on a record", detail)
            }
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Filter(error) => Self::malformed(error.to_string()),
            ListError::Outbox(error) => error.into(),
        }
    }
}

impl From<OrderRefused> for Problem {
    fn from(refused: OrderRefused) -> Self {
        let detail = refused.to_string();
        match refused {
            OrderRefused::NotFound(_) => Self::not_found(detail),
            OrderRefused::InFlight(_) => {
                Self::new(StatusCode::CONFLICT, "in-flight", "Being sent just now", detail).after(1)
            }
            OrderRefused::Illegal(_) | OrderRefused::Overtaken { .. } => {
                Self::new(StatusCode::CONFLICT, "wrong-state", "Its state does not allow it", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after.map(HeaderValue::from);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
