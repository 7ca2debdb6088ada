//! What is exported, and what the page says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{OpenMetricsType, PrometheusType};

use super::catalogue::{ALL, Kind};
use super::*;
use crate::domain::delivery::{DeadReason, DeliveredHow, Delivery};
use crate::domain::plan::Affiliates;
use crate::domain::record::Timings;
use crate::ops::clock::{Clock as _, SystemClock};
use crate::outbox::{MemoryEngine, Options, Outbox, Pause};

const PAGE: &str = include_str!("../../../docs/metrics.md");

fn note(outcome: Outcome, state: State) -> AttemptNote {
    let at = SystemClock.now();
    AttemptNote {
        id: "dlv_0000000000000000".parse().unwrap(),
        transaction_id: "dep-1".parse().unwrap(),
        click_id: None,
        postback: crate::domain::id::PostbackRef {
            affiliate: "acme".parse().unwrap(),
            postback: "conversions".parse().unwrap(),
        },
        kind: "ftd".parse().unwrap(),
        accepted_at: at - Duration::from_secs(3),
        number: 1,
        outcome,
        status: None,
        rule: "test".into(),
        error: None,
        delivery: Delivery { state, made: 1, spent: 1 },
        timings: Timings { total: Duration::from_millis(70), ..Timings::default() },
        at,
    }
}

/// Everything that can be exported, with something in each metric.
async fn scraped(format: Format) -> String {
    let metrics = Metrics::default();
    metrics.attempted(&Arc::new(note(Outcome::Delivered, State::Delivered { how: DeliveredHow::Accepted })));
    metrics.attempted(&Arc::new(note(Outcome::Blocked, State::Dead { reason: DeadReason::Blocked })));
    metrics.committed(Duration::from_millis(3), 7);
    metrics.refused("disk-full");
    metrics.refused("no such problem");
    let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
    let outbox = Outbox::open(Arc::new(MemoryEngine::default()), options).unwrap();
    let pause = Pause { at: SystemClock.now(), by: "tests".into(), reason: "test".into() };
    let paused = note(Outcome::Delivered, State::Waiting).postback;
    outbox.pause(paused, Some(pause)).await.unwrap();
    let standing = Standing::take(Sources {
        reader: outbox.reader(),
        affiliates: &Affiliates::default(),
        live: &[],
        directory: Path::new("/"),
        keep_free: 1_024,
        now: SystemClock.now(),
    });
    metrics.exposition(standing.unwrap(), format).unwrap()
}

#[tokio::test]
async fn what_is_exported_is_what_is_listed() {
    let text = scraped(Format::Prometheus).await;
    let parsed = parse_prometheus(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kind = |kind: &PrometheusType| match kind {
        PrometheusType::Counter => "counter",
        PrometheusType::Gauge => "gauge",
        PrometheusType::Histogram => "histogram",
        PrometheusType::Summary | PrometheusType::Unknown => "something else",
    };
    let found: BTreeMap<_, _> = parsed
        .families
        .values()
        .map(|family| {
            let labels: BTreeSet<_> = family.get_label_names().iter().map(String::as_str).collect();
            (family.family_name.as_str(), (kind(&family.family_type), labels, family.help.as_str()))
        })
        .collect();
    let helps: Vec<String> = ALL.iter().map(|metric| format!("{}.", metric.help)).collect();
    let listed: BTreeMap<_, _> = ALL
        .iter()
        .zip(&helps)
        .map(|(metric, help)| {
            let kind = if metric.kind == Kind::Info { "gauge" } else { metric.kind.name() };
            (metric.name, (kind, metric.labels.iter().copied().collect(), help.as_str()))
        })
        .collect();
    assert_eq!(found, listed);
}

#[tokio::test]
async fn the_same_is_exported_as_open_metrics_with_units() {
    let text = scraped(Format::OpenMetrics).await;
    let parsed = parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(text.ends_with("# EOF\n"));
    for metric in ALL {
        let name = metric.name.trim_end_matches("_total").trim_end_matches("_info");
        let family = parsed.families.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        let kind = match metric.kind {
            Kind::Counter => OpenMetricsType::Counter,
            Kind::Gauge => OpenMetricsType::Gauge,
            Kind::Histogram => OpenMetricsType::Histogram,
            Kind::Info => OpenMetricsType::Info,
        };
        assert_eq!(family.family_type, kind, "{name}");
        let unit = metric.told_unit().map_or_else(String::new, |unit| unit.as_str().to_owned());
        assert_eq!(family.unit, unit, "{name}");
    }
    assert_eq!(parsed.families.len(), ALL.len());
}

#[tokio::test]
async fn what_happens_is_counted_once() {
    let text = scraped(Format::Prometheus).await;
    for line in [
        "postback_attempts_total{affiliate=\"acme\",outcome=\"delivered\"} 1",
        "postback_attempts_total{affiliate=\"acme\",outcome=\"blocked\"} 1",
        "postback_dead_letters_total{affiliate=\"acme\",reason=\"blocked\"} 1",
        "postback_request_duration_seconds_bucket{le=\"0.05\",affiliate=\"acme\"} 0",
        "postback_request_duration_seconds_bucket{le=\"0.1\",affiliate=\"acme\"} 1",
        "postback_request_duration_seconds_bucket{le=\"+Inf\",affiliate=\"acme\"} 1",
        "postback_delivery_latency_seconds_bucket{le=\"1.0\"} 0",
        "postback_delivery_latency_seconds_bucket{le=\"5.0\"} 1",
        "postback_delivery_latency_seconds_count 1",
        "postback_commit_duration_seconds_count 1",
        "postback_commit_group_requests_sum 7.0",
        "postback_events_refused_total{reason=\"disk-full\"} 1",
        "postback_events_refused_total{reason=\"other\"} 1",
        "postback_events_refused_total{reason=\"overloaded\"} 0",
        "postback_paused{affiliate=\"acme\",postback=\"conversions\"} 1",
        "postback_outbox_keep_free_bytes 1024",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn the_page_lists_every_metric() {
    let code = |name: &str| format!("`{name}`");
    let rows: Vec<String> = ALL
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|label| code(label)).collect::<Vec<_>>().join(", ");
            let unit = metric.unit().map_or_else(String::new, |unit| unit.as_str().to_owned());
            format!("| {} | {} | {labels} | {unit} | {} |", code(metric.name), metric.kind.name(), metric.help)
        })
        .collect();
    let listed: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `p")).collect();
    assert_eq!(listed, rows, "docs/metrics.md is to hold these rows:\n{}\n", rows.join("\n"));
}

#[test]
fn the_page_names_every_reason_of_ingest() {
    for reason in REFUSALS {
        assert!(PAGE.contains(&format!("`{reason}`")), "{reason}");
    }
}
