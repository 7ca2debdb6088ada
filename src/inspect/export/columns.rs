//! The columns of exports, each with where its cells come from: headers, schemas and the page about exports follow
//! this list.

use jiff::Timestamp;

use super::ExportKind;
use super::cell::{Cell, Column, Kind};
use crate::domain::record::{AttemptRecord, HistoryEntry};
use crate::inspect::views::DeliverySummary;
use crate::outbox::EventRecord;

/// An event that is exported.
pub(super) struct EventRow<'r> {
    pub(super) id: String,
    pub(super) record: &'r EventRecord,
    /// Those of its deliveries that the onlooker may see.
    pub(super) deliveries: usize,
}

/// A delivery that is exported.
#[derive(Clone, Copy)]
pub(super) struct DeliveryRow<'r> {
    pub(super) summary: &'r DeliverySummary,
    pub(super) record: &'r EventRecord,
}

/// An attempt that is exported.
pub(super) struct AttemptRow<'r> {
    pub(super) delivery: DeliveryRow<'r>,
    pub(super) entry: &'r HistoryEntry,
    pub(super) attempt: &'r AttemptRecord,
}

/// A column of events with the source of its cells.
type OfEvent = (Column, for<'r> fn(&EventRow<'r>) -> Cell);
/// A column of deliveries with the source of its cells.
type OfDelivery = (Column, for<'r> fn(&DeliveryRow<'r>) -> Cell);
/// A column of attempts with the source of its cells.
type OfAttempt = (Column, for<'r> fn(&AttemptRow<'r>) -> Cell);

/// The columns of a kind of export, in order.
pub fn columns(kind: ExportKind) -> Vec<Column> {
    match kind {
        ExportKind::Events => EVENTS.iter().map(|(column, _)| *column).collect(),
        ExportKind::Deliveries(_) => DELIVERIES.iter().map(|(column, _)| *column).collect(),
        ExportKind::Attempts => ATTEMPTS.iter().map(|(column, _)| *column).collect(),
    }
}

impl EventRow<'_> {
    pub(super) fn cells(&self) -> Vec<Cell> {
        EVENTS.iter().map(|(_, cell)| cell(self)).collect()
    }
}

impl DeliveryRow<'_> {
    pub(super) fn cells(&self) -> Vec<Cell> {
        DELIVERIES.iter().map(|(_, cell)| cell(self)).collect()
    }
}

impl AttemptRow<'_> {
    pub(super) fn cells(&self) -> Vec<Cell> {
        ATTEMPTS.iter().map(|(_, cell)| cell(self)).collect()
    }
}

const fn text(name: &'static str, meaning: &'static str) -> Column {
    Column { name, kind: Kind::Text, meaning }
}

const fn money(name: &'static str, meaning: &'static str) -> Column {
    Column { name, kind: Kind::Money, meaning }
}

const fn time(name: &'static str, meaning: &'static str) -> Column {
    Column { name, kind: Kind::Time, meaning }
}

const fn number(name: &'static str, meaning: &'static str) -> Column {
    Column { name, kind: Kind::Number, meaning }
}

const fn flag(name: &'static str, meaning: &'static str) -> Column {
    Column { name, kind: Kind::Flag, meaning }
}

const fn json(name: &'static str, meaning: &'static str) -> Column {
    Column { name, kind: Kind::Json, meaning }
}

const EVENT_ID: Column = text("event_id", "The event's id; ids sort by acceptance");
const TYPE: Column = text("type", "The event's type in the dictionary");
const TRANSACTION: Column =
    text("transaction_id", "The operator's transaction; where he gave none, a name made of type and click");
const CLICK: Column = text("click_id", "The click that led to it");
const OFFER: Column = text("offer_id", "The offer it belongs to");
const STATUS: Column = text("status", "How far the conversion is decided: pending, approved, rejected");
const OCCURRED: Column = time("occurred_at", "When it happened, as the operator told");
const PAYOUT: Column = money("payout", "What the affiliate is paid");
const REVENUE: Column = money("revenue", "What the operator took");
const CURRENCY: Column = text("currency", "ISO 4217 currency of payout and revenue");
const REVERSES: Column = text("reverses", "The transaction that the event undoes");
const ACCEPTED: Column = time("accepted_at", "When the event was accepted");
const DELIVERY_ID: Column = text("delivery_id", "The delivery's id, which is also its idempotency key");
const AFFILIATE: Column = text("affiliate", "The affiliate that is told");
const POSTBACK: Column = text("postback", "The affiliate's postback");
const EVENT_AFFILIATE: Column =
    text("event_affiliate", "The affiliate whose player it was; differs from affiliate for global affiliates");

