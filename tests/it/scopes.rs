//! Who may do what, asked of every route that the API's own document lists: a route that is added is covered at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{QUICK_RETRY, TOKEN, World, ftd, partner};

const SCOPES: [&str; 4] = ["ingest", "read", "replay", "configure"];

/// What only acme's things say, unless they are asked for by name.
const MARKS: [&str; 3] = ["77.71", "click-dep-1", "a reason of acme"];

/// A token for each scope alone, and for each scope alone and narrowed to beta.
fn tokens() -> String {
    let token = |name: String, scope: &str, more: &str| {
        let sha256 = hex::encode(Sha256::digest(&name));
        format!("[[api.token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nscopes = [\"{scope}\"]\n{more}\n")
    };
    let all = SCOPES.iter().map(|scope| token(only(scope), scope, ""));
    let beta = SCOPES.iter().map(|scope| token(of_beta(scope), scope, "affiliates = [\"beta\"]"));
    all.chain(beta).collect()
}

fn only(scope: &str) -> String {
    format!("test-token-of-{scope}-alone")
}

fn of_beta(scope: &str) -> String {
    format!("test-token-of-{scope}-for-beta")
}

/// One way to ask one operation of the document for what is acme's.
struct Request {
    name: String,
    method: String,
    path: String,
    body: Option<Value>,
    scopes: Vec<String>,
    affiliates: String,
    statuses: Vec<String>,
}

/// The values that stand for a path's parameter: those that it can have, or the name of something of acme's.
fn values(parameter: &Value, things: &BTreeMap<&str, String>) -> Vec<String> {
    if let Some(values) = parameter["schema"]["enum"].as_array() {
        return values.iter().map(|value| value.as_str().unwrap().to_owned()).collect();
    }
    let name = parameter["name"].as_str().unwrap();
    let thing = things.get(name).unwrap_or_else(|| panic!("say which {name} is acme's"));
    vec![thing.clone()]
}

/// A well-formed body about acme, by the name of its schema.
fn body(operation: &Value) -> Option<Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if schema["type"] == "array" {
        return Some(json!([ftd("acme", "dep-2")]));
    }
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    Some(match name {
        "Event" => ftd("acme", "dep-2"),
        "OrderBody" => json!({ "reason": "to see whether it works" }),
        "BulkBody" => {
            json!({ "verb": "cancel", "filter": { "affiliate": "acme" }, "reason": "to see whether it works" })
        }
        "MarkBody" => json!({ "consumer": "finance", "until": "2026-01-01T00:00:00Z", "rows": 1 }),
        "LevelBody" => json!({ "filter": "info" }),
        other => panic!("say what a {other} about acme is"),
    })
}

/// Ways to name what is acme's in a query: by the affiliate, and by a transaction of its.
fn queries(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let has = |name: &str| parameters.iter().any(|parameter| parameter["in"] == "query" && parameter["name"] == name);
    let ways = [("affiliate", "?affiliate=acme"), ("transaction", "?transaction=dep-1"), ("key", "?key=dep-1")];
    let found: Vec<_> = ways.iter().filter(|(name, _)| has(name)).map(|(_, query)| (*query).to_owned()).collect();
    if found.is_empty() { vec![String::new()] } else { found }
}

fn requests(document: &Value, things: &BTreeMap<&str, String>) -> Vec<Request> {
    let mut requests = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut paths = vec![template.clone()];
            for parameter in
                operation["parameters"].as_array().into_iter().flatten().filter(|known| known["in"] == "path")
            {
                let place = format!("{{{}}}", parameter["name"].as_str().unwrap());
                let values = values(parameter, things);
                paths = paths.iter().flat_map(|path| values.iter().map(|value| path.replace(&place, value))).collect();
            }
            let paths =
                paths.iter().flat_map(|path| queries(operation).into_iter().map(move |query| format!("{path}{query}")));
            let statuses = operation["responses"].as_object().unwrap().keys();
            requests.extend(paths.map(|path| {
                Request {
                    name: format!("{method} {path}"),
                    method: method.to_uppercase(),
                    path,
                    body: body(operation),
                    scopes: operation["security"][0]["bearer"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|scope| scope.as_str().unwrap().to_owned())
                        .collect(),
                    affiliates: operation["x-affiliates"].as_str().unwrap_or_default().to_owned(),
                    statuses: statuses.clone().cloned().collect(),
                }
            }));
        }
    }
    requests
}

impl Request {
    /// The status, and the body unless it has no end.
    async fn ask(&self, world: &World, token: Option<&str>, body: Option<&Value>) -> (u16, String) {
        let response = world.daemon.ask(&self.method, &self.path, token, body).await;
        let status = response.status().as_u16();
        assert!(self.statuses.contains(&status.to_string()), "{}: {status} is not in the document", self.name);
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(status >= 400, kind == "application/problem+json", "{}: {status} {kind}", self.name);
        if kind.starts_with("text/event-stream") {
            return (status, String::new());
        }
        (status, response.text().await.unwrap())
    }
}

