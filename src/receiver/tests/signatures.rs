//! Signatures that the receiver verifies.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::{Receiver, ReceiverOptions, SecretError, Verify};
use super::{Client, Response};
use crate::ops::clock::{Clock, SharedClock};

/// The vector published with the Standard Webhooks specification.
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
const BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;
const SENT: i64 = 1_649_367_553;

#[derive(Debug)]
struct Stopped(i64);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0).unwrap()
    }
}

async fn requiring(verify: Verify) -> (Receiver, Client) {
    let options = ReceiverOptions { verify: Some(verify), ..ReceiverOptions::default() };
    let receiver = Receiver::start(options).await.unwrap();
    let client = Client::connect(&receiver).await;
    (receiver, client)
}

fn standard(secrets: &[&str], now: i64) -> Verify {
    let clock: SharedClock = Arc::new(Stopped(now));
    Verify::standard_webhooks(secrets, Duration::from_mins(5), clock).unwrap()
}

async fn post(client: &mut Client, headers: &str, body: &str) -> Response {
    let id = "webhook-id: msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    let length = body.len();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{id}\r\ncontent-length: {length}\r\n{headers}\r\n{body}")).await;
    client.response().await
}

fn signed(timestamp: &str, signature: &str) -> String {
    format!("webhook-timestamp: {timestamp}\r\nwebhook-signature: {signature}\r\n")
}

#[tokio::test]
async fn standard_webhooks_takes_the_published_vector_with_any_of_its_secrets() {
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let (receiver, mut client) = requiring(standard(&[other, SECRET], SENT + 300)).await;
    let several = format!("v1a,AAAA v1,AAAA {SIGNATURE}");
    for signature in [SIGNATURE, several.as_str()] {
        let response = post(&mut client, &signed("1649367553", signature), BODY).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let ledger = receiver.ledger();
    assert_eq!((ledger.signature_failures, ledger.accepted("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk")), (0, 2));
}

#[tokio::test]
async fn standard_webhooks_refuses_what_is_off() {
    let (receiver, mut client) = requiring(standard(&[SECRET], SENT)).await;
    let good = signed("1649367553", SIGNATURE);
    for (headers, body, complaint) in [
        (signed("1649367554", SIGNATURE), BODY, "no signature matches"),
        (good.clone(), "{}", "no signature matches"),
        (signed("1649367553", "v1,AAAA"), BODY, "no signature matches"),
        (signed("1649367553", SIGNATURE.trim_start_matches("v1,")), BODY, "no signature matches"),
        (signed("soon", SIGNATURE), BODY, "webhook-timestamp is not a number of seconds"),
        (String::new(), BODY, "the webhook-timestamp header is missing"),
    ] {
        let response = post(&mut client, &headers, body).await;
        assert_eq!((response.status, response.text()), (401, complaint));
    }
    let ledger = receiver.ledger();
    assert_eq!((ledger.signature_failures, ledger.answered_with(401), ledger.accepted_requests), (6, 6, 0));
    for now in [SENT + 301, SENT - 301] {
        let (_receiver, mut client) = requiring(standard(&[SECRET], now)).await;
        let response = post(&mut client, &good, BODY).await;
        assert_eq!((response.status, response.text()), (401, "webhook-timestamp is outside the tolerance"));
    }
}

#[tokio::test]
async fn a_query_hmac_covers_the_rest_of_path_and_query() {
    // printf '/p?txid=a&x=%%20' | openssl dgst -sha256 -hmac key
    let signature = "a82fd3014aa40034ba84e785f366dffb7048e20abfb7515502ee75ccbf74511e";
    // printf '/p' | openssl dgst -sha256 -hmac key
    let bare = "018887d60337c7ee17990bbab939cf370623168510fb958dda6bc29844edb2a2";
    let (receiver, mut client) = requiring(Verify::query_hmac("key", "sig").unwrap()).await;
    for (target, status) in [
        (format!("/p?txid=a&x=%20&sig={signature}"), 200),
        (format!("/p?txid=a&sig={signature}&x=%20"), 200),
        (format!("/p?sig={bare}"), 200),
        (format!("/p?txid=b&x=%20&sig={signature}"), 401),
        (format!("/p?x=%20&txid=a&sig={signature}"), 401),
        ("/p?txid=a&x=%20&sig=zz".to_owned(), 401),
        ("/p?txid=a&x=%20".to_owned(), 401),
    ] {
        assert_eq!(client.get(&target).await.status, status, "{target}");
    }
    assert_eq!(receiver.ledger().signature_failures, 4);
}

#[test]
fn secrets_that_cannot_be_used_are_named_by_place_and_never_shown() {
    let clock: SharedClock = Arc::new(Stopped(0));
    let none: [&str; 0] = [];
    let minutes = Duration::from_mins(5);
    assert_eq!(Verify::standard_webhooks(&none, minutes, clock.clone()).unwrap_err(), SecretError::Missing);
    let error = Verify::standard_webhooks(&[SECRET, "whsec_?"], minutes, clock).unwrap_err();
    assert_eq!(error, SecretError::Encoding(2));
    assert_eq!(Verify::query_hmac("", "sig").unwrap_err(), SecretError::Missing);
    let shown = format!("{:?}", Verify::query_hmac("topsecret", "sig").unwrap());
    assert!(!shown.contains("topsecret") && !shown.contains("116, 111, 112"), "{shown}");
}
