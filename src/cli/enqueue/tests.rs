//! Reading with faults, and handing over to a daemon that is not always well.

use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::batch::Found;
use super::*;
use crate::cli::fixtures::Daemon;
use crate::cli::output::{Form, Person};

/// What is found in a text: `line:json`, or `line!why`.
fn found(name: &str, text: &[u8]) -> Vec<String> {
    let input: Box<dyn Read + Send> = Box::new(Cursor::new(text.to_vec()));
    let events = format::open(input, None, Path::new(name), b',').unwrap();
    let shown = events.map(|found| match found.unwrap() {
        Found::Event(item) => format!("{}:{}", item.line, item.text),
        Found::Malformed(malformed) => format!("{}!{}", malformed.line, malformed.why),
    });
    shown.collect()
}

fn starts(found: &[String], expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found:?} does not start with {expected:?}");
    }
}

#[test]
fn a_line_that_is_no_json_is_told_and_the_rest_goes_on() {
    let text = b"{\"a\":1}\nnonsense\n\n[1]\r\n  {\"b\":1.10}  \r\n\xff\n{\"c\":";
    let expected =
        ["1:{\"a\":1}", "2!it is not JSON", "4!it is JSON, but no object", "5:{\"b\":1.10}", "6!it is not UTF-8"];
    let found = found("x.ndjson", text);
    starts(&found[..5], &expected);
    starts(&found[5..], &["7!it is not JSON"]);
}

#[test]
fn an_endless_line_is_one_fault() {
    let mut text = vec![b'x'; 1 << 20];
    text.extend_from_slice(b"\n{}\n");
    starts(&found("x.ndjson", &text), &["1!it is longer", "2:{}"]);
}

#[test]
fn arrays_are_cut_apart_with_their_lines() {
    let text = b"\xef\xbb\xbf[\n  {\"a\": \"]},\\\"\"},\n  nonsense,\n  {\"b\": [1, {\"c\": 2}]}\n]\n";
    starts(&found("x.json", text), &["2:{\"a\": \"]},\\\"\"}", "3!it is not JSON", "4:{\"b\": [1, {\"c\": 2}]}"]);
    starts(&found("x.json", b"[]"), &[]);
    starts(&found("x.json", b""), &[]);
    starts(&found("x.json", b"[{}] {}"), &["1:{}", "1!there is text behind"]);
    starts(&found("x.json", b"[{}\n{}]"), &["1!it is not JSON"]);
}

#[test]
fn a_cut_document_is_told() {
    starts(&found("x.json", b"[{\"a\":1},"), &["1:{\"a\":1}", "1!the file ends before"]);
    starts(&found("x.json", b"[{\"a\":1},{\"b"), &["1:{\"a\":1}", "1!it is not JSON", "1!the file ends before"]);
}

