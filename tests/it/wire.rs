//! What is sent and what is recorded, seen from outside: echoes, replies that break off, faults of this machine.

use std::collections::BTreeSet;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use crate::harness::{QUICK_RETRY, World, ftd, partner};

#[tokio::test]
async fn a_secret_that_is_echoed_is_masked_on_record_and_seen_by_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "canary/5f2a").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let script = "500 header=\"X-Echo: Y2FuYXJ5LzVmMmE=\" half body=\"no such key canary%2f5f2a; canary\",\
                  200 header=\"Location: /login?key=canary%2F5f2a\" body=\"{\\\"key\\\":\\\"canary\\\\/5f2a\\\"}\"";
    let tables = format!(
        "[postback.headers]\nX-Key = \"{{secret.key}}\"\n\
         [[postback.response]]\nwhen = {{ json = {{ pointer = \"/key\", equals = \"canary/5f2a\" }} }}\nthen = \"duplicate\"\n\
         [secrets]\nkey = {{ file = {:?} }}\n",
        secret.to_str().unwrap()
    );
    let world = World::with(vec![partner("acme", script).tables(&tables)]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    assert_eq!(detail["delivery"]["reason"], "duplicate");
    let responses: Vec<_> = (0..2).map(|at| &detail["history"][at]["attempt"]["response"]).collect();
    assert_eq!(responses[0]["body"], "no such key ***; ***", "the end of a broken body may be a part of a secret");
    assert_eq!(responses[1]["body"], "{\"key\":\"***\"}");
    assert_eq!(responses[0]["headers"][0], json!(["x-echo", "***="]));
    assert_eq!(responses[1]["headers"][0], json!(["location", "/login?key=***"]));
    assert!(!detail.to_string().to_ascii_lowercase().contains("5f2a"), "{detail}");
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_ambiguous_and_on_record() {
    let world = World::with(vec![partner("acme", "409 half body=\"so far\",200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let attempt = &detail["history"][0]["attempt"];
    assert_eq!(attempt["outcome"], "ambiguous");
    assert!(attempt["error"].is_string());
    let response = &attempt["response"];
    assert_eq!(
        (&response["status"], &response["body"], &response["truncated"]),
        (&json!(409), &json!("so far"), &json!(true))
    );
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let nowhere = "http://127.0.0.1:1";
    let names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let environment = names.map(|name| (name, nowhere));
    let world = World::in_environment(vec![partner("acme", "200")], QUICK_RETRY, &environment).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    assert_eq!(world.until(&id, "delivered").await["delivery"]["attempts"], 1);
}

#[tokio::test]
async fn a_daemon_without_descriptors_spends_nothing_and_sends_when_it_has_some() {
    let limits = "[limits.breaker]\nfailures = 1\nopen = \"1h\"\nmax_open = \"1h\"\n";
    let world = World::with(vec![partner("acme", "200").affiliate(limits)]).await;
    // The connection that the test asks over is kept, so that it needs no descriptor of the daemon later.
    world.daemon.get("/v1/stats").await;
    let process = world.daemon.process();
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).unwrap();
    let open: BTreeSet<u64> = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let free = (0..100_000).find(|number| !open.contains(number)).unwrap();
    let Rlimit { maximum, current } = getrlimit(Resource::Nofile);
    let limit = |current| prlimit(Some(process), Resource::Nofile, Rlimit { current, maximum }).unwrap();
    limit(Some(free));
    let id = world.accept(ftd("acme", "dep-1")).await;
    let path = format!("/v1/deliveries/{id}");
    world.daemon.poll(&path, |body| body["delivery"]["attempts"] != 0).await;
    limit(current);
    let detail = world.until(&id, "delivered").await;
    assert_eq!(detail["delivery"]["spent"], 1, "{detail}");
    let attempt = &detail["history"][0]["attempt"];
    assert_eq!(attempt["outcome"], "unreachable");
    assert!(attempt["rule"].as_str().unwrap().contains("local"), "{attempt}");
    assert!(attempt["error"].as_str().unwrap().contains("open files"), "{attempt}");
    assert_eq!(world.receiver("acme").ledger().requests, 1);
}
