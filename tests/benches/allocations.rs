//! What one event allocates, step by step: `cargo bench --bench allocations`.
//!
//! The store is the engine in memory, so that the outbox's own allocations are seen without those of an engine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that fails may say so by a panic; it is there to print"
)]

mod scene;

use std::collections::VecDeque;
use std::sync::Arc;

use postbackd::domain::delivery::{Conclusion, DeliveredHow};
use postbackd::domain::id::DeliveryId;
use postbackd::domain::record::{AttemptRecord, Cause};
use postbackd::ops::clock::SystemClock;
use postbackd::outbox::{AcceptRequest, Ingested, MemoryEngine, Options, Outbox, PlannedDelivery, Settlement};
use scene::{EVENT, Scene};
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// How often each step is taken.
const ROUNDS: u32 = 1_000;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let scene = Scene::new();
    let (plain, signed) = (scene.postback("plain"), scene.postback("signed"));
    let (event, attempt) = (scene.event_record(), scene.attempt_record());
    println!("{:<56} {:>12} {:>12}", "STEP", "ALLOCATIONS", "BYTES");
    told("event: JSON to values", |_| drop(serde_json::from_str::<Value>(EVENT).unwrap()));
    told("event: check, with personal data looked for", |_| drop(scene.parse(&scene.json)));
    told("plan among 50 affiliates", |_| drop(scene.plan()));
    told("request: render, build and check the URL", |_| drop(scene.render(&plain)));
    told("request: the same, signed, with a record that masks it", |_| drop(scene.render(&signed)));
    told("record of an event: write", |_| drop(postcard::to_stdvec(&event).unwrap()));
    told("record of an attempt: write", |_| drop(postcard::to_stdvec(&attempt).unwrap()));
    let Cause::Attempted(attempt) = attempt.cause else { unreachable!("it was made so") };
    through_outbox(&scene, &attempt);
}

/// Takes a step many times, and tells what one of them allocates.
fn told(step: &str, mut take: impl FnMut(u32)) {
    take(0); // what is made once does not count
    let before = dhat::HeapStats::get();
    (1..=ROUNDS).for_each(&mut take);
    let after = dhat::HeapStats::get();
    let each = |after: u64, before: u64| {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let all = (after - before) as f64;
        all / f64::from(ROUNDS)
    };
    let blocks = each(after.total_blocks, before.total_blocks);
    println!("{step:<56} {blocks:>12.1} {:>12.0}", each(after.total_bytes, before.total_bytes));
}

fn through_outbox(scene: &Scene, attempt: &AttemptRecord) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
    let outbox = Outbox::open(Arc::new(MemoryEngine::default()), options).unwrap();
    let mut open: VecDeque<DeliveryId> = VecDeque::new();
    told("outbox: accept one event by itself", |number| {
        let answers = runtime.block_on(outbox.accept(vec![request(scene, number)])).unwrap();
        let Some(Ok(Ingested::Accepted(taken))) = answers.into_iter().next() else { unreachable!("it is new") };
        open.extend(taken.deliveries);
        drop(outbox.arrivals().take());
    });
    told("outbox: begin and settle one delivery by itself", |_| {
        let id = open.pop_front().unwrap();
        let lease = outbox.begin(id).unwrap().leased().unwrap();
        let conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
        let settlement = Settlement { lease, attempt: attempt.clone(), conclusion, at: scene.now, pause: None };
        runtime.block_on(outbox.settle(settlement)).unwrap();
    });
    runtime.block_on(outbox.close());
}

fn request(scene: &Scene, number: u32) -> AcceptRequest {
    let mut event = scene.event.clone();
    event.transaction_id = format!("dep-{number}").parse().unwrap();
    let postback = scene.postback("signed");
    let planned = PlannedDelivery { postback: postback.reference(), lane: None, order: postback.order };
    AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan: vec![planned], source: "bench".into() }
}
