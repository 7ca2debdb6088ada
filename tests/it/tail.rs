//! Attempts as they are made: seen by filter, behind a restart, and never at anybody's expense.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::harness::{INGEST_TOKEN, NARROWED_TOKEN, QUICK_RETRY, TOKEN, World, ftd, narrowed, partner, patience};

const STREAM: &str = "/v1/attempts/stream";

async fn world() -> World {
    World::with_api(vec![partner("acme", "500,200"), partner("beta", "200")], &narrowed(), QUICK_RETRY).await
}

/// Somebody who listens to the stream.
struct Listening {
    response: reqwest::Response,
    text: String,
    last: Option<String>,
}

impl Listening {
    async fn to(world: &World, token: &str, query: &str, behind: Option<&str>) -> Self {
        let response = world.daemon.listen(token, &format!("{STREAM}{query}"), behind).await;
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (200.try_into().unwrap(), &"text/event-stream".parse().unwrap())
        );
        Self { response, text: String::new(), last: None }
    }

    /// The next event that says something; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (id, data, rest) = (field("id: "), field("data: "), rest.to_owned());
                self.last = id.or(self.last.take());
                self.text = rest;
                if let Some(data) = data {
                    return Some(serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = tokio::time::timeout(patience(), self.response.chunk()).await.expect("something in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    /// Transaction and outcome of the next attempt.
    async fn told(&mut self) -> (String, String) {
        let seen = self.next().await.expect("the stream goes on");
        let text = |name: &str| seen[name].as_str().unwrap_or_else(|| panic!("no attempt: {seen}")).to_owned();
        (text("transaction_id"), text("outcome"))
    }
}

fn told(transaction: &str, outcome: &str) -> (String, String) {
    (transaction.into(), outcome.into())
}

#[tokio::test]
async fn attempts_are_watched_live_by_filter_and_over_a_restart() {
    let mut world = world().await;
    let mut tail = world.daemon.begin(&["tail", "--affiliate", "acme", "--ndjson"], false);
    world.accept(ftd("beta", "dep-0")).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let seen = async |tail: &mut crate::harness::Running| {
        let seen: Value = serde_json::from_str(&tail.line().await).unwrap();
        assert_eq!(seen["affiliate"], "acme", "{seen}");
        format!("{} #{} {} {}", seen["transaction_id"], seen["number"], seen["http_status"], seen["state"])
    };
    assert_eq!(seen(&mut tail).await, "\"dep-1\" #1 500 \"scheduled\"");
    assert_eq!(seen(&mut tail).await, "\"dep-1\" #2 200 \"delivered\"");
    world.until(&id, "delivered").await;

    world.daemon.kill();
    tail.says("connecting again").await;
    world.daemon.start_again();
    tail.says("connected again").await;
    world.accept(ftd("acme", "dep-2")).await;
    tail.says("may have gone by unseen").await;
    assert_eq!(seen(&mut tail).await, "\"dep-2\" #1 500 \"scheduled\"", "nothing is told twice");
    tail.interrupt();
    assert_eq!(tail.wait().await, Some(0));
    let mut people = world.daemon.begin(&["tail", "--outcome", "retry", "--last", "1"], false);
    let line = people.line().await;
    assert!(line.contains("acme/conversions  ftd dep-2 #1: 500 in ") && line.contains("→ scheduled, due"), "{line}");
}

#[tokio::test]
async fn a_tail_that_nobody_reads_any_more_ends_well() {
    let world = world().await;
    let mut tail = world.daemon.begin(&["tail"], true);
    world.accept(ftd("acme", "dep-1")).await;
    assert_eq!(tail.wait().await, Some(0));
    assert_eq!(world.daemon.command(&["tail", "--outcome", "fine"]).code, 2);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_left_and_ends_with_what_it_was_allowed_by() {
    let world = world().await;
    let mut listening = Listening::to(&world, TOKEN, "", None).await;
    world.accept(ftd("acme", "dep-1")).await;
    assert_eq!(listening.told().await, told("dep-1", "retry"));
    let (response, place) = (listening.response, listening.last.unwrap());
    drop(response);
    world.accept(ftd("beta", "dep-2")).await;
    let mut listening = Listening::to(&world, TOKEN, "?last=0", Some(&place)).await;
    let mut rest = [listening.told().await, listening.told().await];
    rest.sort();
    assert_eq!(rest, [told("dep-1", "delivered"), told("dep-2", "delivered")]);
    let mut latest = Listening::to(&world, TOKEN, "?last=1&type=ftd&affiliate=acme", None).await;
    assert_eq!(latest.told().await, told("dep-1", "delivered"));

    let reloaded = world.daemon.post("/v1/reload", &Value::Null).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    assert_eq!(listening.next().await, None, "who may listen has to be asked anew");
    let mut again = Listening::to(&world, TOKEN, "", None).await;
    world.accept(ftd("beta", "dep-3")).await;
    assert_eq!(again.told().await, told("dep-3", "delivered"));
}

#[tokio::test]
async fn a_stream_is_for_who_may_read_and_tells_of_his_affiliates_only() {
    let world = world().await;
    let mut own = Listening::to(&world, NARROWED_TOKEN, "?last=9", None).await;
    world.accept(ftd("beta", "dep-1")).await;
    let id = world.accept(ftd("acme", "dep-2")).await;
    assert_eq!([own.told().await, own.told().await], [told("dep-2", "retry"), told("dep-2", "delivered")]);
    world.until(&id, "delivered").await;
    let mut late = Listening::to(&world, NARROWED_TOKEN, "?last=9", None).await;
    assert_eq!(late.told().await, told("dep-2", "retry"), "nor of what was kept");
    let status = async |token, query| world.daemon.get_as(token, &format!("{STREAM}{query}")).await.status;
    assert_eq!(status(INGEST_TOKEN, "").await, 403);
    assert_eq!(status(NARROWED_TOKEN, "?affiliate=beta").await, 403);
    assert_eq!(status(TOKEN, "?outcome=fine").await, 400);
    assert_eq!(status(TOKEN, "?colour=red").await, 400);
    let text = world.daemon.get(&format!("{STREAM}?text=oops")).await;
    assert!(text.status == 400 && text.body["detail"].as_str().unwrap().contains("list deliveries"), "{}", text.body);
}

#[tokio::test]
async fn nobody_takes_all_the_places_of_those_who_listen() {
    let world = world().await;
    let mut open = Vec::new();
    for (token, most) in [(NARROWED_TOKEN, 4), (TOKEN, 8)] {
        for _ in 0..most {
            open.push(Listening::to(&world, token, "", None).await);
        }
        let refused = world.daemon.get_as(token, STREAM).await;
        assert_eq!((refused.status, &refused.body["type"]), (503, &"urn:postbackd:problem:too-many-streams".into()));
        assert!(refused.headers.contains_key("retry-after"));
    }
    open.clear();
    // A place is free again as soon as the daemon has seen that its listener has gone.
    let started = Instant::now();
    while world.daemon.listen(TOKEN, STREAM, None).await.status() != 200 {
        assert!(started.elapsed() < patience());
    }
}

/// Opens a stream that is not read; the socket's buffers hold some hundred of its events.
async fn unread(world: &World) -> UnixStream {
    let mut stream = UnixStream::connect(world.path("postbackd.sock")).await.unwrap();
    stream.write_all(format!("GET {STREAM} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
async fn who_listens_and_never_reads_misses_attempts_and_holds_up_neither_them_nor_the_daemons_end() {
    let mut world = World::with(vec![partner("acme", "200").affiliate("[limits]\nconcurrency = 32")]).await;
    let (mut late, never) = (unread(&world).await, unread(&world).await);
    for batch in 0..4 {
        let events = (0..1_000).map(|n| ftd("acme", &format!("dep-{batch}-{n}"))).collect();
        assert_eq!(world.daemon.post("/v1/events/batch", &Value::Array(events)).await.body["accepted"], 1_000);
    }
    world.received("acme", |ledger| ledger.accepted_keys == 4_000).await;
    world.at_rest().await;
    let mut text = String::new();
    let mut buffer = [0; 16_000];
    while !text.contains("event: missed\ndata: {\"missed\":") {
        let read = tokio::time::timeout(patience(), late.read(&mut buffer)).await.expect("the rest in time").unwrap();
        assert!(read > 0, "the stream has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let began = Instant::now();
    world.daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(world.daemon.wait().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    drop(never);
}
