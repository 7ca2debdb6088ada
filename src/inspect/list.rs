//! Lists of deliveries in pages, and single ones in detail.
//!
//! A list uses the narrowest index that its filter allows and looks at a bounded number of deliveries for
//! each page, so that a filter that nearly nothing meets still answers at once, with a cursor to go on from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cursor::{Cursor, Trail, invalid};
use super::decision::decision;
use super::filter::{Checked, DeliveryFilter, Direction, InvalidFilter, Listed, Live};
use super::views::{DeliveryDetail, DeliverySummary, HistoryEntryView};
use crate::domain::delivery::StateKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::outbox::{EventRecord, Found as Events, LookFrom, OutboxError, PostbackNo, Reader, Scan, Walk};

/// Most deliveries looked at for one page.
pub(super) const MAX_LOOKED_AT: usize = 20_000;
/// Most deliveries of one page.
pub(crate) const MAX_PAGE: usize = 1_000;
/// Most entries shown of a delivery's history.
const MAX_HISTORY: usize = 1_000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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

/// Who looks, and what he sees beside the store.
#[allow(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct Onlooker<'a> {
    /// Whether a delivery is being sent just now.
    pub in_flight: &'a dyn Fn(DeliveryId) -> bool,
    /// Whether he may see what an affiliate is told. Who may not see all of them must name one, a transaction or a
    /// click in the filter.
    pub sees: &'a dyn Fn(&str) -> bool,
}

impl Onlooker<'_> {
    /// Somebody who sees everything in the store of a daemon that is down.
    pub const OFFLINE: Onlooker<'static> = Onlooker { in_flight: &|_| false, sees: &|_| true };
}

/// A page of the deliveries that meet a filter.
///
/// # Errors
/// When the filter or the cursor is not well-formed, or the store cannot be read.
pub fn list(
    reader: &Reader,
    filter: &DeliveryFilter,
    direction: Direction,
    cursor: Option<&str>,
    limit: usize,
    onlooker: &Onlooker<'_>,
) -> Result<Page<DeliverySummary>, ListError> {
    let checked = filter.check()?;
    let after = cursor.map(Cursor::parse).transpose()?;
    let limit = limit.clamp(1, MAX_PAGE);
    let mut items = Vec::new();
    let mut trail = Trail::new(direction, after);
    for (looked_at, found) in source(reader, &checked, direction, after)?.enumerate() {
        let (id, record) = found?;
        if looked_at == MAX_LOOKED_AT {
            return Ok(Page { items, next_cursor: trail.resume().map(|cursor| cursor.to_string()) });
        }
        let visible = visible(reader, onlooker, id, &record);
        // That a page is full is found out by what he may see only: a cursor would give away that there is more.
        if visible && items.len() == limit {
            return Ok(Page { items, next_cursor: trail.seen().map(|cursor| cursor.to_string()) });
        }
        let postback = checked.listed().and_then(|_| record.entry(id)).map(|entry| entry.postback);
        trail.pass(Cursor { id, postback }, visible);
        if past_the_end(&checked, &record, direction) {
            break;
        }
        if !visible {
            continue;
        }
        if let Some(view) = reader.delivery_of(id, &record)? {
            let summary = DeliverySummary::new(&view, &record, (onlooker.in_flight)(id));
            if checked.matches(&summary, &view) {
                items.push(summary);
            }
        }
    }
    Ok(Page { items, next_cursor: None })
}

fn visible(reader: &Reader, onlooker: &Onlooker<'_>, id: DeliveryId, record: &EventRecord) -> bool {
    let postback = record.entry(id).and_then(|entry| reader.postback(entry.postback));
    postback.is_some_and(|postback| (onlooker.sees)(postback.affiliate.as_str()))
}

/// Events are in the order of acceptance: behind the end of the period there is nothing more to find.
fn past_the_end(checked: &Checked, record: &EventRecord, direction: Direction) -> bool {
    match direction {
        _ if checked.listed().is_some() || !checked.ids.is_empty() => false,
        Direction::Newest => checked.filter.since.is_some_and(|since| record.accepted_at < since),
        Direction::Oldest => checked.filter.until.is_some_and(|until| record.accepted_at >= until),
    }
}

