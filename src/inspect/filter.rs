//! Which deliveries are meant: the filter that lists, counts and bulk orders share.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::views::DeliverySummary;
use crate::domain::delivery::StateKind;
use crate::domain::id::{AffiliateId, ClickId, DeliveryId, EventType, PostbackName, PostbackRef, TransactionId};
use crate::domain::outcome::Outcome;
use crate::domain::record::{Cause, RecordedResponse};
use crate::outbox::DeliveryView;

/// Longest text that is looked for, in characters.
const MAX_TEXT: usize = 200;

/// Conditions on a delivery; all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Exactly these deliveries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<DeliveryId>)]
    pub ids: Vec<String>,
    /// The affiliate that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AffiliateId>)]
    pub affiliate: Option<String>,
    /// Its postback.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PostbackName>)]
    pub postback: Option<String>,
    /// The event's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<EventType>)]
    pub kind: Option<String>,
    /// The delivery's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StateKind>)]
    pub state: Option<String>,
    /// The reason that stands with the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the last attempt came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Outcome>)]
    pub outcome: Option<String>,
    /// The status code of the last attempt's response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 65535)]
    pub http_status: Option<u16>,
    /// Text in the last attempt's response or error, however it is written in capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub text: Option<String>,
    /// The event's transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TransactionId>)]
    pub transaction: Option<String>,
    /// The event's click.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ClickId>)]
    pub click: Option<String>,
    /// Events accepted at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Events accepted before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Deliveries that came to their present state at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_since: Option<Timestamp>,
    /// Deliveries that came to their present state before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_until: Option<Timestamp>,
}

/// In which direction a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

/// A condition that no delivery can meet because it is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value:?}: {why}")]
pub struct InvalidFilter {
    /// The condition.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

/// A filter whose values are well-formed.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) ids: Vec<DeliveryId>,
    pub(super) affiliate: Option<AffiliateId>,
    pub(super) postback: Option<PostbackName>,
    pub(super) state: Option<StateKind>,
    pub(super) transaction: Option<TransactionId>,
    pub(super) click: Option<ClickId>,
    /// In small letters.
    text: Option<String>,
    pub(super) filter: DeliveryFilter,
}

pub(super) fn parsed<T, E: std::fmt::Display>(
    field: &'static str,
    value: Option<&String>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, InvalidFilter> {
    let invalid = |value: &String, why: E| InvalidFilter { field, value: value.clone(), why: why.to_string() };
    value.map(|value| parse(value).map_err(|why| invalid(value, why))).transpose()
}

impl DeliveryFilter {
    /// Whether it names no condition at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that every value can be met.
    ///
    /// # Errors
    /// The first value that cannot.
    pub fn validate(&self) -> Result<(), InvalidFilter> {
        self.check().map(drop)
    }

    pub(super) fn check(&self) -> Result<Checked, InvalidFilter> {
        let states = || StateKind::ALL.map(StateKind::name).join(", ");
        let outcomes = || Outcome::ALL.map(Outcome::name).join(", ");
        parsed("type", self.kind.as_ref(), str::parse::<EventType>)?;
        let ids = self.ids.iter().map(|id| parsed("delivery", Some(id), str::parse)).collect::<Result<Vec<_>, _>>()?;
        parsed("outcome", self.outcome.as_ref(), |name| {
            Outcome::ALL
                .into_iter()
                .find(|outcome| outcome.name() == name)
                .ok_or_else(|| format!("use one of {}", outcomes()))
        })?;
        Ok(Checked {
            ids: ids.into_iter().flatten().collect(),
            affiliate: parsed("affiliate", self.affiliate.as_ref(), str::parse)?,
            postback: parsed("postback", self.postback.as_ref(), str::parse)?,
            state: parsed("state", self.state.as_ref(), |name| {
                StateKind::parse(name).ok_or_else(|| format!("use one of {}", states()))
            })?,
            transaction: parsed("transaction", self.transaction.as_ref(), str::parse)?,
            click: parsed("click", self.click.as_ref(), str::parse)?,
            text: parsed("text", self.text.as_ref(), sought)?,
            filter: self.clone(),
        })
    }
}

/// A text to be looked for, in small letters.
fn sought(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0 => Err("there is nothing to look for".into()),
        1..=MAX_TEXT => Ok(text.to_lowercase()),
        _ => Err(format!("use at most {MAX_TEXT} characters")),
    }
}

