//! Exports: events, deliveries and attempts as flat rows with stable columns, page after page, the oldest first.
//!
//! An export must be complete, so that it never relies on clocks having gone right: ids rise with every event, and
//! are never behind the time of acceptance, but a clock that was set back leaves times of acceptance behind ids. A page
//! takes a bounded number of looks, rows and bytes, however little meets its conditions.

mod cell;
mod columns;
mod place;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use cell::{Cell, Column, Kind, UnlikeColumn, line};
pub use columns::columns;

use self::columns::{AttemptRow, DeliveryRow, EventRow};
use self::place::Place;
use super::filter::{Checked, DeliveryFilter, InvalidFilter};
use super::list::{ListError, Onlooker};
use super::views::DeliverySummary;
use crate::domain::export_mark::ExportMark;
use crate::domain::id::{ConsumerName, DeliveryId, EventId};
use crate::domain::record::Cause;
use crate::outbox::{EventRecord, LookFrom, OutboxError, Reader};

/// Most rows of a page.
pub const MAX_ROWS: usize = 1_000;
/// Most events, deliveries and entries of histories looked at for one page.
const MAX_LOOKS: usize = 5_000;
/// Bytes of rows behind which a page ends.
const MAX_BYTES: usize = 4 << 20;
/// How far a clock may have been set back while the outbox was in use: a time zone, or a day.
const SET_BACK: Duration = Duration::from_hours(25);

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportKind {
    /// Events, by their acceptance.
    Events,
    /// Deliveries as they stand.
    Deliveries(By),
    /// Attempts, by their start.
    Attempts,
}

/// Which time of a delivery a period is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The acceptance of its event.
    Accepted,
    /// When it came to its present state.
    #[default]
    Changed,
}

impl ExportKind {
    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Deliveries(_) => "deliveries",
            Self::Attempts => "attempts",
        }
    }
}

/// A page of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportPage {
    /// The rows, each with a cell for every column of the kind.
    pub rows: Vec<Vec<Cell>>,
    /// Where the next page begins; absent at the end.
    pub next_cursor: Option<String>,
    /// How far the walk has come, as the time of acceptance of the last event of which the onlooker may know; absent
    /// where there was none.
    pub reached: Option<Timestamp>,
    /// The time by the daemon's clock before it looked; absent where none was asked.
    pub asked_at: Option<Timestamp>,
}

/// A page of what meets a filter. Its `since` and `until` mean the time that the kind is exported by; for attempts,
/// `outcome` and `http_status` are those of the attempt itself.
///
/// # Errors
/// When the filter or the cursor is not well-formed, or the store cannot be read.
pub fn export_page(
    reader: &Reader,
    kind: ExportKind,
    filter: &DeliveryFilter,
    cursor: Option<&str>,
    limit: usize,
    onlooker: &Onlooker<'_>,
) -> Result<ExportPage, ListError> {
    let checked = conditions(kind, filter)?;
    let after = cursor.map(Place::parse).transpose()?;
    let mut walk = Walk {
        reader,
        kind,
        filter,
        checked,
        onlooker,
        limit: limit.clamp(1, MAX_ROWS),
        after: after.unwrap_or_else(|| start(kind, filter)),
        page: ExportPage { rows: Vec::new(), next_cursor: None, reached: None, asked_at: None },
        looks: 0,
        bytes: 0,
        seen: None,
        done: None,
    };
    if walk.run()?.is_full() {
        walk.page.next_cursor = walk.resume().map(|place| place.to_string());
    }
    walk.page.reached = walk.seen.and_then(Place::time);
    Ok(walk.page)
}

/// Checks that a filter makes sense for a kind of export.
///
/// # Errors
/// The first condition that does not.
pub fn check_export(kind: ExportKind, filter: &DeliveryFilter) -> Result<(), InvalidFilter> {
    conditions(kind, filter).map(drop)
}

/// A consumer's mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarkView {
    /// The consumer.
    pub consumer: ConsumerName,
    /// How far his exports reach.
    #[serde(flatten)]
    pub mark: ExportMark,
}

/// The marks of all consumers, by their names.
pub fn export_marks(reader: &Reader) -> Vec<MarkView> {
    reader.export_marks().into_iter().map(|(consumer, mark)| MarkView { consumer, mark }).collect()
}

