//! What operators see and order over the API.

use serde_json::{Value, json};

use crate::harness::{NARROWED_TOKEN, QUICK_RETRY, World, ftd, narrowed, partner};

#[tokio::test]
async fn lists_filter_and_page() {
    let world = World::with(vec![partner("acme", "?txid=dep-3 => 400*4\n200"), partner("beta", "200")]).await;
    for number in 0..5 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
    }
    world.accept(ftd("beta", "dep-9")).await;
    world.at_rest().await;
    let list = async |query: &str| {
        let answer = world.daemon.get(&format!("/v1/deliveries?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let names: Vec<String> = answer.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["transaction_id"].as_str().unwrap().to_owned())
            .collect();
        (names, answer.body["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(list("affiliate=acme&state=dead").await.0, ["dep-3"]);
    assert_eq!(list("http_status=400").await.0, ["dep-3"]);
    assert_eq!(list("transaction=dep-1").await.0, ["dep-1"]);
    assert_eq!(list("click=click-dep-9").await.0, ["dep-9"]);
    let (first, cursor) = list("affiliate=acme&direction=oldest&limit=3").await;
    let (second, end) = list(&format!("affiliate=acme&direction=oldest&limit=3&cursor={}", cursor.unwrap())).await;
    assert_eq!([first, second].concat(), ["dep-0", "dep-1", "dep-2", "dep-3", "dep-4"]);
    assert_eq!(end, None);
    assert_eq!(world.daemon.get("/v1/deliveries?state=nonsense").await.status, 400);
    assert_eq!(world.daemon.get("/v1/deliveries?stat=dead").await.status, 400);
    assert_eq!(world.daemon.get("/v1/deliveries/dlv_0000000000000000").await.status, 404);
}

#[tokio::test]
async fn what_is_unrouted_is_listed_with_the_daemon_up_and_down() {
    let wants = "events = [\"registration\"]";
    let partners = vec![partner("acme", "200").postback(wants), partner("beta", "200").postback(wants)];
    let mut world = World::with_api(partners, &narrowed(), QUICK_RETRY).await;
    for (affiliate, transaction) in [("acme", "dep-1"), ("acme", "dep-2"), ("beta", "dep-3")] {
        world.accept(ftd(affiliate, transaction)).await;
    }
    let names = |page: &serde_json::Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["transaction_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = world.daemon.get("/v1/events/unrouted?direction=oldest&limit=2").await.body;
    assert_eq!(names(&first), ["dep-1", "dep-2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = world.daemon.get(&format!("/v1/events/unrouted?direction=oldest&limit=2&cursor={cursor}")).await.body;
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["dep-3".to_owned()], &json!(null)));
    let own = world.daemon.get_as(NARROWED_TOKEN, "/v1/events/unrouted?affiliate=acme").await;
    assert_eq!(names(&own.body), ["dep-2", "dep-1"]);
    assert_eq!(world.daemon.get_as(NARROWED_TOKEN, "/v1/events/unrouted").await.status, 403);
    assert_eq!(world.daemon.get_as(NARROWED_TOKEN, "/v1/events/unrouted?affiliate=beta").await.status, 403);
    assert_eq!(world.daemon.get("/v1/events/unrouted?state=dead").await.status, 400);

    let listed = ["list", "--unrouted", "--affiliate", "acme", "--json"];
    let up = world.daemon.command(&listed);
    world.daemon.kill();
    let down = world.daemon.command(&listed);
    assert_eq!((up.code, down.code), (0, 0), "{}{}", up.stderr, down.stderr);
    assert_eq!(names(&serde_json::from_str(&up.stdout).unwrap()), ["dep-2", "dep-1"]);
    assert_eq!(up.stdout, down.stdout);
    let page = world.daemon.command(&["list", "--unrouted", "--limit", "1", "--oldest", "--cursor", cursor]);
    assert!(page.stdout.contains("dep-3") && !page.stdout.contains("dep-2"), "{}", page.stdout);
    assert_eq!(world.daemon.command(&["list", "--unrouted", "--state", "dead"]).code, 2);
}

#[tokio::test]
async fn a_narrowed_token_pages_through_its_own_deliveries_only() {
    let partners = vec![partner("acme", "200"), partner("beta", "200")];
    let world = World::with_api(partners, &narrowed(), QUICK_RETRY).await;
    let own = world.accept(ftd("acme", "dep-1")).await;
    world.accept(ftd("beta", "dep-1")).await;
    for query in ["transaction=dep-1", "click=click-dep-1"] {
        let path = format!("/v1/deliveries?{query}&limit=1");
        let page = world.daemon.get_as(NARROWED_TOKEN, &path).await.body;
        assert_eq!((&page["items"][0]["delivery_id"], &page["next_cursor"]), (&json!(own), &json!(null)), "{page}");
    }
}

/// An affiliate that fails every first round, and whose breaker never opens.
fn patient(id: &str) -> crate::harness::Partner {
    partner(id, "500*4,200").affiliate("[limits.breaker]\nfailures = 0")
}

/// The same, with twenty dead letters of each affiliate.
async fn with_dead_letters() -> World {
    let world = World::with(vec![patient("acme"), patient("beta")]).await;
    for number in 0..20 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
        world.accept(ftd("beta", &format!("dep-{number}"))).await;
    }
    world.at_rest().await;
    world
}

fn path_of(order: &crate::harness::Answer) -> String {
    format!("/v1/orders/{}", order.body["order_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_replay_does_what_its_dry_run_counted() {
    let world = with_dead_letters().await;
    let filter = json!({ "affiliate": "acme", "state": "dead" });
    let dry = json!({ "verb": "replay", "filter": filter, "dry_run": true });
    let dry = world.daemon.post("/v1/orders", &dry).await;
    assert_eq!((dry.status, &dry.body), (200, &json!({ "matched": 20, "refused": 0, "refusals": [] })));
    let refused = [
        json!({ "verb": "replay", "filter": {}, "reason": "all" }),
        json!({ "verb": "replay", "filter": filter }),
        json!({ "verb": "resend", "filter": filter, "reason": "x" }),
        json!({ "verb": "cancel", "filter": filter, "force": true, "reason": "x" }),
        json!({ "verb": "replay", "filter": filter, "rate": "fast", "reason": "x" }),
    ];
    for order in refused {
        assert_eq!(world.daemon.post("/v1/orders", &order).await.status, 400, "{order}");
    }
    let reason = "their outage is over";
    let order = json!({ "verb": "replay", "filter": filter, "limit": 15, "rate": "500/s", "reason": reason });
    let given = world.daemon.post("/v1/orders", &order).await;
    assert_eq!((given.status, &given.body["matched"]), (202, &json!(15)));
    let ended = world.daemon.poll(&path_of(&given), |order| order["state"] == "finished").await;
    assert_eq!((&ended["done"], &ended["refused"], &ended["by"]), (&json!(15), &json!(0), &json!("tests")));
    world.received("acme", |ledger| ledger.accepted_keys == 15).await;
    let stats = world.at_rest().await;
    assert_eq!((&stats["deliveries"]["dead"], &stats["deliveries"]["delivered"]), (&json!(25), &json!(15)));
}

#[tokio::test]
async fn a_bulk_order_goes_on_after_a_crash_and_does_each_once() {
    let mut world = with_dead_letters().await;
    let order = json!({ "verb": "replay", "filter": { "state": "dead" }, "rate": "20/s", "reason": "outage" });
    let given = world.daemon.post("/v1/orders", &order).await;
    let path = path_of(&given);
    world.daemon.poll(&path, |order| order["done"].as_u64() >= Some(5)).await;
    world.daemon.kill();
    world.daemon.start_again();
    let ended = world.daemon.poll(&path, |order| order["state"] == "finished").await;
    assert_eq!((&ended["done"], &ended["refused"], &ended["remaining"]), (&json!(40), &json!(0), &json!(0)));
    let stats = world.at_rest().await;
    assert_eq!(stats["deliveries"], json!({ "delivered": 40 }));
    let listed = world.daemon.get("/v1/orders").await.body;
    assert_eq!((&listed["items"][0]["reason"], &listed["items"][0]["by"]), (&json!("outage"), &json!("tests")));
}

#[tokio::test]
async fn a_bulk_order_can_be_paused_resumed_and_stopped() {
    let world = with_dead_letters().await;
    let order = json!({ "verb": "discard", "filter": { "state": "dead" }, "rate": "10/s", "reason": "written off" });
    let path = path_of(&world.daemon.post("/v1/orders", &order).await);
    world.daemon.poll(&path, |order| order["done"].as_u64() >= Some(2)).await;
    let change = async |verb: &str| world.daemon.post(&format!("{path}/{verb}"), &json!({})).await;
    let paused = change("pause").await;
    assert_eq!((paused.status, &paused.body["state"]), (200, &json!("paused")));
    let done = &paused.body["done"];
    assert_eq!(&world.daemon.get(&path).await.body["done"], done);
    assert_eq!(change("resume").await.body["state"], "running");
    world.daemon.poll(&path, |order| order["done"].as_u64() > done.as_u64()).await;
    let stopped = change("stop").await;
    assert_eq!(stopped.body["state"], "stopped");
    assert_eq!(change("resume").await.status, 409);
    let stats = world.daemon.get("/v1/stats").await.body;
    let (dead, put_away) = (&stats["deliveries"]["dead"], &stats["deliveries"]["cancelled"]);
    assert_eq!((put_away, dead.as_u64().unwrap()), (&stopped.body["done"], 40 - put_away.as_u64().unwrap()));
}

#[tokio::test]
async fn delivered_ones_are_only_sent_again_by_force() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "delivered").await;
    let filter = json!({ "affiliate": "acme" });
    let count = async |force: bool| {
        let order = json!({ "verb": "replay", "filter": filter, "dry_run": true, "force": force });
        world.daemon.post("/v1/orders", &order).await.body["matched"].as_u64().unwrap()
    };
    assert_eq!((count(false).await, count(true).await), (0, 1));
    let path = format!("/v1/deliveries/{id}/replay");
    assert_eq!(world.daemon.post(&path, &json!({ "reason": "x" })).await.status, 409);
    assert_eq!(world.daemon.post(&path, &json!({ "reason": "x", "force": true })).await.status, 200);
    world.received("acme", |ledger| ledger.requests == 2).await;
}

#[tokio::test]
async fn what_is_paused_waits_and_goes_on_when_resumed() {
    let world = World::with(vec![partner("acme", "200"), partner("beta", "200")]).await;
    let order = json!({ "reason": "their migration" });
    assert_eq!(world.daemon.post("/v1/affiliates/acme/pause", &order).await.status, 200);
    let waits = world.accept(ftd("acme", "dep-1")).await;
    let goes = world.accept(ftd("beta", "dep-1")).await;
    world.until(&goes, "delivered").await;
    world.until(&waits, "scheduled").await;
    assert_eq!(world.receiver("acme").ledger().requests, 0);
    assert_eq!(world.daemon.post("/v1/postbacks/acme/conversions/resume", &order).await.status, 200);
    world.until(&waits, "delivered").await;
}

#[tokio::test]
async fn a_pause_concerns_what_it_names_and_also_who_is_no_longer_configured() {
    let copies = "[[postback]]\nname = \"copies\"\nmethod = \"GET\"\nevents = [\"kyc_approved\"]\n\
                  url = \"https://copies.example/?cid={click_id}\"\n";
    let world = World::with(vec![partner("acme", "200").tables(copies), partner("beta", "200")]).await;
    for affiliate in ["acme", "beta"] {
        let id = world.accept(ftd(affiliate, "dep-1")).await;
        world.until(&id, "delivered").await;
    }
    let order = json!({ "reason": "their migration" });
    let ordered = async |path: &str| world.daemon.post(path, &order).await.body["postbacks"].clone();
    let said = |paused: bool, names: &[&str]| -> Value {
        names.iter().map(|name| json!({ "postback": name, "paused": paused })).collect()
    };
    assert_eq!(ordered("/v1/postbacks/acme/copies/pause").await, said(true, &["acme/copies"]));
    assert_eq!(ordered("/v1/affiliates/acme/resume").await, said(false, &["acme/conversions", "acme/copies"]));
    std::fs::remove_file(world.path("affiliates/acme.toml")).unwrap();
    assert_eq!(world.daemon.post("/v1/reload", &json!({})).await.status, 200);
    assert_eq!(ordered("/v1/affiliates/acme/pause").await, said(true, &["acme/conversions", "acme/copies"]));
    let id = world.accept(ftd("beta", "dep-2")).await;
    world.until(&id, "delivered").await;
}

#[tokio::test]
async fn a_held_delivery_can_be_released_or_cancelled() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let order = json!({ "reason": "checking" });
    world.daemon.post("/v1/affiliates/acme/pause", &order).await;
    let ids = [world.accept(ftd("acme", "dep-1")).await, world.accept(ftd("acme", "dep-2")).await];
    for id in &ids {
        assert_eq!(world.daemon.post(&format!("/v1/deliveries/{id}/hold"), &order).await.body["state"], "held");
    }
    world.daemon.post("/v1/affiliates/acme/resume", &order).await;
    assert_eq!(world.daemon.post(&format!("/v1/deliveries/{}/release", ids[0]), &order).await.status, 200);
    let cancelled = world.daemon.post(&format!("/v1/deliveries/{}/cancel", ids[1]), &order).await;
    assert_eq!(cancelled.body["state"], "cancelled");
    world.until(&ids[0], "delivered").await;
    assert_eq!(world.receiver("acme").ledger().requests, 1);
}

#[tokio::test]
async fn a_reload_is_whole_or_not_at_all() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let file = world.path("affiliates/acme.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("{click_id}", "{clickid}")).unwrap();
    let refused = world.daemon.post("/v1/reload", &json!({})).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("clickid"), "{}", refused.body);
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "delivered").await;
    std::fs::write(&file, good.replace("cid=", "click=")).unwrap();
    assert_eq!(world.daemon.post("/v1/reload", &json!({})).await.status, 200);
    let id = world.accept(ftd("acme", "dep-2")).await;
    let detail = world.until(&id, "delivered").await;
    assert!(detail["history"][0]["attempt"]["request"]["url"].as_str().unwrap().contains("&click=click-dep-2&"));
}