/// States whose deliveries stand in an index of each postback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// Dead letters.
    Dead,
    /// Held deliveries.
    Held,
}

/// States of deliveries that are still to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Live {
    /// Scheduled, or in flight.
    Scheduled,
    /// Waiting in their order group.
    Waiting,
}

/// Whether the last attempt's response or error contains a text in small letters; what was no attempt says nothing.
fn says(view: &DeliveryView, text: &str) -> bool {
    let Some(Cause::Attempted(attempt)) = view.last.as_ref().map(|entry| &entry.cause) else { return false };
    let said = |part: &str| part.to_lowercase().contains(text);
    let answered = |response: &RecordedResponse| {
        said(&response.body) || response.headers.iter().any(|(name, value)| said(&format!("{name}: {value}")))
    };
    attempt.error.as_deref().is_some_and(said) || attempt.response.as_ref().is_some_and(answered)
}

impl Checked {
    /// The index that finds all that is meant, where one of them does and nothing narrower is given.
    pub(super) fn listed(&self) -> Option<Listed> {
        if !self.ids.is_empty() || self.transaction.is_some() || self.click.is_some() {
            return None;
        }
        match self.state? {
            StateKind::Dead => Some(Listed::Dead),
            StateKind::Held => Some(Listed::Held),
            StateKind::Scheduled
            | StateKind::Waiting
            | StateKind::InFlight
            | StateKind::Delivered
            | StateKind::Cancelled
            | StateKind::Superseded => None,
        }
    }

    pub(super) fn matches(&self, summary: &DeliverySummary, view: &DeliveryView) -> bool {
        let wanted = &self.filter;
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let last = summary.last_attempt.as_ref();
        same(&wanted.affiliate, &summary.affiliate)
            && same(&wanted.postback, &summary.postback)
            && same(&wanted.kind, &summary.kind)
            && self.state.is_none_or(|state| state == summary.state)
            && wanted.reason.as_deref().is_none_or(|reason| summary.reason.as_deref() == Some(reason))
            && wanted.outcome.as_deref().is_none_or(|outcome| last.is_some_and(|last| last.outcome.name() == outcome))
            && wanted.http_status.is_none_or(|code| last.is_some_and(|last| last.http_status == Some(code)))
            && same(&wanted.transaction, &summary.transaction_id)
            && wanted.click.as_deref().is_none_or(|click| summary.click_id.as_deref() == Some(click))
            && wanted.since.is_none_or(|since| summary.accepted_at >= since)
            && wanted.until.is_none_or(|until| summary.accepted_at < until)
            && wanted.changed_since.is_none_or(|since| summary.changed_at >= since)
            && wanted.changed_until.is_none_or(|until| summary.changed_at < until)
            && self.text.as_deref().is_none_or(|text| says(view, text))
    }

    /// The states whose deliveries stand in an index of what is still to come, where they are all that is meant and
    /// nothing narrower is given.
    pub(super) fn live(&self) -> Option<Live> {
        if !self.ids.is_empty() || self.transaction.is_some() || self.click.is_some() {
            return None;
        }
        match self.state? {
            // On disk, what is in flight is scheduled.
            StateKind::Scheduled | StateKind::InFlight => Some(Live::Scheduled),
            StateKind::Waiting => Some(Live::Waiting),
            StateKind::Held | StateKind::Delivered | StateKind::Dead | StateKind::Cancelled | StateKind::Superseded => {
                None
            }
        }
    }

    /// Whether a postback may have what is meant.
    pub(super) fn concerns(&self, postback: &PostbackRef) -> bool {
        self.affiliate.as_ref().is_none_or(|affiliate| postback.affiliate == *affiliate)
            && self.postback.as_ref().is_none_or(|name| postback.postback == *name)
    }
}
