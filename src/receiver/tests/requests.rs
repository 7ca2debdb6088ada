//! Requests as they come over the wire: whole, split, too large, malformed.

use super::super::{BODY_LIMIT, HEADER_LIMIT, Receiver, ReceiverOptions};
use super::{Client, receiver};

async fn recording() -> Receiver {
    Receiver::start(ReceiverOptions { record_bodies: true, ..ReceiverOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn chunked_bodies_are_put_together() {
    let receiver = recording().await;
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    client.send("a;x=y\r\n0123456789\r\n0\r\ntrailer: t\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(&receiver.ledger().entries()[0].body[..], b"abc0123456789");
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte_and_two_at_once() {
    let receiver = recording().await;
    let mut client = Client::connect(&receiver).await;
    let request = "POST /?txid=a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    for byte in request.bytes() {
        client.send([byte]).await;
        // Lets the receiver read this byte before the next is sent.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(client.response().await.status, 200);
    client.send(request.repeat(2)).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 200);
    let ledger = receiver.ledger();
    assert!(ledger.entries().iter().all(|entry| &entry.body[..] == b"abc"));
    assert_eq!((ledger.seen("a"), ledger.bytes_in), (3, 3 * request.len() as u64));
}

#[tokio::test]
async fn who_expects_a_continue_gets_one() {
    let receiver = receiver("200").await;
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("abc").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn the_connection_closes_when_the_client_asks_for_it() {
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"] {
        let receiver = receiver("200").await;
        let mut client = Client::connect(&receiver).await;
        client.send(request).await;
        let (bytes, end) = client.rest().await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with("\r\n\r\nOK") && text.contains("connection: close\r\n"), "{text}");
        end.unwrap();
    }
}

#[tokio::test]
async fn improper_requests_are_refused_and_counted_apart() {
    let long = "x".repeat(HEADER_LIMIT);
    let host = "host: a\r\n";
    let large = BODY_LIMIT + 1;
    for (request, status) in [
        ("GET /\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/2.0\r\n{host}\r\n"), "505"),
        (format!("GET /ä HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("GET /a b HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("GET http://a/ HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("G@T / HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}bad name: x\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}no colon\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\n{host}a: b\nc: d\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{host}content-length: x\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{host}content-length: 1\r\ncontent-length: 1\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{host}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{host}transfer-encoding: gzip\r\n\r\n"), "501"),
        (format!("POST / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n+1\r\na\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"), "400"),
        (format!("POST / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\nffffffff\r\n"), "413"),
        (format!("POST / HTTP/1.1\r\n{host}content-length: {large}\r\n\r\n"), "413"),
        (format!("GET / HTTP/1.1\r\n{host}a: {long}\r\nb: {long}"), "431"),
    ] {
        let receiver = receiver("200").await;
        let mut client = Client::connect(&receiver).await;
        client.send(&request).await;
        let response = client.response().await;
        let shown: String = request.chars().take(90).collect();
        assert_eq!(response.status.to_string(), status, "{shown}");
        drop(client);
        let ledger = receiver.ledger();
        assert_eq!((ledger.requests, ledger.malformed), (0, 1), "{shown}");
        receiver.stop().await;
    }
}

#[tokio::test]
async fn the_largest_body_is_taken() {
    let receiver = recording().await;
    let mut client = Client::connect(&receiver).await;
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY_LIMIT}\r\n\r\n")).await;
    client.send(vec![b'b'; BODY_LIMIT]).await;
    assert_eq!(client.response().await.status, 200);
    let entry = receiver.ledger().entries().remove(0);
    assert_eq!((entry.body_length, entry.body.len()), (BODY_LIMIT as u64, 64 * 1024));
}