/// The conditions that a delivery as it stands must meet.
fn conditions(kind: ExportKind, filter: &DeliveryFilter) -> Result<Checked, InvalidFilter> {
    let refuse = |field, value: String, why: &str| Err(InvalidFilter { field, value, why: why.into() });
    if let Some(id) = filter.ids.first() {
        return refuse("delivery", id.clone(), "an export is not narrowed to ids");
    }
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since > until
    {
        return refuse("since", since.to_string(), "is later than until");
    }
    filter.check()?;
    let mut standing = DeliveryFilter { since: None, until: None, ..filter.clone() };
    match kind {
        ExportKind::Deliveries(_) => {}
        ExportKind::Attempts => (standing.outcome, standing.http_status) = (None, None),
        ExportKind::Events => {
            let status = filter.http_status.map(|code| code.to_string());
            let [since, until] = [filter.changed_since, filter.changed_until].map(|at| at.map(|at| at.to_string()));
            let given = [
                ("postback", filter.postback.clone()),
                ("state", filter.state.clone()),
                ("reason", filter.reason.clone()),
                ("outcome", filter.outcome.clone()),
                ("http_status", status),
                ("text", filter.text.clone()),
                ("changed_since", since),
                ("changed_until", until),
            ];
            if let Some((field, value)) = given.into_iter().find_map(|(field, value)| Some((field, value?))) {
                return refuse(field, value, "is a condition on deliveries; events have none");
            }
        }
    }
    standing.check()
}

/// Where a walk over a period begins. What is not exported by acceptance may have been accepted at any time before.
fn start(kind: ExportKind, filter: &DeliveryFilter) -> Place {
    let since = match kind {
        ExportKind::Events | ExportKind::Deliveries(By::Accepted) => filter.since,
        ExportKind::Deliveries(By::Changed) | ExportKind::Attempts => None,
    };
    // An id is never behind the acceptance of its event.
    let micros = since.and_then(|since| u64::try_from(since.as_microsecond()).ok()).unwrap_or(0);
    Place::behind_event(EventId::from_u64(micros.saturating_sub(1)))
}

/// How a part of a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// There is more to walk over.
    Open,
    /// The page is full.
    Full,
}

impl Ended {
    fn is_full(self) -> bool {
        self == Self::Full
    }
}

/// Events in the order of their ids.
type Events<'r> = Box<dyn Iterator<Item = Result<(EventId, EventRecord), OutboxError>> + 'r>;

/// A walk that fills a page.
struct Walk<'w> {
    reader: &'w Reader,
    kind: ExportKind,
    filter: &'w DeliveryFilter,
    checked: Checked,
    onlooker: &'w Onlooker<'w>,
    limit: usize,
    /// What is done already.
    after: Place,
    page: ExportPage,
    looks: usize,
    bytes: usize,
    /// The last place that the onlooker may know of.
    seen: Option<Place>,
    /// The last place looked at.
    done: Option<Place>,
}

impl<'w> Walk<'w> {
    fn run(&mut self) -> Result<Ended, OutboxError> {
        for found in self.events()? {
            let (id, record) = found?;
            if self.is_past(id, &record) {
                break;
            }
            let ended = match self.kind {
                ExportKind::Events => self.event(id, &record),
                ExportKind::Deliveries(_) | ExportKind::Attempts => self.deliveries(id, &record)?,
            };
            if ended.is_full() {
                return Ok(ended);
            }
        }
        Ok(Ended::Open)
    }