/// Acme with a delivery that waits, an order about it, and an event that nobody wants; and beta.
async fn world() -> (World, BTreeMap<&'static str, String>) {
    let wants = "events = [\"ftd\"]";
    let partners = vec![partner("acme", "200").postback(wants), partner("beta", "200").postback(wants)];
    let world = World::with_api(partners, &tokens(), QUICK_RETRY).await;
    let why = json!({ "reason": "a reason of acme" });
    assert_eq!(world.daemon.post("/v1/affiliates/acme/pause", &why).await.status, 200);
    let mut event = ftd("acme", "dep-1");
    event["payout"] = json!("77.71");
    let taken = world.daemon.post("/v1/events", &event).await.body;
    event["type"] = json!("registration");
    assert_eq!(world.daemon.post("/v1/events", &event).await.status, 202);
    let order = json!({ "verb": "release", "filter": { "affiliate": "acme" }, "reason": "a reason of acme" });
    let order = world.daemon.post("/v1/orders", &order).await;
    assert_eq!(order.status, 202, "{}", order.body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let things = BTreeMap::from([
        ("event_id", text(&taken["event_id"])),
        ("delivery_id", text(&taken["deliveries"][0])),
        ("order_id", text(&order.body["order_id"])),
        ("affiliate", "acme".into()),
        ("postback", "conversions".into()),
    ]);
    (world, things)
}

async fn document(world: &World) -> Value {
    let response = world.daemon.ask("GET", "/openapi.json", None, None).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn every_route_asks_for_the_scope_that_the_document_names() {
    let (world, things) = world().await;
    let requests = requests(&document(&world).await, &things);
    assert!(requests.len() > 30, "the document is read whole");
    // What is asked for is no well-formed order, so that nothing is done where it is allowed.
    let nothing = json!({});
    for request in requests {
        let body = request.body.as_ref().map(|_| &nothing);
        let nobody = request.ask(&world, None, body).await;
        let unknown = request.ask(&world, Some("nonsense"), body).await;
        if request.scopes.is_empty() {
            assert_eq!((nobody.0, unknown.0), (200, 200), "{}", request.name);
            continue;
        }
        assert_eq!((nobody.0, unknown.0), (401, 401), "{}", request.name);
        for own in SCOPES {
            let (status, answer) = request.ask(&world, Some(&only(own)), body).await;
            let name = &request.name;
            if request.scopes == [own] {
                assert!(![401, 403].contains(&status), "{name} is not for {own}: {answer}");
            } else {
                assert_eq!(status, 403, "{name} is for {own}: {answer}");
            }
        }
        if request.scopes.len() > 1 {
            let (status, answer) = request.ask(&world, Some(TOKEN), body).await;
            assert!(![401, 403].contains(&status), "{} is not for all scopes: {answer}", request.name);
        }
    }
}

/// All that orders and events about acme would change.
async fn standing(world: &World) -> Vec<Value> {
    let mut standing = Vec::new();
    for path in ["/v1/deliveries", "/v1/events/unrouted", "/v1/affiliates", "/v1/orders", "/v1/exports/marks"] {
        standing.push(world.daemon.get(path).await.body);
    }
    standing
}

#[tokio::test]
async fn a_token_for_another_affiliate_sees_and_does_nothing() {
    let (world, things) = world().await;
    let requests = requests(&document(&world).await, &things);
    let before = standing(&world).await;
    for request in requests.iter().filter(|request| !request.scopes.is_empty()) {
        let (name, scope) = (&request.name, &request.scopes[0]);
        let (status, answer) = request.ask(&world, Some(&of_beta(scope)), request.body.as_ref()).await;
        match request.affiliates.as_str() {
            "all" => assert_eq!(status, 403, "{name}: {answer}"),
            "named" if request.path.contains("affiliate=acme") => assert_eq!(status, 403, "{name}: {answer}"),
            "named" | "own" => {}
            other => panic!("{name}: {other:?} is not explained"),
        }
        for mark in MARKS {
            assert!(!answer.contains(mark), "{name} tells {mark}: {answer}");
        }
        assert_eq!(standing(&world).await, before, "{name} does something: {answer}");
    }
    // The same questions have answers for those who may ask.
    let mut told = 0;
    for request in requests.iter().filter(|request| request.scopes == ["read"]) {
        let (status, answer) = request.ask(&world, Some(&only("read")), None).await;
        assert_eq!(status, 200, "{}: {answer}", request.name);
        told += usize::from(MARKS.iter().any(|mark| answer.contains(mark)));
    }
    assert!(told > 10, "{told} answers tell something of acme");
}
