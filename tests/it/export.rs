//! Exports of a running daemon, and of one that is down: complete, masked, whole or not there, and marked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{NARROWED_TOKEN, QUICK_RETRY, World, ftd, narrowed, partner};

/// A secret that is part of each URL and that the receiver echoes.
const SECRET: &str = "s3cr3t-of-acme-4711";

/// A breaker that never opens.
const PATIENT: &str = "[limits.breaker]\nfailures = 0";

/// A world with deliveries in several states: acme fails every first round and signs, beta refuses.
async fn world() -> World {
    let signed = "[secrets]\nkey = { env = \"KEY_OF_ACME\" }";
    let acme = partner("acme", "500,200").affiliate(PATIENT).affiliate(signed);
    let acme = acme.query("&key={secret.key}");
    let beta = partner("beta", "400").affiliate(PATIENT);
    let world = World::in_environment(vec![acme, beta], QUICK_RETRY, &[("KEY_OF_ACME", SECRET)]).await;
    for number in 0..30 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
        world.accept(ftd("beta", &format!("dep-{number}"))).await;
    }
    world.at_rest().await;
    world
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'v>(row: &'v Value, column: &str) -> &'v str {
    row[column].as_str().unwrap_or_else(|| panic!("{column} of {row}"))
}

/// What a cell is in CSV.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn an_export_is_what_receivers_got_and_what_the_store_holds() {
    let mut world = world().await;
    let export = |world: &World, what: &str| {
        let finished = world.daemon.command(&["export", what]);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout
    };
    let attempts = export(&world, "attempts");
    let of = |affiliate: &str| -> Vec<Value> {
        lines(&attempts).into_iter().filter(|row| row["affiliate"] == affiliate).collect()
    };
    for affiliate in ["acme", "beta"] {
        let ledger = world.receiver(affiliate).ledger();
        assert_eq!(of(affiliate).len() as u64, ledger.requests, "{affiliate}");
        let urls = of(affiliate).iter().filter(|row| text(row, "request_url").contains("&status=approved&")).count();
        assert_eq!(urls as u64, ledger.requests, "each has its own request");
    }
    assert!(!attempts.contains(SECRET) && attempts.contains("&key="), "masked as stored");

    let deliveries = lines(&export(&world, "deliveries"));
    let mut states = BTreeMap::<&str, usize>::new();
    for row in &deliveries {
        *states.entry(text(row, "state")).or_default() += 1;
        let shown = world.daemon.get(&format!("/v1/deliveries/{}", text(row, "delivery_id"))).await.body;
        for column in ["event_id", "affiliate", "state", "reason", "payout", "currency", "attempts"] {
            assert_eq!(row[column], shown["delivery"][column], "{column}");
        }
        let own = of(text(row, "affiliate")).into_iter().filter(|a| a["delivery_id"] == row["delivery_id"]).collect();
        let own: Vec<Value> = own;
        assert_eq!(json!(own.len()), row["attempts"]);
        let history = shown["history"].as_array().unwrap().iter().filter(|entry| entry["what"] == "attempted");
        for (exported, shown) in own.iter().zip(history) {
            for (column, pointer) in [
                ("number", "/attempt/number"),
                ("outcome", "/attempt/outcome"),
                ("http_status", "/attempt/response/status"),
                ("request_url", "/attempt/request/url"),
                ("digest", "/attempt/digest"),
                ("total_us", "/attempt/timings_us/total"),
                ("response_body", "/attempt/response/body"),
            ] {
                assert_eq!(Some(&exported[column]), shown.pointer(pointer), "{column}");
            }
        }
    }
    assert_eq!(states, BTreeMap::from([("dead", 30), ("delivered", 30)]));
    assert_eq!(lines(&export(&world, "events")).len(), 60);

    let up = ["events", "deliveries", "attempts"].map(|what| export(&world, what));
    world.daemon.kill();
    let down = ["events", "deliveries", "attempts"].map(|what| export(&world, what));
    assert!(up == down, "the store says the same without the daemon");
}