    /// The narrowest walk that comes by all that may be meant.
    fn events(&self) -> Result<Events<'w>, OutboxError> {
        let from = self.after.event();
        Ok(match (&self.checked.transaction, &self.checked.click) {
            (Some(transaction), _) => self.reader.transaction(transaction, LookFrom::Oldest(from))?,
            (None, Some(click)) => self.reader.click(click, LookFrom::Oldest(from)),
            (None, None) => Box::new(self.reader.events_from(from)),
        })
    }

    /// Whether nothing from there on can be meant. Nothing happens to an event before it is accepted; where a clock was
    /// set back, what is accepted later can be of an earlier time.
    fn is_past(&self, id: EventId, record: &EventRecord) -> bool {
        let Some(until) = self.filter.until else { return false };
        let latest = until.checked_add(SET_BACK).unwrap_or(Timestamp::MAX);
        record.accepted_at >= until && i64::try_from(id.as_u64()).is_ok_and(|micros| micros >= latest.as_microsecond())
    }

    fn is_in_period(&self, at: Timestamp) -> bool {
        self.filter.since.is_none_or(|since| at >= since) && self.filter.until.is_none_or(|until| at < until)
    }

    fn has_room(&self) -> bool {
        self.page.rows.len() < self.limit && self.looks < MAX_LOOKS && self.bytes < MAX_BYTES
    }

    fn pass(&mut self, place: Place, visible: bool) {
        self.done = Some(place);
        if visible {
            self.seen = self.done;
        }
    }

    fn push(&mut self, row: Vec<Cell>) {
        self.bytes += row.iter().map(Cell::size).sum::<usize>();
        self.page.rows.push(row);
    }

    /// Where the next page begins. What the onlooker may not see is not told by it.
    fn resume(&self) -> Option<Place> {
        let done = self.done?;
        if self.seen == self.done {
            return Some(done);
        }
        let untold = self.seen.into_iter().chain([done.blurred()]).max();
        // A page that came no further would be asked for for ever.
        untold.filter(|place| *place > self.after).or(Some(done))
    }

    fn event(&mut self, id: EventId, record: &EventRecord) -> Ended {
        let place = Place::behind_event(id);
        if place <= self.after {
            return Ended::Open;
        }
        if !self.has_room() {
            return Ended::Full;
        }
        self.looks += 1;
        let visible = (self.onlooker.sees)(record.event.affiliate_id.as_str());
        if visible && self.is_in_period(record.accepted_at) && self.means(record) {
            let deliveries = ids(id, record).filter(|id| self.sees(*id, record)).count();
            self.push(EventRow { id: id.to_string(), record, deliveries }.cells());
        }
        self.pass(place, visible);
        Ended::Open
    }

    /// Whether an event meets the conditions on events.
    fn means(&self, record: &EventRecord) -> bool {
        let (wanted, event) = (&self.checked, &record.event);
        wanted.affiliate.as_ref().is_none_or(|affiliate| *affiliate == event.affiliate_id)
            && wanted.filter.kind.as_ref().is_none_or(|kind| kind == event.kind.as_str())
            && wanted.transaction.as_ref().is_none_or(|transaction| *transaction == event.transaction_id)
            && wanted.click.as_ref().is_none_or(|click| Some(click) == event.click_id.as_ref())
    }

    fn sees(&self, id: DeliveryId, record: &EventRecord) -> bool {
        let postback = record.entry(id).and_then(|entry| self.reader.postback(entry.postback));
        postback.is_some_and(|postback| (self.onlooker.sees)(postback.affiliate.as_str()))
    }

    fn deliveries(&mut self, event: EventId, record: &EventRecord) -> Result<Ended, OutboxError> {
        for id in ids(event, record) {
            if Place::behind_delivery(id) <= self.after {
                continue;
            }
            if !self.has_room() {
                return Ok(Ended::Full);
            }
            self.looks += 1;
            let visible = self.sees(id, record);
            if visible && self.delivery(id, record)?.is_full() {
                return Ok(Ended::Full);
            }
            self.pass(Place::behind_delivery(id), visible);
        }
        Ok(Ended::Open)
    }

    fn delivery(&mut self, id: DeliveryId, record: &EventRecord) -> Result<Ended, OutboxError> {
        let Some(view) = self.reader.delivery_of(id, record)? else { return Ok(Ended::Open) };
        let summary = DeliverySummary::new(&view, record, (self.onlooker.in_flight)(id));
        if !self.checked.matches(&summary, &view) {
            return Ok(Ended::Open);
        }
        let delivery = DeliveryRow { summary: &summary, record };
        let at = match self.kind {
            ExportKind::Attempts => return self.attempts(id, delivery),
            ExportKind::Deliveries(By::Changed) => view.changed_at,
            ExportKind::Deliveries(By::Accepted) | ExportKind::Events => record.accepted_at,
        };
        if self.is_in_period(at) {
            self.push(delivery.cells());
        }
        Ok(Ended::Open)
    }

    fn attempts(&mut self, id: DeliveryId, delivery: DeliveryRow<'_>) -> Result<Ended, OutboxError> {
        let changed = delivery.summary.changed_at.checked_add(SET_BACK).unwrap_or(Timestamp::MAX);
        // A delivery that was never sent, or last changed long before the period, costs no look at its history.
        if delivery.summary.attempts == 0 || self.filter.since.is_some_and(|since| changed < since) {
            return Ok(Ended::Open);
        }
        for view in self.reader.history_from(id, self.after.first_entry(id)) {
            let view = view?;
            if !self.has_room() {
                return Ok(Ended::Full);
            }
            self.looks += 1;
            if let Cause::Attempted(attempt) = &view.entry.cause {
                let row = AttemptRow { delivery, entry: &view.entry, attempt };
                if self.is_in_period(attempt.started_at) && self.has_outcome(&row) {
                    self.push(row.cells());
                }
            }
            self.pass(Place::behind_entry(id, view.number), true);
        }
        Ok(Ended::Open)
    }

    fn has_outcome(&self, row: &AttemptRow<'_>) -> bool {
        let status = row.attempt.response.as_ref().map(|response| response.status);
        self.filter.outcome.as_ref().is_none_or(|wanted| wanted == row.attempt.outcome.name())
            && self.filter.http_status.is_none_or(|wanted| status == Some(wanted))
    }
}

fn ids(event: EventId, record: &EventRecord) -> impl Iterator<Item = DeliveryId> + use<> {
    let count = u16::try_from(record.plan.len()).unwrap_or(u16::MAX);
    (0..count).map(move |ordinal| DeliveryId { event, ordinal })
}

#[cfg(test)]
mod tests;
