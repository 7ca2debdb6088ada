//! Lists of events that no postback wants, or whose affiliate was not known when they came.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cursor::invalid;
use super::filter::{Direction, InvalidFilter, parsed};
use super::list::{ListError, MAX_LOOKED_AT, MAX_PAGE, Page};
use crate::domain::id::{AffiliateId, ClickId, EventId, EventType, TransactionId};
use crate::outbox::{EventRecord, Reader};

/// How far the time in an event's id may be ahead of its acceptance: ids are moved to be unique.
const SLACK_MICROS: u64 = 1_000_000;

/// Conditions on an unrouted event; all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnroutedFilter {
    /// The event's affiliate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affiliate: Option<String>,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Its click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click: Option<String>,
    /// Accepted at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Accepted before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// An event that waits for somebody to want it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnroutedEvent {
    /// The event.
    #[schema(value_type = EventId)]
    pub event_id: String,
    /// Its affiliate.
    pub affiliate: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its transaction.
    pub transaction_id: String,
    /// Its click.
    pub click_id: Option<String>,
    /// Its status.
    pub status: String,
    /// What the affiliate would be paid.
    pub payout: Option<String>,
    /// In which currency.
    pub currency: Option<String>,
    /// The transaction that it reverses.
    pub reverses: Option<String>,
    /// Who handed it in.
    pub source: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

impl UnroutedFilter {
    fn check(&self) -> Result<(), InvalidFilter> {
        parsed("affiliate", self.affiliate.as_ref(), str::parse::<AffiliateId>)?;
        parsed("type", self.kind.as_ref(), str::parse::<EventType>)?;
        parsed("transaction", self.transaction.as_ref(), str::parse::<TransactionId>)?;
        parsed("click", self.click.as_ref(), str::parse::<ClickId>)?;
        Ok(())
    }

    fn matches(&self, found: &UnroutedEvent) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.affiliate, &found.affiliate)
            && same(&self.kind, &found.kind)
            && same(&self.transaction, &found.transaction_id)
            && self.click.as_deref().is_none_or(|click| found.click_id.as_deref() == Some(click))
            && self.since.is_none_or(|since| found.accepted_at >= since)
            && self.until.is_none_or(|until| found.accepted_at < until)
    }

    /// Where a walk begins that goes through the period from its end that comes first.
    fn start(&self, direction: Direction) -> Option<EventId> {
        let micros = |at: Timestamp| u64::try_from(at.as_microsecond()).unwrap_or(0);
        Some(EventId::from_u64(match direction {
            Direction::Newest => micros(self.until?).saturating_add(SLACK_MICROS),
            Direction::Oldest => micros(self.since?).saturating_sub(SLACK_MICROS),
        }))
    }

    /// Whether nothing more can be found in that direction.
    fn is_past(&self, at: Timestamp, direction: Direction) -> bool {
        match direction {
            Direction::Newest => self.since.is_some_and(|since| at < since),
            Direction::Oldest => self.until.is_some_and(|until| at >= until),
        }
    }
}

impl UnroutedEvent {
    fn new(id: EventId, record: EventRecord) -> Self {
        let event = record.event;
        Self {
            event_id: id.to_string(),
            affiliate: event.affiliate_id.to_string(),
            kind: event.kind.to_string(),
            transaction_id: event.transaction_id.to_string(),
            click_id: event.click_id.map(|click| click.to_string()),
            status: event.status.name().into(),
            payout: event.payout.map(|amount| amount.to_string()),
            currency: event.currency.map(|currency| currency.to_string()),
            reverses: event.reverses.map(|reverses| reverses.to_string()),
            source: record.source,
            accepted_at: record.accepted_at,
        }
    }
}

/// A page of the unrouted events that meet a filter.
///
/// # Errors
/// When the filter or the cursor is not well-formed, or the store cannot be read.
pub fn unrouted(
    reader: &Reader,
    filter: &UnroutedFilter,
    direction: Direction,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<UnroutedEvent>, ListError> {
    filter.check()?;
    let parse = |text: &str| text.parse::<EventId>().map_err(|why| invalid(text, &why));
    let after = cursor.map(parse).transpose()?.or_else(|| filter.start(direction));
    let limit = limit.clamp(1, MAX_PAGE);
    let mut items = Vec::new();
    let mut last = None;
    for (looked_at, id) in reader.unrouted(after, direction == Direction::Newest).enumerate() {
        let id = id?;
        if items.len() == limit || looked_at == MAX_LOOKED_AT {
            return Ok(Page { items, next_cursor: last.map(|id: EventId| id.to_string()) });
        }
        last = Some(id);
        let Some(record) = reader.event(id)? else { continue };
        if filter.is_past(record.accepted_at, direction) {
            break;
        }
        let found = UnroutedEvent::new(id, record);
        if filter.matches(&found) {
            items.push(found);
        }
    }
    Ok(Page { items, next_cursor: None })
}
