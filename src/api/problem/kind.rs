//! The kinds of problems: each has a stable name, a status and a title, and there are no others.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $status:ident, $name:literal, $title:literal;)*) => {
        /// A kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind.
            #[cfg(test)]
            pub(in crate::api) const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Its stable name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The HTTP status that it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The kind in words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// Its URN, the `type` of its documents.
            pub fn urn(self) -> String {
                format!("urn:postbackd:problem:{}", self.name())
            }
        }
    };
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.urn())
    }
}

kinds! {
    /// The body, the query or the path is not well-formed.
    Malformed => BAD_REQUEST, "malformed-request", "The request is not well-formed";
    /// Nobody is known to have made the request.
    Unauthenticated => UNAUTHORIZED, "unauthenticated", "Who are you?";
    /// Whoever made the request may not.
    Forbidden => FORBIDDEN, "forbidden", "Not allowed";
    /// There is no such thing.
    NotFound => NOT_FOUND, "not-found", "Not found";
    /// The path takes other methods.
    WrongMethod => METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not for this path";
    /// The event contradicts a stored one with the same dedupe key.
    Conflicting => CONFLICT, "conflicting-event", "The event contradicts a stored one";
    /// The transaction takes no more events.
    GroupFull => CONFLICT, "group-full", "The transaction takes no more events";
    /// The delivery is being sent just now.
    InFlight => CONFLICT, "in-flight", "Being sent just now";
    /// The delivery's state does not allow the order.
    WrongState => CONFLICT, "wrong-state", "Its state does not allow it";
    /// The bulk order has ended.
    OrderEnded => CONFLICT, "order-ended", "The order has ended";
    /// A backup is being taken already.
    BackupUnderWay => CONFLICT, "backup-under-way", "A backup is being taken";
    /// The mark is not set.
    MarkRefused => CONFLICT, "mark-refused", "The mark is not set";
    /// The body is larger, or has more events, than is taken.
    TooLarge => PAYLOAD_TOO_LARGE, "too-large", "The request is too large";
    /// The event has faults.
    InvalidEvent => UNPROCESSABLE_ENTITY, "invalid-event", "The event is not valid";
    /// The configuration has errors.
    BadConfiguration => UNPROCESSABLE_ENTITY, "bad-configuration", "The configuration is not valid";
    /// One caller has too much under way.
    TooMany => TOO_MANY_REQUESTS, "too-many-requests", "Too many requests at once";
    /// Too many bulk orders are open.
    TooManyOrders => TOO_MANY_REQUESTS, "too-many-orders", "Too many orders are open";
    /// A record is damaged, or could not be written down.
    OutboxFailed => INTERNAL_SERVER_ERROR, "outbox-failed", "The outbox failed on a record";
    /// The answer could not be written.
    Unwritten => INTERNAL_SERVER_ERROR, "unwritten", "An answer could not be written";
    /// The text of the metrics could not be written.
    MetricsFailed => INTERNAL_SERVER_ERROR, "metrics-failed", "The metrics failed";
    /// More is waiting to be stored than is held in memory.
    Overloaded => SERVICE_UNAVAILABLE, "overloaded", "Too much is under way";
    /// The outbox has stopped.
    OutboxStopped => SERVICE_UNAVAILABLE, "outbox-stopped", "The outbox has stopped";
    /// Too many connections are open.
    TooManyConnections => SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections at once";
    /// Too many reads of the store are under way.
    TooManyReads => SERVICE_UNAVAILABLE, "too-many-reads", "Too many reads at once";
    /// Too many streams are open.
    TooManyStreams => SERVICE_UNAVAILABLE, "too-many-streams", "Too many streams at once";
    /// The disk is nearly full.
    DiskFull => INSUFFICIENT_STORAGE, "disk-full", "The disk is nearly full";
}
