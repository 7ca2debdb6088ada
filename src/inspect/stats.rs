//! The state of everything at a glance.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::views::{FlagView, PauseView};
use crate::domain::delivery::{DeadReason, StateKind};
use crate::domain::outcome::Outcome;
use crate::outbox::{Counts, Money, OutboxError, Reader, Room, Tally, Totals};

/// Totals and every affiliate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// When it was taken.
    pub at: Timestamp,
    /// Totals since the store was created.
    pub totals: TotalStats,
    /// Deliveries by state, over all affiliates.
    pub deliveries: BTreeMap<StateKind, u64>,
    /// Dead letters by reason, over all affiliates.
    pub dead: BTreeMap<DeadReason, u64>,
    /// The payouts that open and dead deliveries carry, over all affiliates, by currency.
    pub money: Vec<Money>,
    /// Attempts in flight; absent when the daemon is down.
    pub in_flight: Option<usize>,
    /// What the store's disk has room for; absent when the daemon is down.
    pub room: Option<Room>,
    /// Bytes of the store on disk.
    pub disk_bytes: u64,
    /// Bytes of events and histories in it, before what the engine makes of them.
    pub record_bytes: u64,
    /// Each affiliate that ever had a delivery.
    pub affiliates: Vec<AffiliateStats>,
}

/// Totals since the store was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TotalStats {
    /// Events accepted.
    pub accepted: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// Events refused for another with the same dedupe key.
    pub conflicts: u64,
    /// Events that no postback wanted.
    pub unrouted: u64,
    /// Attempts by outcome.
    pub attempts: BTreeMap<Outcome, u64>,
}

/// One affiliate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AffiliateStats {
    /// Its id.
    pub affiliate: String,
    /// Its breaker; absent when the daemon is down.
    pub breaker: Option<String>,
    /// Attempts in flight; absent when the daemon is down.
    pub in_flight: Option<u32>,
    /// Deliveries that are not settled.
    pub backlog: u64,
    /// The earliest due time of its scheduled deliveries.
    pub oldest_due: Option<Timestamp>,
    /// Its dead letters by reason.
    pub dead: BTreeMap<DeadReason, u64>,
    /// The payouts that its open and dead deliveries carry, by currency.
    pub money: Vec<Money>,
    /// What came of its attempts of about the last hour; absent when the daemon is down or nothing was sent.
    pub lately: Option<LatelyStats>,
    /// Its postbacks.
    pub postbacks: Vec<PostbackStats>,
}

/// What came of an affiliate's attempts of about the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LatelyStats {
    /// Attempts made.
    pub attempts: u64,
    /// Attempts that ended as delivered or duplicate.
    pub succeeded: u64,
    /// Microseconds that half of the requests took at most, to within a fifth.
    pub p50_us: Option<u64>,
    /// Microseconds that nineteen of twenty requests took at most, to within a fifth.
    pub p95_us: Option<u64>,
}

/// One postback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostbackStats {
    /// Its name.
    pub postback: String,
    /// Why it is paused, where it is.
    pub paused: Option<PauseView>,
    /// Why it is taken for misconfigured, where it is.
    pub misconfigured: Option<FlagView>,
    /// Deliveries by state.
    pub deliveries: BTreeMap<StateKind, u64>,
}

/// Takes the state of everything, as the store knows it; breakers, flights and latencies are for the daemon to add.
///
/// # Errors
/// When the store cannot be read.
pub fn stats(reader: &Reader, at: Timestamp) -> Result<Stats, OutboxError> {
    let (counts, tallies) = (reader.counts(), reader.tallies());
    let mut pauses = reader.pauses();
    let mut flags = reader.flags();
    let mut affiliates: BTreeMap<String, (AffiliateStats, Tally)> = BTreeMap::new();
    let (mut all, mut whole) = (Counts::default(), Tally::default());
    for (number, name) in reader.postbacks() {
        let own = counts.get(&number).copied().unwrap_or_default();
        all = all.plus(&own);
        let (entry, tally) = affiliates
            .entry(name.affiliate.to_string())
            .or_insert_with(|| (AffiliateStats::new(name.affiliate.to_string()), Tally::default()));
        if let Some(own) = tallies.get(&number) {
            (whole, *tally) = (whole.plus(own), std::mem::take(tally).plus(own));
        }
        entry.backlog += own.open();
        if own.of(StateKind::Scheduled) > 0 {
            entry.oldest_due = entry.oldest_due.into_iter().chain(reader.earliest_due(number)?).min();
        }
        entry.postbacks.push(PostbackStats {
            postback: name.postback.to_string(),
            paused: pauses.remove(&number).map(PauseView::from),
            misconfigured: flags.remove(&number).map(FlagView::from),
            deliveries: by_state(&own),
        });
    }
    let affiliates = affiliates.into_values().map(|(shown, tally)| shown.with(&tally)).collect();
    Ok(Stats {
        at,
        totals: TotalStats::new(&reader.totals()),
        deliveries: by_state(&all),
        dead: whole.dead().clone(),
        money: whole.money().to_vec(),
        in_flight: None,
        room: None,
        disk_bytes: reader.disk_bytes()?,
        record_bytes: reader.record_bytes(),
        affiliates,
    })
}

impl AffiliateStats {
    fn new(affiliate: String) -> Self {
        Self {
            affiliate,
            breaker: None,
            in_flight: None,
            backlog: 0,
            oldest_due: None,
            dead: BTreeMap::new(),
            money: Vec::new(),
            lately: None,
            postbacks: Vec::new(),
        }
    }

    fn with(self, tally: &Tally) -> Self {
        Self { dead: tally.dead().clone(), money: tally.money().to_vec(), ..self }
    }
}

impl TotalStats {
    fn new(totals: &Totals) -> Self {
        let attempts = Outcome::ALL.into_iter().map(|outcome| (outcome, totals.attempts_with(outcome)));
        Self {
            accepted: totals.accepted,
            duplicates: totals.duplicates,
            conflicts: totals.conflicts,
            unrouted: totals.unrouted,
            attempts: attempts.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

fn by_state(counts: &Counts) -> BTreeMap<StateKind, u64> {
    StateKind::ALL.into_iter().map(|kind| (kind, counts.of(kind))).filter(|(_, count)| *count > 0).collect()
}
