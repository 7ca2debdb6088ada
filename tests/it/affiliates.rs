//! Affiliates on the command line: listed, paused, rendered and tested, with the daemon up and down.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{INGEST_TOKEN, World, command, ftd, partner, reversal};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A file that only its owner may read.
fn private(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// An affiliate whose requests are signed with a secret and carry another.
fn signed(directory: &std::path::Path) -> crate::harness::Partner {
    private(&directory.join("hmac"), "hmac-of-acme-1");
    private(&directory.join("key"), "key-of-acme-22");
    let file = |name: &str| format!("{name} = {{ file = \"{}\" }}", directory.join(name).display());
    partner("acme", "200")
        .affiliate(&format!("[secrets]\n{}\n{}", file("hmac"), file("key")))
        .query("&key={secret.key}&sub={sub_ids.channel}&rev={reverses}")
        .tables(
            "[postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = \"hmac\"\n\
             message = \"{path_and_query}.{secret}\"\nplace = { query = \"sig\", encoding = \"hex\" }\n",
        )
}

#[tokio::test]
async fn a_sample_is_rendered_from_the_configuration_alone_and_nothing_is_sent() {
    let secrets = tempfile::tempdir().unwrap();
    let mut world = World::with(vec![signed(secrets.path())]).await;
    world.daemon.kill();
    let rendered = world.daemon.command(&["affiliate", "render", "acme", "--json"]);
    assert_eq!(rendered.code, 0, "{}", rendered.stderr);
    let item = &parsed(&rendered.stdout)["items"][0];
    assert_eq!((&item["postback"], &item["event_from"]), (&json!("acme/conversions"), &json!("sample")));
    let url = item["request"]["url"].as_str().unwrap();
    assert!(url.contains("&cid=sample-click-77f3&") && url.ends_with("&key=***&sub=sample-channel&sig=***"), "{url}");
    let part = |name: &str| {
        let parts = item["parts"].as_array().unwrap();
        parts.iter().find(|part| part["name"] == name).cloned().unwrap()
    };
    assert_eq!(
        part("cid"),
        json!({ "place": "query", "name": "cid", "value": "sample-click-77f3", "template": "{click_id}",
            "fate": "sent", "why": null })
    );
    assert_eq!((&part("rev")["fate"], &part("rev")["value"]), (&json!("omitted"), &json!(null)));
    assert!(item["signed"]["text"].as_str().unwrap().ends_with("&key=***&sub=sample-channel.***"), "{item}");
    let people = world.daemon.command(&["affiliate", "render", "acme/conversions", "--type", "ftd_reversed"]);
    assert_eq!(people.code, 0, "{}", people.stderr);
    for expected in ["ftd_reversed sample-1001", "rev=sample-1000", "signed (custom, hmac-sha256 in hex", "{click_id}"]
    {
        assert!(people.stdout.contains(expected), "{expected} is missing in:\n{}", people.stdout);
    }
    for shown in [&rendered.stdout, &people.stdout] {
        assert!(!shown.contains("-of-acme-"), "a secret is shown:\n{shown}");
    }
    assert_eq!(world.receiver("acme").ledger().requests, 0);
}

#[tokio::test]
async fn what_a_stored_delivery_renders_to_is_what_was_sent_to_the_last_byte() {
    let secrets = tempfile::tempdir().unwrap();
    let mut world = World::with(vec![signed(secrets.path())]).await;
    world.accept(ftd("acme", "dep-1")).await;
    let id = world.accept(reversal("acme", "rev-1", "dep-1")).await;
    let sent = world.until(&id, "delivered").await["history"].as_array().unwrap().last().unwrap()["attempt"].clone();
    for down in [false, true] {
        if down {
            world.daemon.kill();
        }
        let revealed = world.daemon.command(&["affiliate", "render", "acme", "--event", &id, "--reveal"]);
        assert_eq!(revealed.code, 0, "{}", revealed.stderr);
        assert_eq!(hex::encode(Sha256::digest(&revealed.stdout)), sent["digest"].as_str().unwrap());
        assert!(
            revealed.stdout.contains("key-of-acme-22") && revealed.stderr.contains("secrets"),
            "{}",
            revealed.stderr
        );
        let masked = world.daemon.command(&["affiliate", "render", "acme", "--event", &id, "--json"]);
        let item = &parsed(&masked.stdout)["items"][0];
        assert_eq!((&item["request"], &item["digest"]), (&sent["request"], &sent["digest"]));
        assert_eq!(item["original"]["transaction_id"], "dep-1");
    }
    assert_eq!(world.receiver("acme").ledger().requests, 2);
}

#[tokio::test]
async fn what_would_be_refused_is_told_with_an_exit_of_its_own() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let file = |name: &str, event: &Value| std::fs::write(world.path(name), event.to_string()).unwrap();
    let adjustment = json!({ "transaction_id": "adj-1", "type": "adjustment", "affiliate_id": "acme",
        "payout": "5.00", "currency": "EUR" });
    file("adjustment.json", &adjustment);
    let refused = world.daemon.command(&["affiliate", "render", "acme", "--event", "adjustment.json"]);
    assert_eq!(refused.code, 8, "{}", refused.stderr);
    assert!(refused.stdout.contains("refused: parameter \"cid\""), "{}", refused.stdout);
    let unsent = world.daemon.command(&["affiliate", "test", "acme", "--event", "adjustment.json", "--yes"]);
    assert_eq!(unsent.code, 8, "{}", unsent.stderr);
    let mut broken = ftd("acme", "dep-1");
    broken["payuot"] = json!("1");
    file("broken.json", &broken);
    let faulty = world.daemon.command(&["affiliate", "render", "acme", "--event", "broken.json"]);
    assert_eq!(faulty.code, 1);
    assert!(faulty.stderr.contains("/payuot") && faulty.stderr.contains("\"payout\""), "{}", faulty.stderr);
    for (target, near) in [("amce", "\"acme\""), ("acme/conversion", "\"conversions\"")] {
        let missing = world.daemon.command(&["affiliate", "render", target]);
        assert_eq!(missing.code, 3, "{}", missing.stderr);
        assert!(missing.stderr.contains(near), "{}", missing.stderr);
    }
    assert_eq!(world.daemon.command(&["affiliate", "render", "acme", "--event", "evt_0000000000000"]).code, 3);
    std::fs::write(world.path("affiliates/acme.toml"), "id = 5").unwrap();
    let unusable = world.daemon.command(&["affiliate", "render", "acme"]);
    assert_eq!(unusable.code, 7);
    assert!(unusable.stderr.contains("acme.toml:1: id"), "{}", unusable.stderr);
    assert_eq!(world.receiver("acme").ledger().requests, 0);
}

