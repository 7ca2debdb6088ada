//! The OpenAPI document: made from the routes themselves, so that it can neither lack one nor have one too many.
//!
//! What stands here is common to all routes; each handler says the rest of itself.

mod event;
mod names;
mod refusals;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder};

pub(super) use refusals::{
    BackingUp, Batch, BulkOrdering, Changing, Everybody, Exporting, Knowing, KnowingOne, KnowingPages, Levelling,
    Listing, Looking, Marking, OneEvent, Ordering, Pausing, Readiness, Reloading, Scraping, Standing, Streaming,
    Tracing,
};

use super::problem::{Problem, ProblemPart};
use super::server;

/// What the document says before any route.
const INTRODUCTION: &str = "\
Hands conversions to affiliates' postback URLs: durably, in order, exactly as often as needed.

**Who asks.** On TCP, a bearer token of the configuration. The same routes stand on a Unix socket, where the kernel says \
which user asks: root and the daemon's own user may do everything, others what the configuration says. Each route names \
the scope that it needs.

**Which affiliates.** A token can be narrowed to some affiliates. `x-affiliates` says what that means for a route: \
`all`, it is not for narrowed tokens; `named`, the affiliate must be named in the request (or a transaction or a click, \
of which only what belongs to the own affiliates is shown); `own`, it answers as if there were no others.

**Problems.** What goes wrong is told by a problem document of RFC 9457 with a stable `type`. Where waiting helps, \
`Retry-After` says how long. A path that is not here is answered with 404, another method with 405.

**Pages.** `next_cursor` leads to the next page as `cursor`; it is opaque, and absent at the end.

**Bodies** are read as JSON whatever their `Content-Type`, but for batches that say that they are NDJSON.";

/// The document without any route.
pub(super) fn introduction() -> OpenApi {
    let info = InfoBuilder::new()
        .title("postbackd")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token whose SHA-256 the configuration lists, with its scopes: ingest, read, replay, configure.",
    ));
    let components = ComponentsBuilder::new()
        .schema_from::<Problem>()
        .schema_from::<ProblemPart>()
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let server = ServerBuilder::new().url("/").description(Some("This daemon"));
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([server.build()]))
        .components(Some(components.build()))
        .build()
}

/// The whole document as JSON text.
pub fn document() -> String {
    server::described().to_pretty_json().unwrap_or_default()
}

/// The API's description
///
/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "describe", tag = "daemon", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object), Everybody))]
pub(super) async fn show() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().into());
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}
