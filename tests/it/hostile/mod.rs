//! Hostile receivers: whatever they do, an attempt comes to what the contract says, in its time and within its room,
//! and nobody else is harmed.
//!
//! `src/receiver` plays what an operator wants to rehearse. What stands here is nonsense byte for byte, which only a
//! test wants.

mod bomb;
mod conduct;
mod crowd;
mod kinds;
mod sealed;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::{Authority, Daemon, ftd, write_daemon_file};
use conduct::{Count, Host, Kind, Port};

/// An attempt's deadlines in these tests.
const TIMEOUTS: &str = "[defaults.timeout]\nconnect = \"1s\"\ntotal = \"2s\"\n";
/// One attempt for each delivery, so that it is the one that is looked at.
const ONCE: &str = "[defaults.retry]\nmax_attempts = 1\n";
/// What an attempt may take: its deadline, and a second more.
const LONGEST_MICROS: i128 = 3_000_000;

/// Rules that have every answer parsed in every way there is.
const RULES: &str = "[[postback.response]]\nwhen = { json = { pointer = \"/0/0/0\", equals = \"no\" } }\nthen = \"rejected\"\n\
    [[postback.response]]\nwhen = { xml = { tag = \"status\", equals = \"no\" } }\nthen = \"rejected\"\n\
    [[postback.response]]\nwhen = { body_matches = \"(?i)(a|b|ab)*c(d|e)+f\" }\nthen = \"rejected\"\n";

fn every_kind() -> Vec<Kind> {
    [kinds::all(), sealed::all()].concat()
}

/// Writes an affiliate whose only postback goes to a URL.
fn write_affiliate(directory: &Path, id: &str, url: &str, limits: &str) {
    let file = format!(
        "id = \"{id}\"\nname = \"{id}\"\n{limits}\n[[postback]]\nname = \"conversions\"\nevents = \"*\"\nmethod = \"GET\"\n\
         url = \"{url}?eid={{event_id}}&cid={{click_id}}\"\ninsecure_http = true\n{RULES}"
    );
    std::fs::write(directory.join(format!("affiliates/{id}.toml")), file).unwrap();
}

/// Starts a daemon that trusts the authority and may reach these ports.
fn start(directory: &Path, authority: &Authority, ports: &[u16], lines: &str) -> Daemon {
    write_daemon_file(directory, ports, "", lines);
    let trusted = directory.join("authority.pem");
    std::fs::write(&trusted, authority.pem()).unwrap();
    Daemon::start_in(directory, &[("SSL_CERT_FILE", trusted.to_str().unwrap())])
}

/// How long the first attempt took, from its begin to the moment when its outcome was settled.
fn micros(detail: &Value) -> i128 {
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    let entry = &detail["history"][0];
    time(&entry["at"]).duration_since(time(&entry["attempt"]["started_at"])).as_micros()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_comes_to_what_the_contract_says_and_in_time() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let authority = Authority::new();
    let mut hosts = BTreeMap::new();
    for kind in every_kind() {
        let count = Arc::new(Count::default());
        let host = Host::start(kind, &authority, vec![Arc::clone(&count)]).await;
        write_affiliate(directory.path(), host.kind.name, &host.url(), "");
        assert!(hosts.insert(host.kind.name, (host, count)).is_none(), "a name for each kind");
    }
    assert!(hosts.len() >= 30, "{} kinds", hosts.len());
    let ports: Vec<u16> = hosts.values().map(|(host, _)| host.address.port()).collect();
    let daemon = start(directory.path(), &authority, &ports, &format!("{TIMEOUTS}{ONCE}"));
    let mut deliveries = Vec::new();
    for name in hosts.keys() {
        let taken = daemon.post("/v1/events", &ftd(name, "dep-1")).await;
        assert_eq!(taken.status, 202, "{}", taken.body);
        deliveries.push((*name, taken.body["deliveries"][0].as_str().unwrap().to_owned()));
    }
    let mut wrong = Vec::new();
    for (name, id) in deliveries {
        let tried = |body: &Value| body["history"][0]["attempt"].is_object();
        let detail = daemon.poll(&format!("/v1/deliveries/{id}"), tried).await;
        let (host, count) = &hosts[name];
        let attempt = &detail["history"][0]["attempt"];
        let said = format!("{} {}", attempt["rule"], attempt["error"]);
        let total = attempt["timings_us"]["total"].as_i64().unwrap();
        if !host.kind.outcome.split('|').any(|outcome| attempt["outcome"] == outcome) || !said.contains(host.kind.says)
        {
            wrong.push(format!("{name}: {} instead of {}: {said}", attempt["outcome"], host.kind.outcome));
        }
        if micros(&detail) > LONGEST_MICROS || i128::from(total) > LONGEST_MICROS {
            wrong.push(format!("{name}: took {} µs of {total} on the wire", micros(&detail)));
        }
        let connections = count.ever.load(Ordering::SeqCst);
        if connections != u64::from(host.kind.port == Port::Open) {
            wrong.push(format!("{name}: {connections} connections for one attempt"));
        }
        if ["escape-sequences", "header-not-ascii"].contains(&name) {
            let shown = daemon.command(&["show", &id]).stdout;
            if shown.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}') {
                wrong.push(format!("{name}: shown to a terminal as {shown:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_http2_that_falls_silent_is_not_used_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let (authority, count) = (Authority::new(), Arc::new(Count::default()));
    let host = Host::start(sealed::falls_silent(), &authority, vec![Arc::clone(&count)]).await;
    let limits = "[limits]\nbreaker = { failures = 0 }\n";
    write_affiliate(directory.path(), host.kind.name, &host.url(), limits);
    let patient = "[defaults.retry]\ninitial = \"500ms\"\nfactor = 1.0\nmax_attempts = 50\njitter = \"none\"\n";
    let daemon = start(directory.path(), &authority, &[host.address.port()], &format!("{TIMEOUTS}{patient}"));
    for transaction in ["dep-1", "dep-2"] {
        let taken = daemon.post("/v1/events", &ftd(host.kind.name, transaction)).await;
        let path = format!("/v1/deliveries/{}", taken.body["deliveries"][0].as_str().unwrap());
        daemon.poll(&path, |body| body["delivery"]["state"] == "delivered").await;
    }
    assert_eq!(count.ever.load(Ordering::SeqCst), 2, "the second is delivered over a connection of its own");
}
