//! Lists of deliveries in pages, and single ones in detail.
//!
//! A list uses the narrowest index that its filter allows and looks at a bounded number of deliveries for
//! each page, so that a filter that nearly nothing meets still answers at once, with a cursor to go on from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::filter::{Checked, DeliveryFilter, Direction, InvalidFilter};
use super::views::{DeliveryDetail, DeliverySummary, HistoryEntryView};
use crate::domain::delivery::StateKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::outbox::{EventRecord, OutboxError, Reader, Scan, Walk};

/// Most deliveries looked at for one page.
const MAX_LOOKED_AT: usize = 20_000;
/// Most deliveries of one page.
pub(crate) const MAX_PAGE: usize = 1_000;
/// Most entries shown of a delivery's history.
const MAX_HISTORY: usize = 1_000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where the next page begins; absent at the end of the list.
    pub next_cursor: Option<String>,
}

/// Why a list cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The filter is not well-formed.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// The store cannot be read.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// A page of the deliveries that meet a filter. `in_flight` tells whether a delivery is being sent just now.
///
/// # Errors
/// When the filter or the cursor is not well-formed, or the store cannot be read.
pub fn list(
    reader: &Reader,
    filter: &DeliveryFilter,
    direction: Direction,
    cursor: Option<&str>,
    limit: usize,
    in_flight: &dyn Fn(DeliveryId) -> bool,
) -> Result<Page<DeliverySummary>, ListError> {
    let checked = filter.check()?;
    let after = cursor.map(str::parse::<DeliveryId>).transpose().map_err(|why| InvalidFilter {
        field: "cursor",
        value: cursor.unwrap_or_default().into(),
        why: why.to_string(),
    })?;
    let limit = limit.clamp(1, MAX_PAGE);
    let mut items = Vec::new();
    let mut last = None;
    for (looked_at, found) in source(reader, &checked, direction, after)?.enumerate() {
        let (id, record) = found?;
        if items.len() == limit || looked_at == MAX_LOOKED_AT {
            return Ok(Page { items, next_cursor: last.map(|id: DeliveryId| id.to_string()) });
        }
        last = Some(id);
        if past_the_end(&checked, &record, direction) {
            break;
        }
        if let Some(view) = reader.delivery_of(id, &record)? {
            let summary = DeliverySummary::new(&view, &record, in_flight(id));
            if checked.matches(&summary) {
                items.push(summary);
            }
        }
    }
    Ok(Page { items, next_cursor: None })
}

/// Events are in the order of acceptance: behind the end of the period there is nothing more to find.
fn past_the_end(checked: &Checked, record: &EventRecord, direction: Direction) -> bool {
    let narrowed = checked.state.is_some_and(|state| matches!(state, StateKind::Dead | StateKind::Held));
    match direction {
        _ if narrowed || !checked.ids.is_empty() => false,
        Direction::Newest => checked.filter.since.is_some_and(|since| record.accepted_at < since),
        Direction::Oldest => checked.filter.until.is_some_and(|until| record.accepted_at >= until),
    }
}

/// The narrowest walk that finds all that the filter may mean.
fn source<'r>(
    reader: &'r Reader,
    checked: &Checked,
    direction: Direction,
    after: Option<DeliveryId>,
) -> Result<Walk<'r>, OutboxError> {
    if !checked.ids.is_empty() {
        return Ok(walk_ids(reader, checked.ids.clone(), after));
    }
    if let Some(transaction) = &checked.transaction {
        return Ok(walk_events(reader.transaction(transaction)?, direction, after));
    }
    if let Some(click) = &checked.click {
        return Ok(walk_events(reader.click(click)?, direction, after));
    }
    match checked.state {
        Some(state @ (StateKind::Dead | StateKind::Held)) => Ok(walk_listed(reader, checked, state, after)),
        _ => {
            let scan = match direction {
                Direction::Newest => Scan::Newest,
                Direction::Oldest => Scan::All,
            };
            Ok(reader.deliveries(scan, after.or_else(|| start(checked, direction))))
        }
    }
}

/// Where a walk over a period begins.
fn start(checked: &Checked, direction: Direction) -> Option<DeliveryId> {
    let at = match direction {
        Direction::Newest => checked.filter.until?,
        Direction::Oldest => checked.filter.since?,
    };
    // Ids are the time of acceptance, made unique: one second of slack covers what was moved for that.
    let micros = u64::try_from(at.as_microsecond()).unwrap_or(0);
    match direction {
        Direction::Newest => {
            Some(DeliveryId { event: EventId::from_u64(micros.saturating_add(1_000_000)), ordinal: u16::MAX })
        }
        Direction::Oldest => {
            Some(DeliveryId { event: EventId::from_u64(micros.saturating_sub(1_000_000)), ordinal: 0 })
        }
    }
}

