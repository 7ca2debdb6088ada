//! Scripts, keys and control as the command line gives them.

use clap::Parser;
use serde_json::{Value, json};

use super::super::{Receiver, ReceiverArgs, ReceiverError, ReceiverOptions, Script};
use super::{Client, receiver};

async fn control(client: &mut Client, method: &str, name: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    client
        .send(format!("{method} /_receiver/{name} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"))
        .await;
    let response = client.response().await;
    (response.status, serde_json::from_str(response.text()).unwrap())
}

#[tokio::test]
async fn the_ledger_can_be_read_over_http_and_is_not_changed_by_it() {
    let receiver = receiver("500,200").await;
    let mut client = Client::connect(&receiver).await;
    client.get("/p?txid=a").await;
    client.get("/p?txid=a").await;
    let (status, ledger) = control(&mut client, "GET", "ledger", "").await;
    assert_eq!(status, 200);
    assert_eq!((&ledger["requests"], &ledger["answered"]), (&json!(2), &json!({ "200": 1, "500": 1 })));
    assert!(ledger.get("entries").is_none());
    let (_, key) = control(&mut client, "GET", "ledger?key=a", "").await;
    assert_eq!((&key["seen"], &key["accepted"]), (&json!(2), &json!(1)));
    let (_, ledger) = control(&mut client, "GET", "ledger?entries=true", "").await;
    assert_eq!(ledger["requests"], 2);
    assert_eq!(ledger["entries"][1]["answer"], "200");
}

#[tokio::test]
async fn the_script_can_be_changed_and_begun_anew_over_http() {
    let receiver = receiver("500").await;
    let mut client = Client::connect(&receiver).await;
    assert_eq!(control(&mut client, "PUT", "script", "/a=404\n503,200").await, (200, json!({ "rules": 2 })));
    assert_eq!(client.get("/?txid=a").await.status, 503);
    let (status, error) = control(&mut client, "PUT", "script", "200\nhnag").await;
    let error = error["error"].as_str().unwrap();
    assert!(status == 400 && error.contains("line 2") && error.contains("\"hnag\" is not an answer"), "{error}");
    assert_eq!(client.get("/?txid=a").await.status, 200);
    assert_eq!(control(&mut client, "POST", "reset", "").await.0, 200);
    assert_eq!(receiver.ledger().requests, 0);
    assert_eq!(client.get("/?txid=a").await.status, 503);
    assert_eq!(control(&mut client, "GET", "reset", "").await.0, 405);
    assert_eq!(control(&mut client, "GET", "nothing", "").await.0, 404);
}

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: ReceiverArgs,
}

fn options(line: &[&str]) -> Result<ReceiverOptions, ReceiverError> {
    Line::try_parse_from([&["receiver"], line].concat()).unwrap().args.into_options()
}

#[tokio::test]
async fn the_command_line_becomes_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "# moods\n/acme => 500\n").unwrap();
    let script = script.to_str().unwrap();
    let options = options(&["--listen", "127.0.0.1:0", "--script", script, "--answer", "/b=410", "--answer", "204"]);
    let options = options.unwrap();
    assert_eq!(options.script, Script::parse("/acme=500\n/b=410\n204").unwrap());
    assert_eq!(options.key.to_string(), "header:webhook-id,query:txid");
    let receiver = Receiver::start(options).await.unwrap();
    assert_ne!(receiver.address().port(), 0);
    assert_eq!(receiver.url("/p?a=b"), format!("http://{}/p?a=b", receiver.address()));
}

#[test]
fn what_makes_no_sense_on_the_command_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    std::fs::write(&secrets, "\n").unwrap();
    let secrets = secrets.to_str().unwrap();
    assert!(matches!(options(&["--answer", "hnag"]), Err(ReceiverError::Script { .. })));
    assert!(matches!(options(&["--answer", "200", "--answer", "/a=500"]), Err(ReceiverError::Script { .. })));
    assert!(matches!(options(&["--script", "/does/not/exist"]), Err(ReceiverError::ReadFile { .. })));
    let line = ["--verify", "standard-webhooks", "--secret-file", secrets];
    assert!(matches!(options(&line), Err(ReceiverError::Secrets { .. })));
    for line in [["--verify", "query-hmac"], ["--key", "cookie:a"], ["--tolerance", "5"]] {
        assert!(Line::try_parse_from([&["receiver"], &line[..]].concat()).is_err(), "{line:?}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let receiver = receiver("200").await;
    let options = ReceiverOptions { listen: receiver.address(), ..ReceiverOptions::default() };
    assert!(matches!(Receiver::start(options).await, Err(ReceiverError::Listen { .. })));
}
