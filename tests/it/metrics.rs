//! What Prometheus sees, against what receivers and the store know; and what it has to show to be let in.

use std::collections::BTreeMap;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{HistogramBucket, HistogramValue, PrometheusValue};
use serde_json::json;

use crate::harness::{INGEST_TOKEN, NARROWED_TOKEN, QUICK_RETRY, TOKEN, World, ftd, narrowed, partner};

/// A scrape, read by a parser of Prometheus' own format.
struct Scrape {
    numbers: BTreeMap<String, f64>,
    histograms: BTreeMap<String, HistogramValue>,
}

impl Scrape {
    async fn of(world: &World) -> Self {
        let (kind, text) = scrape(world, "text/plain").await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        let parsed = parse_prometheus(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let (mut numbers, mut histograms) = (BTreeMap::new(), BTreeMap::new());
        for family in parsed.families.values() {
            for sample in family.iter_samples() {
                let labels = sample.get_labelset().unwrap();
                let mut labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                labels.sort();
                let name = format!("{} {}", family.family_name, labels.join(" ")).trim_end().to_owned();
                match sample.value.clone() {
                    PrometheusValue::Gauge(value) => numbers.insert(name, value.as_f64()),
                    PrometheusValue::Counter(counter) => numbers.insert(name, counter.value.as_f64()),
                    PrometheusValue::Histogram(histogram) => {
                        check_buckets(&name, &histogram);
                        histograms.insert(name, histogram);
                        None
                    }
                    other => panic!("{name} is {other:?}"),
                };
            }
        }
        Self { numbers, histograms }
    }

    #[track_caller]
    fn number(&self, name: &str) -> f64 {
        *self.numbers.get(name).unwrap_or_else(|| panic!("{name} is not among {:#?}", self.numbers.keys()))
    }

    #[track_caller]
    fn expect(&self, figures: &[(&str, u32)]) {
        for (name, expected) in figures {
            let found = self.number(name);
            assert!((found - f64::from(*expected)).abs() < f64::EPSILON, "{name} is {found}, not {expected}");
        }
    }
}

/// Buckets rise with their bounds, and the last holds everything.
fn check_buckets(name: &str, histogram: &HistogramValue) {
    let count = |bucket: &HistogramBucket| u64::try_from(bucket.count.as_i64().unwrap()).unwrap();
    let buckets: Vec<_> = histogram.buckets.iter().map(|bucket| (bucket.upper_bound, count(bucket))).collect();
    for pair in buckets.windows(2) {
        assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{name}: {buckets:?}");
    }
    let (bound, count) = *buckets.last().unwrap();
    assert!(bound.is_infinite(), "{name} ends at {bound}");
    assert_eq!(Some(count), histogram.count, "{name}: {buckets:?}");
}

async fn scrape(world: &World, accept: &str) -> (String, String) {
    let client = postbackd::transport::api_client().unwrap().build().unwrap();
    let request = client.get(world.daemon.url("/metrics")).bearer_auth(TOKEN).header("accept", accept);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, response.text().await.unwrap())
}

