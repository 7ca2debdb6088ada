//! How things stand at the moment of a scrape: counts of the store, flights and breakers, disk and process.
//!
//! Everything comes from memory but one look at the head of each schedule, so that a scrape costs the same with ten
//! deliveries waiting as with a million.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _, MetricEncoder,
};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::catalogue::{self, Metric};
use super::process::Process;
use crate::dispatch::{AffiliateStatus, Breaker};
use crate::domain::delivery::StateKind;
use crate::domain::id::{AffiliateId, PostbackRef};
use crate::domain::outcome::Outcome;
use crate::domain::plan::Affiliates;
use crate::outbox::{Counts, OutboxError, Reader, Totals, free_bytes};

/// The states that the store counts by; a delivery in flight is scheduled there.
const STATES: [StateKind; 7] = [
    StateKind::Scheduled,
    StateKind::Waiting,
    StateKind::Held,
    StateKind::Delivered,
    StateKind::Dead,
    StateKind::Cancelled,
    StateKind::Superseded,
];

/// Where it is read from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'s> {
    /// The store.
    pub reader: &'s Reader,
    /// The affiliates that are configured.
    pub affiliates: &'s Affiliates,
    /// How each affiliate stands with the dispatcher.
    pub live: &'s [AffiliateStatus],
    /// The directory of the store.
    pub directory: &'s Path,
    /// Bytes that are kept free there.
    pub keep_free: u64,
    /// The time.
    pub now: Timestamp,
}

/// How things stand.
#[derive(Debug)]
pub struct Standing {
    totals: Totals,
    affiliates: BTreeMap<AffiliateId, OfAffiliate>,
    postbacks: BTreeMap<PostbackRef, OfPostback>,
    disk_bytes: u64,
    free_bytes: Option<u64>,
    keep_free: u64,
    process: Process,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfAffiliate {
    counts: Counts,
    earliest_due: Option<Timestamp>,
    overdue_seconds: f64,
    in_flight: u32,
    breaker: Breaker,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfPostback {
    paused: bool,
    misconfigured: bool,
}

impl Standing {
    /// Looks at everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn take(sources: Sources<'_>) -> Result<Self, OutboxError> {
        let Sources { reader, affiliates, live, directory, keep_free, now } = sources;
        let mut standing = Self {
            totals: reader.totals(),
            affiliates: affiliates.keys().map(|id| (id.clone(), OfAffiliate::default())).collect(),
            postbacks: BTreeMap::new(),
            disk_bytes: reader.disk_bytes()?,
            free_bytes: free_bytes(directory).ok(),
            keep_free,
            process: Process::look(),
        };
        for postback in affiliates.values().flat_map(|affiliate| &affiliate.postbacks) {
            standing.postbacks.insert(postback.reference(), OfPostback::default());
        }
        standing.add_stored(reader, now)?;
        for AffiliateStatus { affiliate, in_flight, breaker } in live {
            if let Some(found) = standing.affiliates.get_mut(affiliate) {
                (found.in_flight, found.breaker) = (*in_flight, *breaker);
            }
        }
        Ok(standing)
    }

    fn add_stored(&mut self, reader: &Reader, now: Timestamp) -> Result<(), OutboxError> {
        let (counts, pauses, flags) = (reader.counts(), reader.pauses(), reader.flags());
        for (number, name) in reader.postbacks() {
            let own = counts.get(&number).copied().unwrap_or_default();
            let affiliate = self.affiliates.entry(name.affiliate.clone()).or_default();
            affiliate.counts = affiliate.counts.plus(&own);
            if own.of(StateKind::Scheduled) > 0 {
                affiliate.earliest_due = affiliate.earliest_due.into_iter().chain(reader.earliest_due(number)?).min();
            }
            let stands =
                OfPostback { paused: pauses.contains_key(&number), misconfigured: flags.contains_key(&number) };
            self.postbacks.insert(name, stands);
        }
        for affiliate in self.affiliates.values_mut() {
            let overdue = affiliate.earliest_due.map(|due| now.duration_since(due).as_secs_f64());
            affiliate.overdue_seconds = overdue.unwrap_or_default().max(0.0);
        }
        Ok(())
    }

    fn of_affiliates<V>(&self, value: impl Fn(&OfAffiliate) -> V) -> impl Iterator<Item = ([&str; 1], V)> {
        self.affiliates.iter().map(move |(id, stands)| ([id.as_str()], value(stands)))
    }

    fn of_postbacks(&self, is: impl Fn(&OfPostback) -> bool) -> impl Iterator<Item = ([&str; 2], u64)> {
        self.postbacks
            .iter()
            .map(move |(name, stands)| ([name.affiliate.as_str(), name.postback.as_str()], u64::from(is(stands))))
    }

    fn by_state(&self) -> impl Iterator<Item = ([&str; 2], u64)> {
        self.affiliates
            .iter()
            .flat_map(|(id, stands)| STATES.map(|state| ([id.as_str(), state.name()], stands.counts.of(state))))
    }
}

impl Collector for Standing {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut shown = Shown(encoder);
        let totals = &self.totals;
        shown.counter(&catalogue::ACCEPTED, Some(totals.accepted))?;
        shown.counter(&catalogue::DUPLICATES, Some(totals.duplicates))?;
        shown.counter(&catalogue::CONFLICTS, Some(totals.conflicts))?;
        shown.gauge(&catalogue::UNROUTED, Some(totals.unrouted))?;
        shown.gauges(&catalogue::DELIVERIES, self.by_state())?;
        shown.gauges(&catalogue::OLDEST, self.of_affiliates(|stands| stands.overdue_seconds))?;
        shown.gauges(&catalogue::BREAKER, self.of_affiliates(|stands| breaker_number(stands.breaker)))?;
        shown.gauges(&catalogue::IN_FLIGHT, self.of_affiliates(|stands| stands.in_flight))?;
        shown.gauges(&catalogue::PAUSED, self.of_postbacks(|stands| stands.paused))?;
        shown.gauges(&catalogue::MISCONFIGURED, self.of_postbacks(|stands| stands.misconfigured))?;
        shown.counter(&catalogue::BLOCKED, Some(totals.attempts_with(Outcome::Blocked)))?;
        shown.gauge(&catalogue::DISK, Some(self.disk_bytes))?;
        shown.gauge(&catalogue::FREE, self.free_bytes)?;
        shown.gauge(&catalogue::KEEP_FREE, Some(self.keep_free))?;
        let process = &self.process;
        shown.counter(&catalogue::CPU, process.cpu_seconds)?;
        shown.gauge(&catalogue::STARTED, process.started)?;
        shown.gauge(&catalogue::RESIDENT, process.resident_bytes)?;
        shown.gauge(&catalogue::OPEN_FDS, process.open_fds)?;
        shown.gauge(&catalogue::MAX_FDS, process.max_fds)
    }
}

