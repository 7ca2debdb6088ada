//! Handing events in: answers, faults, duplicates, batches, tokens, bounds.

use serde_json::{Value, json};

use crate::harness::{INGEST_TOKEN, NARROWED_TOKEN, TOKEN, World, ftd, narrowed, partner};

#[tokio::test]
async fn the_same_event_again_is_a_duplicate_and_a_contradiction_is_refused() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let first = world.daemon.post("/v1/events", &ftd("acme", "dep-1")).await;
    let again = world.daemon.post("/v1/events", &ftd("acme", "dep-1")).await;
    assert_eq!((first.status, again.status), (202, 200));
    assert_eq!((&again.body["event_id"], &again.body["duplicate"]), (&first.body["event_id"], &json!(true)));
    let mut other = ftd("acme", "dep-1");
    other["payout"] = json!("121.00");
    let conflict = world.daemon.post("/v1/events", &other).await;
    assert_eq!((conflict.status, &conflict.body["event_id"]), (409, &first.body["event_id"]));
    assert_eq!(conflict.body["errors"][0]["pointer"], "/payout");
    world.received("acme", |ledger| ledger.accepted_keys == 1).await;
    assert_eq!(world.daemon.get("/v1/stats").await.body["totals"]["accepted"], 1);
}

#[tokio::test]
async fn every_fault_is_reported_and_nothing_is_stored() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let bad = json!({
        "type": "ftdd", "affiliate_id": "nobody", "clickid": "c-1", "payout": "12,34", "currency": "eur",
        "params": { "mail": "x" }, "sub_ids": { "a": "jo@example.com" },
    });
    let answer = world.daemon.post("/v1/events", &bad).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["type"], "urn:postbackd:problem:invalid-event");
    let pointers: Vec<&str> =
        answer.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(
        pointers,
        ["/clickid", "/transaction_id", "/affiliate_id", "/type", "/payout", "/currency", "/sub_ids/a"]
    );
    let stats = world.daemon.get("/v1/stats").await.body;
    assert_eq!((&stats["totals"]["accepted"], &stats["deliveries"]), (&json!(0), &json!({})));
}

#[tokio::test]
async fn a_batch_answers_for_each_item_by_itself() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let lines = [
        ftd("acme", "dep-1").to_string(),
        "{not json".into(),
        ftd("acme", "dep-1").to_string(),
        json!({ "type": "ftd" }).to_string(),
        ftd("acme", "dep-2").to_string(),
    ];
    let answer = world.daemon.post_as(TOKEN, "/v1/events/batch", "application/x-ndjson", lines.join("\n")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&answer.body["accepted"], &answer.body["duplicates"], &answer.body["rejected"]),
        (&json!(2), &json!(1), &json!(2))
    );
    let statuses: Vec<u64> =
        answer.body["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 200, 422, 202]);
    let array = Value::Array(vec![ftd("acme", "dep-2"), ftd("acme", "dep-3")]);
    let answer = world.daemon.post("/v1/events/batch", &array).await;
    assert_eq!((&answer.body["accepted"], &answer.body["duplicates"]), (&json!(1), &json!(1)));
    world.received("acme", |ledger| ledger.accepted_keys == 3).await;
}

#[tokio::test]
async fn bounds_are_kept_and_say_so() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let many = Value::Array((0..1_001).map(|n| ftd("acme", &format!("dep-{n}"))).collect());
    assert_eq!(world.daemon.post("/v1/events/batch", &many).await.status, 413);
    let mut big = ftd("acme", "dep-1");
    big["sub_ids"] =
        (0..30).map(|n| (format!("s{n}"), json!("x".repeat(500)))).collect::<serde_json::Map<_, _>>().into();
    let answer = world.daemon.post("/v1/events", &big).await;
    assert_eq!((answer.status, &answer.body["errors"][0]["code"]), (422, &json!("too-large")));
    let text = format!("{{\"transaction_id\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(world.daemon.post_as(TOKEN, "/v1/events", "application/json", text).await.status, 413);
    assert_eq!(world.daemon.get("/v1/stats").await.body["totals"]["accepted"], 0);
}

#[tokio::test]
async fn a_full_disk_refuses_before_anything_is_stored() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let mut daemon = world.daemon;
    let file = world.directory.path().join("postbackd.toml");
    let config = std::fs::read_to_string(&file).unwrap().replace("keep_free = \"16MiB\"", "keep_free = \"1024GiB\"");
    std::fs::write(&file, config).unwrap();
    daemon.kill();
    daemon.start_again();
    let answer = daemon.post("/v1/events", &ftd("acme", "dep-1")).await;
    assert_eq!((answer.status, &answer.body["type"]), (507, &json!("urn:postbackd:problem:disk-full")));
    assert_eq!(answer.headers["retry-after"], "30");
    assert_eq!(daemon.get("/readyz").await.status, 507);
    assert_eq!(daemon.get("/healthz").await.status, 200);
    daemon.logs("outbox.disk_full").await;
}

#[tokio::test]
async fn tokens_open_only_what_they_are_for() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let daemon = &world.daemon;
    let event = ftd("acme", "dep-1").to_string();
    assert_eq!(daemon.post_as("wrong", "/v1/events", "application/json", event.clone()).await.status, 401);
    assert_eq!(daemon.post_as(INGEST_TOKEN, "/v1/events", "application/json", event).await.status, 202);
    assert_eq!(daemon.get_as(INGEST_TOKEN, "/v1/stats").await.status, 403);
    assert_eq!(daemon.get_as("wrong", "/v1/stats").await.status, 401);
    let replay = json!({ "verb": "replay", "filter": { "affiliate": "acme" }, "reason": "x" }).to_string();
    assert_eq!(daemon.post_as(INGEST_TOKEN, "/v1/orders", "application/json", replay).await.status, 403);
    assert_eq!(daemon.post_as(INGEST_TOKEN, "/v1/reload", "application/json", "{}".into()).await.status, 403);
}

