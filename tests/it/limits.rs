//! At a limit: callers are told to come back, nothing they were refused is stored, and nothing is held for ever.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, Daemon, INGEST_TOKEN, QUICK_RETRY, TOKEN, World, ftd, partner, patience};

/// Room for bodies: one producer may hold 16 KiB of 24.
const TINY: &str = "[ingest]\nmax_body = \"16KiB\"\nmax_buffered = \"24KiB\"\n";

/// A connection on which a test says exactly what it likes, and when.
struct Connection(TcpStream);

impl Connection {
    async fn open(daemon: &Daemon) -> Self {
        Self(TcpStream::connect(daemon.address()).await.unwrap())
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What arrives until there is `mark` in it; all of it when the connection is closed before.
    async fn hear(&mut self, mark: &str) -> String {
        let mut heard = Vec::new();
        let listening = async {
            while !String::from_utf8_lossy(&heard).contains(mark) {
                match self.0.read_buf(&mut heard).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(patience(), listening).await.unwrap_or_else(|_| panic!("{mark:?} does not come"));
        String::from_utf8(heard).unwrap()
    }

    /// What arrives until the other side closes the connection.
    async fn hear_all(&mut self) -> String {
        self.hear("\u{0}").await
    }

    /// Announces a body, and waits until the daemon has made room for it and asks for it.
    async fn announce(daemon: &Daemon, token: &str, framing: &str) -> Self {
        let mut connection = Self::open(daemon).await;
        let head = format!(
            "POST /v1/events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\nexpect: 100-continue\r\n{framing}\r\n\r\n"
        );
        connection.say(&head).await;
        assert!(connection.hear("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
        connection
    }
}

/// A batch whose transactions begin with a name, as text of about so many bytes.
fn batch(name: &str, bytes: usize) -> String {
    let one = ftd("acme", &format!("{name}-00")).to_string().len() + 1;
    Value::Array((0..bytes / one).map(|n| ftd("acme", &format!("{name}-{n:02}"))).collect()).to_string()
}

async fn hand_in(daemon: &Daemon, token: &str, batch: &str) -> Answer {
    daemon.post_as(token, "/v1/events/batch", "application/json", batch.to_owned()).await
}

/// Hands a batch in until it is taken.
async fn insist(daemon: &Daemon, token: &str, batch: &str) -> Answer {
    let started = Instant::now();
    loop {
        let answer = hand_in(daemon, token, batch).await;
        if !told_to_come_back(&answer) {
            return answer;
        }
        assert!(started.elapsed() < patience(), "still refused: {}", answer.body);
    }
}

/// Whether a request was refused for want of room. Such a refusal says when to come back, and is a problem document.
fn told_to_come_back(answer: &Answer) -> bool {
    let refused = matches!(answer.status, 429 | 503);
    if refused {
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["status"], answer.status);
    }
    refused
}

async fn stored(daemon: &Daemon, transaction: &str) -> bool {
    let page = daemon.get(&format!("/v1/deliveries?transaction={transaction}")).await;
    !page.body["items"].as_array().unwrap().is_empty()
}

#[tokio::test]
async fn under_load_every_answer_is_true() {
    let world = World::configured(vec![partner("acme", "200")], &format!("{TINY}{QUICK_RETRY}")).await;
    let daemon = &world.daemon;
    // One producer has all that he may; 8 KiB are left for the other.
    let hog = Connection::announce(daemon, TOKEN, "content-length: 16384").await;
    let requests = (0..60).map(|number| {
        let (token, bytes) = match number % 3 {
            0 => (TOKEN, 2_000),
            1 => (INGEST_TOKEN, 9_000),
            _ => (INGEST_TOKEN, 6_000),
        };
        let name = format!("b{number}");
        async move {
            let batch = batch(&name, bytes);
            let answer = hand_in(daemon, token, &batch).await;
            (name, token, batch, answer)
        }
    });
    let answers = futures_util::future::join_all(requests).await;
    let count = |status: u16| answers.iter().filter(|(.., answer)| answer.status == status).count();
    assert_eq!(count(200) + count(429) + count(503), 60);
    let hogs = answers.iter().filter(|(_, token, ..)| *token == TOKEN);
    assert!(hogs.clone().all(|(.., answer)| answer.status == 429), "the hog's own share is used up");
    let large = answers.iter().filter(|(_, token, batch, _)| *token != TOKEN && batch.len() > 8_192);
    assert!(large.clone().all(|(.., answer)| answer.status != 200), "9 KiB never fit beside the hog");
    assert_eq!((hogs.count(), large.count()), (20, 20));
    assert!(count(200) >= 1, "6 KiB do");
    let mut events = 0;
    for (name, _, batch, answer) in &answers {
        let refused = told_to_come_back(answer);
        assert_eq!(stored(daemon, &format!("{name}-00")).await, !refused, "{name}: {}", answer.body);
        if !refused {
            let all = serde_json::from_str::<Vec<Value>>(batch).unwrap().len();
            assert_eq!(answer.body["accepted"], all);
        }
        events += serde_json::from_str::<Vec<Value>>(batch).unwrap().len();
    }
    // The hog goes away in the middle of its body: it leaves nothing behind, and its room comes back.
    drop(hog);
    for (_, token, batch, answer) in &answers {
        if told_to_come_back(answer) {
            assert_eq!(insist(daemon, token, batch).await.status, 200);
        }
    }
    assert_eq!(daemon.get("/v1/stats").await.body["totals"]["accepted"], events);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_paid_for_as_it_comes() {
    let world = World::configured(vec![partner("acme", "200")], TINY).await;
    let daemon = &world.daemon;
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", " ".repeat(bytes));
    let hog = Connection::announce(daemon, TOKEN, "content-length: 10000").await;
    let mut beside = Connection::announce(daemon, TOKEN, "transfer-encoding: chunked").await;
    beside.say(&chunk(5_000)).await;
    beside.say(&chunk(2_000)).await;
    assert!(beside.hear("\r\n\r\n").await.starts_with("HTTP/1.1 429 "), "10,000 and 7,000 are more than its share");
    drop(hog);
    assert_eq!(insist(daemon, TOKEN, &batch("between", 16_000)).await.status, 200);
    let mut alone = Connection::announce(daemon, TOKEN, "transfer-encoding: chunked").await;
    alone.say(&chunk(10_000)).await;
    alone.say(&chunk(7_000)).await;
    assert!(alone.hear("\r\n\r\n").await.starts_with("HTTP/1.1 413 "), "more than max_body");
    assert_eq!(insist(daemon, TOKEN, &batch("behind", 16_000)).await.status, 200);
}

#[tokio::test]
async fn orders_are_given_while_ingest_is_full() {
    let world = World::configured(vec![partner("acme", "200")], TINY).await;
    let daemon = &world.daemon;
    let _hogs = [
        Connection::announce(daemon, TOKEN, "content-length: 16384").await,
        Connection::announce(daemon, INGEST_TOKEN, "content-length: 8192").await,
    ];
    assert_eq!(hand_in(daemon, TOKEN, &batch("full", 1_000)).await.status, 429);
    let order = json!({ "reason": "a storm of events" });
    assert_eq!(daemon.post("/v1/affiliates/acme/pause", &order).await.status, 200);
    let wrong = daemon.post("/v1/affiliates/acme/resume", &json!({ "because": "no such field" })).await;
    assert_eq!((wrong.status, &wrong.body["type"]), (400, &json!("urn:postbackd:problem:malformed-request")));
    let huge = json!({ "reason": "x".repeat(3 << 20) });
    assert_eq!(daemon.post("/v1/affiliates/acme/resume", &huge).await.status, 413);
}

#[tokio::test]
async fn a_batch_is_not_read_beyond_the_events_it_may_have() {
    let world = World::configured(vec![partner("acme", "200")], "[ingest]\nmax_batch = 2\n").await;
    let daemon = &world.daemon;
    let event = |name: &str| ftd("acme", name).to_string();
    let many = format!("[{},{},{}, this is no JSON", event("t1"), event("t2"), event("t3"));
    assert_eq!(hand_in(daemon, TOKEN, &many).await.status, 413);
    let lines = [event("t1"), event("t2"), "this is no JSON".into()].join("\n");
    let refused = daemon.post_as(TOKEN, "/v1/events/batch", "application/x-ndjson", lines).await;
    assert_eq!(refused.status, 413);
    let large = json!([ftd("acme", "t1"), { "transaction_id": "x".repeat(70_000) }]);
    let answer = daemon.post("/v1/events/batch", &large).await;
    assert_eq!((answer.status, &answer.body["results"][0]["status"]), (200, &json!(202)));
    assert_eq!(answer.body["results"][1]["problem"]["errors"][0]["code"], "too-large");
    assert_eq!(daemon.get("/v1/stats").await.body["totals"]["accepted"], 1);
}

#[tokio::test]
async fn who_sends_far_too_much_still_hears_that_it_is_too_much() {
    let world = World::configured(vec![partner("acme", "200")], TINY).await;
    let mut connection = Connection::open(&world.daemon).await;
    let body = " ".repeat(8 << 20);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.say(&head).await;
    connection.say(&body).await;
    assert!(connection.hear("\r\n\r\n").await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn who_never_ends_the_head_of_a_request_is_cut_off() {
    let world = World::with_api(vec![partner("acme", "200")], "stalled_after = \"1s\"", "").await;
    let mut silent = Connection::open(&world.daemon).await;
    let mut slow = Connection::open(&world.daemon).await;
    slow.say("GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: ").await;
    let mut idle = Connection::open(&world.daemon).await;
    idle.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(idle.hear("ok\n").await.starts_with("HTTP/1.1 200 "));
    // Each of them would be open for ever otherwise; a byte now and then does not help.
    let (mut hear, mut say) = slow.0.split();
    let trickle = async {
        while say.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let cut_off = async {
        let mut buffer = Vec::new();
        let _ = hear.read_to_end(&mut buffer).await;
        assert!(!String::from_utf8_lossy(&buffer).contains(" 200 "));
    };
    let cut_off = async {
        tokio::select! { () = trickle => {} () = cut_off => {} }
    };
    tokio::time::timeout(patience(), cut_off).await.expect("a slow head is cut off");
    assert_eq!((silent.hear_all().await, idle.hear_all().await), (String::new(), String::new()));
}

#[tokio::test]
async fn who_takes_no_answers_is_cut_off() {
    let world = World::with_api(vec![partner("acme", "200")], "stalled_after = \"1s\"", "").await;
    let mut deaf = Connection::open(&world.daemon).await;
    let questions = "GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // Answers fill all buffers until nothing more can be asked; then it is the daemon that ends it.
    let asking = async { while deaf.0.write_all(questions.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(patience(), asking).await.expect("the connection is closed");
    assert_eq!(world.daemon.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let world = World::with_api(vec![partner("acme", "200")], "max_connections = 2", "").await;
    let ask = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(&world.daemon).await;
        connection.say(ask).await;
        assert!(connection.hear("ok\n").await.starts_with("HTTP/1.1 200 "));
        open.push(connection);
    }
    let refusals = (0..100).map(|_| async {
        let mut refused = Connection::open(&world.daemon).await;
        refused.say(ask).await;
        refused.hear_all().await
    });
    for answer in futures_util::future::join_all(refusals).await {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("urn:postbackd:problem:too-many-connections"), "{answer}");
    }
    assert_eq!(world.daemon.command(&["stats"]).code, 0, "the socket has places of its own");
    let mut first = open.remove(0);
    first.say(ask).await;
    assert!(first.hear("ok\n").await.starts_with("HTTP/1.1 200 "), "those that are open go on");
    drop(first);
    let started = Instant::now();
    loop {
        let mut next = Connection::open(&world.daemon).await;
        next.say(ask).await;
        if next.hear("\r\n\r\n").await.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(started.elapsed() < patience(), "its place does not become free");
    }
}

#[tokio::test]
async fn a_daemon_that_stops_answers_what_it_has_begun_and_closes_the_rest() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let body = batch("last", 1_000);
    let mut begun = Connection::announce(&world.daemon, TOKEN, &format!("content-length: {}", body.len())).await;
    let mut idle = Connection::open(&world.daemon).await;
    idle.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.hear("ok\n").await;
    let mut silent = Connection::open(&world.daemon).await;
    world.daemon.signal(rustix::process::Signal::TERM);
    assert_eq!((idle.hear_all().await, silent.hear_all().await), (String::new(), String::new()));
    begun.say(&body).await;
    let answer = begun.hear_all().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"rejected\":0"), "{answer}");
    assert_eq!(world.daemon.wait().await, Some(0));
    assert!(!world.path("postbackd.sock").exists());
    world.daemon.start_again();
    assert!(stored(&world.daemon, "last-00").await);
}

/// Clearing a huge page takes milliseconds in which nothing is written.
#[tokio::test]
async fn memory_is_handed_out_in_small_pages() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let status = format!("/proc/{}/status", world.daemon.process().as_raw_nonzero());
    let status = std::fs::read_to_string(status).unwrap();
    let huge_pages = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).unwrap();
    assert_eq!(huge_pages.trim(), "0");
}
