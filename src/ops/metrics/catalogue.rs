//! Every metric that the daemon exports: its name on the wire, its labels and what it means.
//!
//! The page `docs/metrics.md` shows this list, and the alert rules and the dashboard name nothing that is not in it.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A metric by its name on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    /// Its name, as Prometheus stores it; a histogram's is followed by `_bucket`, `_sum` and `_count`.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: Kind,
    /// Its labels.
    pub(super) labels: &'static [&'static str],
    /// What it tells.
    pub(super) help: &'static str,
}

/// The types of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number that only rises.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// How often a measure lay below each of some bounds.
    Histogram,
    /// Labels that describe the process; always 1.
    Info,
}

impl Kind {
    /// The type's name.
    #[cfg(test)]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// The type as the library knows it.
    pub(super) fn of_library(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

impl Metric {
    /// The name without the suffixes that the library adds itself.
    pub(super) fn stem(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let stem = self.name.strip_suffix(suffix).unwrap_or(self.name);
        let unit = self.told_unit();
        unit.and_then(|unit| stem.strip_suffix(unit.as_str())?.strip_suffix('_')).unwrap_or(stem)
    }

    /// The unit that is told apart from the name. OpenMetrics allows it for histograms, too, but not every parser does.
    pub(super) fn told_unit(&self) -> Option<Unit> {
        self.unit().filter(|_| self.kind != Kind::Histogram)
    }

    /// Values of its labels, in the order of their names.
    pub(super) fn labelled<'v, const N: usize>(&self, values: [&'v str; N]) -> Labelled<'v, N> {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        Labelled { names: self.labels, values }
    }

    /// The unit that stands in its name.
    pub(super) fn unit(&self) -> Option<Unit> {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        match stem {
            _ if stem.ends_with("_seconds") => Some(Unit::Seconds),
            _ if stem.ends_with("_bytes") => Some(Unit::Bytes),
            _ => None,
        }
    }
}

/// Names of labels with their values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labelled<'v, const N: usize> {
    names: &'static [&'static str],
    values: [&'v str; N],
}

impl<const N: usize> EncodeLabelSet for Labelled<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.names.iter().zip(self.values).try_for_each(|(name, value)| (*name, value).encode(encoder.encode_label()))
    }
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

const AFFILIATE: &[&str] = &["affiliate"];
const POSTBACK: &[&str] = &["affiliate", "postback"];

pub(super) const ACCEPTED: Metric =
    metric("postback_events_accepted_total", Kind::Counter, &[], "Events accepted since the store was created");
pub(super) const DUPLICATES: Metric = metric(
    "postback_events_duplicate_total",
    Kind::Counter,
    &[],
    "Events handed in again with the same content, since the store was created",
);
pub(super) const CONFLICTS: Metric = metric(
    "postback_events_conflicting_total",
    Kind::Counter,
    &[],
    "Events refused for a stored one with the same dedupe key and other content, since the store was created",
);
pub(super) const REFUSED: Metric = metric(
    "postback_events_refused_total",
    Kind::Counter,
    &["reason"],
    "Events refused at ingest since the process started; a request that is refused whole counts once",
);
pub(super) const UNROUTED: Metric =
    metric("postback_unrouted_events", Kind::Gauge, &[], "Events that no postback wanted and that are kept");
