//! Traces: all that happened for one click, transaction, event or delivery, in one timeline.
//!
//! From whatever is named the whole order group is found, so that an original and what reverses it stand in one
//! timeline. What is shown is bounded; the newest is kept, and what is left out is counted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::Onlooker;
use super::views::{DeliverySummary, HistoryEntryView, due};
use crate::domain::delivery::{State, StateKind};
use crate::domain::id::{AffiliateId, ClickId, DeliveryId, EventId, TransactionId};
use crate::outbox::{EventRecord, Found, LookFrom, OutboxError, PlanEntry, Reader};

/// Most events of one trace.
const MAX_EVENTS: usize = 500;
/// Events from which on no more order groups are looked for.
const MAX_FOUND: usize = 2_000;
/// Most entries of one trace.
pub(super) const MAX_ENTRIES: usize = 2_000;
/// Most entries of one trace that shows requests and responses: each may be 14 KiB.
pub(super) const MAX_FULL_ENTRIES: usize = 500;

/// What a key turned out to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// An event's id.
    Event,
    /// A delivery's id.
    Delivery,
    /// The operator's name of a transaction.
    Transaction,
    /// The affiliate's name of a click.
    Click,
}

impl KeyKind {
    /// The kind's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Delivery => "delivery",
            Self::Transaction => "transaction",
            Self::Click => "click",
        }
    }
}

/// Everything that happened, in one timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// What was asked for.
    pub key: String,
    /// What that is; several where it names several things.
    pub found_as: Vec<KeyKind>,
    /// The events with their deliveries as they stand, oldest first.
    pub events: Vec<TracedEvent>,
    /// What happened, oldest first.
    pub entries: Vec<TraceEntry>,
    /// What is not shown, because there is more than fits.
    pub left_out: LeftOut,
}

/// How much of a trace is not shown: the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// Events with all that happened to their deliveries.
    pub events: usize,
    /// Whether there are still older events that were not even looked at.
    #[serde(default)]
    pub more: bool,
    /// Entries of the events that are shown.
    pub entries: usize,
}

/// One event of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TracedEvent {
    /// The event.
    #[schema(value_type = EventId)]
    pub event_id: String,
    /// Its owner.
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
    /// What the affiliate is paid.
    pub payout: Option<String>,
    /// In which currency.
    pub currency: Option<String>,
    /// The transaction that it reverses.
    pub reverses: Option<String>,
    /// Who handed it in.
    pub source: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its deliveries as they stand; none where it is unrouted.
    pub deliveries: Vec<DeliverySummary>,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceEntry {
    /// When it happened.
    pub at: Timestamp,
    /// The event that it happened to, or to a delivery of which.
    #[schema(value_type = EventId)]
    pub event_id: String,
    /// What happened.
    #[serde(flatten)]
    pub step: TraceStep,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum TraceStep {
    /// The event was accepted.
    Accepted,
    /// A delivery was planned.
    Planned {
        /// The delivery.
        #[schema(value_type = DeliveryId)]
        delivery_id: String,
        /// The affiliate that is told.
        affiliate: String,
        /// Its postback.
        postback: String,
        /// How it stood at first.
        state: StateKind,
        /// Why it stood there.
        reason: Option<String>,
        /// When it was to go out, where it was scheduled.
        due: Option<Timestamp>,
    },
    /// A delivery was attempted, ordered about, or changed by what happened to others.
    Changed {
        /// The delivery.
        #[schema(value_type = DeliveryId)]
        delivery_id: String,
        /// The affiliate that is told.
        affiliate: String,
        /// Its postback.
        postback: String,
        /// The entry of its history; requests and responses only on demand.
        #[schema(value_type = HistoryEntryView)]
        change: Box<HistoryEntryView>,
    },
}

/// The timeline of a click, transaction, event or delivery; `None` where nothing of that name can be seen.
///
/// # Errors
/// When the store cannot be read or a record is damaged.
pub fn trace(
    reader: &Reader,
    key: &str,
    requests: bool,
    onlooker: &Onlooker<'_>,
) -> Result<Option<Trace>, OutboxError> {
    let tracer = Tracer { reader, onlooker, requests };
    let Named { found_as, events: seeds, more } = tracer.find(key)?;
    if seeds.is_empty() {
        return Ok(None);
    }
    let mut groups: BTreeSet<(AffiliateId, TransactionId)> = BTreeSet::new();
    let mut events: BTreeMap<EventId, EventRecord> = BTreeMap::new();
    for (id, record) in seeds {
        let group = (record.event.affiliate_id.clone(), record.root().clone());
        if events.len() < MAX_FOUND && groups.insert(group) {
            events.extend(reader.group(&record)?);
        }
        events.insert(id, record);
    }
    events.retain(|id, record| tracer.sees(*id, record));
    let mut trace = tracer.tell(key, found_as, events)?;
    trace.left_out.more = more;
    Ok(Some(trace))
}

/// Who asks for a trace, and for how much of it.
struct Tracer<'a> {
    reader: &'a Reader,
    onlooker: &'a Onlooker<'a>,
    requests: bool,
}

