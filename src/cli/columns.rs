//! The columns of a list of deliveries.

use clap::ValueEnum;

use super::time::shown;
use crate::inspect::DeliverySummary;

/// A column, named like the field of the JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the field of DeliverySummary of that name")]
pub(super) enum Column {
    DeliveryId,
    EventId,
    Affiliate,
    Postback,
    Lane,
    Type,
    TransactionId,
    ClickId,
    Status,
    Payout,
    Currency,
    Reverses,
    State,
    Reason,
    Due,
    Attempts,
    Spent,
    AcceptedAt,
    ChangedAt,
    Outcome,
    Rule,
    HttpStatus,
    Error,
}

impl Column {
    /// What is shown when nothing is chosen.
    pub(super) const DEFAULT: [Self; 9] = [
        Self::DeliveryId,
        Self::Affiliate,
        Self::Postback,
        Self::Type,
        Self::TransactionId,
        Self::State,
        Self::Reason,
        Self::Attempts,
        Self::ChangedAt,
    ];

    /// The column's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DeliveryId => "delivery_id",
            Self::EventId => "event_id",
            Self::Affiliate => "affiliate",
            Self::Postback => "postback",
            Self::Lane => "lane",
            Self::Type => "type",
            Self::TransactionId => "transaction_id",
            Self::ClickId => "click_id",
            Self::Status => "status",
            Self::Payout => "payout",
            Self::Currency => "currency",
            Self::Reverses => "reverses",
            Self::State => "state",
            Self::Reason => "reason",
            Self::Due => "due",
            Self::Attempts => "attempts",
            Self::Spent => "spent",
            Self::AcceptedAt => "accepted_at",
            Self::ChangedAt => "changed_at",
            Self::Outcome => "outcome",
            Self::Rule => "rule",
            Self::HttpStatus => "http_status",
            Self::Error => "error",
        }
    }

    /// The cell of a delivery; empty where there is nothing.
    pub(super) fn cell(self, delivery: &DeliverySummary) -> String {
        let last = delivery.last_attempt.as_ref();
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        match self {
            Self::DeliveryId => delivery.delivery_id.clone(),
            Self::EventId => delivery.event_id.clone(),
            Self::Affiliate => delivery.affiliate.clone(),
            Self::Postback => delivery.postback.clone(),
            Self::Lane => or_empty(&delivery.lane),
            Self::Type => delivery.kind.clone(),
            Self::TransactionId => delivery.transaction_id.clone(),
            Self::ClickId => or_empty(&delivery.click_id),
            Self::Status => delivery.status.clone(),
            Self::Payout => or_empty(&delivery.payout),
            Self::Currency => or_empty(&delivery.currency),
            Self::Reverses => or_empty(&delivery.reverses),
            Self::State => delivery.state.name().to_owned(),
            Self::Reason => or_empty(&delivery.reason),
            Self::Due => delivery.due.map(shown).unwrap_or_default(),
            Self::Attempts => delivery.attempts.to_string(),
            Self::Spent => delivery.spent.to_string(),
            Self::AcceptedAt => shown(delivery.accepted_at),
            Self::ChangedAt => shown(delivery.changed_at),
            Self::Outcome => last.map(|last| last.outcome.name().to_owned()).unwrap_or_default(),
            Self::Rule => last.map(|last| last.rule.clone()).unwrap_or_default(),
            Self::HttpStatus => last.and_then(|last| last.http_status).map(|code| code.to_string()).unwrap_or_default(),
            Self::Error => last.and_then(|last| last.error.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures;

    #[test]
    fn each_column_is_typed_as_it_is_named() {
        for column in Column::value_variants() {
            assert_eq!(column.to_possible_value().unwrap().get_name(), column.name());
        }
    }

    #[test]
    fn each_column_shows_the_field_of_its_name() {
        let delivery = fixtures::delivery("dlv_0000000000000000");
        let json = serde_json::to_value(&delivery).unwrap();
        for column in Column::value_variants() {
            let field = match json.get(column.name()) {
                Some(field) => field,
                None => &json["last_attempt"][column.name()],
            };
            let wanted = match field {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let cell = column.cell(&delivery);
            let same = cell == wanted || cell == wanted.replace('Z', ".000Z");
            assert!(same && !cell.is_empty(), "{}: {cell:?}, {wanted:?}", column.name());
        }
    }
}