#[test]
fn how_it_is_written_is_seen_from_its_start() {
    starts(&found("-", b"\n {\n \"a\": 1\n}\n"), &["2:{\n \"a\": 1\n}"]);
    starts(&found("-", b"{\"a\":1}\nbad\n{\"b\":1}"), &["1:{\"a\":1}", "2!", "3:{\"b\":1}"]);
    let open = |named| format::open(Box::new(Cursor::new(b"a,b\n1,2\n".to_vec())), named, Path::new("-"), b',');
    assert_eq!(open(None).err().unwrap().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(open(Some(Format::Csv)).unwrap().count(), 1);
}

#[test]
fn rows_become_events_with_nested_fields() {
    let text = "transaction_id,sub_ids.sub1,params.country,params.count:number,params.vip:boolean,payout\n\
                d-1, b-3 ,DE,3,true,120.00\nd-2,,,,,\n\"d\n3\",,,x,,\nd-4,,\nd-5,,,,maybe,\nd-6,,,1.50,,\n";
    let found = found("x.csv", text.as_bytes());
    starts(&found[2..5], &["4!column count: \"x\" is no number", "6!the row has 3 cells", "7!column vip"]);
    let event = |at: usize| serde_json::from_str::<Value>(found[at].split_once(':').unwrap().1).unwrap();
    let wanted = json!({"transaction_id": "d-1", "sub_ids": {"sub1": "b-3"}, "payout": "120.00",
        "params": {"country": "DE", "count": 3, "vip": true}});
    assert_eq!(event(0), wanted);
    assert_eq!(event(1), json!({"transaction_id": "d-2"}));
    assert!(found[5].contains("1.50"), "numbers keep their digits: {}", found[5]);
}

#[test]
fn a_header_that_makes_no_sense_is_refused() {
    for text in ["a,a\n", "a,,b\n", "params.,b\n", "a,\u{feff}b\n"] {
        let input = Box::new(Cursor::new(text.as_bytes().to_vec()));
        assert!(format::open(input, Some(Format::Csv), Path::new("-"), b',').is_err(), "{text:?}");
    }
}

/// What the stub was handed: the transactions of each batch, in the order of arrival.
type Handed = Arc<Mutex<Vec<Vec<String>>>>;

/// A stub that answers each batch as `answer` says, given how many came before.
fn daemon(answer: impl Fn(usize, &[Value]) -> Response + Clone + Send + Sync + 'static) -> (Daemon, Handed) {
    let handed = Handed::default();
    let log = Arc::clone(&handed);
    let route = post(move |Json(events): Json<Vec<Value>>| async move {
        let names = events.iter().map(|event| event["transaction_id"].as_str().unwrap_or("-").to_owned());
        let before = {
            let mut log = log.lock().unwrap();
            log.push(names.collect());
            log.len() - 1
        };
        answer(before, &events)
    });
    (Daemon::serve(Router::new().route("/v1/events/batch", route)), handed)
}

/// The daemon's usual answer: `bad…` is rejected, `dup…` is there already.
fn usual(events: &[Value]) -> Response {
    let result = |event: &Value| match event["transaction_id"].as_str().unwrap_or_default() {
        name if name.starts_with("bad") => json!({"status": 422, "problem": {"title": "Invalid event",
            "errors": [{"pointer": "/payout", "code": "missing", "detail": "must be there"},
                       {"pointer": "/x", "code": "unknown-field", "detail": "is unknown"}]}}),
        name => json!({"status": 202, "event_id": format!("evt_{name}"), "duplicate": name.starts_with("dup"),
            "deliveries": ["dlv_1"]}),
    };
    let results: Vec<Value> = events.iter().map(result).collect();
    Json(json!({"accepted": 0, "duplicates": 0, "rejected": 0, "results": results})).into_response()
}

fn busy(status: StatusCode) -> Response {
    (status, [("retry-after", "0")], Json(json!({"title": "Busy"}))).into_response()
}

fn args(daemon: &Daemon, text: &str) -> EnqueueArgs {
    let file = daemon.path("events.ndjson");
    std::fs::write(&file, text).unwrap();
    EnqueueArgs {
        file,
        format: None,
        delimiter: b',',
        batch: 2,
        in_flight: 4,
        retry_for: Duration::from_secs(5),
        rejects: None,
        dry_run: false,
    }
}

fn events(names: &[&str]) -> String {
    names.iter().map(|name| json!({"transaction_id": name}).to_string() + "\n").collect()
}

async fn run(daemon: &Daemon, args: EnqueueArgs) -> (Exit, Value, String) {
    let (context, captured) = daemon.context(Form::Json, Person::Absent);
    let exit = enqueue(&context, args).await.unwrap_or_else(|failure| {
        context.output.fail(&failure);
        failure.exit()
    });
    (exit, serde_json::from_str(&captured.data()).unwrap_or_default(), captured.words())
}

fn counts(summary: &Value) -> [u64; 4] {
    ["accepted", "duplicates", "rejected", "unacknowledged"].map(|name| summary[name].as_u64().unwrap())
}

#[tokio::test]
async fn events_go_in_batches_and_a_busy_daemon_is_tried_again() {
    let (daemon, handed) = daemon(|before, events| match before {
        0 => busy(StatusCode::SERVICE_UNAVAILABLE),
        1 => busy(StatusCode::TOO_MANY_REQUESTS),
        _ => usual(events),
    });
    let args = EnqueueArgs { in_flight: 1, ..args(&daemon, &events(&["a", "b", "dup", "d", "e"])) };
    let (exit, summary, words) = run(&daemon, args).await;
    assert_eq!((exit, counts(&summary)), (Exit::Ok, [4, 1, 0, 0]), "{words}");
    let all = [vec!["a", "b"], vec!["a", "b"], vec!["a", "b"], vec!["dup", "d"], vec!["e"]];
    assert_eq!(*handed.lock().unwrap(), all);
}

#[tokio::test]
async fn a_daemon_that_stays_busy_ends_it_without_a_lie() {
    let (daemon, _) = daemon(|before, events| match before {
        0 => usual(events),
        _ => (StatusCode::INSUFFICIENT_STORAGE, [("retry-after", "60")], Json(json!({"title": "Disk full"})))
            .into_response(),
    });
    let args = EnqueueArgs { in_flight: 1, ..args(&daemon, &events(&["a", "b", "c", "d", "e"])) };
    let (exit, summary, words) = run(&daemon, args).await;
    let [accepted, duplicates, rejected, unacknowledged] = counts(&summary);
    assert_eq!((exit, accepted, duplicates, rejected), (Exit::Partial, 2, 0, 0));
    assert!(unacknowledged >= 2 && summary["complete"] == false, "{summary}");
    assert!(words.contains("from line 3 on") && words.contains("Disk full"), "{words}");
}

#[tokio::test]
async fn every_fault_of_a_rejected_event_is_told_with_its_line() {
    let (daemon, _) = daemon(|_, events| usual(events));
    let text = events(&["a", "bad-1"]) + "nonsense\n" + &events(&["c"]);
    let (exit, summary, words) = run(&daemon, args(&daemon, &text)).await;
    assert_eq!((exit, counts(&summary)), (Exit::Partial, [2, 0, 2, 0]));
    assert!(words.contains("line 2: Invalid event; /payout: must be there; /x: is unknown"), "{words}");
    assert!(words.contains("line 3: it is not JSON"), "{words}");
    let (exit, ..) = run(&daemon, args(&daemon, &events(&["bad-1", "bad-2"]))).await;
    assert_eq!(exit, Exit::Error);
}

#[tokio::test]
async fn rejects_are_written_to_their_file() {
    let (daemon, _) = daemon(|_, events| usual(events));
    let file = daemon.path("rejects");
    let args = EnqueueArgs { rejects: Some(file.clone()), ..args(&daemon, &events(&["a", "bad-1"])) };
    assert_eq!(run(&daemon, args).await.0, Exit::Partial);
    let entry: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&entry["line"], &entry["event"]["transaction_id"]), (&json!(2), &json!("bad-1")));
    assert_eq!(entry["problem"]["errors"][0]["pointer"], "/payout");
}

