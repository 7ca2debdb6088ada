//! Five hundred hostile connections at once beside healthy affiliates.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postbackd::receiver::{Receiver, ReceiverOptions};
use serde_json::Value;

use super::conduct::{Count, Host};
use super::kinds::LATE;
use super::{ONCE, every_kind, start, write_affiliate};
use crate::harness::{Authority, Daemon, ftd, patience};

/// Room for all of them at once, so that what is measured is what they do and not how many there may be.
const WIDE: &str = "[dispatch]\nin_flight = 1024\n";
/// What each hostile affiliate may have in flight, for as long as it likes.
const HOSTILE: &str = "[limits]\nconcurrency = 80\nbreaker = { failures = 0 }\n";
/// Long enough that those who keep a connection until the deadline are all there at once.
const PATIENT: &str = "[defaults.timeout]\nconnect = \"2s\"\ntotal = \"10s\"\n";
/// What an attempt may take: its deadline, and a second more.
const LONGEST_MICROS: i128 = 11_000_000;
/// Deliveries of each hostile affiliate: of those who keep a connection, and of the others.
const HOSTILE_EVENTS: (usize, usize) = (70, 8);
/// Connections that are open to hostile receivers at once.
const AT_ONCE: u64 = 500;
const HEALTHY: usize = 8;
/// Deliveries of each healthy affiliate, one every [`PACE`].
const HEALTHY_EVENTS: usize = 50;
const PACE: Duration = Duration::from_millis(80);
/// Longest that nearly all healthy deliveries take, also on a busy machine: half of what they would wait for one hostile attempt to end.
const HEALTHY_P99: Duration = Duration::from_secs(5);
/// Most memory of the daemon: for each of 1,024 attempts a head and a body of 64 KiB each would be 128 MiB; beside
/// these TLS, HTTP/2, the store's pages and the program.
const MOST_KIB: u64 = 320 << 10;

/// Hands in what the healthy affiliates are told of, at a pace.
async fn trickle(daemon: &Daemon, round: &str) {
    for number in 0..HEALTHY_EVENTS {
        let events = (0..HEALTHY).map(|n| ftd(&format!("healthy-{n}"), &format!("{round}-{number}"))).collect();
        let taken = daemon.post("/v1/events/batch", &Value::Array(events)).await;
        assert_eq!(taken.body["accepted"], HEALTHY, "{}", taken.body);
        // What is measured is how they fare one by one.
        tokio::time::sleep(PACE).await;
    }
}

async fn at_rest(daemon: &Daemon) {
    let open = |stats: &Value, state: &str| stats["deliveries"][state].as_u64().unwrap_or(0);
    let none = |stats: &Value| ["scheduled", "waiting"].iter().all(|state| open(stats, state) == 0);
    daemon.poll("/v1/stats", none).await;
}

/// The time that an attempt ended after something else of its row.
fn micros_since(attempt: &Value, column: &str) -> i128 {
    let time = |column: &str| attempt[column].as_str().unwrap().parse::<Timestamp>().unwrap();
    time("ended_at").duration_since(time(column)).as_micros()
}

fn p99(attempts: &[Value], round: &str) -> Duration {
    let ours = attempts.iter().filter(|attempt| attempt["transaction_id"].as_str().unwrap().starts_with(round));
    let mut waits: Vec<_> = ours.map(|attempt| micros_since(attempt, "accepted_at")).collect();
    assert_eq!(waits.len(), HEALTHY * HEALTHY_EVENTS, "one attempt each");
    waits.sort_unstable();
    Duration::from_micros(waits[waits.len() * 99 / 100].try_into().unwrap())
}

/// The most memory that a process ever had.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = format!("/proc/{}/status", daemon.process().as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[allow(clippy::print_stdout, reason = "the figures are what a reader of the test wants")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_hostile_connections_harm_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let authority = Authority::new();
    let all = Arc::new(Count::default());
    let mut hosts = Vec::new();
    for kind in every_kind() {
        let host = Host::start(kind, &authority, vec![Arc::clone(&all)]).await;
        write_affiliate(directory.path(), host.kind.name, &host.url(), HOSTILE);
        hosts.push(host);
    }
    let receiver =
        Receiver::start(ReceiverOptions { key: "eid".parse().unwrap(), ..Default::default() }).await.unwrap();
    for number in 0..HEALTHY {
        write_affiliate(directory.path(), &format!("healthy-{number}"), &receiver.url("/postback"), "");
    }
    let mut ports: Vec<u16> = hosts.iter().map(|host| host.address.port()).collect();
    ports.push(receiver.address().port());
    let daemon = start(directory.path(), &authority, &ports, &format!("{WIDE}{PATIENT}{ONCE}"));

    trickle(&daemon, "alone").await;
    at_rest(&daemon).await;
    let before = peak_kib(&daemon);
    let (many, few) = HOSTILE_EVENTS;
    let mut handed_in = 0;
    for number in 0..many {
        let named = hosts.iter().filter(|host| number < few || host.kind.says == LATE).map(|host| host.kind.name);
        let events: Vec<_> = named.map(|name| ftd(name, &format!("hostile-{number}"))).collect();
        handed_in += events.len();
        let taken = daemon.post("/v1/events/batch", &Value::Array(events)).await;
        assert_eq!(taken.body["rejected"], 0, "{}", taken.body);
    }
    trickle(&daemon, "beside").await;
    at_rest(&daemon).await;

    let delivered = HEALTHY * HEALTHY_EVENTS * 2;
    let ledger = receiver.wait_for(|ledger| ledger.accepted_keys == delivered as u64, patience()).await;
    assert!(ledger.is_ok_and(|ledger| ledger.requests == delivered as u64), "each once");
    let exported = daemon.command(&["export", "attempts"]).stdout;
    let attempts: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (healthy, hostile): (Vec<Value>, Vec<Value>) =
        attempts.into_iter().partition(|attempt| attempt["affiliate"].as_str().unwrap().starts_with("healthy-"));
    assert_eq!(hostile.len(), handed_in, "one attempt each");
    let (alone, beside, peak) = (p99(&healthy, "alone"), p99(&healthy, "beside"), peak_kib(&daemon));
    let longest = hostile.iter().map(|attempt| micros_since(attempt, "started_at")).max().unwrap();
    println!(
        "{} kinds, {} connections at once: healthy p99 {beside:?} (alone {alone:?}), longest hostile attempt \
         {longest} µs, memory {before} KiB before, {peak} KiB at most",
        hosts.len(),
        all.most(),
    );
    assert!(all.most() >= AT_ONCE, "{} connections at once", all.most());
    assert!(healthy.iter().all(|attempt| attempt["outcome"] == "delivered"), "a healthy one is not delivered");
    assert!(beside <= HEALTHY_P99, "healthy p99 {beside:?}");
    assert!(longest <= LONGEST_MICROS, "an attempt took {longest} µs");
    assert!(peak <= MOST_KIB, "{peak} KiB");
}
