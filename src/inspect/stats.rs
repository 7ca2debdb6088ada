//! The state of everything at a glance.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::views::{FlagView, PauseView};
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;
use crate::outbox::{Counts, OutboxError, Reader};

/// Totals and every affiliate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// When it was taken.
    pub at: Timestamp,
    /// Totals since the store was created.
    pub totals: TotalStats,
    /// Deliveries by state, over all affiliates.
    pub deliveries: BTreeMap<StateKind, u64>,
    /// Attempts in flight; absent when the daemon is down.
    pub in_flight: Option<usize>,
    /// Bytes of the store on disk.
    pub disk_bytes: u64,
    /// Each affiliate that ever had a delivery.
    pub affiliates: Vec<AffiliateStats>,
}

/// Totals since the store was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its postbacks.
    pub postbacks: Vec<PostbackStats>,
}

/// One postback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Takes the state of everything, as the store knows it; breakers and flights are for the daemon to add.
///
/// # Errors
/// When the store cannot be read.
pub fn stats(reader: &Reader, at: Timestamp) -> Result<Stats, OutboxError> {
    let counts = reader.counts();
    let mut pauses = reader.pauses();
    let mut flags = reader.flags();
    let mut affiliates: BTreeMap<String, AffiliateStats> = BTreeMap::new();
    let mut all = Counts::default();
    for (number, name) in reader.postbacks() {
        let own = counts.get(&number).copied().unwrap_or_default();
        all = all.plus(&own);
        let entry = affiliates.entry(name.affiliate.to_string()).or_insert_with(|| AffiliateStats {
            affiliate: name.affiliate.to_string(),
            breaker: None,
            in_flight: None,
            backlog: 0,
            oldest_due: None,
            postbacks: Vec::new(),
        });
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
    let totals = reader.totals();
    let attempts = Outcome::ALL.into_iter().map(|outcome| (outcome, totals.attempts_with(outcome)));
    Ok(Stats {
        at,
        totals: TotalStats {
            accepted: totals.accepted,
            duplicates: totals.duplicates,
            conflicts: totals.conflicts,
            unrouted: totals.unrouted,
            attempts: attempts.filter(|(_, count)| *count > 0).collect(),
        },
        deliveries: by_state(&all),
        in_flight: None,
        disk_bytes: reader.disk_bytes()?,
        affiliates: affiliates.into_values().collect(),
    })
}

fn by_state(counts: &Counts) -> BTreeMap<StateKind, u64> {
    StateKind::ALL.into_iter().map(|kind| (kind, counts.of(kind))).filter(|(_, count)| *count > 0).collect()
}