/// A world in which something of every kind has happened, and has come to rest.
async fn eventful() -> World {
    let partners = vec![
        partner("acme", "?txid=dep-1 => 500*2,200\n?txid=dep-2 => 400*4\n200"),
        partner("beta", "200"),
        partner("forbidden", "200"),
        partner("gone", "410"),
        partner("idle", "200").postback("events = [\"registration\"]"),
    ];
    let world = World::with(partners).await;
    // Only the loopback network is allowed, and this address is not of it.
    let file = world.path("affiliates/forbidden.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("127.0.0.1", "10.0.0.1")).unwrap();
    assert_eq!(world.daemon.post("/v1/reload", &json!({})).await.status, 200);
    let pause = json!({ "reason": "their migration" });
    assert_eq!(world.daemon.post("/v1/affiliates/beta/pause", &pause).await.status, 200);

    let retried = world.accept(ftd("acme", "dep-1")).await;
    let dead = world.accept(ftd("acme", "dep-2")).await;
    let delivered = world.accept(ftd("acme", "dep-3")).await;
    assert_eq!(world.daemon.post("/v1/events", &ftd("acme", "dep-3")).await.status, 200);
    let mut other = ftd("acme", "dep-3");
    other["payout"] = json!("7.00");
    assert_eq!(world.daemon.post("/v1/events", &other).await.status, 409);
    let waits = world.accept(ftd("beta", "dep-4")).await;
    let blocked = world.accept(ftd("forbidden", "dep-5")).await;
    let held = world.accept(ftd("gone", "dep-6")).await;
    world.accept(ftd("idle", "dep-7")).await;
    let batch = json!([{ "type": "ftd" }, ftd("nobody", "dep-8"), ftd("acme", "dep-3")]);
    assert_eq!(world.daemon.post("/v1/events/batch", &batch).await.status, 200);
    assert_eq!(world.daemon.post_as("wrong", "/v1/events", "application/json", "{}".into()).await.status, 401);
    assert_eq!(world.daemon.post("/v1/events/batch", &json!("no batch")).await.status, 400);
    for (id, state) in [
        (&retried, "delivered"),
        (&dead, "dead"),
        (&delivered, "delivered"),
        (&blocked, "dead"),
        (&held, "held"),
        (&waits, "scheduled"),
    ] {
        world.until(id, state).await;
    }
    world.none_in_flight().await;
    world
}

#[tokio::test]
async fn the_figures_are_those_of_receivers_and_stats() {
    let world = eventful().await;
    let scrape = Scrape::of(&world).await;
    scrape.expect(&[
        ("postback_events_accepted_total", 7),
        ("postback_events_duplicate_total", 2),
        ("postback_events_conflicting_total", 1),
        ("postback_events_refused_total reason=conflicting-event", 1),
        ("postback_events_refused_total reason=invalid-event", 2),
        ("postback_events_refused_total reason=unauthenticated", 1),
        ("postback_events_refused_total reason=malformed-request", 1),
        ("postback_events_refused_total reason=disk-full", 0),
        ("postback_events_refused_total reason=other", 0),
        ("postback_unrouted_events", 1),
        ("postback_attempts_total affiliate=acme outcome=delivered", 2),
        ("postback_attempts_total affiliate=acme outcome=retry", 6),
        ("postback_attempts_total affiliate=forbidden outcome=blocked", 1),
        ("postback_attempts_total affiliate=gone outcome=gone", 1),
        ("postback_dead_letters_total affiliate=acme reason=exhausted", 1),
        ("postback_dead_letters_total affiliate=forbidden reason=blocked", 1),
        ("postback_egress_blocked_total", 1),
        ("postback_deliveries affiliate=acme state=delivered", 2),
        ("postback_deliveries affiliate=acme state=dead", 1),
        ("postback_deliveries affiliate=beta state=scheduled", 1),
        ("postback_deliveries affiliate=gone state=held", 1),
        ("postback_deliveries affiliate=idle state=delivered", 0),
        ("postback_oldest_pending_seconds affiliate=acme", 0),
        ("postback_in_flight affiliate=acme", 0),
        ("postback_breaker_state affiliate=beta", 0),
        ("postback_paused affiliate=acme postback=conversions", 0),
        ("postback_paused affiliate=beta postback=conversions", 1),
        ("postback_paused affiliate=gone postback=conversions", 1),
        ("postback_misconfigured affiliate=acme postback=conversions", 0),
        ("postback_outbox_keep_free_bytes", 16 << 20),
    ]);
    assert!(scrape.number("postback_oldest_pending_seconds affiliate=beta") > 0.0);
    let requests = &scrape.histograms["postback_request_duration_seconds affiliate=acme"];
    assert_eq!(requests.count, Some(world.receiver("acme").ledger().requests));
    assert_eq!(scrape.histograms["postback_delivery_latency_seconds"].count, Some(2));
    let (commits, groups) =
        (&scrape.histograms["postback_commit_duration_seconds"], &scrape.histograms["postback_commit_group_requests"]);
    assert!(commits.count >= Some(7) && commits.count == groups.count, "{commits:?} {groups:?}");
    assert!(!scrape.histograms.contains_key("postback_request_duration_seconds affiliate=forbidden"));

    let stats = world.daemon.get("/v1/stats").await.body;
    let total = |prefix: &str, suffix: &str| -> f64 {
        let of = scrape.numbers.iter().filter(|(name, _)| name.starts_with(prefix) && name.ends_with(suffix));
        of.map(|(_, value)| value).sum()
    };
    for (state, count) in stats["deliveries"].as_object().unwrap() {
        assert_eq!(Some(total("postback_deliveries ", &format!("state={state}"))), count.as_f64(), "{state}");
    }
    for (outcome, count) in stats["totals"]["attempts"].as_object().unwrap() {
        assert_eq!(Some(total("postback_attempts_total ", &format!("outcome={outcome}"))), count.as_f64(), "{outcome}");
    }
    assert_eq!(Some(scrape.number("postback_outbox_disk_bytes")), stats["disk_bytes"].as_f64());
}

#[tokio::test]
async fn what_the_store_counts_survives_a_restart() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "delivered").await;
    let before = Scrape::of(&world).await;
    world.daemon.kill();
    world.daemon.start_again();
    let after = Scrape::of(&world).await;
    after.expect(&[
        ("postback_events_accepted_total", 1),
        ("postback_deliveries affiliate=acme state=delivered", 1),
        ("postback_breaker_state affiliate=acme", 0),
    ]);
    assert!(!after.numbers.contains_key("postback_attempts_total affiliate=acme outcome=delivered"));
    assert!(after.number("process_start_time_seconds") >= before.number("process_start_time_seconds"));
    assert!(after.number("process_resident_memory_bytes") > 1e6);
    assert!(after.number("process_open_fds") > 3.0);
}

