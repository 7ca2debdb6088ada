//! Timelines: from any name of a conversion to all that happened, with the daemon up and down.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{NARROWED_TOKEN, QUICK_RETRY, World, ftd, narrowed, number, partner, reversal};

/// An FTD that fails twice, is delivered, replayed by an operator and reversed.
struct Story {
    world: World,
    event: String,
    delivery: String,
}

async fn story() -> Story {
    let partners = vec![partner("acme", "?txid=rev-1 => 200\n500*2,200"), partner("beta", "200")];
    let world = World::with_api(partners, &narrowed().replace("[\"acme\"]", "[\"beta\"]"), QUICK_RETRY).await;
    let delivery = world.accept(ftd("acme", "dep/1_ä?")).await;
    world.until(&delivery, "delivered").await;
    let replay = ["replay", &delivery, "--force", "--reason", "they lost it, ticket 7", "--yes"];
    let replayed = world.daemon.command(&replay);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    world.received("acme", |ledger| ledger.requests == 4).await;
    let detail = world.until(&delivery, "delivered").await;
    let event = detail["delivery"]["event_id"].as_str().unwrap().to_owned();
    let reversed = world.accept(reversal("acme", "rev-1", "dep/1_ä?")).await;
    world.until(&reversed, "delivered").await;
    Story { world, event, delivery }
}

/// What happened, in a word or two each.
fn told(trace: &Value) -> Vec<String> {
    let entries = trace["entries"].as_array().unwrap();
    let word = |entry: &Value| {
        let change = &entry["change"];
        match (entry["step"].as_str().unwrap(), change["what"].as_str()) {
            ("changed", Some("attempted")) => change["attempt"]["http_status"].to_string(),
            ("changed", Some("ordered")) => format!("{} by {}", change["order"], change["by"]).replace('"', ""),
            ("changed", what) => what.unwrap().to_owned(),
            (step, _) => step.to_owned(),
        }
    };
    entries.iter().map(word).collect()
}

#[tokio::test]
async fn a_conversion_is_told_from_any_of_its_names_in_the_order_in_which_it_went() {
    let Story { mut world, event, delivery } = story().await;
    let operator = format!("replay by uid:{}", rustix::process::getuid().as_raw());
    let expected =
        ["accepted", "planned", "500", "500", "200", &operator, "200", "accepted", "planned", "200"].map(str::to_owned);
    let keys = ["dep/1_ä?", "click-dep/1_ä?", &event, &delivery, "rev-1"];
    let ask = |world: &World, key: &str| {
        let traced = world.daemon.command(&["trace", key, "--json"]);
        assert_eq!(traced.code, 0, "{key}: {}", traced.stderr);
        (serde_json::from_str::<Value>(&traced.stdout).unwrap(), traced.stderr)
    };
    let mut up = Vec::new();
    for key in keys {
        let (trace, _) = ask(&world, key);
        assert_eq!(told(&trace), expected, "{key}: {trace:#}");
        let order = &trace["entries"][5]["change"];
        assert!(order["order_id"].as_str().unwrap().starts_with("ord_"), "{order}");
        assert_eq!(order["why"], "they lost it, ticket 7");
        up.push(trace);
    }
    let people = world.daemon.command(&["trace", "rev-1"]).stdout;
    for words in ["#1: 500 in ", "ticket 7", "reverses dep/1_ä?", "+0.", "delivered (accepted), 4 attempts"] {
        assert!(people.contains(words), "{words:?} is missing in:\n{people}");
    }
    assert!(!people.contains("GET http"), "requests come on demand only:\n{people}");
    let full = world.daemon.command(&["trace", &delivery, "--requests"]).stdout;
    assert_eq!(full.matches("GET http://127.0.0.1").count(), 5, "{full}");
    assert_eq!(full.matches("    < 500").count(), 2, "{full}");

    world.daemon.signal(rustix::process::Signal::TERM);
    world.daemon.wait().await;
    for (key, up) in keys.into_iter().zip(up) {
        let (down, words) = ask(&world, key);
        assert_eq!((down, words.contains("the daemon is down")), (up, true), "{key}");
    }
}

#[tokio::test]
async fn who_may_not_see_the_affiliate_and_who_asks_for_nothing_known_find_nothing() {
    let Story { world, event, delivery } = story().await;
    for key in ["rev-1", "click-rev-1", &event, &delivery] {
        let path = format!("/v1/trace?key={key}");
        assert_eq!(world.daemon.get(&path).await.status, 200, "{key}");
        assert_eq!(world.daemon.get_as(NARROWED_TOKEN, &path).await.status, 404, "{key}");
    }
    assert_eq!(world.daemon.get_as("wrong", "/v1/trace?key=rev-1").await.status, 401);
    assert_eq!(world.daemon.get("/v1/trace").await.status, 400);
    let missing = world.daemon.command(&["trace", "dep-404"]);
    assert_eq!(missing.code, 3, "{}", missing.stderr);
    assert!(missing.stderr.contains("list --unrouted") && missing.stderr.contains("retention"), "{}", missing.stderr);
}

/// Set `POSTBACKD_TRACE_EVENTS` to a million to see what the contract promises.
#[tokio::test]
async fn a_trace_is_found_at_once_among_many_events() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let many = number("POSTBACKD_TRACE_EVENTS", 2_000);
    for batch in 0..many / 1_000 {
        let events = (0..1_000).map(|n| ftd("acme", &format!("dep-{batch}-{n}"))).collect();
        let answer = world.daemon.post("/v1/events/batch", &Value::Array(events)).await;
        assert_eq!(answer.body["accepted"], 1_000, "{}", answer.body);
    }
    for key in ["dep-1-500", "click-dep-1-500", "dep-0-0", "no-such-key"] {
        let started = Instant::now();
        let answer = world.daemon.get(&format!("/v1/trace?key={key}&requests=true")).await;
        let took = started.elapsed();
        assert_eq!(answer.status, if key.starts_with("no") { 404 } else { 200 }, "{key}");
        assert!(took < Duration::from_millis(200), "{key} took {took:?}");
    }
}
