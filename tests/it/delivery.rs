//! From an event to a verdict: what receivers see, what is recorded, what follows.

use serde_json::json;

use crate::harness::{World, ftd, partner};

#[tokio::test]
async fn an_event_becomes_one_request_and_is_on_record() {
    let world = World::with(vec![partner("acme", "200 body=\"OK\"")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let ledger = world.received("acme", |ledger| ledger.requests == 1).await;
    assert_eq!((ledger.accepted_keys, ledger.duplicate_keys), (1, 0));
    let seen = &ledger.entries()[0].to_json();
    let expected = format!(
        "/postback?eid={}&txid=dep-1&cid=click-dep-1&status=approved&payout=120.00&cur=EUR",
        detail["delivery"]["event_id"].as_str().unwrap()
    );
    assert_eq!(seen["path_and_query"], expected.as_str());
    let attempt = &detail["history"][0]["attempt"];
    assert_eq!(attempt["number"], 1);
    assert_eq!(attempt["rule"], "default: 2xx");
    assert_eq!(attempt["response"]["status"], 200);
    assert_eq!(attempt["response"]["body"], "OK");
    assert!(attempt["request"]["url"].as_str().unwrap().ends_with(&expected));
    assert_eq!(attempt["digest"].as_str().unwrap().len(), 64);
    assert!(attempt["timings_us"]["total"].as_u64().unwrap() > 0);
    assert!(attempt["timings_us"]["connect"].is_u64(), "{attempt}");
    assert!(attempt["timings_us"]["first_byte"].is_u64());
}

#[tokio::test]
async fn failures_are_retried_until_it_arrives() {
    let world = World::with(vec![partner("acme", "500,reset,302 location=http://127.0.0.1/x,200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let outcomes: Vec<_> =
        detail["history"].as_array().unwrap().iter().map(|e| e["attempt"]["outcome"].clone()).collect();
    assert_eq!(outcomes, ["retry", "ambiguous", "retry", "delivered"]);
    let ledger = world.receiver("acme").ledger();
    assert_eq!((ledger.requests, ledger.accepted_keys, ledger.duplicate_keys), (4, 1, 0));
}

#[tokio::test]
async fn a_used_up_schedule_ends_in_a_dead_letter_that_can_be_replayed() {
    let world = World::with(vec![partner("acme", "500*4,200").query("&key={idempotency_key}&n={attempt}")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "dead").await;
    assert_eq!((&detail["delivery"]["reason"], &detail["delivery"]["attempts"]), (&json!("exhausted"), &json!(4)));
    let body = json!({ "reason": "they fixed it" });
    let answer = world.daemon.post(&format!("/v1/deliveries/{id}/replay"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let detail = world.until(&id, "delivered").await;
    assert_eq!(detail["delivery"]["attempts"], 5);
    assert_eq!(
        (&detail["history"][4]["order"], &detail["history"][4]["why"]),
        (&json!("replay"), &json!("they fixed it"))
    );
    let keys = world.receiver("acme").ledger().entries().into_iter().map(|seen| {
        let query = seen.to_json()["path_and_query"].as_str().unwrap().to_owned();
        query.split("&key=").nth(1).unwrap().to_owned()
    });
    assert_eq!(keys.collect::<Vec<_>>(), (1..=5).map(|n| format!("{id}&n={n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_body_says_decides_behind_a_200() {
    let rules = r#"
[[postback.response]]
when = { status = "200", xml = { tag = "bad", not_equals = "0" } }
then = "rejected"
[[postback.response]]
when = { status = "200", json = { pointer = "/code", one_of = [4, 17] } }
then = "retry"
[[postback.response]]
when = { status = "200", xml = [{ tag = "good" }, { tag = "bad", equals = "0" }] }
then = "delivered"
"#;
    let table = [
        ("type=text/xml body=\"<r><good>1</good><bad>0</bad></r>\"", "delivered", "delivered", "rule 3 "),
        ("type=text/xml body=\"<r><good>0</good><bad>3</bad></r>\"", "dead", "rejected", "rule 1 "),
        ("type=text/html body=\"<html><body>Log in</body></html>\"", "dead", "misconfigured", "default: an HTML page"),
        ("type=application/json body=\"{\\\"code\\\": 17}\"", "dead", "retry", "rule 2 "),
    ];
    for (answer, state, outcome, rule) in table {
        let world = World::with(vec![partner("acme", &format!("200 {answer}")).tables(rules)]).await;
        let id = world.accept(ftd("acme", "dep-1")).await;
        let detail = world.until(&id, state).await;
        let attempt = &detail["history"][0]["attempt"];
        assert_eq!(attempt["outcome"], outcome, "{attempt}");
        assert!(attempt["rule"].as_str().unwrap().starts_with(rule), "{attempt}");
    }
}

#[tokio::test]
async fn throttling_waits_as_told_and_spends_no_attempt() {
    let world = World::with(vec![partner("acme", "429 retry-after=1,200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let history = &detail["history"];
    let at =
        |index: usize| history[index]["attempt"]["started_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(1).duration_since(at(0)).as_millis() >= 1_000);
    assert_eq!((&detail["delivery"]["attempts"], &detail["delivery"]["spent"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn an_ambiguous_outcome_is_retried_where_the_receiver_dedupes_and_held_where_not() {
    let timeout = "[postback.timeout]\ntotal = \"200ms\"\nconnect = \"100ms\"\n";
    let partners = vec![
        partner("acme", "hang,200").tables(timeout),
        partner("beta", "hang,200").postback("receiver_dedupes = false").tables(timeout),
    ];
    let world = World::with(partners).await;
    let retried = world.accept(ftd("acme", "dep-1")).await;
    let held = world.accept(ftd("beta", "dep-1")).await;
    world.until(&retried, "delivered").await;
    let detail = world.until(&held, "held").await;
    assert_eq!(detail["delivery"]["reason"], "ambiguous");
    let order = json!({ "reason": "their log shows it", "delivered": true });
    assert_eq!(world.daemon.post(&format!("/v1/deliveries/{held}/release"), &order).await.status, 200);
    let detail = world.until(&held, "delivered").await;
    assert_eq!(detail["delivery"]["reason"], "operator");
    assert_eq!(world.receiver("beta").ledger().requests, 1);
}

#[tokio::test]
async fn a_200_that_says_error_is_judged_by_the_rules() {
    let rules = "[[postback.response]]\nwhen = { status = \"200\", body_contains = \"success=false\" }\nthen = \"rejected\"\n\
                 [[postback.response]]\nwhen = { status = \"409\" }\nthen = \"duplicate\"\n";
    let script = "?txid=dep-1 => 200 body=\"success=false;\"\n?txid=dep-2 => 409\n200";
    let world = World::with(vec![partner("acme", script).tables(rules)]).await;
    let rejected = world.accept(ftd("acme", "dep-1")).await;
    let duplicate = world.accept(ftd("acme", "dep-2")).await;
    let detail = world.until(&rejected, "dead").await;
    assert_eq!(detail["delivery"]["reason"], "rejected");
    assert_eq!(detail["history"][0]["attempt"]["rule"], "rule 1 (status 200, body contains \"success=false\")");
    assert_eq!(world.until(&duplicate, "delivered").await["delivery"]["reason"], "duplicate");
}

#[tokio::test]
async fn gone_pauses_the_postback_and_holds_the_delivery() {
    let world = World::with(vec![partner("acme", "?txid=dep-1 => 410\n200")]).await;
    let gone = world.accept(ftd("acme", "dep-1")).await;
    world.until(&gone, "held").await;
    let later = world.accept(ftd("acme", "dep-2")).await;
    let stats = world.daemon.get("/v1/stats").await.body;
    let postback = &stats["affiliates"][0]["postbacks"][0];
    assert!(postback["paused"]["reason"].as_str().unwrap().contains("410"), "{postback}");
    assert_eq!(postback["deliveries"]["scheduled"], 1);
    let order = json!({ "reason": "back again" });
    assert_eq!(world.daemon.post("/v1/affiliates/acme/resume", &order).await.status, 200);
    world.until(&later, "delivered").await;
    assert_eq!(world.receiver("acme").ledger().seen(gone.as_str()), 0);
}

#[tokio::test]
async fn a_forbidden_address_is_never_connected_to() {
    let world = World::configured(vec![partner("acme", "200")], "").await;
    let file = world.path("postbackd.toml");
    let config = std::fs::read_to_string(&file).unwrap().replace("allow = [\"127.0.0.0/8\"]", "allow = []");
    std::fs::write(&file, config).unwrap();
    assert_eq!(world.daemon.post("/v1/reload", &json!({})).await.status, 200);
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "dead").await;
    assert_eq!(detail["delivery"]["reason"], "blocked");
    assert!(detail["history"][0]["attempt"]["error"].as_str().unwrap().contains("127.0.0.1"));
    assert_eq!(world.receiver("acme").ledger().requests, 0);
}

#[tokio::test]
async fn a_huge_body_is_read_to_the_cap_and_kept_in_part() {
    let world = World::with(vec![partner("acme", "200 huge=1MiB,200 body=\"small\"")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let first = &detail["history"][0]["attempt"];
    assert_eq!((&first["outcome"], &first["rule"]), (&json!("retry"), &json!("default: body over the cap")));
    assert_eq!(first["response"]["body_bytes"], 64 * 1024);
    assert!(first["response"]["body"].as_str().unwrap().len() <= 4096);
    assert_eq!(first["response"]["truncated"], true);
}

#[tokio::test]
async fn an_empty_click_id_never_leaves_and_a_retry_would_not_help() {
    let world = World::with(vec![
        partner("acme", "200").query("&need={sub_ids.sub1}").tables("[postback.on_empty]\nneed = \"refuse\"\n"),
    ])
    .await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "dead").await;
    assert_eq!(detail["delivery"]["reason"], "unrenderable");
    assert!(detail["history"][0]["attempt"]["error"].as_str().unwrap().contains("need"));
    assert_eq!(world.receiver("acme").ledger().requests, 0);
}

#[tokio::test]
async fn a_secret_signs_and_is_masked_everywhere() {
    let signature = "[postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = { file = \"secret\" }\n\
                     message = \"{path_and_query}\"\nplace = { query = \"sig\", encoding = \"hex\" }\n";
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "canary-5f2a").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let signature = signature.replace("\"secret\" }", &format!("{:?} }}", secret.to_str().unwrap()));
    let world = World::with(vec![partner("acme", "200").tables(&signature)]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let recorded = detail["history"][0]["attempt"]["request"]["url"].as_str().unwrap();
    assert!(recorded.ends_with("&sig=***"), "{recorded}");
    let seen = world.receiver("acme").ledger().entries()[0].to_json();
    let (signed, signature) = seen["path_and_query"].as_str().unwrap().split_once("&sig=").unwrap();
    let expected = {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"canary-5f2a").unwrap();
        mac.update(signed.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    };
    assert_eq!(signature, expected);
    assert!(!detail.to_string().contains("canary-5f2a") && !detail.to_string().contains(&expected));
}