#[tokio::test]
async fn a_narrowed_producer_does_not_learn_which_other_affiliates_there_are() {
    let partners = || vec![partner("acme", "200"), partner("beta", "200")];
    for unknown in ["refuse", "accept"] {
        let lines = format!("[ingest]\nunknown_affiliate = \"{unknown}\"\n");
        let world = World::with_api(partners(), &narrowed(), &lines).await;
        let answer = async |affiliate: &str| {
            let event = ftd(affiliate, "dep-1").to_string();
            let answer = world.daemon.post_as(NARROWED_TOKEN, "/v1/events", "application/json", event).await;
            (answer.status, answer.body.to_string().replace(affiliate, "AFFILIATE"))
        };
        let (forbidden, missing) = (answer("beta").await, answer("nobody").await);
        assert_eq!(forbidden, missing, "{unknown}");
        assert_eq!(forbidden.0, 422, "{}", forbidden.1);
        assert_eq!(answer("acme").await.0, 202);
    }
}

#[tokio::test]
async fn what_no_postback_wants_is_kept_and_planned_later() {
    let world = World::with(vec![partner("acme", "200").postback("events = [\"registration\"]")]).await;
    let answer = world.daemon.post("/v1/events", &ftd("acme", "dep-1")).await;
    assert_eq!((answer.status, &answer.body["deliveries"]), (202, &json!([])));
    assert_eq!(world.daemon.get("/v1/stats").await.body["totals"]["unrouted"], 1);
    let file = world.path("affiliates/acme.toml");
    let changed = std::fs::read_to_string(&file).unwrap().replace("[\"registration\"]", "\"*\"");
    std::fs::write(&file, changed).unwrap();
    assert_eq!(world.daemon.post("/v1/reload", &json!({})).await.status, 200);
    let order = json!({ "verb": "replay", "unrouted": true, "reason": "their postback was missing" });
    assert_eq!(world.daemon.post("/v1/orders", &order).await.body["matched"], 1);
    world.received("acme", |ledger| ledger.accepted_keys == 1).await;
    assert_eq!(world.daemon.get("/v1/stats").await.body["totals"]["unrouted"], 0);
}

#[tokio::test]
async fn a_global_affiliate_hears_of_everybodys_events() {
    let world = World::with(vec![partner("acme", "200"), partner("house", "200").affiliate("global = true")]).await;
    let answer = world.daemon.post("/v1/events", &ftd("acme", "dep-1")).await;
    assert_eq!(answer.body["deliveries"].as_array().unwrap().len(), 2);
    world.received("acme", |ledger| ledger.accepted_keys == 1).await;
    world.received("house", |ledger| ledger.accepted_keys == 1).await;
}

/// However many hand the same event in at once, one of them is told that it is new, and the affiliate hears of it once.
#[tokio::test]
async fn the_same_event_from_many_at_once_is_taken_once() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let mut same = ftd("acme", "dep-1");
    same["occurred_at"] = json!("2026-11-20T10:00:00Z");
    let mut other = same.clone();
    other["payout"] = json!("999.00");
    let posts = (0..60).map(|number| {
        let daemon = &world.daemon;
        let (same, other) = (&same, &other);
        async move {
            match number % 3 {
                0 => daemon.post("/v1/events", other).await,
                1 => daemon.post("/v1/events/batch", &json!([same, same])).await,
                _ => daemon.post("/v1/events", same).await,
            }
        }
    });
    let answers = futures_util::future::join_all(posts).await;
    let told: Vec<&Value> = answers
        .iter()
        .flat_map(|answer| match answer.body["results"].as_array() {
            Some(results) => results.iter().collect::<Vec<_>>(),
            None => vec![&answer.body],
        })
        .collect();
    let new = told.iter().filter(|answer| answer["duplicate"] == false).count();
    let ids: std::collections::BTreeSet<String> =
        told.iter().filter_map(|answer| answer["event_id"].as_str().map(str::to_owned)).collect();
    assert_eq!((new, ids.len()), (1, 1), "{told:?}");
    let conflicts = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!(conflicts, 20, "whichever came first, the third that differs is refused");
    let stats = world.at_rest().await;
    assert_eq!(stats["totals"]["accepted"], 1);
    assert_eq!((&stats["deliveries"], world.receiver("acme").ledger().requests), (&json!({ "delivered": 1 }), 1));
}

/// What cannot be written down would be sent again after each start: without room for records nothing goes out.
#[tokio::test]
async fn nothing_is_sent_while_the_disk_has_no_room_for_records() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let order = json!({ "reason": "the disk" });
    world.daemon.post("/v1/affiliates/acme/pause", &order).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let file = world.path("postbackd.toml");
    let roomy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, roomy.replace("keep_free = \"16MiB\"", "keep_free = \"1024GiB\"")).unwrap();
    world.daemon.kill();
    world.daemon.start_again();
    assert_eq!(world.daemon.post("/v1/affiliates/acme/resume", &order).await.status, 200);
    for _ in 0..50 {
        let stats = world.daemon.get("/v1/stats").await.body;
        assert_eq!((&stats["deliveries"]["scheduled"], &stats["room"]), (&json!(1), &json!("exhausted")));
    }
    let shown = world.daemon.command(&["stats"]);
    assert!(shown.stdout.starts_with("disk full    nothing is accepted and nothing sent"), "{}", shown.stdout);
    assert_eq!(world.receiver("acme").ledger().requests, 0);
    std::fs::write(&file, roomy).unwrap();
    world.daemon.kill();
    world.daemon.start_again();
    world.until(&id, "delivered").await;
}
