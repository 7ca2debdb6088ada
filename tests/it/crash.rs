//! Crashes and stops: what was acknowledged is there afterwards, and arrives exactly as often as needed.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{QUICK_RETRY, World, engine, ftd, number, partner};

/// Acknowledged before the kill, all delivered after the restart; doubled at most what was in flight.
///
/// `POSTBACKD_TEST_EVENTS=100000 POSTBACKD_TEST_PATIENCE=600` makes it a large one.
#[tokio::test]
async fn a_kill_in_the_middle_loses_nothing() {
    let events = usize::try_from(number("POSTBACKD_TEST_EVENTS", 2_000)).unwrap();
    let partners =
        ["acme", "beta", "gamma"].map(|id| partner(id, "20% => 500,200\n200").affiliate("[limits]\nconcurrency = 4"));
    let mut world = World::with(partners.into()).await;
    let mut acknowledged = 0;
    for round in 0..4 {
        for batch_number in 0..events / 4 / 50 {
            let batch = (0..50).map(|n| {
                let affiliate = ["acme", "beta", "gamma"][n % 3];
                ftd(affiliate, &format!("dep-{round}-{batch_number}-{n}"))
            });
            let answer = world.daemon.post("/v1/events/batch", &Value::Array(batch.collect())).await;
            acknowledged += usize::try_from(answer.body["accepted"].as_u64().unwrap()).unwrap();
        }
        world.daemon.kill();
        world.daemon.start_again();
    }
    assert_eq!(acknowledged, events);
    let stats = world.at_rest().await;
    assert_eq!((&stats["totals"]["accepted"], &stats["deliveries"]), (&json!(events), &json!({ "delivered": events })));
    let mut received = 0;
    let mut doubled = 0;
    for id in ["acme", "beta", "gamma"] {
        let ledger = world.receiver(id).ledger();
        received += ledger.accepted_keys;
        doubled += ledger.duplicate_keys;
    }
    assert_eq!(received, events as u64);
    assert!(doubled <= 4 * 3 * 4, "{doubled} doubled, though at most 12 were in flight at each of four kills");
}

/// Without deduplication at the receiver, an attempt cut off by a crash is for a person to judge.
#[tokio::test]
async fn an_attempt_interrupted_by_a_crash_is_held_where_the_receiver_does_not_dedupe() {
    let partners = vec![partner("acme", "hang").postback("receiver_dedupes = false")];
    let mut world = World::with(partners).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.received("acme", |ledger| ledger.hung == 1).await;
    world.daemon.kill();
    world.daemon.start_again();
    let detail = world.until(&id, "held").await;
    assert_eq!(detail["delivery"]["reason"], "interrupted");
    assert_eq!(world.receiver("acme").ledger().requests, 1);
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_sends_it_no_second_time() {
    let mut world = World::with(vec![partner("acme", "delay 400ms 200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.daemon.poll("/v1/stats", |stats| stats["in_flight"] == 1).await;
    world.daemon.signal(Signal::TERM);
    assert_eq!(world.daemon.wait().await, Some(0));
    world.daemon.start_again();
    assert_eq!(world.until(&id, "delivered").await["delivery"]["attempts"], 1);
    assert_eq!(world.receiver("acme").ledger().requests, 1);
}

/// What takes longer than the deadline is cut off: it is sent again where the receiver recognises it, and is for a person
/// to judge elsewhere. The store is closed behind it either way.
#[tokio::test]
async fn a_stop_gives_up_at_its_deadline_what_is_in_flight() {
    let partners = vec![partner("acme", "hang,200"), partner("beta", "hang").postback("receiver_dedupes = false")];
    let mut world = World::configured(partners, &format!("[dispatch]\nshutdown = \"1s\"\n{QUICK_RETRY}")).await;
    let (again, held) = (world.accept(ftd("acme", "dep-1")).await, world.accept(ftd("beta", "dep-2")).await);
    world.received("acme", |ledger| ledger.hung == 1).await;
    world.received("beta", |ledger| ledger.hung == 1).await;
    world.daemon.signal(Signal::TERM);
    world.daemon.logs("attempts are still in flight").await;
    assert_eq!(world.daemon.wait().await, Some(0));
    world.daemon.start_again();
    world.until(&again, "delivered").await;
    assert_eq!(world.until(&held, "held").await["delivery"]["reason"], "interrupted");
    assert_eq!((world.receiver("acme").ledger().requests, world.receiver("beta").ledger().requests), (2, 1));
}

#[tokio::test]
async fn the_order_of_a_transaction_survives_a_crash() {
    let mut world = World::with(vec![partner("acme", "500*3,200")]).await;
    let mut ids = Vec::new();
    for status in ["pending", "approved", "rejected"] {
        let mut event = ftd("acme", "dep-1");
        event["status"] = json!(status);
        ids.push(world.accept(event).await);
    }
    world.daemon.kill();
    world.daemon.start_again();
    world.until(&ids[2], "delivered").await;
    let statuses: Vec<String> = world
        .receiver("acme")
        .ledger()
        .entries()
        .iter()
        .map(|seen| {
            let seen = seen.to_json();
            let query = seen["path_and_query"].as_str().unwrap();
            query.split("status=").nth(1).unwrap().split('&').next().unwrap().to_owned()
        })
        .collect();
    let rank = |status: &String| ["pending", "approved", "rejected"].iter().position(|s| s == status).unwrap();
    assert!(statuses.iter().map(rank).is_sorted(), "{statuses:?}");
    assert_eq!(statuses.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn two_daemons_cannot_share_a_store() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let second = world.daemon.command(&["run"]);
    assert_ne!(second.code, 0);
    assert!(second.stderr.contains("in use by another process"), "{}", second.stderr);
    assert_eq!(world.daemon.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_store_that_somebody_looks_at_is_waited_for() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    world.accept(ftd("acme", "dep-1")).await;
    world.at_rest().await;
    world.daemon.kill();
    // The offline list holds the store until its reader has taken everything; here, an engine of our own.
    let looking = postbackd::outbox::open_engine(engine(), &world.path("outbox"), 8 << 20).unwrap();
    let mut daemon = world.daemon.begin(&["run"], false);
    daemon.says("outbox.in_use").await;
    drop(looking);
    daemon.says("daemon.ready").await;
    daemon.interrupt();
    assert_eq!(daemon.wait().await, Some(0));
}

#[tokio::test]
async fn files_and_socket_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::with(vec![partner("acme", "200")]).await;
    let mode = |name: &str| std::fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
    let (store, file) = (postbackd::outbox::store_name(engine()), postbackd::outbox::store_file(engine()));
    let modes = (mode("outbox"), mode(&format!("outbox/{store}")), mode(&format!("outbox/{file}")));
    assert_eq!(modes, (0o700, 0o700, 0o600));
    assert_eq!(mode("postbackd.sock") & 0o007, 0);
}
