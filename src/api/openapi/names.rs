//! Schemas of ids and names: texts whose form the domain checks.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::id::{
    AffiliateId, BulkId, ClickId, ConsumerName, DeliveryId, EventId, EventType, OfferId, PostbackName, TransactionId,
};

/// Letters, digits and some signs.
const SLUG: &str = r"^[A-Za-z0-9._-]+$";
/// No white space and no control characters.
const OPAQUE: &str = r"^[^\s\u0000-\u001f\u007f-\u009f]+$";

macro_rules! texts {
    ($($type:ident: $description:literal, $pattern:expr, $limit:expr, $example:literal;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                text($description, $pattern, $limit, $example)
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }
        }
    )*};
}

texts! {
    AffiliateId: "An affiliate, as its file names it.", SLUG, Self::LIMIT, "acme";
    PostbackName: "A postback of an affiliate.", SLUG, Self::LIMIT, "conversion";
    EventType: "A type of the event dictionary.", SLUG, Self::LIMIT, "ftd";
    ConsumerName: "Who takes exports.", SLUG, Self::LIMIT, "finance";
    TransactionId: "The operator's name of a transaction. No white space.", OPAQUE, Self::LIMIT, "dep-88121";
    ClickId: "The affiliate's name of a click. No white space.", OPAQUE, Self::LIMIT, "c-77f3";
    OfferId: "The operator's name of an offer. No white space.", OPAQUE, Self::LIMIT, "welcome-100";
    EventId: "An event; ids rise with time.", id("evt", 13).as_str(), 17, "evt_00361eqgvzjp6";
    DeliveryId: "A delivery; also its idempotency key.", id("dlv", 16).as_str(), 20, "dlv_00361eqgvzjp6000";
    BulkId: "A bulk order; ids rise with time.", id("ord", 13).as_str(), 17, "ord_00361eqgvzjp6";
}

/// The form of our ids: Crockford base 32 behind a prefix.
fn id(prefix: &str, digits: usize) -> String {
    format!("^{prefix}_[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{{{digits}}}$")
}

fn text(description: &str, pattern: &str, limit: usize, example: &str) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).description(Some(description)).pattern(Some(pattern));
    text.min_length(Some(1)).max_length(Some(limit)).examples([example]).build().into()
}