static EVENTS: [OfEvent; 18] = [
    (EVENT_ID, |row| Cell::of(&row.id)),
    (text("affiliate", "The affiliate whose player it was"), |row| Cell::of(&row.record.event.affiliate_id)),
    (TYPE, |row| Cell::of(&row.record.event.kind)),
    (TRANSACTION, |row| Cell::of(&row.record.event.transaction_id)),
    (flag("transaction_given", "Whether the operator gave the transaction"), |row| {
        Cell::Flag(row.record.event.transaction_given)
    }),
    (CLICK, |row| Cell::maybe(row.record.event.click_id.as_ref())),
    (OFFER, |row| Cell::maybe(row.record.event.offer_id.as_ref())),
    (STATUS, |row| Cell::of(row.record.event.status.name())),
    (OCCURRED, |row| Cell::Time(row.record.event.occurred_at)),
    (PAYOUT, |row| Cell::maybe(row.record.event.payout)),
    (REVENUE, |row| Cell::maybe(row.record.event.revenue)),
    (CURRENCY, |row| Cell::maybe(row.record.event.currency)),
    (REVERSES, |row| Cell::maybe(row.record.event.reverses.as_ref())),
    (json("sub_ids", "The affiliate's own markers, a JSON object"), |row| Cell::json(&row.record.event.sub_ids)),
    (json("params", "Further parameters, a JSON object"), |row| {
        let params = row.record.event.params.iter().map(|(name, value)| (name.clone(), value.to_json()));
        Cell::json(&params.collect::<serde_json::Map<_, _>>())
    }),
    (text("source", "Who handed the event in"), |row| Cell::of(&row.record.source)),
    (ACCEPTED, |row| Cell::Time(row.record.accepted_at)),
    (number("deliveries", "Deliveries that it was planned for; 0 for an unrouted event"), |row| {
        Cell::number(row.deliveries)
    }),
];

static DELIVERIES: [OfDelivery; 28] = [
    (DELIVERY_ID, |row| Cell::of(&row.summary.delivery_id)),
    (EVENT_ID, |row| Cell::of(&row.summary.event_id)),
    (AFFILIATE, |row| Cell::of(&row.summary.affiliate)),
    (POSTBACK, |row| Cell::of(&row.summary.postback)),
    (text("lane", "Its order lane, where it is not the affiliate's own"), |row| Cell::maybe(row.summary.lane.as_ref())),
    (EVENT_AFFILIATE, |row| Cell::of(&row.record.event.affiliate_id)),
    (TYPE, |row| Cell::of(&row.summary.kind)),
    (TRANSACTION, |row| Cell::of(&row.summary.transaction_id)),
    (CLICK, |row| Cell::maybe(row.summary.click_id.as_ref())),
    (OFFER, |row| Cell::maybe(row.record.event.offer_id.as_ref())),
    (STATUS, |row| Cell::of(&row.summary.status)),
    (OCCURRED, |row| Cell::Time(row.record.event.occurred_at)),
    (PAYOUT, |row| Cell::maybe(row.summary.payout.as_ref())),
    (REVENUE, |row| Cell::maybe(row.record.event.revenue)),
    (CURRENCY, |row| Cell::maybe(row.summary.currency.as_ref())),
    (REVERSES, |row| Cell::maybe(row.summary.reverses.as_ref())),
    (text("state", "Where the delivery stands when it is exported"), |row| Cell::of(row.summary.state.name())),
    (text("reason", "Why it stands there"), |row| Cell::maybe(row.summary.reason.as_ref())),
    (time("due", "When it goes out, where it is scheduled"), |row| moment(row.summary.due)),
    (number("attempts", "Attempts made"), |row| Cell::number(row.summary.attempts)),
    (number("spent", "Attempts spent from the retry schedule"), |row| Cell::number(row.summary.spent)),
    (ACCEPTED, |row| Cell::Time(row.summary.accepted_at)),
    (time("changed_at", "When it came to its present state"), |row| Cell::Time(row.summary.changed_at)),
    (number("last_number", "The number of the last attempt, where the last thing that happened was one"), |row| {
        row.summary.last_attempt.as_ref().map_or(Cell::Empty, |last| Cell::number(last.number))
    }),
    (text("last_outcome", "What that attempt came to"), |row| {
        Cell::maybe(row.summary.last_attempt.as_ref().map(|last| last.outcome.name()))
    }),
    (text("last_rule", "The rule that decided so"), |row| {
        Cell::maybe(row.summary.last_attempt.as_ref().map(|last| &last.rule))
    }),
    (number("last_http_status", "The status code of its response"), |row| {
        let status = row.summary.last_attempt.as_ref().and_then(|last| last.http_status);
        status.map_or(Cell::Empty, Cell::number)
    }),
    (text("last_error", "Why there was no whole answer"), |row| {
        Cell::maybe(row.summary.last_attempt.as_ref().and_then(|last| last.error.as_ref()))
    }),
];

