//! The command line against a running daemon, and without one.

use serde_json::{Value, json};

use crate::harness::{World, command, ftd, partner};

#[tokio::test]
async fn events_are_enqueued_from_ndjson_json_and_csv() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let ndjson = (0..30).map(|n| ftd("acme", &format!("nd-{n}")).to_string()).collect::<Vec<_>>().join("\n");
    std::fs::write(world.path("events.ndjson"), ndjson).unwrap();
    std::fs::write(world.path("events.json"), Value::Array(vec![ftd("acme", "js-1"), ftd("acme", "js-2")]).to_string())
        .unwrap();
    let csv = "transaction_id,type,affiliate_id,click_id,payout,currency,sub_ids.sub1\n\
               csv-1,ftd,acme,c-1,120.00,EUR,banner\ncsv-2,ftd,acme,c-2,0.10,EUR,\n";
    std::fs::write(world.path("events.csv"), csv).unwrap();
    for file in ["events.ndjson", "events.json", "events.csv"] {
        let finished = world.daemon.command(&["enqueue", file]);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
    }
    world.received("acme", |ledger| ledger.accepted_keys == 34).await;
    let again = world.daemon.command(&["enqueue", "events.csv", "--json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let summary: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(summary["duplicates"], 2, "{summary}");
}

#[tokio::test]
async fn what_is_rejected_is_named_by_line_and_the_rest_goes_on() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let lines = format!("{}\nnot json\n{{\"type\":\"ftd\"}}\n{}\n", ftd("acme", "dep-1"), ftd("acme", "dep-2"));
    std::fs::write(world.path("events.ndjson"), lines).unwrap();
    let finished = world.daemon.command(&["enqueue", "events.ndjson"]);
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    assert!(
        finished.stderr.contains('2') && finished.stderr.contains('3') && finished.stderr.contains("/transaction_id"),
        "{}",
        finished.stderr
    );
    world.received("acme", |ledger| ledger.accepted_keys == 2).await;
}

#[tokio::test]
async fn lists_and_details_are_shown_with_the_daemon_up_and_down() {
    let mut world = World::with(vec![partner("acme", "?txid=dep-1 => 500*4\n200")]).await;
    let dead = world.accept(ftd("acme", "dep-1")).await;
    world.accept(ftd("acme", "dep-2")).await;
    world.at_rest().await;
    let ask = |world: &World| {
        let list = world.daemon.command(&["list", "--json", "--oldest"]);
        let show = world.daemon.command(&["show", &dead, "--json"]);
        let dead = world.daemon.command(&["dead", "list", "--json"]);
        let stats = world.daemon.command(&["stats", "--json"]);
        for finished in [&list, &show, &dead, &stats] {
            assert_eq!(finished.code, 0, "{}", finished.stderr);
        }
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let shown = parsed(&show.stdout);
        assert_eq!(shown["delivery"]["state"], "dead");
        assert!(dead.stdout.contains("dep-1") && !dead.stdout.contains("dep-2"), "{}", dead.stdout);
        let stats = parsed(&stats.stdout);
        assert_eq!(stats["deliveries"]["dead"], 1);
        assert_eq!(stats["dead"], json!({ "exhausted": 1 }));
        let money = json!([{ "currency": "EUR", "waiting": "0", "dead": "120.00", "exact": true }]);
        assert_eq!((&stats["money"], &stats["affiliates"][0]["money"]), (&money, &money));
        (parsed(&list.stdout), list.stderr)
    };
    let (up, _) = ask(&world);
    let people = world.daemon.command(&["stats"]).stdout;
    // Four of the five attempts failed.
    for shown in ["20.0 %", "exhausted 1", "EUR 0 waiting, EUR 120.00 dead"] {
        assert!(people.contains(shown), "{shown}: {people}");
    }
    world.daemon.signal(rustix::process::Signal::TERM);
    world.daemon.wait().await;
    let (down, words) = ask(&world);
    assert_eq!(up, down);
    assert!(words.contains("daemon"), "it says that the daemon is down: {words}");
}

#[tokio::test]
async fn dead_letters_are_replayed_from_the_command_line() {
    let world = World::with(vec![partner("acme", "500*4,200").affiliate("[limits.breaker]\nfailures = 0")]).await;
    for number in 0..3 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
    }
    world.at_rest().await;
    let dry = world.daemon.command(&["dead", "replay", "--affiliate", "acme", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(format!("{}{}", dry.stdout, dry.stderr).contains('3'));
    let unasked = world.daemon.command(&["dead", "replay", "--affiliate", "acme", "--reason", "fixed"]);
    assert_eq!(unasked.code, 2, "without a terminal it wants --yes: {}", unasked.stderr);
    assert_eq!(world.receiver("acme").ledger().accepted_keys, 0);
    let replayed = world.daemon.command(&["dead", "replay", "--affiliate", "acme", "--reason", "fixed", "--yes"]);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    world.received("acme", |ledger| ledger.accepted_keys == 3).await;
}

#[tokio::test]
async fn exits_tell_what_happened() {
    let world = World::with(vec![partner("acme", "200")]).await;
    assert_eq!(world.daemon.command(&["show", "dlv_0000000000000000"]).code, 3);
    assert_eq!(world.daemon.command(&["list", "--no-such-flag"]).code, 2);
    let token = world.path("token");
    std::fs::write(&token, "wrong").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let url = world.daemon.url("");
    let denied = command(world.directory.path(), &["--url", &url, "--token-file", token.to_str().unwrap(), "stats"]);
    assert_eq!(denied.code, 4, "{}", denied.stderr);
    let nowhere = command(
        world.directory.path(),
        &["--url", "http://127.0.0.1:9", "--token-file", token.to_str().unwrap(), "stats"],
    );
    assert_eq!(nowhere.code, 5, "{}", nowhere.stderr);
}

#[test]
fn the_demo_balances_its_books() {
    let finished = command(std::env::temp_dir().as_path(), &["demo", "--events", "600", "--seed", "7"]);
    assert_eq!(finished.code, 0, "{}\n{}", finished.stdout, finished.stderr);
}
