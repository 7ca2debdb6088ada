//! Problem documents (RFC 9457): what went wrong, for programs and for people.

mod kind;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub use kind::Kind;

use crate::domain::event::Fault;
use crate::inspect::ListError;
use crate::outbox::{Conflict, OrderRefused, OutboxError};

/// A problem document of RFC 9457.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:postbackd:problem:` with a stable name.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:postbackd:problem:invalid-event")]
    pub kind: Kind,
    /// The kind in words.
    #[schema(example = "The event is not valid")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    pub status: u16,
    /// What went wrong this time, and what to do.
    pub detail: String,
    /// Every fault, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPart>,
    /// The stored event that is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "evt_00361eqgvzjp6")]
    pub event_id: Option<String>,
    /// Seconds to wait before trying again; also in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after: Option<u64>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemPart {
    /// JSON pointer (RFC 6901) of the place in the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/payout")]
    pub pointer: Option<String>,
    /// A stable name of the fault: that of an event's, or `differs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "invalid-value")]
    pub code: Option<&'static str>,
    /// What is wrong and how to put it right.
    pub detail: String,
}

/// A count of things that are wrong.
pub(super) fn things(count: usize) -> String {
    if count == 1 { "1 thing is".into() } else { format!("{count} things are") }
}

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            event_id: None,
            retry_after: None,
        }
    }

    /// The stable name of its kind.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The same, with so many seconds to wait before trying again.
    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The request's body, query or path is not well-formed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// The body is larger, or has more events, than is taken.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(Kind::TooLarge, detail)
    }

    /// Nobody is known to have made the request.
    pub fn unauthenticated() -> Self {
        let detail =
            "send \"Authorization: Bearer TOKEN\" with a token that the configuration lists, or use the Unix socket";
        Self::new(Kind::Unauthenticated, detail)
    }

    /// Whoever made the request may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// One producer has too much under way; it is told to come back after some seconds.
    pub fn too_many(detail: impl Into<String>, seconds: u64) -> Self {
        Self::new(Kind::TooMany, detail).after(seconds)
    }

    /// A listener has as many connections as it may.
    pub fn too_many_connections(most: usize) -> Self {
        let detail = format!("{most} connections are open, the most that [api] max_connections allows");
        Self::new(Kind::TooManyConnections, detail).after(1)
    }

    /// An event has faults.
    pub fn invalid_event(faults: &[Fault]) -> Self {
        let detail = format!("{} wrong with the event, listed under errors; nothing was stored", things(faults.len()));
        let errors = faults.iter().map(|fault| ProblemPart {
            pointer: Some(fault.pointer.clone()),
            code: Some(fault.code.name()),
            detail: fault.detail.clone(),
        });
        Self { errors: errors.collect(), ..Self::new(Kind::InvalidEvent, detail) }
    }

    /// A configuration has errors.
    pub fn bad_configuration(errors: Vec<String>) -> Self {
        let detail =
            format!("{} wrong with the configuration, listed under errors; the one in use stays", things(errors.len()));
        let errors = errors.into_iter().map(|detail| ProblemPart { pointer: None, code: None, detail });
        Self { errors: errors.collect(), ..Self::new(Kind::BadConfiguration, detail) }
    }

    /// Another event has the same dedupe key.
    pub fn conflict(conflict: &Conflict) -> Self {
        let detail = format!(
            "event {} has the same affiliate, type, transaction and status, but differs in: {}; nothing was stored",
            conflict.event_id,
            conflict.fields.join(", ")
        );
        let errors = conflict.fields.iter().map(|field| ProblemPart {
            pointer: Some(format!("/{field}")),
            code: Some("differs"),
            detail: "differs from the stored event".into(),
        });
        let (errors, event_id) = (errors.collect(), Some(conflict.event_id.to_string()));
        Self { errors, event_id, ..Self::new(Kind::Conflicting, detail) }
    }
}

impl From<OutboxError> for Problem {
    fn from(error: OutboxError) -> Self {
        let detail = error.to_string();
        match error {
            OutboxError::Overloaded => Self::new(Kind::Overloaded, detail).after(1),
            OutboxError::DiskFull { .. } => Self::new(Kind::DiskFull, detail).after(30),
            OutboxError::Stopped(_) | OutboxError::Engine(_) => Self::new(Kind::OutboxStopped, detail).after(5),
            OutboxError::GroupFull { .. } => Self::new(Kind::GroupFull, detail),
            OutboxError::Corrupt { .. } | OutboxError::Encode(_) | OutboxError::Format { .. } => {
                Self::new(Kind::OutboxFailed, detail)
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
            OrderRefused::InFlight(_) => Self::new(Kind::InFlight, detail).after(1),
            OrderRefused::Illegal(_) | OrderRefused::Overtaken { .. } => Self::new(Kind::WrongState, detail),
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
