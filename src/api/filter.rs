//! The conditions on deliveries that the queries of lists and exports share.
//!
//! A macro, since a query with parts that serde flattens could not refuse what it does not know.

/// A query with the conditions on deliveries, beside fields of its own; `since` and `until` are among these, as it is
/// for the query to say of what they are the time.
macro_rules! filter_query {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident { $($own:tt)* }) => {
        $(#[$attribute])*
        #[derive(Debug, ::serde::Deserialize, ::utoipa::IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        $visibility struct $name {
            /// The affiliate that is told.
            #[param(value_type = Option<$crate::domain::id::AffiliateId>, nullable = false)]
            affiliate: Option<String>,
            /// Its postback.
            #[param(value_type = Option<$crate::domain::id::PostbackName>, nullable = false)]
            postback: Option<String>,
            /// The event's type.
            #[serde(rename = "type")]
            #[param(value_type = Option<$crate::domain::id::EventType>, nullable = false)]
            kind: Option<String>,
            /// The delivery's state.
            #[param(value_type = Option<$crate::domain::delivery::StateKind>, nullable = false)]
            state: Option<String>,
            /// The reason that stands with the state, such as `exhausted`.
            #[param(nullable = false)]
            reason: Option<String>,
            /// What the last attempt came to.
            #[param(value_type = Option<$crate::domain::outcome::Outcome>, nullable = false)]
            outcome: Option<String>,
            /// The status code of the last attempt's response.
            #[param(nullable = false, maximum = 65535)]
            http_status: Option<u16>,
            /// Text in the last attempt's response or error, however it is written in capitals.
            #[param(nullable = false, min_length = 1, max_length = 200)]
            text: Option<String>,
            /// The event's transaction.
            #[param(value_type = Option<$crate::domain::id::TransactionId>, nullable = false)]
            transaction: Option<String>,
            /// The event's click.
            #[param(value_type = Option<$crate::domain::id::ClickId>, nullable = false)]
            click: Option<String>,
            /// Deliveries that came to their present state at or after this time.
            #[param(nullable = false, example = "2026-11-20T10:00:00Z")]
            changed_since: Option<::jiff::Timestamp>,
            /// Deliveries that came to their present state before this time.
            #[param(nullable = false, example = "2026-11-21T10:00:00Z")]
            changed_until: Option<::jiff::Timestamp>,
            $($own)*
        }

        impl $name {
            /// The conditions without what pages the answer.
            fn filter(self) -> $crate::inspect::DeliveryFilter {
                $crate::inspect::DeliveryFilter {
                    ids: Vec::new(),
                    affiliate: self.affiliate,
                    postback: self.postback,
                    kind: self.kind,
                    state: self.state,
                    reason: self.reason,
                    outcome: self.outcome,
                    http_status: self.http_status,
                    text: self.text,
                    transaction: self.transaction,
                    click: self.click,
                    since: self.since,
                    until: self.until,
                    changed_since: self.changed_since,
                    changed_until: self.changed_until,
                }
            }
        }
    };
}

pub(super) use filter_query;
