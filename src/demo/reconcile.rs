//! Compares the books: what was handed in, what the store says, what each receiver counted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::DemoError;
use super::cast::{Cast, GLOBAL, Player, Temper};
use super::day::Day;
use super::producers::Handed;
use crate::domain::delivery::StateKind;
use crate::domain::id::EventId;
use crate::outbox::{Counts, EventRecord, Outbox, Scan};

/// The day's books.
#[derive(Debug)]
pub struct Books {
    /// What was handed in.
    pub handed: Handed,
    /// A line for each affiliate.
    pub rows: Vec<Row>,
    /// Attempts made.
    pub attempts: u64,
    /// Reversals that arrived behind their original.
    pub reversals_in_order: usize,
    /// How long the day took.
    pub elapsed: Duration,
    /// Every figure that does not add up.
    pub faults: Vec<String>,
}

/// One affiliate's line.
#[derive(Debug)]
pub struct Row {
    /// The affiliate.
    pub affiliate: String,
    /// How its receiver behaves.
    pub temper: Temper,
    /// Deliveries that the day's events lead to.
    pub expected: u64,
    /// Deliveries by state, as the store counts them.
    pub counts: Counts,
    /// Transactions that the receiver took.
    pub received: u64,
    /// Transactions that it took more than once.
    pub doubled: u64,
}

pub(super) fn compare(
    cast: &Cast,
    day: &Day,
    handed: Handed,
    outbox: &Outbox,
    elapsed: Duration,
) -> Result<Books, DemoError> {
    let mut books = Books {
        handed,
        rows: Vec::new(),
        attempts: outbox.reader().totals().attempts.iter().sum(),
        reversals_in_order: 0,
        elapsed,
        faults: Vec::new(),
    };
    check_ingest(&mut books, day, outbox);
    let walked = walk(outbox)?;
    for player in &cast.players {
        let row = row(player, day, &walked);
        check_row(&mut books.faults, &row);
        books.rows.push(row);
        check_receipts(&mut books.faults, player, &walked);
        books.reversals_in_order += check_order(&mut books.faults, player, &walked);
    }
    check_counters(&mut books.faults, outbox, &books.rows);
    Ok(books)
}

/// A delivery as the store tells it.
struct Told {
    affiliate: String,
    event: EventId,
    state: StateKind,
    record: std::sync::Arc<EventRecord>,
}

fn walk(outbox: &Outbox) -> Result<Vec<Told>, DemoError> {
    let reader = outbox.reader();
    let mut walked = Vec::new();
    for found in reader.deliveries(Scan::All, None) {
        let (id, record) = found?;
        if let Some(view) = reader.delivery_of(id, &record)? {
            let affiliate = view.postback.affiliate.to_string();
            walked.push(Told { affiliate, event: id.event, state: view.delivery.state.kind(), record });
        }
    }
    Ok(walked)
}

fn expect(faults: &mut Vec<String>, what: &str, expected: u64, found: u64) {
    if expected != found {
        faults.push(format!("{what}: expected {expected}, found {found}"));
    }
}

fn check_ingest(books: &mut Books, day: &Day, outbox: &Outbox) {
    let (handed, totals) = (books.handed, outbox.reader().totals());
    let events = day.events().count() as u64;
    let faults = &mut books.faults;
    expect(faults, "events answered as accepted", events, handed.accepted);
    expect(faults, "events in the store", events, totals.accepted);
    expect(faults, "events answered as duplicates", handed.again, handed.duplicates);
    expect(faults, "duplicates in the store", handed.again, totals.duplicates);
    expect(faults, "broken events refused", handed.broken, handed.refused);
    expect(faults, "unrouted events", 0, totals.unrouted);
}

