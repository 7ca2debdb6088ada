//! Metrics: counts what happens as it happens, and shows it with how things stand when somebody looks.
//!
//! What the store counts itself is read from it at a scrape and survives a restart; what only this process sees
//! (attempts by affiliate, durations, refusals) starts at zero with it. The parts that are observed know nothing of
//! metrics: they tell an observer. Labels are affiliates and postbacks of the configuration or the store and names
//! of this program, so that no event can add a series of its own.

#[cfg(test)]
mod asked;
mod catalogue;
mod exposition;
mod process;
mod recent;
mod standing;
#[cfg(test)]
mod tests;

pub use exposition::Format;
pub use process::resident_bytes;
pub use recent::Lately;
pub use standing::{Sources, Standing};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::catalogue::{Metric, REFUSALS};
use crate::dispatch::{AttemptNote, AttemptObserver};
use crate::domain::delivery::State;
use crate::domain::id::AffiliateId;
use crate::domain::outcome::Outcome;
use crate::outbox::CommitObserver;

/// Seconds of a request to a receiver. One histogram for each affiliate, so there are few bounds.
const REQUEST_BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Seconds from acceptance to delivery: from the next sync of the disk to the end of a long retry schedule.
const LATENCY_BOUNDS: [f64; 12] =
    [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0, 259_200.0];
/// Seconds of a commit: a sync takes about a millisecond on a good disk, and tens of them on a bad one.
const COMMIT_BOUNDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Requests of a commit, up to the most that a group holds.
const GROUP_BOUNDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Counts what happens. Everything in it may be used from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    attempts: Family<Counted, Counter>,
    dead: Family<Dead, Counter>,
    requests: Family<ByAffiliate, Histogram, fn() -> Histogram>,
    latency: Histogram,
    commits: Histogram,
    groups: Histogram,
    refused: Family<Refused, Counter>,
    recent: recent::Recent,
}

/// An affiliate's attempts of one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Counted(AffiliateId, Outcome);

/// An affiliate's dead letters of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Dead(AffiliateId, &'static str);

/// An affiliate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ByAffiliate(AffiliateId);

/// A reason of ingest to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Refused(&'static str);

/// The running program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Build;

impl EncodeLabelSet for Counted {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        catalogue::ATTEMPTS.labelled([self.0.as_str(), self.1.name()]).encode(encoder)
    }
}

impl EncodeLabelSet for Dead {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        catalogue::DEAD.labelled([self.0.as_str(), self.1]).encode(encoder)
    }
}

impl EncodeLabelSet for ByAffiliate {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        catalogue::REQUEST.labelled([self.0.as_str()]).encode(encoder)
    }
}

impl EncodeLabelSet for Refused {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        catalogue::REFUSED.labelled([self.0]).encode(encoder)
    }
}

impl EncodeLabelSet for Build {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let program = [env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH];
        catalogue::BUILD.labelled(program).encode(encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            attempts: Family::default(),
            dead: Family::default(),
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST_BOUNDS)),
            latency: Histogram::new(LATENCY_BOUNDS),
            commits: Histogram::new(COMMIT_BOUNDS),
            groups: Histogram::new(GROUP_BOUNDS),
            refused: Family::default(),
            recent: recent::Recent::default(),
        };
        // A series that begins with its first refusal would hide that one from every rate.
        for reason in REFUSALS {
            drop(metrics.refused.get_or_create(&Refused(reason)));
        }
        let registry = metrics.registered();
        Self { registry, ..metrics }
    }
}

impl Metrics {
    fn registered(&self) -> Registry {
        let mut registry = Registry::default();
        register(&mut registry, &catalogue::REFUSED, self.refused.clone());
        register(&mut registry, &catalogue::ATTEMPTS, self.attempts.clone());
        register(&mut registry, &catalogue::DEAD, self.dead.clone());
        register(&mut registry, &catalogue::LATENCY, self.latency.clone());
        register(&mut registry, &catalogue::REQUEST, self.requests.clone());
        register(&mut registry, &catalogue::COMMIT, self.commits.clone());
        register(&mut registry, &catalogue::GROUP, self.groups.clone());
        register(&mut registry, &catalogue::BUILD, Info::new(Build));
        registry
    }

    /// Counts an event, or a whole request of them, that ingest refused with a problem of this name.
    pub fn refused(&self, problem: &str) {
        let reason = REFUSALS.into_iter().find(|reason| *reason == problem).unwrap_or("other");
        self.refused.get_or_create(&Refused(reason)).inc();
    }

    /// How each affiliate's receivers did within about the last hour.
    pub fn lately(&self, now: Timestamp) -> BTreeMap<AffiliateId, Lately> {
        self.recent.look(now)
    }

    /// Writes down everything that was counted, and how things stand.
    ///
    /// # Errors
    /// When the library fails to write.
    pub fn exposition(&self, standing: Standing, format: Format) -> Result<String, fmt::Error> {
        let mut scraped = Registry::default();
        scraped.register_collector(Box::new(standing));
        let mut written = String::new();
        text::encode_registry(&mut written, &self.registry)?;
        text::encode_registry(&mut written, &scraped)?;
        text::encode_eof(&mut written)?;
        Ok(format.of_open_metrics(written))
    }
}

fn register(registry: &mut Registry, metric: &Metric, counted: impl prometheus_client::registry::Metric) {
    match metric.told_unit() {
        Some(unit) => registry.register_with_unit(metric.stem(), metric.help, unit, counted),
        None => registry.register(metric.stem(), metric.help, counted),
    }
}

impl CommitObserver for Metrics {
    #[allow(clippy::cast_precision_loss, reason = "a group holds some hundreds of requests")]
    fn committed(&self, took: Duration, requests: usize) {
        self.commits.observe(took.as_secs_f64());
        self.groups.observe(requests as f64);
    }
}

impl AttemptObserver for Metrics {
    fn attempted(&self, note: &Arc<AttemptNote>) {
        let affiliate = &note.postback.affiliate;
        self.attempts.get_or_create(&Counted(affiliate.clone(), note.outcome)).inc();
        let sent = note.outcome != Outcome::Blocked && !note.timings.total.is_zero();
        let succeeded = matches!(note.outcome, Outcome::Delivered | Outcome::Duplicate);
        self.recent.count(affiliate, note.at, succeeded, sent.then_some(note.timings.total));
        if sent {
            let requests = self.requests.get_or_create(&ByAffiliate(affiliate.clone()));
            requests.observe(note.timings.total.as_secs_f64());
        }
        match &note.delivery.state {
            State::Delivered { .. } => {
                let passed = Duration::try_from(note.at.duration_since(note.accepted_at)).unwrap_or_default();
                self.latency.observe(passed.as_secs_f64());
            }
            State::Dead { reason } => {
                self.dead.get_or_create(&Dead(affiliate.clone(), reason.name())).inc();
            }
            State::Scheduled { .. }
            | State::Waiting
            | State::InFlight { .. }
            | State::Held { .. }
            | State::Cancelled { .. }
            | State::Superseded { .. } => {}
        }
    }
}
