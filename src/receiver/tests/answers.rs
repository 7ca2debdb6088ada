//! What each line of a script makes the receiver answer.

use std::time::Duration;

use super::{Client, PATIENCE, is_reset, receiver};
use crate::ops::clock;

const GET: &str = "GET /p?txid=a HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends one request, reads to the end.
async fn one(script: &str) -> (String, std::io::Result<()>) {
    let receiver = receiver(script).await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    let (bytes, end) = client.rest().await;
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

#[tokio::test]
async fn statuses_come_in_turn_for_each_key_on_one_connection() {
    let receiver = receiver("500*2,200").await;
    let mut client = Client::connect(&receiver).await;
    let mut statuses = Vec::new();
    for key in ["a", "a", "b", "a", "a", "b", "b"] {
        statuses.push(client.get(&format!("/p?txid={key}")).await.status);
    }
    assert_eq!(statuses, [500, 500, 500, 200, 200, 500, 200]);
}

#[tokio::test]
async fn a_shared_sequence_goes_over_all_keys() {
    let receiver = receiver("shared => 500,503,200").await;
    let mut client = Client::connect(&receiver).await;
    let mut statuses = Vec::new();
    for key in ["a", "b", "a", "c"] {
        statuses.push(client.get(&format!("/p?txid={key}")).await.status);
    }
    assert_eq!(statuses, [500, 503, 200, 200]);
}

#[tokio::test]
async fn headers_types_and_bodies_are_as_written() {
    let receiver = receiver(
        "/slow=429 retry-after=1\n/away=302 location=http://a.example/b?c=d\n\
         /page=200 type=text/html body=\"<html>\"\n/sorry=200 body=\"success=false;\"\n/none=204\n\
         /last=200 connection=close",
    )
    .await;
    let mut client = Client::connect(&receiver).await;
    let slow = client.get("/slow").await;
    assert_eq!((slow.status, slow.field("retry-after"), slow.text()), (429, Some("1"), "Too Many Requests"));
    let away = client.get("/away").await;
    assert_eq!((away.status, away.field("location")), (302, Some("http://a.example/b?c=d")));
    let page = client.get("/page").await;
    assert_eq!((page.status, page.field("content-type"), page.text()), (200, Some("text/html"), "<html>"));
    let sorry = client.get("/sorry").await;
    assert_eq!((sorry.status, sorry.field("content-type"), sorry.text()), (200, Some("text/plain"), "success=false;"));
    let none = client.get("/none").await;
    assert_eq!((none.status, none.field("content-length")), (204, None));
    let usual = client.get("/").await;
    assert_eq!((usual.status, usual.text()), (200, "OK"));
    client.get("/last").await;
    let (rest, end) = client.rest().await;
    assert!(rest.is_empty() && end.is_ok(), "{rest:?} {end:?}");
}

#[tokio::test]
async fn a_hang_lasts_until_the_receiver_stops() {
    let receiver = receiver("hang").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    assert_eq!(receiver.wait_for(|ledger| ledger.hung == 1, PATIENCE).await.unwrap().requests, 1);
    tokio::time::timeout(PATIENCE, receiver.stop()).await.unwrap();
    let (rest, _) = client.rest().await;
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_hang_ends_when_the_peer_leaves() {
    let receiver = receiver("hang").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    receiver.wait_for(|ledger| ledger.hung == 1, PATIENCE).await.unwrap();
    let connections = || receiver.tasks.len();
    assert_eq!(connections(), 2, "accepting and hanging");
    drop(client);
    tokio::time::timeout(PATIENCE, async {
        while connections() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn dropping_the_receiver_ends_its_connections() {
    let receiver = receiver("hang").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    receiver.wait_for(|ledger| ledger.hung == 1, PATIENCE).await.unwrap();
    drop(receiver);
    let (rest, _) = client.rest().await;
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_none() {
    let (text, end) = one("reset").await;
    assert!(text.is_empty() && is_reset(&end), "{text} {end:?}");
    let (text, end) = one("close").await;
    assert!(text.is_empty() && end.is_ok(), "{text} {end:?}");
}

#[tokio::test]
async fn a_reset_after_headers_shows_the_headers() {
    let (text, end) = one("500 reset-after-headers").await;
    assert!(text.starts_with("HTTP/1.1 500 ") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(is_reset(&end), "{end:?}");
}

#[tokio::test]
async fn half_announces_more_than_it_sends() {
    let (text, end) = one("half body=abc").await;
    assert!(text.contains("content-length: 1003\r\n") && text.ends_with("\r\n\r\nabc"), "{text}");
    assert!(end.is_ok(), "{end:?}");
}

#[tokio::test]
async fn junk_is_not_http() {
    let (text, end) = one("junk").await;
    assert!(!text.is_empty() && !text.starts_with("HTTP/"), "{text}");
    assert!(end.is_ok(), "{end:?}");
}

#[tokio::test]
async fn a_drip_comes_whole_but_slowly() {
    let receiver = receiver("drip 200us body=slow").await;
    let mut client = Client::connect(&receiver).await;
    let started = clock::monotonic();
    let response = client.get("/?txid=a").await;
    assert_eq!((response.status, response.text()), (200, "slow"));
    let bytes = u32::try_from(response.head.len() + 3).unwrap();
    assert!(started.elapsed() >= Duration::from_micros(200) * bytes);
    assert_eq!(receiver.ledger().accepted("a"), 1);
}

#[tokio::test]
async fn a_dripped_filler_comes_whole() {
    let receiver = receiver("drip 0us 200 huge=300").await;
    let mut client = Client::connect(&receiver).await;
    assert_eq!(client.get("/").await.body, vec![b'x'; 300]);
    assert_eq!(client.get("/").await.body.len(), 300);
}

#[tokio::test]
async fn a_delay_comes_before_the_answer() {
    let receiver = receiver("delay 50ms 200").await;
    let mut client = Client::connect(&receiver).await;
    let started = clock::monotonic();
    assert_eq!(client.get("/").await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_delay_ends_when_the_peer_leaves() {
    let receiver = receiver("delay 1h 200").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    receiver.wait_for(|ledger| ledger.requests == 1, PATIENCE).await.unwrap();
    drop(client);
    let ledger = receiver.wait_for(|ledger| ledger.cut_short == 1, PATIENCE).await.unwrap();
    assert_eq!((ledger.seen("a"), ledger.accepted("a")), (1, 0));
}

#[tokio::test]
async fn a_huge_body_comes_whole() {
    let receiver = receiver("200 huge=10MiB").await;
    let mut client = Client::connect(&receiver).await;
    let response = client.get("/?txid=a").await;
    assert_eq!((response.body.len(), receiver.ledger().accepted("a")), (10 << 20, 1));
    assert!(response.body.iter().all(|byte| *byte == b'x'));
    assert_eq!(client.get("/?txid=b").await.body.len(), 10 << 20);
}

#[tokio::test]
async fn a_huge_body_that_nobody_reads_is_not_accepted() {
    let receiver = receiver("200 huge=1GiB").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    client.head().await;
    drop(client);
    let ledger = receiver.wait_for(|ledger| ledger.cut_short == 1, PATIENCE).await.unwrap();
    assert_eq!((ledger.accepted("a"), ledger.accepted_requests, ledger.answered_with(200)), (0, 0, 0));
}

#[tokio::test]
async fn an_endless_body_goes_on_in_chunks() {
    let receiver = receiver("endless").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    let head = client.head().await;
    assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length"), "{head}");
    while client.ahead.len() < 1 << 20 {
        client.fill().await;
    }
    assert!(client.ahead.starts_with(b"10000\r\nxxx"));
    drop(client);
    assert_eq!(receiver.ledger().broken, 1);
}

#[tokio::test]
async fn a_headers_flood_never_ends_its_headers() {
    let receiver = receiver("headers-flood").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    while client.ahead.len() < 1 << 20 {
        client.fill().await;
    }
    let text = String::from_utf8_lossy(&client.ahead);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && !text.contains("\r\n\r\n"));
    assert!(text.contains("\r\nx-flood-1000: x"));
}

#[tokio::test]
async fn informational_responses_go_before_the_final_one() {
    let receiver = receiver("1xx-flood 200").await;
    let mut client = Client::connect(&receiver).await;
    client.send(GET).await;
    for _ in 0..1_000 {
        assert!(client.head().await.starts_with("HTTP/1.1 103 "));
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn conditions_choose_the_rule() {
    let receiver =
        receiver("?type=ftd => 500\n/nth nth=2 => 503\n/every every=3 => 429\n/all 100% => 410\n/none 0% => 400\n204")
            .await;
    let mut client = Client::connect(&receiver).await;
    let mut statuses = Vec::new();
    for target in [
        "/nth?txid=1&type=ftd",
        "/nth?txid=1",
        "/nth?txid=2",
        "/nth?txid=1",
        "/every?txid=3",
        "/every?txid=3",
        "/every?txid=4",
        "/every?txid=5",
        "/all?txid=6",
        "/none?txid=6",
        "/?t%79pe=f%74d",
    ] {
        statuses.push(client.get(target).await.status);
    }
    assert_eq!(statuses, [500, 503, 204, 204, 204, 204, 429, 204, 410, 204, 500]);
}

#[tokio::test]
async fn a_share_of_the_keys_is_the_same_each_time_and_another_with_another_seed() {
    let receiver = receiver("/one 30% seed=1 => 500\n/two 30% seed=2 => 500").await;
    let mut client = Client::connect(&receiver).await;
    let mut drawn = [Vec::new(), Vec::new(), Vec::new()];
    for (path, drawn) in ["/one", "/one", "/two"].into_iter().zip(&mut drawn) {
        for key in 0..400 {
            if client.get(&format!("{path}?txid={key}")).await.status == 500 {
                drawn.push(key);
            }
        }
    }
    let [first, again, other] = drawn;
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!((80..160).contains(&first.len()), "{}", first.len());
}

#[tokio::test]
async fn a_head_request_gets_no_body() {
    let receiver = receiver("200 body=abc").await;
    let mut client = Client::connect(&receiver).await;
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.head().await.contains("content-length: 3\r\n"));
    assert_eq!(client.get("/").await.text(), "abc");
}