static ATTEMPTS: [OfAttempt; 37] = [
    (DELIVERY_ID, |row| Cell::of(&row.delivery.summary.delivery_id)),
    (number("number", "The attempt's number in the delivery's life, from 1"), |row| Cell::number(row.attempt.number)),
    (EVENT_ID, |row| Cell::of(&row.delivery.summary.event_id)),
    (AFFILIATE, |row| Cell::of(&row.delivery.summary.affiliate)),
    (POSTBACK, |row| Cell::of(&row.delivery.summary.postback)),
    (EVENT_AFFILIATE, |row| Cell::of(&row.delivery.record.event.affiliate_id)),
    (TYPE, |row| Cell::of(&row.delivery.summary.kind)),
    (TRANSACTION, |row| Cell::of(&row.delivery.summary.transaction_id)),
    (CLICK, |row| Cell::maybe(row.delivery.summary.click_id.as_ref())),
    (STATUS, |row| Cell::of(&row.delivery.summary.status)),
    (PAYOUT, |row| Cell::maybe(row.delivery.summary.payout.as_ref())),
    (CURRENCY, |row| Cell::maybe(row.delivery.summary.currency.as_ref())),
    (REVERSES, |row| Cell::maybe(row.delivery.summary.reverses.as_ref())),
    (ACCEPTED, |row| Cell::Time(row.delivery.summary.accepted_at)),
    (time("started_at", "When the attempt began"), |row| Cell::Time(row.attempt.started_at)),
    (time("ended_at", "When it was over"), |row| Cell::Time(row.entry.at)),
    (text("outcome", "What it came to"), |row| Cell::of(row.attempt.outcome.name())),
    (text("rule", "The rule that decided so"), |row| Cell::of(&row.attempt.rule)),
    (text("state_after", "Where the delivery stood behind it"), |row| Cell::of(row.entry.delivery.state.kind().name())),
    (text("reason_after", "Why it stood there"), |row| Cell::maybe(row.entry.delivery.state.reason())),
    (number("http_status", "The status code of the response"), |row| {
        row.attempt.response.as_ref().map_or(Cell::Empty, |response| Cell::number(response.status))
    }),
    (text("error", "Why there was no whole answer"), |row| Cell::maybe(row.attempt.error.as_ref())),
    (text("request_method", "The request's method"), |row| {
        Cell::maybe(row.attempt.request.as_ref().map(|request| &request.method))
    }),
    (text("request_url", "Its URL; secrets are masked here and in what follows"), |row| {
        Cell::maybe(row.attempt.request.as_ref().map(|request| &request.url))
    }),
    (json("request_headers", "Its headers, a JSON array of pairs of name and value"), |row| {
        row.attempt.request.as_ref().map_or(Cell::Empty, |request| Cell::json(&request.headers))
    }),
    (text("request_body", "Its body, as much as is kept"), |row| {
        Cell::maybe(row.attempt.request.as_ref().map(|request| &request.body))
    }),
    (text("digest", "SHA-256 of the exact bytes sent, in hex"), |row| Cell::maybe(row.attempt.digest.map(hex::encode))),
    (json("response_headers", "The response's headers, a JSON array of pairs of name and value"), |row| {
        row.attempt.response.as_ref().map_or(Cell::Empty, |response| Cell::json(&response.headers))
    }),
    (text("response_body", "Its body, as much as is kept"), |row| {
        Cell::maybe(row.attempt.response.as_ref().map(|response| &response.body))
    }),
    (number("response_bytes", "Bytes of its body that were read"), |row| {
        row.attempt.response.as_ref().map_or(Cell::Empty, |response| Cell::number(response.body_bytes))
    }),
    (flag("response_truncated", "Whether there was more of it than is kept"), |row| {
        row.attempt.response.as_ref().map_or(Cell::Empty, |response| Cell::Flag(response.truncated))
    }),
    (number("dns_us", "Microseconds of name resolution"), |row| micros(row.attempt.timings.dns)),
    (number("connect_us", "Microseconds of the TCP connection"), |row| micros(row.attempt.timings.connect)),
    (number("tls_us", "Microseconds of the TLS handshake"), |row| micros(row.attempt.timings.tls)),
    (number("first_byte_us", "Microseconds until the response's head"), |row| micros(row.attempt.timings.first_byte)),
    (number("total_us", "Microseconds of the whole attempt"), |row| micros(Some(row.attempt.timings.total))),
    (text("remote", "The address at the other end"), |row| Cell::maybe(row.attempt.remote.as_ref())),
];

fn moment(at: Option<Timestamp>) -> Cell {
    at.map_or(Cell::Empty, Cell::Time)
}

fn micros(part: Option<std::time::Duration>) -> Cell {
    part.map_or(Cell::Empty, |part| Cell::number(part.as_micros()))
}
