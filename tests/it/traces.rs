//! Traces for OpenTelemetry: what a receiver of OTLP is told, and that one that does not answer holds nothing up.

use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use crate::harness::{QUICK_RETRY, World, ftd, partner, patience};

#[tokio::test]
async fn an_attempt_and_a_request_become_spans_that_name_no_conversion() {
    let (told, mut batches) = unbounded_channel();
    let take = post(move |headers: HeaderMap, body: Bytes| async move {
        let _ = told.send((headers, body));
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", take)).await });
    let telemetry = format!("{QUICK_RETRY}[telemetry]\notlp = \"{endpoint}\"\n");
    let mut world = World::configured(vec![partner("acme", "500,200")], &telemetry).await;
    let delivery = world.accept(ftd("acme", "dep-88121")).await;
    world.until(&delivery, "delivered").await;
    // Stopping exports what waits.
    world.daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(world.daemon.wait().await, Some(0));
    let mut all = Vec::new();
    while let Ok((headers, body)) = batches.try_recv() {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        all.extend_from_slice(&body);
    }
    // Texts stand in protobuf as they are.
    let count = |text: &str| all.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
    assert_eq!(count("postback.ingest"), 1);
    assert_eq!((count(&delivery), count("postback.delivery")), (2, 2), "a span for each of two attempts");
    for told in ["postbackd", "acme", "conversions", "ftd", "retry", "/v1/events", "http.response.status_code"] {
        assert!(count(told) > 0, "{told} is missing");
    }
    assert_eq!((count("dep-88121"), count("click-"), count("120.00")), (0, 0, 0), "of the conversion");
}

#[tokio::test]
async fn a_receiver_of_traces_that_does_not_answer_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let telemetry = format!("{QUICK_RETRY}[telemetry]\notlp = \"{endpoint}/base/\"\n");
    let mut world = World::configured(vec![partner("acme", "200")], &telemetry).await;
    for number in 0..50 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
    }
    world.received("acme", |ledger| ledger.accepted_keys == 50).await;
    let stopping = Instant::now();
    world.daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(world.daemon.wait().await, Some(0));
    assert!(stopping.elapsed() < patience(), "the spans that nobody takes are given up on");
}
