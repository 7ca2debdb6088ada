//! What routes refuse: for each group of routes the kinds of problems that they answer with.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::IntoResponses;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::api::problem::Kind;

/// The media type of problem documents.
const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! refusals {
    ($($(#[$doc:meta])* $group:ident => $($kind:ident)*;)*) => {
        $(
            $(#[$doc])*
            pub(in crate::api) struct $group;

            impl IntoResponses for $group {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    responses(&[$(Kind::$kind),*])
                }
            }
        )*

        /// Every kind that some route answers with.
        #[cfg(test)]
        pub(super) fn answered() -> Vec<Kind> {
            [$(&[$(Kind::$kind),*][..]),*].concat()
        }
    };
}

refusals! {
    /// Of one event.
    OneEvent => Malformed Unauthenticated Forbidden Conflicting GroupFull TooLarge InvalidEvent TooMany OutboxFailed
        Overloaded OutboxStopped TooManyConnections DiskFull;
    /// Of a batch of events, beside what is told of each event.
    Batch => Malformed Unauthenticated Forbidden TooLarge TooMany OutboxFailed Overloaded OutboxStopped
        TooManyConnections DiskFull;
    /// Of pages that a query asks for.
    Listing => Malformed Unauthenticated Forbidden OutboxFailed OutboxStopped TooManyConnections TooManyReads;
    /// Of pages of an export.
    Exporting => Malformed Unauthenticated Forbidden NotFound OutboxFailed Unwritten OutboxStopped TooManyConnections
        TooManyReads;
    /// Of one thing that is looked up in the store.
    Looking => Unauthenticated Forbidden NotFound OutboxFailed OutboxStopped TooManyConnections TooManyReads;
    /// Of a timeline.
    Tracing => Malformed Unauthenticated Forbidden NotFound OutboxFailed OutboxStopped TooManyConnections TooManyReads;
    /// Of what is known without the store.
    Knowing => Unauthenticated Forbidden TooManyConnections;
    /// Of pages of what is known without the store.
    KnowingPages => Malformed Unauthenticated Forbidden TooManyConnections;
    /// Of one thing that is known without the store.
    KnowingOne => Unauthenticated Forbidden NotFound TooManyConnections;
    /// Of the state of everything.
    Standing => Unauthenticated Forbidden OutboxFailed OutboxStopped TooManyConnections TooManyReads;
    /// Of a stream.
    Streaming => Malformed Unauthenticated Forbidden TooManyConnections TooManyStreams;
    /// Of a backup.
    BackingUp => Unauthenticated Forbidden BackupUnderWay OutboxFailed OutboxStopped TooManyConnections;
    /// Of a scrape.
    Scraping => Unauthenticated Forbidden OutboxFailed MetricsFailed OutboxStopped TooManyConnections TooManyReads;
    /// Of an order about one delivery.
    Ordering => Malformed Unauthenticated Forbidden NotFound InFlight WrongState TooLarge TooMany OutboxFailed
        Overloaded OutboxStopped TooManyConnections TooManyReads DiskFull;
    /// Of a bulk order.
    BulkOrdering => Malformed Unauthenticated Forbidden TooLarge TooMany TooManyOrders OutboxFailed Overloaded
        OutboxStopped TooManyConnections TooManyReads DiskFull;
    /// Of a change of a bulk order.
    Changing => Unauthenticated Forbidden NotFound OrderEnded OutboxFailed Overloaded OutboxStopped TooManyConnections
        DiskFull;
    /// Of a pause and its end.
    Pausing => Malformed Unauthenticated Forbidden NotFound TooLarge TooMany OutboxFailed Overloaded OutboxStopped
        TooManyConnections DiskFull;
    /// Of a mark.
    Marking => Malformed Unauthenticated Forbidden MarkRefused TooLarge TooMany OutboxFailed Overloaded OutboxStopped
        TooManyConnections DiskFull;
    /// Of a reload.
    Reloading => Unauthenticated Forbidden BadConfiguration OutboxStopped TooManyConnections;
    /// Of a change of the log's level.
    Levelling => Malformed Unauthenticated Forbidden NotFound TooLarge TooMany Overloaded TooManyConnections;
    /// Of what everybody may ask for.
    Everybody => TooManyConnections;
    /// Of readiness.
    Readiness => OutboxStopped TooManyConnections DiskFull;
}

/// Problems by their status: each says which kinds it can be.
fn responses(kinds: &[Kind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), response(&kinds).into())).collect()
}

fn response(kinds: &[Kind]) -> Response {
    let titles: Vec<String> = kinds.iter().map(|kind| format!("{} (`{}`)", kind.title(), kind.name())).collect();
    let urns = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(kinds.iter().map(|kind| kind.urn())));
    let own = ObjectBuilder::new().property("type", urns);
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(own);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response = ResponseBuilder::new().description(titles.join("; ")).content(PROBLEM_JSON, content);
    let text = |description: &str| {
        let schema = ObjectBuilder::new().schema_type(Type::String).build();
        HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
    };
    match kinds.first().map(|kind| kind.status()) {
        Some(StatusCode::UNAUTHORIZED) => {
            response = response.header("WWW-Authenticate", text("`Bearer`"));
        }
        Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) => {
            response = response.header("Retry-After", text("Seconds to wait before trying again"));
        }
        _ => {}
    }
    response.build()
}
