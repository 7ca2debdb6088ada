//! Which deliveries are meant, as typed.

use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

use super::exit::{Exit, Failure};
use super::time;
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;
use crate::inspect::{DeliveryFilter, UnroutedFilter};

/// Conditions on deliveries; all that are given must hold.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// The affiliate that is told
    #[arg(long, value_name = "ID")]
    pub(super) affiliate: Option<String>,

    /// Its postback
    #[arg(long, value_name = "NAME")]
    postback: Option<String>,

    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// The delivery's state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(StateKind::ALL.map(StateKind::name)))]
    pub(super) state: Option<String>,

    /// The reason that stands with the state, such as exhausted or ambiguous
    #[arg(long, value_name = "REASON")]
    state_reason: Option<String>,

    /// What the last attempt came to
    #[arg(long, value_name = "OUTCOME", value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::name)))]
    outcome: Option<String>,

    /// The status of the last response
    #[arg(long, value_name = "CODE")]
    http_status: Option<u16>,

    /// Text in the last response (its body and headers, as far as they are kept) or error; capitals do not count
    #[arg(long, value_name = "STRING")]
    text: Option<String>,

    /// The event's transaction
    #[arg(long, value_name = "ID")]
    transaction: Option<String>,

    /// The event's click
    #[arg(long, value_name = "ID")]
    click: Option<String>,

    /// Events accepted from then on: 2h (ago), 2026-11-20 or 2026-11-20T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    since: Option<Timestamp>,

    /// Events accepted before then
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    until: Option<Timestamp>,

    /// Deliveries that came to their present state from then on (--since and --until mean the event's acceptance)
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    changed_since: Option<Timestamp>,

    /// Deliveries that came to their present state before then
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    changed_until: Option<Timestamp>,
}

impl FilterArgs {
    /// The conditions on unrouted events; those on deliveries are for the caller to refuse.
    pub(super) fn unrouted(&self) -> UnroutedFilter {
        UnroutedFilter {
            affiliate: self.affiliate.clone(),
            kind: self.kind.clone(),
            transaction: self.transaction.clone(),
            click: self.click.clone(),
            since: self.since,
            until: self.until,
        }
    }

    /// The filter that is meant, narrowed to `ids` where there are any.
    ///
    /// # Errors
    /// When a value is not well-formed.
    pub(super) fn filter(&self, ids: &[String]) -> Result<DeliveryFilter, Failure> {
        let filter = DeliveryFilter {
            ids: ids.to_vec(),
            affiliate: self.affiliate.clone(),
            postback: self.postback.clone(),
            kind: self.kind.clone(),
            state: self.state.clone(),
            reason: self.state_reason.clone(),
            outcome: self.outcome.clone(),
            http_status: self.http_status,
            text: self.text.clone(),
            transaction: self.transaction.clone(),
            click: self.click.clone(),
            since: self.since,
            until: self.until,
            changed_since: self.changed_since,
            changed_until: self.changed_until,
        };
        match filter.validate() {
            Ok(()) => Ok(filter),
            Err(invalid) => Err(Failure::new(Exit::Usage, "the filter", invalid, "see --help for what can be given")),
        }
    }
}

/// A filter of unrouted events as the query of their list.
pub(super) fn unrouted_query(filter: &UnroutedFilter) -> Vec<(&'static str, String)> {
    let given = [
        ("affiliate", filter.affiliate.clone()),
        ("type", filter.kind.clone()),
        ("transaction", filter.transaction.clone()),
        ("click", filter.click.clone()),
        ("since", filter.since.map(|at| at.to_string())),
        ("until", filter.until.map(|at| at.to_string())),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A filter as the query of a list.
pub(super) fn query(filter: &DeliveryFilter) -> Vec<(&'static str, String)> {
    let given = [
        ("affiliate", filter.affiliate.clone()),
        ("postback", filter.postback.clone()),
        ("type", filter.kind.clone()),
        ("state", filter.state.clone()),
        ("reason", filter.reason.clone()),
        ("outcome", filter.outcome.clone()),
        ("http_status", filter.http_status.map(|code| code.to_string())),
        ("text", filter.text.clone()),
        ("transaction", filter.transaction.clone()),
        ("click", filter.click.clone()),
        ("since", filter.since.map(|at| at.to_string())),
        ("until", filter.until.map(|at| at.to_string())),
        ("changed_since", filter.changed_since.map(|at| at.to_string())),
        ("changed_until", filter.changed_until.map(|at| at.to_string())),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_values_are_usage_errors() {
        let wrong = FilterArgs { state: Some("deadish".into()), ..FilterArgs::default() };
        assert_eq!(wrong.filter(&[]).unwrap_err().exit(), Exit::Usage);
        assert_eq!(FilterArgs::default().filter(&["evt_1".into()]).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn every_condition_reaches_the_query() {
        let filter = DeliveryFilter {
            ids: Vec::new(),
            affiliate: Some("a".into()),
            postback: Some("b".into()),
            kind: Some("c".into()),
            state: Some("dead".into()),
            reason: Some("d".into()),
            outcome: Some("retry".into()),
            http_status: Some(500),
            text: Some("Ö & ü".into()),
            transaction: Some("e".into()),
            click: Some("f".into()),
            since: Some(Timestamp::UNIX_EPOCH),
            until: Some(Timestamp::UNIX_EPOCH),
            changed_since: Some(Timestamp::UNIX_EPOCH),
            changed_until: Some(Timestamp::MAX),
        };
        let asked: serde_json::Map<_, _> =
            query(&filter).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut written = serde_json::to_value(&filter).unwrap();
        written["http_status"] = "500".into();
        assert_eq!(serde_json::Value::Object(asked), written);
    }
}