#[tokio::test]
async fn all_formats_hold_the_same() {
    let world = world().await;
    for what in ["events", "deliveries", "attempts"] {
        let paths = ["ndjson", "csv", "parquet"].map(|ending| world.path(&format!("{what}.{ending}")));
        let built_in = if cfg!(feature = "parquet") { 3 } else { 2 };
        for path in &paths[..built_in] {
            let finished = world.daemon.command(&["export", what, "--out", path.to_str().unwrap()]);
            assert_eq!((finished.code, finished.stdout.as_str()), (0, ""), "{}", finished.stderr);
        }
        let expected = lines(&std::fs::read_to_string(&paths[0]).unwrap());
        assert!(!expected.is_empty());
        let mut csv = csv::Reader::from_path(&paths[1]).unwrap();
        let names: Vec<String> = csv.headers().unwrap().iter().map(ToOwned::to_owned).collect();
        let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), expected.len(), "{what}");
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(names.len(), expected.as_object().unwrap().len());
            for (name, field) in names.iter().zip(row) {
                assert_eq!(field, plain(&expected[name]), "{what}: {name}");
            }
        }
        #[cfg(feature = "parquet")]
        assert_parquet(&paths[2], &expected);
    }
    let chosen = world.daemon.command(&["export", "deliveries", "--format", "csv", "--columns", "payout,delivery_id"]);
    assert!(chosen.stdout.starts_with("payout,delivery_id\n120.00,dlv_"), "{}", chosen.stdout);
}