/// The narrowest walk that finds all that the filter may mean.
fn source<'r>(
    reader: &'r Reader,
    checked: &Checked,
    direction: Direction,
    cursor: Option<Cursor>,
) -> Result<Walk<'r>, ListError> {
    let after = cursor.map(|cursor| cursor.id);
    if !checked.ids.is_empty() {
        return Ok(walk_ids(reader, checked.ids.clone(), Direction::Oldest, after));
    }
    if let Some(transaction) = &checked.transaction {
        return Ok(walk_events(reader.transaction(transaction, look_from(direction, after))?, direction, after));
    }
    if let Some(click) = &checked.click {
        return Ok(walk_events(reader.click(click, look_from(direction, after)), direction, after));
    }
    if let Some(ids) = checked.live().map(|live| live_ids(reader, checked, live)).transpose()?.flatten() {
        return Ok(walk_ids(reader, ids, direction, after.or_else(|| start(checked, direction))));
    }
    match checked.listed() {
        Some(listed) => Ok(walk_listed(reader, checked, listed, resume(reader, cursor)?)),
        None => {
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

/// What is still to be sent, where that is little: what is much is found soon on the way over all events, and in the
/// order that was asked for.
fn live_ids(reader: &Reader, checked: &Checked, live: Live) -> Result<Option<Vec<DeliveryId>>, OutboxError> {
    let mut ids = Vec::new();
    match live {
        Live::Waiting => ids = reader.waiting(MAX_LOOKED_AT + 1)?,
        Live::Scheduled => {
            for (number, name) in reader.postbacks() {
                if checked.concerns(&name) && ids.len() <= MAX_LOOKED_AT {
                    ids.append(&mut reader.scheduled(number, MAX_LOOKED_AT + 1 - ids.len())?);
                }
            }
        }
    }
    Ok((ids.len() <= MAX_LOOKED_AT).then_some(ids))
}

fn walk_ids(reader: &Reader, mut ids: Vec<DeliveryId>, direction: Direction, after: Option<DeliveryId>) -> Walk<'_> {
    ids.sort_unstable();
    ids.dedup();
    if direction == Direction::Newest {
        ids.reverse();
    }
    let rest = ids.into_iter().filter(move |id| is_behind(*id, after, direction));
    Box::new(rest.filter_map(|id| reader.event(id.event).transpose().map(|found| Ok((id, Arc::new(found?))))))
}

fn look_from(direction: Direction, after: Option<DeliveryId>) -> LookFrom {
    let after = after.map(|id| id.event);
    match direction {
        Direction::Oldest => LookFrom::Oldest(after.unwrap_or(EventId::MIN)),
        Direction::Newest => LookFrom::Newest(after),
    }
}

fn walk_events(events: Events<'_>, direction: Direction, after: Option<DeliveryId>) -> Walk<'_> {
    let deliveries = events.flat_map(move |found| {
        let (event, record) = match found {
            Ok((event, record)) => (event, Arc::new(record)),
            Err(error) => return vec![Err(error)],
        };
        let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
        let mut ids: Vec<_> = (0..count).map(|ordinal| DeliveryId { event, ordinal }).collect();
        if direction == Direction::Newest {
            ids.reverse();
        }
        let behind = ids.into_iter().filter(|id| is_behind(*id, after, direction));
        behind.map(|id| Ok((id, Arc::clone(&record)))).collect()
    });
    Box::new(deliveries)
}

fn is_behind(id: DeliveryId, after: Option<DeliveryId>, direction: Direction) -> bool {
    match (after, direction) {
        (None, _) => true,
        (Some(after), Direction::Newest) => id < after,
        (Some(after), Direction::Oldest) => id > after,
    }
}

/// With which postback, and behind which of its deliveries, a list that goes postback by postback goes on.
fn resume(reader: &Reader, cursor: Option<Cursor>) -> Result<Option<(DeliveryId, PostbackNo)>, ListError> {
    let Some(cursor) = cursor else { return Ok(None) };
    if let Some(postback) = cursor.postback {
        return Ok(Some((cursor.id, postback)));
    }
    // The bare id of a delivery says it as long as its event is there; to begin anew would list everything twice.
    let record = reader.event(cursor.id.event)?;
    let entry = record.as_ref().and_then(|record| record.entry(cursor.id));
    let gone = || invalid(&cursor.to_string(), &"names a delivery that is not there; begin the list anew");
    Ok(Some((cursor.id, entry.ok_or_else(gone)?.postback)))
}

/// Dead letters or held deliveries, postback by postback; what came before `resume` is done.
fn walk_listed<'r>(
    reader: &'r Reader,
    checked: &Checked,
    listed: Listed,
    resume: Option<(DeliveryId, PostbackNo)>,
) -> Walk<'r> {
    let mut numbers: Vec<_> = reader.postbacks();
    numbers.retain(|(_, name)| checked.concerns(name));
    let walk = numbers.into_iter().filter(move |(number, _)| resume.is_none_or(|(_, from)| *number >= from));
    Box::new(walk.flat_map(move |(number, _)| {
        let after = resume.filter(|(_, from)| *from == number).map(|(id, _)| id);
        let scan = match listed {
            Listed::Dead => Scan::Dead(number),
            Listed::Held => Scan::Held(number),
        };
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
        let meant = checked.matches(&DeliverySummary::new(&view, &record, false), &view);
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
    let history = reader.history(id, MAX_HISTORY)?;
    let earlier_entries = history.first().map_or(0, |first| first.number);
    let history: Vec<_> = history.into_iter().map(HistoryEntryView::new).collect();
    let delivery = DeliverySummary::new(&view, &record, in_flight);
    Ok(Some(DeliveryDetail {
        decision: decision(&delivery, &history),
        delivery,
        event: record.event.to_json(),
        source: record.source,
        earlier_entries,
        history,
    }))
}
