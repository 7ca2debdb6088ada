//! Lists as on-call uses them: by what was answered, in another order, and again and again.

use serde_json::Value;

use crate::harness::{World, ftd, partner};

/// Three dead letters of which the receiver said different things, and one that was delivered. The breaker never opens: up
/// to twelve failures come in a row, which is more than it takes to wait half a minute for a probe.
async fn world() -> World {
    let script =
        "?txid=dep-1 => 400 body=\"No-such-click\"\n?txid=dep-2 => 400\n?txid=dep-3 => 400 body=\"No-such-click\"\n200";
    let patient = partner("acme", script).affiliate("[limits.breaker]\nfailures = 0");
    let world = World::with(vec![patient]).await;
    for (transaction, payout) in [("dep-1", "9.50"), ("dep-2", "20"), ("dep-3", "120.00"), ("dep-4", "1")] {
        let mut event = ftd("acme", transaction);
        event["payout"] = payout.into();
        world.accept(event).await;
    }
    world.at_rest().await;
    world
}

/// The transactions of a list, in order.
fn listed(world: &World, arguments: &[&str]) -> Vec<String> {
    let listed = world.daemon.command(&[&["list", "--json"], arguments].concat());
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let page: Value = serde_json::from_str(&listed.stdout).unwrap();
    page["items"].as_array().unwrap().iter().map(|item| item["transaction_id"].as_str().unwrap().into()).collect()
}

#[tokio::test]
async fn deliveries_are_found_by_what_was_answered_and_listed_in_the_order_asked_for() {
    let world = world().await;
    assert_eq!(listed(&world, &["--text", "NO-SUCH-click", "--oldest"]), ["dep-1", "dep-3"]);
    assert_eq!(listed(&world, &["--text", "x-nowhere"]), [""; 0]);
    assert_eq!(listed(&world, &["--changed-since", "1h", "--state", "delivered"]), ["dep-4"]);
    assert_eq!(listed(&world, &["--changed-until", "1h"]), [""; 0]);
    let none = world.daemon.command(&["dead", "replay", "--changed-until", "1h", "--dry-run", "--json"]);
    assert!(!none.stdout.contains("dlv_") && none.stdout.contains('0'), "{}{}", none.stdout, none.stderr);
    assert_eq!(listed(&world, &["--sort", "payout"]), ["dep-4", "dep-1", "dep-2", "dep-3"]);
    assert_eq!(listed(&world, &["--sort", "payout", "--desc", "--limit", "2"]), ["dep-3", "dep-2"]);
    let dry = world.daemon.command(&["dead", "replay", "--text", "no-such-click", "--dry-run"]);
    assert!(dry.code == 0 && format!("{}{}", dry.stdout, dry.stderr).contains('2'), "{}{}", dry.stdout, dry.stderr);
    assert_eq!(world.daemon.command(&["list", "--text", ""]).code, 2);
}

#[tokio::test]
async fn a_look_is_taken_again_and_again_while_there_is_a_daemon() {
    let mut world = world().await;
    let mut stats = world.daemon.begin(&["stats", "--watch=100ms", "--ndjson"], false);
    let delivered = |line: &str| serde_json::from_str::<Value>(line).unwrap()["deliveries"]["delivered"].as_u64();
    assert_eq!(delivered(&stats.line().await), Some(1));
    world.accept(ftd("acme", "dep-5")).await;
    while delivered(&stats.line().await) != Some(2) {}
    let mut list = world.daemon.begin(&["list", "--watch=100ms", "--state", "delivered", "--sort", "changed"], false);
    while !list.line().await.contains("dep-5") {}
    world.daemon.kill();
    list.says("does not answer").await;
    world.daemon.start_again();
    while !list.line().await.contains("dep-5") {}
    list.interrupt();
    stats.interrupt();
    assert_eq!((list.wait().await, stats.wait().await), (Some(0), Some(0)));
    world.daemon.kill();
    assert_eq!(world.daemon.command(&["stats", "--watch"]).code, 5);
}