/// What a key names.
#[derive(Default)]
struct Named {
    found_as: Vec<KeyKind>,
    /// The newest events of that name, the newest of each kind first.
    events: Vec<(EventId, EventRecord)>,
    /// Whether there are older ones.
    more: bool,
}

/// Most events of a name that are looked at: a click may be shared by a whole campaign.
const MAX_LOOKED_AT: usize = 4_096;

impl Tracer<'_> {
    /// What a key names, as far as that can be seen. Who names things is free to give them the form of an id.
    fn find(&self, key: &str) -> Result<Named, OutboxError> {
        if let Ok(id) = key.parse::<EventId>()
            && let Some(record) = self.reader.event(id)?.filter(|record| self.sees(id, record))
        {
            return Ok(Named { found_as: vec![KeyKind::Event], events: vec![(id, record)], more: false });
        }
        if let Ok(id) = key.parse::<DeliveryId>()
            && let Some(record) = self.reader.event(id.event)?.filter(|record| self.sees_delivery(id, record))
        {
            return Ok(Named { found_as: vec![KeyKind::Delivery], events: vec![(id.event, record)], more: false });
        }
        let mut named = Named::default();
        if let Ok(transaction) = key.parse::<TransactionId>() {
            self.gather(
                KeyKind::Transaction,
                self.reader.transaction(&transaction, LookFrom::Newest(None))?,
                &mut named,
            )?;
        }
        if let Ok(click) = key.parse::<ClickId>() {
            self.gather(KeyKind::Click, self.reader.click(&click, LookFrom::Newest(None)), &mut named)?;
        }
        Ok(named)
    }

    /// Takes the newest events that can be seen, as many as a trace may show.
    fn gather(&self, kind: KeyKind, mut found: Found<'_>, named: &mut Named) -> Result<(), OutboxError> {
        let before = named.events.len();
        for event in found.by_ref().take(MAX_LOOKED_AT) {
            let (id, record) = event?;
            if self.sees(id, &record) {
                named.events.push((id, record));
            }
        }
        named.more |= found.next().is_some();
        if named.events.len() > before {
            named.found_as.push(kind);
        }
        Ok(())
    }

    /// An event is seen by whoever may see its owner, or an affiliate that is told of it.
    fn sees(&self, id: EventId, record: &EventRecord) -> bool {
        (self.onlooker.sees)(record.event.affiliate_id.as_str())
            || deliveries(id, record).any(|(id, _)| self.sees_delivery(id, record))
    }

    fn sees_delivery(&self, id: DeliveryId, record: &EventRecord) -> bool {
        let postback = record.entry(id).and_then(|entry| self.reader.postback(entry.postback));
        postback.is_some_and(|postback| (self.onlooker.sees)(postback.affiliate.as_str()))
    }

    /// Tells events from the newest backwards until there is as much as fits.
    fn tell(
        &self,
        key: &str,
        found_as: Vec<KeyKind>,
        found: BTreeMap<EventId, EventRecord>,
    ) -> Result<Trace, OutboxError> {
        let most = if self.requests { MAX_FULL_ENTRIES } else { MAX_ENTRIES };
        let mut left_out = LeftOut::default();
        let mut entries: Vec<TraceEntry> = Vec::new();
        let mut events = Vec::new();
        for (id, record) in found.into_iter().rev() {
            if events.len() == MAX_EVENTS || entries.len() >= most {
                left_out.events += 1;
                continue;
            }
            let (event, mut lines, earlier) = self.tell_event(id, record, most)?;
            left_out.entries += earlier;
            lines.append(&mut entries);
            entries = lines;
            events.push(event);
        }
        events.reverse();
        // Stable: what happened at the same time stays in the order in which it followed.
        entries.sort_by_key(|entry| entry.at);
        let surplus = entries.len().saturating_sub(most);
        entries.drain(..surplus);
        left_out.entries += surplus;
        Ok(Trace { key: key.into(), found_as, events, entries, left_out })
    }

    /// One event with its deliveries and what happened to them; and how many entries of their histories are not read.
    fn tell_event(
        &self,
        id: EventId,
        record: EventRecord,
        most: usize,
    ) -> Result<(TracedEvent, Vec<TraceEntry>, usize), OutboxError> {
        let event_id = id.to_string();
        let entry = |at, step| TraceEntry { at, event_id: event_id.clone(), step };
        let mut lines = vec![entry(record.accepted_at, TraceStep::Accepted)];
        let mut summaries = Vec::new();
        let mut unread = 0;
        for (delivery, planned) in deliveries(id, &record) {
            if !self.sees_delivery(delivery, &record) {
                continue;
            }
            let Some(view) = self.reader.delivery_of(delivery, &record)? else { continue };
            let summary = DeliverySummary::new(&view, &record, (self.onlooker.in_flight)(delivery));
            let (delivery_id, affiliate, postback) =
                (summary.delivery_id.clone(), summary.affiliate.clone(), summary.postback.clone());
            summaries.push(summary);
            let state = &planned.delivery.state;
            let step = TraceStep::Planned {
                delivery_id: delivery_id.clone(),
                affiliate: affiliate.clone(),
                postback: postback.clone(),
                state: state.kind(),
                reason: state.reason().map(Into::into),
                due: due(state),
            };
            lines.push(entry(planned_at(state, record.accepted_at), step));
            // Each delivery is told by its newest entry at least.
            let history = self.reader.history(delivery, most.saturating_sub(lines.len()).max(1))?;
            unread += history.first().map_or(0, |first| first.number as usize);
            lines.extend(history.into_iter().map(|view| {
                let mut change = Box::new(HistoryEntryView::new(view));
                if let Some(attempt) = change.attempt.as_mut().filter(|_| !self.requests) {
                    (attempt.request, attempt.response) = (None, None);
                }
                let (delivery_id, affiliate, postback) = (delivery_id.clone(), affiliate.clone(), postback.clone());
                entry(change.at, TraceStep::Changed { delivery_id, affiliate, postback, change })
            }));
        }
        Ok((TracedEvent::new(event_id, record, summaries), lines, unread))
    }
}

/// The deliveries of an event with how they were planned.
fn deliveries(event: EventId, record: &EventRecord) -> impl Iterator<Item = (DeliveryId, &PlanEntry)> {
    (0_u16..).zip(&record.plan).map(move |(ordinal, planned)| (DeliveryId { event, ordinal }, planned))
}

/// When a delivery was planned: with its event, unless that was unrouted until somebody had it planned.
fn planned_at(state: &State, accepted_at: Timestamp) -> Timestamp {
    due(state).map_or(accepted_at, |due| due.max(accepted_at))
}

impl TracedEvent {
    fn new(event_id: String, record: EventRecord, deliveries: Vec<DeliverySummary>) -> Self {
        let event = record.event;
        Self {
            event_id,
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
            deliveries,
        }
    }
}
