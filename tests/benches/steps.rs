//! How long the pure steps of an event's life take, one by one: `cargo bench --bench steps`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that fails may say so by a panic")]

mod scene;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use postbackd::domain::record::HistoryEntry;
use postbackd::outbox::EventRecord;
use postbackd::transport::EgressPolicy;
use scene::{EVENT, Scene};
use serde_json::Value;

fn ingest(criterion: &mut Criterion) {
    let scene = Scene::new();
    criterion.bench_function("event: JSON to values", |bench| {
        bench.iter(|| serde_json::from_str::<Value>(black_box(EVENT)).unwrap());
    });
    criterion.bench_function("event: check, with personal data looked for", |bench| {
        bench.iter(|| scene.parse(black_box(&scene.json)));
    });
    criterion.bench_function("plan among 50 affiliates", |bench| bench.iter(|| black_box(&scene).plan()));
}

fn request(criterion: &mut Criterion) {
    let scene = Scene::new();
    let (plain, signed) = (scene.postback("plain"), scene.postback("signed"));
    criterion.bench_function("request: render, build and check the URL", |bench| {
        bench.iter(|| scene.render(black_box(&plain)));
    });
    criterion.bench_function("request: the same, signed, with a record that masks it", |bench| {
        bench.iter(|| scene.render(black_box(&signed)));
    });
    let policy = EgressPolicy { allow: Vec::new(), ports: vec![80, 443] };
    let url = scene.render(&plain).url.parse().unwrap();
    criterion.bench_function("egress: check a URL", |bench| {
        bench.iter(|| policy.check_url(black_box(&url)).unwrap());
    });
}

fn records(criterion: &mut Criterion) {
    let scene = Scene::new();
    let (event, attempt) = (scene.event_record(), scene.attempt_record());
    let (event_bytes, attempt_bytes) = (postcard::to_stdvec(&event).unwrap(), postcard::to_stdvec(&attempt).unwrap());
    criterion.bench_function("record of an event: write", |bench| {
        bench.iter(|| postcard::to_stdvec(black_box(&event)).unwrap());
    });
    criterion.bench_function("record of an event: read", |bench| {
        bench.iter(|| postcard::from_bytes::<EventRecord>(black_box(&event_bytes)).unwrap());
    });
    criterion.bench_function("record of an attempt: write", |bench| {
        bench.iter(|| postcard::to_stdvec(black_box(&attempt)).unwrap());
    });
    criterion.bench_function("record of an attempt: read", |bench| {
        bench.iter(|| postcard::from_bytes::<HistoryEntry>(black_box(&attempt_bytes)).unwrap());
    });
}

criterion_group!(steps, ingest, request, records);
criterion_main!(steps);