// The receiver answers while the command is awaited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_sends_one_marked_conversion_past_the_outbox_and_judges_it_by_the_rules() {
    let rule = "[[postback.response]]\nwhen = { body_contains = \"seen\" }\nthen = \"duplicate\"\n";
    let world = World::with(vec![partner("acme", "200 body=\"seen it\"").tables(rule), partner("beta", "500")]).await;
    let unasked = world.daemon.command(&["affiliate", "test", "acme"]);
    assert_eq!(unasked.code, 8, "{}", unasked.stderr);
    assert_eq!(world.receiver("acme").ledger().requests, 0);
    let tested = world.daemon.command(&["affiliate", "test", "acme", "--click", "their-click", "--yes", "--json"]);
    assert_eq!(tested.code, 0, "{}", tested.stderr);
    let shown = parsed(&tested.stdout);
    assert_eq!(
        (&shown["attempt"]["outcome"], &shown["attempt"]["response"]["body"]),
        (&json!("duplicate"), &json!("seen it"))
    );
    assert!(shown["attempt"]["rule"].as_str().unwrap().starts_with("rule 1"), "{shown}");
    assert_eq!(shown["next"]["state"], "delivered");
    let seen = world.receiver("acme").ledger().entries()[0].to_json();
    let query = seen["path_and_query"].as_str().unwrap().to_owned();
    assert!(query.contains("&txid=test-") && query.contains("&cid=their-click&"), "{query}");
    let failed = world.daemon.command(&["affiliate", "test", "beta/conversions", "--transaction", "probe-1", "--yes"]);
    assert_eq!(failed.code, 6, "{}", failed.stderr);
    for expected in
        ["probe-1", "< 500", "outcome      retry (default: not 2xx)", "would send it again at", "first byte"]
    {
        assert!(failed.stdout.contains(expected), "{expected} is missing in:\n{}", failed.stdout);
    }
    let to = world.receiver("beta").url("");
    let moved = world.daemon.command(&["affiliate", "test", "acme", "--to", to.trim_end_matches('/'), "--yes"]);
    assert_eq!(moved.code, 6, "{}", moved.stderr);
    assert_eq!((world.receiver("acme").ledger().requests, world.receiver("beta").ledger().requests), (1, 2));
    let stats = world.daemon.get("/v1/stats").await.body;
    assert_eq!((&stats["totals"]["accepted"], &stats["deliveries"]), (&json!(0), &json!({})));
}