pub(super) const ATTEMPTS: Metric = metric(
    "postback_attempts_total",
    Kind::Counter,
    &["affiliate", "outcome"],
    "Attempts made durable since the process started, by what they came to",
);
pub(super) const LATENCY: Metric = metric(
    "postback_delivery_latency_seconds",
    Kind::Histogram,
    &[],
    "Time from the acceptance of an event to the end of the attempt that delivered it, replays included",
);
pub(super) const REQUEST: Metric = metric(
    "postback_request_duration_seconds",
    Kind::Histogram,
    AFFILIATE,
    "Time that a request to a receiver took, from name resolution to the end of the response or of waiting",
);
pub(super) const DELIVERIES: Metric = metric(
    "postback_deliveries",
    Kind::Gauge,
    &["affiliate", "state"],
    "Deliveries by state, as the store counts them; those in flight count as scheduled",
);
pub(super) const OLDEST: Metric = metric(
    "postback_oldest_pending_seconds",
    Kind::Gauge,
    AFFILIATE,
    "Time since the earliest scheduled delivery became due, paused postbacks included; 0 when none is due",
);
pub(super) const DEAD: Metric = metric(
    "postback_dead_letters_total",
    Kind::Counter,
    &["affiliate", "reason"],
    "Deliveries given up on since the process started",
);
pub(super) const BREAKER: Metric = metric(
    "postback_breaker_state",
    Kind::Gauge,
    AFFILIATE,
    "The breaker: 0 closed, 1 half open (one probe is out), 2 open (nothing is sent)",
);
pub(super) const IN_FLIGHT: Metric = metric("postback_in_flight", Kind::Gauge, AFFILIATE, "Attempts in flight");
pub(super) const PAUSED: Metric = metric(
    "postback_paused",
    Kind::Gauge,
    POSTBACK,
    "1 where a person, or a receiver that is gone, paused the postback",
);
pub(super) const MISCONFIGURED: Metric = metric(
    "postback_misconfigured",
    Kind::Gauge,
    POSTBACK,
    "1 where the postback is flagged as misconfigured, until a delivery succeeds",
);
pub(super) const BLOCKED: Metric = metric(
    "postback_egress_blocked_total",
    Kind::Counter,
    &[],
    "Attempts that the egress policy forbade, since the store was created",
);
pub(super) const COMMIT: Metric = metric(
    "postback_commit_duration_seconds",
    Kind::Histogram,
    &[],
    "Time from the first request of a group of writes until the group is past fdatasync",
);
pub(super) const GROUP: Metric =
    metric("postback_commit_group_requests", Kind::Histogram, &[], "Requests that share one group of writes");
pub(super) const DISK: Metric =
    metric("postback_outbox_disk_bytes", Kind::Gauge, &[], "Bytes that the store takes on disk");
pub(super) const FREE: Metric = metric(
    "postback_outbox_free_bytes",
    Kind::Gauge,
    &[],
    "Bytes that the daemon may still write on the file system of the store",
);
pub(super) const KEEP_FREE: Metric = metric(
    "postback_outbox_keep_free_bytes",
    Kind::Gauge,
    &[],
    "Bytes of that file system below which events are refused ([outbox] keep_free)",
);
pub(super) const BUILD: Metric =
    metric("postback_build_info", Kind::Info, &["version", "os", "arch"], "The running program; always 1");
pub(super) const CPU: Metric =
    metric("process_cpu_seconds_total", Kind::Counter, &[], "Time that the process spent on processors");
pub(super) const STARTED: Metric =
    metric("process_start_time_seconds", Kind::Gauge, &[], "When the process started, in seconds since 1970");
pub(super) const RESIDENT: Metric =
    metric("process_resident_memory_bytes", Kind::Gauge, &[], "Memory of the process that is in RAM");
pub(super) const OPEN_FDS: Metric = metric("process_open_fds", Kind::Gauge, &[], "File descriptors that are open");
pub(super) const MAX_FDS: Metric = metric("process_max_fds", Kind::Gauge, &[], "File descriptors that may be open");

/// Every metric, in the order of the page.
#[cfg(test)]
pub(super) const ALL: [Metric; 27] = [
    ACCEPTED,
    DUPLICATES,
    CONFLICTS,
    REFUSED,
    UNROUTED,
    ATTEMPTS,
    LATENCY,
    REQUEST,
    DELIVERIES,
    OLDEST,
    DEAD,
    BREAKER,
    IN_FLIGHT,
    PAUSED,
    MISCONFIGURED,
    BLOCKED,
    COMMIT,
    GROUP,
    DISK,
    FREE,
    KEEP_FREE,
    BUILD,
    CPU,
    STARTED,
    RESIDENT,
    OPEN_FDS,
    MAX_FDS,
];

/// Why ingest refuses events, by the last part of the problem's type. What is not listed counts as `other`.
pub(super) const REFUSALS: [&str; 13] = [
    "conflicting-event",
    "disk-full",
    "forbidden",
    "group-full",
    "invalid-event",
    "malformed-request",
    "outbox-failed",
    "outbox-stopped",
    "overloaded",
    "too-large",
    "too-many-requests",
    "unauthenticated",
    "other",
];
