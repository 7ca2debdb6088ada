//! Ambiguity: what nobody knows is held, shown with all that is known, and decided by a person.

use serde_json::Value;

use crate::harness::{Partner, World, ftd, partner};

/// A receiver that takes the first request of each event without an answer, and does not recognise a second one.
fn mute() -> Partner {
    partner("acme", "hang,200").query("&key={idempotency_key}").postback("receiver_dedupes = false")
}

fn impatient() -> Partner {
    mute().tables("[postback.timeout]\ntotal = \"500ms\"")
}

/// The idempotency keys that a receiver saw, in order.
fn keys(world: &World) -> Vec<String> {
    let ledger = world.receiver("acme").ledger();
    let key = |seen: Value| seen["path_and_query"].as_str().unwrap().split("key=").nth(1).unwrap().to_owned();
    ledger.entries().iter().map(|seen| key(seen.to_json())).collect()
}

/// Shows a held delivery, and checks that everything a person needs is there.
fn shown(world: &World, id: &str, facts: &[&str]) {
    let shown = world.daemon.command(&["show", id]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let commands = ["--delivered", "--resend"].map(|flag| format!("postbackd release {id} {flag} --reason"));
    let cancel = format!("postbackd cancel {id} --reason");
    for expected in facts.iter().copied().chain(commands.iter().map(String::as_str)).chain([&*cancel]) {
        assert!(shown.stdout.contains(expected), "{expected:?} is missing in:\n{}", shown.stdout);
    }
    let undecided = world.daemon.command(&["release", id, "--reason", "let it go"]);
    assert_eq!(undecided.code, 2, "what is ambiguous is not released without a decision: {}", undecided.stderr);
}

#[tokio::test]
async fn an_ambiguous_delivery_is_shown_with_what_is_known_and_resent_under_the_same_key() {
    let world = World::with(vec![impatient()]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "held").await;
    let detail = world.daemon.get(&format!("/v1/deliveries/{id}")).await.body;
    assert_eq!(detail["decision"]["choices"].as_array().unwrap().len(), 3);
    let request = detail["history"][0]["attempt"]["request"]["url"].as_str().unwrap();
    let facts = [
        "held because the request was sent, and no whole answer came",
        &format!("attempt #1 was sending GET {request}"),
        "the receiver answered nothing: no whole answer within 500ms",
        "not known: whether the receiver got the request",
        &format!("transaction dep-1, click click-dep-1 and idempotency key {id}"),
    ];
    shown(&world, &id, &facts);
    assert_eq!(world.receiver("acme").ledger().requests, 1);
    let resent = world.daemon.command(&["release", &id, "--resend", "--reason", "they have it not"]);
    assert_eq!(resent.code, 0, "{}", resent.stderr);
    let detail = world.until(&id, "delivered").await;
    assert_eq!((detail["delivery"]["attempts"].as_u64(), &detail["decision"]), (Some(2), &Value::Null));
    assert_eq!(keys(&world), [id.clone(), id]);
}

#[tokio::test]
async fn an_ambiguous_delivery_that_arrived_is_closed_without_another_request() {
    let world = World::with(vec![impatient()]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "held").await;
    let closed = world.daemon.command(&["release", &id, "--delivered", "--reason", "it is in their report"]);
    assert_eq!(closed.code, 0, "{}", closed.stderr);
    let detail = world.until(&id, "delivered").await;
    let last = detail["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (last["order"].as_str(), last["why"].as_str()),
        (Some("confirm_delivered"), Some("it is in their report"))
    );
    // What comes behind it in the same lane goes out: nothing waits for the one that was closed.
    let mut rejected = ftd("acme", "dep-1");
    rejected["status"] = "rejected".into();
    let next = world.accept(rejected).await;
    world.received("acme", |ledger| ledger.requests == 2).await;
    assert_eq!(keys(&world), [id, next]);
}

#[tokio::test]
async fn a_kill_during_an_attempt_leaves_the_same_decision() {
    let mut world = World::with(vec![mute()]).await;
    let ids = [world.accept(ftd("acme", "dep-1")).await, world.accept(ftd("acme", "dep-2")).await];
    world.received("acme", |ledger| ledger.hung == 2).await;
    world.daemon.kill();
    world.daemon.start_again();
    for id in &ids {
        world.until(id, "held").await;
        let facts = [
            "held because the daemon ended during an attempt",
            "no request of it is on record",
            "the intent to make attempt #1 was on disk before its first byte",
            "not known: whether any byte of that attempt left this machine",
        ];
        shown(&world, id, &facts);
    }
    assert_eq!(world.receiver("acme").ledger().requests, 2);
    assert_eq!(world.daemon.command(&["release", &ids[0], "--resend", "--reason", "unknown to them"]).code, 0);
    assert_eq!(world.daemon.command(&["release", &ids[1], "--delivered", "--reason", "they have it"]).code, 0);
    for id in &ids {
        world.until(id, "delivered").await;
    }
    let mut seen = keys(&world);
    assert_eq!(seen.pop().as_ref(), Some(&ids[0]), "the same key goes out again");
    seen.sort();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn what_an_operator_holds_is_released_or_cancelled_one_by_one() {
    let world = World::with(vec![partner("acme", "200")]).await;
    assert_eq!(world.daemon.command(&["affiliate", "pause", "acme", "--reason", "checking"]).code, 0);
    let ids = [world.accept(ftd("acme", "dep-1")).await, world.accept(ftd("acme", "dep-2")).await];
    for id in &ids {
        let held = world.daemon.command(&["hold", id, "--reason", "fraud check", "--json"]);
        assert_eq!(held.code, 0, "{}", held.stderr);
        let shown = world.daemon.command(&["show", id]).stdout;
        assert!(shown.contains("held because an operator said so") && shown.contains("fraud check"), "{shown}");
        assert!(shown.contains(&format!("postbackd release {id} --reason")), "{shown}");
    }
    assert_eq!(world.daemon.command(&["affiliate", "resume", "acme", "--reason", "checked"]).code, 0);
    assert_eq!(world.daemon.command(&["release", &ids[0], "--reason", "clean"]).code, 0);
    assert_eq!(world.daemon.command(&["cancel", &ids[1], "--reason", "fraud"]).code, 0);
    world.until(&ids[0], "delivered").await;
    world.until(&ids[1], "cancelled").await;
    assert_eq!(world.daemon.command(&["release", &ids[1], "--reason", "x"]).code, 8, "as things stand");
    assert_eq!(world.receiver("acme").ledger().requests, 1);
}

#[tokio::test]
async fn a_postback_that_is_gone_is_resumed_and_its_delivery_released_as_shown() {
    let world = World::with(vec![partner("acme", "410,200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "held").await;
    let choices = detail["decision"]["choices"].as_array().unwrap();
    let commands = choices.iter().map(|choice| choice["command"].as_str().unwrap().replace("\"…\"", "mended"));
    let commands: Vec<String> = commands.collect();
    assert!(commands[0].starts_with("postbackd affiliate resume acme/conversions "), "{commands:?}");
    assert!(commands[1].starts_with(&format!("postbackd release {id} ")), "{commands:?}");
    for command in &commands[..2] {
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        let finished = world.daemon.command(&arguments);
        assert_eq!(finished.code, 0, "{command}: {}", finished.stderr);
    }
    world.until(&id, "delivered").await;
    assert_eq!(world.receiver("acme").ledger().requests, 2);
}
