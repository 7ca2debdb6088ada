//! What came of a campaign, for people and programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::check::first_few;

/// The figures of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    campaign: &'static str,
    seed: u64,
    /// Events that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Faults that were injected.
    pub(crate) faults: u64,
    /// Faults that came while a daemon was still on its way up.
    during_start: u64,
    lost: u64,
    doubled: u64,
    doubled_beyond: u64,
    /// Daemons that died at work since the receivers' ledgers were last compared.
    since_compared: u64,
    unopenable: u64,
    damaged: u64,
    disordered: u64,
    unsettled: u64,
    false_acknowledgements: u64,
    /// How long each start took, until the daemon was ready.
    pub(crate) recoveries: Vec<Duration>,
    failures: Vec<String>,
    /// Why it was not run.
    pub(crate) not_run: Option<String>,
    /// Looks at a store of whose past some was deleted, and some was not yet.
    half_deleted: u64,
    /// What else is worth a word.
    pub(crate) remark: String,
}

impl Tally {
    /// An empty tally.
    pub(crate) fn new(campaign: &'static str, seed: u64) -> Self {
        Self { campaign, seed, ..Self::default() }
    }

    /// A campaign that could not be run.
    pub(crate) fn not_run(campaign: &'static str, seed: u64, why: String) -> Self {
        Self { not_run: Some(why), ..Self::new(campaign, seed) }
    }

    /// A fault was injected; `sending` tells whether attempts can have been in flight.
    pub(crate) fn fault(&mut self, sending: bool) {
        self.faults += 1;
        self.during_start += u64::from(!sending);
        if sending {
            self.interrupted();
        }
    }

    /// A daemon was killed while attempts were in flight, as a fault or to make way.
    pub(crate) fn interrupted(&mut self) {
        self.since_compared += 1;
    }

    /// So many events of the past are left.
    pub(crate) fn past(&mut self, all: usize, left: usize) {
        self.half_deleted += u64::from(left > 0 && left < all);
    }

    /// Something acknowledged is gone.
    pub(crate) fn lost(&mut self, what: &str) {
        self.lost += 1;
        self.fail(format!("lost: {what}"));
    }

    /// A store that does not open.
    pub(crate) fn unopenable(&mut self, why: &str) {
        self.unopenable += 1;
        self.fail(format!("the store does not open: {}", why.trim()));
    }

    /// A store that is not whole.
    pub(crate) fn damaged(&mut self, what: &str) {
        self.damaged += 1;
        self.fail(format!("the store is damaged: {what}"));
    }

    /// One event was accepted twice.
    pub(crate) fn twice(&mut self, what: &str) {
        self.doubled_beyond += 1;
        self.fail(format!("accepted twice: {what}"));
    }

    /// A later event came before an earlier one.
    pub(crate) fn disordered(&mut self, what: &str) {
        self.disordered += 1;
        self.fail(format!("out of order: {what}"));
    }

    /// So many deliveries stay open.
    pub(crate) fn unsettled(&mut self, open: u64, which: &str) {
        self.unsettled += open;
        self.fail(format!("{open} deliveries stay open:{which}"));
    }

    /// Somebody was told that an event is stored, and nothing of it is.
    pub(crate) fn false_acknowledgement(&mut self, what: &str) {
        self.false_acknowledgements += 1;
        self.lost(what);
    }

    /// Deliveries that succeeded more than once since the last comparison: each fault allows for what was in flight.
    pub(crate) fn doubled(&mut self, extra: u64, in_flight: u64) {
        self.doubled += extra;
        let beyond = extra.saturating_sub(self.since_compared * in_flight);
        self.doubled_beyond += beyond;
        self.since_compared = 0;
        if beyond > 0 {
            self.fail(format!("{beyond} deliveries were doubled beyond what was in flight"));
        }
    }

    /// A delivery arrived more than once where it must not.
    pub(crate) fn doubled_at_strict(&mut self, what: &str) {
        self.doubled_beyond += 1;
        self.fail(format!("doubled: {what}"));
    }

    /// Something else is not as it must be.
    pub(crate) fn fail(&mut self, what: String) {
        if !self.failures.contains(&what) {
            self.failures.push(what);
        }
    }

    /// How many things have gone wrong so far.
    pub(crate) fn failures(&self) -> usize {
        self.failures.len()
    }

    /// Whether anything went wrong.
    pub(crate) fn is_bad(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Whether losses were seen, or a store that did not open or was not whole.
    pub(crate) fn saw_loss(&self) -> bool {
        self.lost + self.unopenable + self.damaged > 0
    }

    /// The heads of the table.
    pub(crate) fn heads() -> String {
        format!(
            "{:8} {:>8} {:>6} {:>8} {:>5} {:>7} {:>7} {:>10} {:>7} {:>9} {:>9} {:>9} {:>9}",
            "campaign",
            "events",
            "faults",
            "in start",
            "lost",
            "doubled",
            "beyond",
            "unopenable",
            "damaged",
            "false ack",
            "order",
            "open p50",
            "open max"
        )
    }

    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        if let Some(why) = &self.not_run {
            return format!("{:8} not run: {why}", self.campaign);
        }
        let (p50, max) = self.recovery();
        let line = format!(
            "{:8} {:>8} {:>6} {:>8} {:>5} {:>7} {:>7} {:>10} {:>7} {:>9} {:>9} {:>6} ms {:>6} ms",
            self.campaign,
            self.acknowledged,
            self.faults,
            self.during_start,
            self.lost,
            self.doubled,
            self.doubled_beyond,
            self.unopenable,
            self.damaged,
            self.false_acknowledgements,
            self.disordered,
            p50,
            max,
        );
        let half = match self.half_deleted {
            0 => String::new(),
            looks => format!("  {looks} looks in the midst of retention"),
        };
        if self.remark.is_empty() { line + &half } else { format!("{line}{half}  {}", self.remark) }
    }

    fn recovery(&self) -> (u128, u128) {
        let mut sorted = self.recoveries.clone();
        sorted.sort();
        let at = |place: usize| sorted.get(place).map_or(0, Duration::as_millis);
        (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
    }

    /// What went wrong, for people.
    pub(crate) fn complaint(&self) -> String {
        format!("{} --seed {}:\n    {}", self.campaign, self.seed, first_few(&self.failures))
    }

    /// The figures for programs.
    pub(crate) fn to_json(&self) -> Value {
        let (p50, max) = self.recovery();
        json!({
            "campaign": self.campaign,
            "seed": self.seed,
            "not_run": self.not_run,
            "ok": !self.is_bad() && self.not_run.is_none(),
            "acknowledged": self.acknowledged,
            "faults": self.faults,
            "faults_during_start": self.during_start,
            "lost": self.lost,
            "doubled": self.doubled,
            "doubled_beyond_in_flight": self.doubled_beyond,
            "unopenable": self.unopenable,
            "damaged": self.damaged,
            "false_acknowledgements": self.false_acknowledgements,
            "out_of_order": self.disordered,
            "unsettled": self.unsettled,
            "half_deleted": self.half_deleted,
            "recovery_p50_ms": u64::try_from(p50).unwrap_or(u64::MAX),
            "recovery_max_ms": u64::try_from(max).unwrap_or(u64::MAX),
            "failures": self.failures,
            "remark": self.remark,
        })
    }
}
