//! What the ledger counts and remembers.

use std::time::Duration;

use super::super::{LISTED_DUPLICATES, Receiver, ReceiverOptions, Script};
use super::{Client, PATIENCE, receiver};

#[tokio::test]
async fn the_ledger_tells_seen_from_accepted_and_lists_duplicates() {
    let receiver = receiver("500,200").await;
    let mut client = Client::connect(&receiver).await;
    for key in ["a", "a", "b", "a", "c", "c"] {
        client.get(&format!("/p?txid={key}")).await;
    }
    client.get("/p").await;
    let ledger = receiver.ledger();
    assert_eq!([ledger.seen("a"), ledger.seen("b"), ledger.seen("c"), ledger.seen("d")], [3, 1, 2, 0]);
    assert_eq!([ledger.accepted("a"), ledger.accepted("b"), ledger.accepted("c")], [2, 0, 1]);
    assert_eq!((ledger.keys, ledger.accepted_keys, ledger.duplicate_keys), (3, 2, 1));
    assert_eq!(ledger.duplicates(), ["a"]);
    assert_eq!((ledger.requests, ledger.unkeyed, ledger.accepted_requests), (7, 1, 3));
    assert_eq!((ledger.answered_with(500), ledger.answered_with(200)), (4, 3));
    assert!(ledger.bytes_in > 0 && ledger.bytes_out > ledger.bytes_in);
    let a = ledger.key("a").unwrap();
    assert_eq!((a.first_sequence, ledger.key("c").unwrap().first_sequence), (1, 5));
    assert!(a.first_accepted.unwrap() <= a.last_accepted.unwrap());
    assert_eq!(ledger.key("b").unwrap().first_accepted, None);
}

#[tokio::test]
async fn only_the_first_duplicates_are_listed() {
    let receiver = receiver("200").await;
    let mut client = Client::connect(&receiver).await;
    for key in 0..LISTED_DUPLICATES + 5 {
        client.get(&format!("/p?txid={key}")).await;
        client.get(&format!("/p?txid={key}")).await;
    }
    let ledger = receiver.ledger();
    assert_eq!(ledger.duplicate_keys, LISTED_DUPLICATES as u64 + 5);
    assert_eq!(ledger.duplicates().len(), LISTED_DUPLICATES);
}

#[tokio::test]
async fn misbehaviour_is_counted_by_kind() {
    let receiver = receiver("/ra=reset-after-headers\n/r=reset\n/c=close\n/h=half\n/j=junk").await;
    for path in ["/ra", "/r", "/c", "/h", "/j"] {
        let mut client = Client::connect(&receiver).await;
        client.send(format!("GET {path}?txid=a HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        client.rest().await.0.clear();
    }
    let ledger = receiver.ledger();
    assert_eq!((ledger.reset, ledger.closed, ledger.broken), (2, 1, 2));
    assert_eq!((ledger.seen("a"), ledger.accepted("a"), ledger.answered.len()), (5, 0, 0));
}

#[tokio::test]
async fn wait_for_wakes_on_the_change_and_gives_up_in_time() {
    let receiver = receiver("200").await;
    let mut client = Client::connect(&receiver).await;
    let late = receiver.wait_for(|ledger| ledger.accepted("a") == 1, Duration::from_millis(20)).await;
    assert_eq!(late.unwrap_err().requests, 0);
    let (found, ()) = tokio::join!(receiver.wait_for(|ledger| ledger.accepted("a") == 2, PATIENCE), async {
        client.get("/?txid=a").await;
        client.get("/?txid=a").await;
    });
    assert_eq!(found.unwrap().seen("a"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_an_answer_finds_it_counted() {
    let receiver = std::sync::Arc::new(receiver("500,200").await);
    let clients = (0..8).map(|client| {
        let receiver = receiver.clone();
        tokio::spawn(async move {
            let mut connection = Client::connect(&receiver).await;
            for round in 0..100 {
                let key = format!("{client}-{round}");
                for accepted in 0..3 {
                    connection.get(&format!("/?txid={key}")).await;
                    assert_eq!(receiver.ledger().accepted(&key), accepted);
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let ledger = receiver.ledger();
    assert_eq!((ledger.requests, ledger.keys, ledger.duplicate_keys), (2_400, 800, 800));
    let sequences: Vec<u64> = ledger.entries().iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, (1..=1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_key_may_be_a_header_or_stand_in_the_body() {
    let key = "header:webhook-id,/data/id,aff+txid".parse().unwrap();
    let receiver = Receiver::start(ReceiverOptions { key, ..ReceiverOptions::default() }).await.unwrap();
    let mut client = Client::connect(&receiver).await;
    client.send("GET /?txid=no HTTP/1.1\r\nhost: a\r\nWebhook-Id: msg_1\r\n\r\n").await;
    client.response().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18\r\n\r\n{\"data\":{\"id\":12}}").await;
    client.response().await;
    client.get("/?txid=t%201&aff=ac+me").await;
    client.get("/?txid=t").await;
    let ledger = receiver.ledger();
    assert_eq!([ledger.seen("msg_1"), ledger.seen("12"), ledger.seen("ac me+t 1")], [1, 1, 1]);
    assert_eq!((ledger.keys, ledger.unkeyed), (3, 1));
}

#[tokio::test]
async fn requests_are_kept_in_full_and_shown_to_watchers() {
    for record_bodies in [true, false] {
        let script = Script::parse("404,200").unwrap();
        let options = ReceiverOptions { script, record_bodies, ..ReceiverOptions::default() };
        let receiver = Receiver::start(options).await.unwrap();
        let mut watcher = receiver.subscribe();
        let mut client = Client::connect(&receiver).await;
        client.send("POST /p?txid=a HTTP/1.1\r\nHost: a\r\nX-One: 1\r\ncontent-length: 3\r\n\r\nabc").await;
        client.response().await;
        let seen = watcher.try_recv().unwrap();
        assert_eq!((seen.method.as_str(), seen.path_and_query.as_str()), ("POST", "/p?txid=a"));
        assert_eq!((seen.key.as_deref(), seen.answer.as_str(), &seen.body[..]), (Some("a"), "404", &b"abc"[..]));
        assert_eq!(seen.headers[1], ("X-One".to_owned(), "1".to_owned()));
        let entries = receiver.ledger().entries();
        assert_eq!(entries.len(), 1);
        assert_eq!(&entries[0].body[..], if record_bodies { &b"abc"[..] } else { b"" });
        assert_eq!((entries[0].sequence, entries[0].body_length), (1, 3));
    }
}

#[tokio::test]
async fn another_script_keeps_the_ledger_and_starting_over_empties_it() {
    let receiver = receiver("500").await;
    let mut client = Client::connect(&receiver).await;
    assert_eq!(client.get("/?txid=a").await.status, 500);
    receiver.set_script(Script::statuses(&[503, 200]));
    assert_eq!(client.get("/?txid=a").await.status, 503);
    assert_eq!(client.get("/?txid=a").await.status, 200);
    let before = receiver.ledger();
    receiver.start_over();
    assert_eq!((before.seen("a"), receiver.ledger().seen("a")), (3, 0));
    assert_eq!(client.get("/?txid=a").await.status, 503);
}