#[tokio::test]
async fn one_event_that_spoils_a_batch_is_found_and_the_rest_goes_through() {
    let (daemon, _) = daemon(|_, events| {
        let spoilt = events.iter().any(|event| event["transaction_id"] == "bad-1");
        if spoilt { (StatusCode::PAYLOAD_TOO_LARGE, "too large").into_response() } else { usual(events) }
    });
    let args = EnqueueArgs { batch: 5, ..args(&daemon, &events(&["a", "b", "bad-1", "d", "e"])) };
    let (exit, summary, words) = run(&daemon, args).await;
    assert_eq!((exit, counts(&summary)), (Exit::Partial, [4, 0, 1, 0]));
    assert!(words.contains("line 3: HTTP 413"), "{words}");
}

#[tokio::test]
async fn busy_events_of_a_batch_are_handed_over_again_alone() {
    let (daemon, handed) = daemon(|before, events| {
        if before > 0 {
            return usual(events);
        }
        let results = json!([{"status": 202, "event_id": "evt_a", "deliveries": []}, {"status": 503, "problem": {}}]);
        ([("retry-after", "0")], Json(json!({"results": results}))).into_response()
    });
    let (exit, summary, _) = run(&daemon, args(&daemon, &events(&["a", "b"]))).await;
    assert_eq!((exit, counts(&summary)), (Exit::Ok, [2, 0, 0, 0]));
    assert_eq!(*handed.lock().unwrap(), [vec!["a", "b"], vec!["b"]]);
}

#[tokio::test]
async fn answers_that_do_not_fit_acknowledge_nothing() {
    let (daemon, _) = daemon(|_, _| Json(json!({"results": [{"status": 202, "event_id": "evt_a"}]})).into_response());
    let (exit, summary, words) = run(&daemon, args(&daemon, &events(&["a", "b"]))).await;
    assert_eq!((exit, counts(&summary)), (Exit::Error, [0, 0, 0, 2]));
    assert!(words.contains("1 results for 2 events"), "{words}");
}

#[tokio::test]
async fn events_of_one_transaction_never_fly_at_once() {
    let flying = Arc::new(Mutex::new(Vec::<String>::new()));
    let overlaps = Arc::new(Mutex::new(0));
    let (seen, clashes) = (Arc::clone(&flying), Arc::clone(&overlaps));
    let route = post(move |Json(events): Json<Vec<Value>>| async move {
        let names: Vec<String> = events.iter().map(|event| event["transaction_id"].as_str().unwrap().into()).collect();
        {
            let mut flying = seen.lock().unwrap();
            *clashes.lock().unwrap() += names.iter().filter(|name| flying.contains(name)).count();
            flying.extend(names.iter().cloned());
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        seen.lock().unwrap().retain(|name| !names.contains(name));
        usual(&events)
    });
    let daemon = Daemon::serve(Router::new().route("/v1/events/batch", route));
    let args = EnqueueArgs { batch: 1, ..args(&daemon, &events(&["a"; 20])) };
    assert_eq!(counts(&run(&daemon, args).await.1), [20, 0, 0, 0]);
    assert_eq!(*overlaps.lock().unwrap(), 0);
}

#[tokio::test]
async fn refused_callers_and_absent_daemons_have_their_exits() {
    let (daemon, handed) = daemon(|_, _| busy(StatusCode::FORBIDDEN));
    assert_eq!(run(&daemon, args(&daemon, &events(&["a"]))).await.0, Exit::Auth);
    std::fs::remove_file(daemon.path("p.sock")).unwrap();
    let patient = EnqueueArgs { retry_for: Duration::from_mins(5), ..args(&daemon, &events(&["a"])) };
    let at_once = tokio::time::timeout(Duration::from_secs(5), run(&daemon, patient)).await.unwrap();
    assert_eq!(at_once.0, Exit::Unreachable);
    let only_read = EnqueueArgs { dry_run: true, ..args(&daemon, &events(&["a", "b", "c"])) };
    let (exit, summary, _) = run(&daemon, only_read).await;
    assert_eq!((exit, summary), (Exit::Ok, json!({"read": 3, "rejected": 0})));
    assert_eq!(handed.lock().unwrap().len(), 1);
}