fn row(player: &Player, day: &Day, walked: &[Told]) -> Row {
    let meant = |event: &serde_json::Value| player.id == GLOBAL || event["affiliate_id"] == player.id;
    let mut counts = Counts::default();
    for told in walked.iter().filter(|told| told.affiliate == player.id) {
        counts = counts.with_one_more(told.state);
    }
    let ledger = player.receiver.ledger();
    Row {
        affiliate: player.id.into(),
        temper: player.temper,
        expected: day.events().filter(|event| meant(event)).count() as u64,
        counts,
        received: ledger.accepted_keys,
        doubled: ledger.duplicate_keys,
    }
}

fn check_row(faults: &mut Vec<String>, row: &Row) {
    let of = |kind| row.counts.of(kind);
    let name = &row.affiliate;
    expect(faults, &format!("{name}: deliveries"), row.expected, row.counts.total());
    let at_rest = [StateKind::Delivered, StateKind::Dead, StateKind::Held, StateKind::Waiting, StateKind::Cancelled];
    let sum = at_rest.into_iter().map(of).sum();
    expect(faults, &format!("{name}: delivered + dead + held + waiting behind held + cancelled"), row.expected, sum);
    expect(faults, &format!("{name}: taken by the receiver twice"), 0, row.doubled);
    // A receiver that answers 200 with an error has answered as if it took it; the verdict knows better.
    let refused = if row.temper == Temper::Lying { of(StateKind::Dead) } else { 0 };
    expect(faults, &format!("{name}: taken by the receiver"), of(StateKind::Delivered) + refused, row.received);
    match row.temper {
        Temper::Healthy | Temper::Flaky | Temper::Throttling | Temper::Hanging | Temper::Global => {
            expect(faults, &format!("{name}: delivered in the end"), row.expected, of(StateKind::Delivered));
        }
        Temper::Dead => expect(faults, &format!("{name}: delivered to nobody"), 0, of(StateKind::Delivered)),
        Temper::Lying | Temper::Forgetful => {}
    }
}

/// Every delivery that the store calls delivered was taken exactly once, and no held or dead one was.
fn check_receipts(faults: &mut Vec<String>, player: &Player, walked: &[Told]) {
    let ledger = player.receiver.ledger();
    for told in walked.iter().filter(|told| told.affiliate == player.id) {
        let taken = u64::from(ledger.accepted(&told.event.to_string()));
        let expected = match (told.state, player.temper) {
            (StateKind::Delivered, _) | (StateKind::Dead, Temper::Lying) => 1,
            _ => 0,
        };
        if taken != expected {
            let state = told.state.name();
            faults.push(format!("{}: {} is {state}, and was taken {taken} times", player.id, told.event));
        }
    }
}

/// Every reversal that was taken was taken behind its original; returns how many.
fn check_order(faults: &mut Vec<String>, player: &Player, walked: &[Told]) -> usize {
    let ledger = player.receiver.ledger();
    let own = || walked.iter().filter(|told| told.affiliate == player.id);
    let by_transaction: BTreeMap<&str, EventId> =
        own().map(|told| (told.record.event.transaction_id.as_str(), told.event)).collect();
    let mut in_order = 0;
    for told in own() {
        let Some(reversed) = &told.record.event.reverses else { continue };
        let first = |event: &EventId| ledger.key(&event.to_string()).and_then(|history| history.first_accepted);
        let original = by_transaction.get(reversed.as_str()).and_then(first);
        match (original, first(&told.event)) {
            (_, None) => {}
            (Some(original), Some(reversal)) if original <= reversal => in_order += 1,
            _ => faults.push(format!("{}: the reversal {} overtook its original", player.id, told.event)),
        }
    }
    in_order
}

/// The counters that the store keeps equal those of the walk.
fn check_counters(faults: &mut Vec<String>, outbox: &Outbox, rows: &[Row]) {
    let kept = outbox.reader().counts().values().fold(Counts::default(), Counts::plus);
    let walked = rows.iter().fold(Counts::default(), |sum, row| sum.plus(&row.counts));
    for kind in StateKind::ALL {
        expect(faults, &format!("counter of {}", kind.name()), walked.of(kind), kept.of(kind));
    }
}