/// The breaker as a number that rises with the trouble.
fn breaker_number(breaker: Breaker) -> u64 {
    match breaker {
        Breaker::Closed { .. } => 0,
        Breaker::HalfOpen { .. } => 1,
        Breaker::Open { .. } => 2,
    }
}

/// What is written by the catalogue's names; a metric of which nothing is known is left out.
struct Shown<'e>(DescriptorEncoder<'e>);

impl Shown<'_> {
    fn counter<V: EncodeCounterValue>(&mut self, metric: &Metric, value: Option<V>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.described(metric, |encoder| ConstCounter::new(value).encode(encoder))
    }

    fn gauge<V: EncodeGaugeValue>(&mut self, metric: &Metric, value: Option<V>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.described(metric, |encoder| ConstGauge::new(value).encode(encoder))
    }

    fn gauges<'v, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        metric: &Metric,
        samples: impl Iterator<Item = ([&'v str; N], V)>,
    ) -> fmt::Result {
        let mut samples = samples.peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        self.described(metric, |mut encoder| {
            for (labels, value) in samples {
                ConstGauge::new(value).encode(encoder.encode_family(&metric.labelled(labels))?)?;
            }
            Ok(())
        })
    }

    fn described(&mut self, metric: &Metric, samples: impl FnOnce(MetricEncoder<'_>) -> fmt::Result) -> fmt::Result {
        // The full stop is what the library puts behind the help of what is registered.
        let (help, unit) = (format!("{}.", metric.help), metric.told_unit());
        samples(self.0.encode_descriptor(metric.stem(), &help, unit.as_ref(), metric.kind.of_library())?)
    }
}