#[tokio::test]
async fn a_failing_receiver_shows_in_its_breaker_and_nobody_elses() {
    let breaker = "[limits.breaker]\nfailures = 2\nopen = \"1h\"\nmax_open = \"1h\"";
    let world = World::with(vec![partner("acme", "500").affiliate(breaker), partner("beta", "200")]).await;
    let failing = world.accept(ftd("acme", "dep-1")).await;
    let works = world.accept(ftd("beta", "dep-1")).await;
    world.until(&works, "delivered").await;
    world.received("acme", |ledger| ledger.requests == 2).await;
    world.daemon.poll("/v1/stats", |stats| stats["affiliates"][0]["breaker"] == "open").await;
    world.until(&failing, "scheduled").await;
    let scrape = Scrape::of(&world).await;
    scrape.expect(&[
        ("postback_breaker_state affiliate=acme", 2),
        ("postback_breaker_state affiliate=beta", 0),
        ("postback_deliveries affiliate=acme state=scheduled", 1),
    ]);
}

#[tokio::test]
async fn metrics_are_for_those_who_may_read_everything() {
    let world = World::with_api(vec![partner("acme", "200")], &narrowed(), QUICK_RETRY).await;
    let status = async |token: &str| world.daemon.get_as(token, "/metrics").await.status;
    assert_eq!(status(TOKEN).await, 200);
    assert_eq!(status(INGEST_TOKEN).await, 403);
    assert_eq!(status(NARROWED_TOKEN).await, 403);
    assert_eq!(status("wrong").await, 401);
    assert!(over_the_socket(&world).await.starts_with("HTTP/1.1 200 "), "the daemon's own user");
}

#[tokio::test]
async fn open_metrics_need_no_token_and_open_nothing_else() {
    let world = World::with_api(vec![partner("acme", "200")], "open_metrics = true", QUICK_RETRY).await;
    assert_eq!(world.daemon.get_as("wrong", "/metrics").await.status, 200);
    assert_eq!(world.daemon.get_as("wrong", "/v1/stats").await.status, 401);
    let file = world.path("postbackd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("open_metrics = true", "open_metrics = false")).unwrap();
    assert_eq!(world.daemon.post("/v1/reload", &json!({})).await.status, 200);
    assert_eq!(world.daemon.get_as("wrong", "/metrics").await.status, 401);
}

#[tokio::test]
async fn a_scraper_that_prefers_open_metrics_gets_them() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "delivered").await;
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let (kind, text) = scrape(&world, prometheus).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let parsed = parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(parsed.families.contains_key("postback_events_accepted"), "a counter is named without its suffix");
}

/// The commands that alerts tell people to run next are commands.
#[tokio::test]
async fn alerts_name_commands_that_work() {
    let world = World::with(vec![partner("acme", "400")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "dead").await;
    let alerts = include_str!("../../config/prometheus/alerts.yml").split_whitespace().collect::<Vec<_>>().join(" ");
    let named = alerts.split('`').skip(1).step_by(2).filter_map(|command| command.strip_prefix("postbackd "));
    let mut ran = 0;
    for command in named {
        let command =
            command.replace("{{ $labels.affiliate }}", "acme").replace("{{ $labels.postback }}", "conversions");
        let finished = world.daemon.command(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(finished.code, 0, "{command}: {}", finished.stderr);
        ran += 1;
    }
    assert!(ran > 10, "{ran}");
}

/// The answer to a scrape on the Unix socket, where the kernel says who asks.
async fn over_the_socket(world: &World) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::UnixStream::connect(world.path("postbackd.sock")).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