#[cfg(feature = "parquet")]
fn assert_parquet(path: &Path, expected: &[Value]) {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut rows = 0;
    for (row, expected) in reader.get_row_iter(None).unwrap().zip(expected) {
        for (name, field) in row.unwrap().get_column_iter() {
            let found = match field {
                Field::Null => Value::Null,
                Field::Str(text) => json!(text),
                Field::Long(number) => json!(number),
                Field::Bool(flag) => json!(flag),
                Field::TimestampMicros(at) => json!(format!("{:.6}", jiff::Timestamp::from_microsecond(*at).unwrap())),
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(found, expected[name], "{name}");
        }
        rows += 1;
    }
    assert_eq!(rows, expected.len());
}

#[tokio::test]
async fn filters_scopes_and_pages_hold_over_http() {
    let partners = vec![partner("acme", "200"), partner("beta", "400").affiliate(PATIENT)];
    let world = World::with_api(partners, &narrowed(), QUICK_RETRY).await;
    for number in 0..5 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
        world.accept(ftd("beta", &format!("dep-{number}"))).await;
    }
    world.at_rest().await;
    let exported = |arguments: &[&str]| {
        let finished = world.daemon.command(&[&["export"], arguments].concat());
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        lines(&finished.stdout).len()
    };
    assert_eq!(exported(&["deliveries", "--state", "dead"]), 5);
    assert_eq!(exported(&["attempts", "--http-status", "200", "--affiliate", "acme"]), 5);
    assert_eq!(exported(&["attempts", "--http-status", "200", "--affiliate", "beta"]), 0);
    assert_eq!(exported(&["events", "--transaction", "dep-3"]), 2);
    assert_eq!(exported(&["deliveries", "--by", "accepted", "--since", "1h"]), 10);
    assert_eq!(exported(&["deliveries", "--until", "1h"]), 0);
    assert_eq!(exported(&["deliveries", "--by", "accepted", "--changed-since", "1h", "--affiliate", "acme"]), 5);
    assert_eq!(exported(&["attempts", "--changed-until", "1h"]), 0);

    let client = postbackd::transport::api_client().unwrap().build().unwrap();
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let url = world.daemon.url(&format!("/v1/export/deliveries?affiliate=acme&limit=2{cursor}"));
        let answer = client.get(url).bearer_auth(NARROWED_TOKEN).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/x-ndjson".parse().unwrap())
        );
        let now = answer.headers()["postbackd-now"].to_str().unwrap();
        assert!(now.parse::<jiff::Timestamp>().is_ok(), "{now}");
        let next = answer.headers().get("postbackd-next-cursor").map(|next| next.to_str().unwrap().to_owned());
        rows.extend(lines(&answer.text().await.unwrap()));
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row["affiliate"] == "acme"));
    world.accept(ftd("beta", "beta-alone")).await;
    for (transaction, is_told) in [("dep-3", true), ("beta-alone", false), ("unknown", false)] {
        let url = world.daemon.url(&format!("/v1/export/events?transaction={transaction}"));
        let answer = client.get(url).bearer_auth(NARROWED_TOKEN).send().await.unwrap();
        let reached = answer.headers().contains_key("postbackd-reached");
        assert_eq!((answer.status().as_u16(), reached), (200, is_told), "{transaction}");
    }
    let refused = [
        ("/v1/export/deliveries", 403),
        ("/v1/export/deliveries?affiliate=beta", 403),
        ("/v1/exports/marks", 403),
        ("/v1/export/events?affiliate=acme&state=dead", 400),
        ("/v1/export/attempts?affiliate=acme&by=changed", 400),
        ("/v1/export/deliveries?affiliate=acme&cursor=x", 400),
        ("/v1/export/orders?affiliate=acme", 404),
    ];
    for (path, status) in refused {
        assert_eq!(world.daemon.get_as(NARROWED_TOKEN, path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_mark_is_set_behind_a_whole_file_and_only_goes_on() {
    let mut world = world().await;
    let file = world.path("month.csv");
    let file = file.to_str().unwrap();
    let export = |world: &World, more: &[&str]| {
        let base = ["export", "deliveries", "--mark", "finance", "--out", file];
        world.daemon.command(&[&base, more].concat())
    };
    let ahead = export(&world, &["--until", "1m"]);
    assert_eq!((ahead.code, Path::new(file).exists()), (8, false), "{}", ahead.stderr);
    let first = export(&world, &["--until", "2h"]);
    assert_eq!((first.code, Path::new(file).exists()), (0, true), "{}", first.stderr);
    assert!(first.stderr.contains("0 rows; finance has everything until"), "{}", first.stderr);
    assert_eq!(export(&world, &["--until", "1h"]).code, 8, "the file is there");
    let second = export(&world, &["--until", "1h", "--yes"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    let back = export(&world, &["--until", "3h", "--yes"]);
    assert_eq!(back.code, 8, "it would go back: {}", back.stderr);
    let gap = export(&world, &["--since", "30m", "--until", "20m", "--yes"]);
    assert_eq!(gap.code, 8, "{}", gap.stderr);

    let body = json!({ "consumer": "finance", "until": "2999-01-01T00:00:00Z", "rows": 1, "force": true });
    let refused = world.daemon.post("/v1/exports/marks", &body).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("urn:postbackd:problem:mark-refused")));
    let listed = |world: &World| {
        let finished = world.daemon.command(&["export", "marks", "--json"]);
        serde_json::from_str::<Value>(&finished.stdout).unwrap()["items"].clone()
    };
    let marks = listed(&world);
    assert_eq!((&marks[0]["consumer"], &marks[0]["rows"]), (&json!("finance"), &json!(0)));
    assert!(text(&marks[0], "by").starts_with("uid:"), "{marks}");
    world.daemon.kill();
    assert_eq!(listed(&world), marks, "it survives a crash, and is read with the daemon down");
    assert_eq!(export(&world, &["--until", "30m", "--yes"]).code, 5, "only the daemon sets marks");
    let forced = |world: &World| export(world, &["--until", "3h", "--force", "--yes"]);
    world.daemon.start_again();
    assert_eq!(forced(&world).code, 0);
    assert!(text(&listed(&world)[0], "until") < text(&marks[0], "until"));
}

/// A daemon that answers a first page with a row and never a second; says when it was asked for that.
fn stalling_daemon(row: &str) -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let row = format!("{row}\n");
    let (asked, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            loop {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                if head.is_empty() {
                    break;
                }
                if head.contains("cursor=second") {
                    asked.send(()).unwrap();
                    break;
                }
                let length = row.len();
                write!(
                    connection,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\npostbackd-next-cursor: second\r\n\r\n{row}"
                )
                .unwrap();
            }
            open.push(connection);
        }
    });
    (url, waiting)
}

#[test]
fn an_export_that_is_killed_leaves_no_file_that_looks_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attempts.csv");
    let columns = ["event_id", "affiliate", "type", "transaction_id", "click_id", "offer_id", "status", "payout"];
    let rest = ["revenue", "currency", "reverses", "sub_ids", "params", "source"];
    let mut row: serde_json::Map<String, Value> =
        columns.iter().chain(&rest).map(|name| ((*name).to_owned(), json!("x"))).collect();
    for name in ["occurred_at", "accepted_at", "transaction_given", "deliveries"] {
        row.insert(name.into(), Value::Null);
    }
    let (url, asked) = stalling_daemon(&Value::Object(row).to_string());
    let mut child = Command::new(env!("CARGO_BIN_EXE_postbackd"))
        .args(["--url", &url, "export", "events", "--out", path.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    asked.recv_timeout(crate::harness::patience()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["attempts.csv.partial"]);
}
