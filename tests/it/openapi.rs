//! The API's description as users get it, and what is answered to requests that are not in it.

use serde_json::{Value, json};

use crate::harness::{TOKEN, World, command, partner};

#[tokio::test]
async fn the_description_is_the_same_with_a_daemon_and_without() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let served = world.daemon.ask("GET", "/openapi.json", None, None).await;
    assert_eq!(
        (served.status().as_u16(), &served.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let served: Value = serde_json::from_str(&served.text().await.unwrap()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let printed = command(empty.path(), &["openapi"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    assert_eq!(serde_json::from_str::<Value>(&printed.stdout).unwrap(), served);
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1."));
}

#[tokio::test]
async fn what_makes_no_sense_is_answered_by_a_problem_document() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let order = json!({ "verb": "burn", "reason": "x" });
    let cases = [
        ("GET", "/nowhere", None, 404, "not-found"),
        ("DELETE", "/v1/events", None, 405, "method-not-allowed"),
        ("GET", "/v1/deliveries/%ff", None, 404, "not-found"),
        ("POST", "/v1/affiliates/acme/burn", Some(&order), 404, "not-found"),
        ("POST", "/v1/orders", Some(&order), 400, "malformed-request"),
        ("GET", "/v1/orders?limit=many", None, 400, "malformed-request"),
        ("GET", "/v1/orders?cursor=many", None, 400, "malformed-request"),
        ("GET", "/v1/deliveries?limit=0", None, 400, "malformed-request"),
        ("GET", "/v1/export/nothing", None, 404, "not-found"),
    ];
    for (method, path, body, status, name) in cases {
        let answer = world.daemon.ask(method, path, Some(TOKEN), body).await;
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!((answer.status().as_u16(), kind.as_str()), (status, "application/problem+json"), "{method} {path}");
        assert_eq!(
            answer.headers().get("allow").map(|allow| allow.to_str().unwrap()),
            (status == 405).then_some("POST")
        );
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["type"], format!("urn:postbackd:problem:{name}"), "{method} {path}");
        assert_eq!(problem["status"], status);
    }
}