// The receiver answers while the command is awaited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_of_a_stored_event_is_marked_and_goes_only_where_the_policy_allows() {
    let world = World::with(vec![
        partner("acme", "200")
            .query("&key={idempotency_key}&rev={reverses}&orig={original.transaction_id|default(none)}"),
    ])
    .await;
    world.accept(ftd("acme", "dep-1")).await;
    let id = world.accept(reversal("acme", "rev-1", "dep-1")).await;
    world.until(&id, "delivered").await;
    let tested = world.daemon.command(&["affiliate", "test", "acme", "--event", &id, "--yes"]);
    assert_eq!(tested.code, 0, "{}", tested.stderr);
    let seen = world.receiver("acme").ledger().entries().iter().last().unwrap().to_json();
    let query = seen["path_and_query"].as_str().unwrap().to_owned();
    assert!(!query.contains(&id), "the stored delivery's key is its own: {query}");
    assert!(query.contains("txid=test-rev-1&") && query.ends_with("&rev=test-dep-1&orig=test-dep-1"), "{query}");
    let inner = "id = \"inner\"\nname = \"Inner\"\n[[postback]]\nname = \"p\"\nevents = [\"ftd\"]\nmethod = \"GET\"\n\
                 url = \"https://10.1.2.3/p?c={click_id}&t={transaction_id}\"\n";
    std::fs::write(world.path("affiliates/inner.toml"), inner).unwrap();
    let blocked = world.daemon.command(&["affiliate", "test", "inner", "--yes", "--json"]);
    assert_eq!(blocked.code, 8, "{}", blocked.stderr);
    assert_eq!(parsed(&blocked.stdout)["attempt"]["outcome"], "blocked");
    for wrong in ["http://10.1.2.3", "ftp://127.0.0.1", "http://127.0.0.1/path", "https://u@a.example"] {
        let refused = world.daemon.command(&["affiliate", "test", "inner", "--to", wrong, "--yes"]);
        assert_eq!(refused.code, 2, "{wrong}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn affiliates_are_listed_with_how_they_stand_and_paused_with_a_reason() {
    let mut world = World::with(vec![partner("acme", "200"), partner("beta", "200")]).await;
    let paused = world.daemon.command(&["affiliate", "pause", "acme", "--reason", "their migration"]);
    assert_eq!((paused.code, paused.stdout.as_str()), (0, "acme/conversions paused\n"), "{}", paused.stderr);
    let waits = world.accept(ftd("acme", "dep-1")).await;
    world.until(&waits, "scheduled").await;
    let list = |world: &World| {
        let listed = world.daemon.command(&["affiliate", "list", "--json"]);
        assert_eq!(listed.code, 0, "{}", listed.stderr);
        (parsed(&listed.stdout)["items"].clone(), listed.stderr)
    };
    let (mut up, _) = list(&world);
    let acme = &up[0];
    assert_eq!((&acme["affiliate"], &acme["backlog"], &acme["breaker"]), (&json!("acme"), &json!(1), &json!("closed")));
    assert_eq!(acme["postbacks"][0]["paused"]["reason"], "their migration");
    assert_eq!((&up[1]["affiliate"], &up[1]["postbacks"][0]["paused"]), (&json!("beta"), &json!(null)));
    let shown = world.daemon.command(&["affiliate", "show", "acme"]);
    assert!(shown.stdout.contains("paused       by") && shown.stdout.contains("scheduled 1"), "{}", shown.stdout);
    assert_eq!(world.daemon.get("/v1/affiliates/acme").await.body["backlog"], 1);
    assert_eq!(world.daemon.get("/v1/affiliates/nobody").await.status, 404);
    world.daemon.kill();
    let (down, words) = list(&world);
    assert!(words.contains("the daemon is down"), "{words}");
    for affiliate in up.as_array_mut().unwrap() {
        (affiliate["breaker"], affiliate["in_flight"]) = (json!(null), json!(null));
    }
    assert_eq!(up, down);
    world.daemon.start_again();
    let token = world.path("token");
    private(&token, INGEST_TOKEN);
    let url = world.daemon.url("");
    let order = ["affiliate", "resume", "acme/conversions", "--reason", "they are back"];
    let remote = [&["--url", &url, "--token-file", token.to_str().unwrap()], &order[..]].concat();
    assert_eq!(command(world.directory.path(), &remote).code, 4, "a token for events may not resume");
    assert_eq!(world.daemon.command(&order).code, 0);
    world.until(&waits, "delivered").await;
}