fn walk_ids(reader: &Reader, mut ids: Vec<DeliveryId>, after: Option<DeliveryId>) -> Walk<'_> {
    ids.sort_unstable();
    ids.dedup();
    let rest = ids.into_iter().filter(move |id| after.is_none_or(|after| *id > after));
    Box::new(rest.filter_map(|id| reader.event(id.event).transpose().map(|found| Ok((id, Arc::new(found?))))))
}

fn walk_events(
    mut events: Vec<(EventId, EventRecord)>,
    direction: Direction,
    after: Option<DeliveryId>,
) -> Walk<'static> {
    if direction == Direction::Newest {
        events.reverse();
    }
    let deliveries = events.into_iter().flat_map(move |(event, record)| {
        let record = Arc::new(record);
        let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
        let mut ids: Vec<_> = (0..count).map(|ordinal| DeliveryId { event, ordinal }).collect();
        if direction == Direction::Newest {
            ids.reverse();
        }
        ids.into_iter().map(move |id| (id, Arc::clone(&record)))
    });
    let behind = move |id: DeliveryId| match (after, direction) {
        (None, _) => true,
        (Some(after), Direction::Newest) => id < after,
        (Some(after), Direction::Oldest) => id > after,
    };
    Box::new(deliveries.filter(move |(id, _)| behind(*id)).map(Ok))
}

/// Dead letters or held deliveries, postback by postback.
fn walk_listed<'r>(reader: &'r Reader, checked: &Checked, state: StateKind, after: Option<DeliveryId>) -> Walk<'r> {
    let wanted = checked.clone();
    let mut numbers: Vec<_> = reader.postbacks();
    numbers.retain(|(_, name)| {
        wanted.affiliate.as_ref().is_none_or(|affiliate| name.affiliate == *affiliate)
            && wanted.postback.as_ref().is_none_or(|postback| name.postback == *postback)
    });
    // The cursor says with which postback to go on; what came before it is done.
    let resume = after.and_then(|id| Some((id, reader.event(id.event).ok()??.entry(id)?.postback)));
    let walk = numbers.into_iter().filter(move |(number, _)| resume.is_none_or(|(_, from)| *number >= from));
    Box::new(walk.flat_map(move |(number, _)| {
        let after = resume.filter(|(_, from)| *from == number).map(|(id, _)| id);
        let scan = if state == StateKind::Dead { Scan::Dead(number) } else { Scan::Held(number) };
        reader.deliveries(scan, after)
    }))
}

/// The ids of all deliveries that meet a filter and are in an eligible state, oldest first, at most `most`.
///
/// # Errors
/// When the filter is not well-formed or the store cannot be read.
pub fn matching(
    reader: &Reader,
    filter: &DeliveryFilter,
    eligible: impl Fn(StateKind) -> bool,
    most: usize,
) -> Result<Vec<DeliveryId>, ListError> {
    let checked = filter.check()?;
    let mut ids = Vec::new();
    for found in source(reader, &checked, Direction::Oldest, None)? {
        let (id, record) = found?;
        if ids.len() == most || past_the_end(&checked, &record, Direction::Oldest) {
            break;
        }
        let Some(view) = reader.delivery_of(id, &record)? else { continue };
        let meant = checked.matches(&DeliverySummary::new(&view, &record, false));
        if meant && eligible(view.delivery.state.kind()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// A delivery with its event and history; `None` where there is none of that id.
///
/// # Errors
/// When the store cannot be read or a record is damaged.
pub fn show(reader: &Reader, id: DeliveryId, in_flight: bool) -> Result<Option<DeliveryDetail>, OutboxError> {
    let Some(record) = reader.event(id.event)? else { return Ok(None) };
    let Some(view) = reader.delivery_of(id, &record)? else { return Ok(None) };
    let history = reader.history(id, MAX_HISTORY)?.into_iter().map(HistoryEntryView::new).collect();
    Ok(Some(DeliveryDetail {
        delivery: DeliverySummary::new(&view, &record, in_flight),
        event: record.event.to_json(),
        source: record.source,
        history,
    }))
}
