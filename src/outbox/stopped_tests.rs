//! What an outbox whose disk has failed still does: nothing that would have to be written down.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::event::Status;
use crate::domain::id::PostbackRef;
use crate::domain::postback::OrderPolicy;
use crate::fixtures;
use crate::ops::clock::SystemClock;

/// An engine whose disk can be broken.
#[derive(Debug, Default)]
struct BrittleDisk {
    memory: MemoryEngine,
    broken: AtomicBool,
}

impl Engine for BrittleDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.memory.get(key)
    }

    fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        self.memory.scan(from, to)
    }

    fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        self.memory.scan_back(from, to)
    }

    fn apply(&self, batch: Batch) -> Result<(), EngineError> {
        self.memory.apply(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        if self.broken.load(Ordering::SeqCst) { Err(EngineError::Sync("broken".into())) } else { Ok(()) }
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.memory.disk_bytes()
    }
}

fn request(transaction: &str) -> AcceptRequest {
    let postback = PostbackRef { affiliate: "acme".parse().unwrap(), postback: "p".parse().unwrap() };
    let plan = vec![PlannedDelivery { postback, lane: None, order: OrderPolicy::default() }];
    let event = fixtures::event(transaction, "ftd", Status::Approved);
    AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan, source: "test".into() }
}

#[tokio::test]
async fn nothing_is_leased_once_a_sync_has_failed() {
    let disk = Arc::new(BrittleDisk::default());
    let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
    let outbox = Outbox::open(Arc::clone(&disk) as _, options).unwrap();
    let accepted = outbox.accept(vec![request("t-1")]).await.unwrap().remove(0).unwrap();
    let Ingested::Accepted(accepted) = accepted else { panic!("{accepted:?}") };
    disk.broken.store(true, Ordering::SeqCst);
    assert!(outbox.accept(vec![request("t-2")]).await.is_err());
    let begun = outbox.begin(accepted.deliveries[0]);
    assert!(matches!(begun, Err(OutboxError::Stopped(_))), "its attempt could not be written down: {begun:?}");
}
