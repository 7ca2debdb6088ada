//! What an event holds on its way to the disk comes back when it is there, and not before; and nothing is sent any more
//! once the disk has failed.

use std::ops::Bound;
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::Semaphore;

use super::*;
use crate::domain::event::{Event, Status};
use crate::domain::id::PostbackRef;
use crate::domain::postback::{OrderPolicy, OriginalUnknown};
use crate::fixtures;
use crate::ops::clock::SystemClock;

/// An engine whose disk is as slow as the test likes: each sync waits for a word, which may be that it fails.
#[derive(Debug)]
struct SlowDisk {
    memory: MemoryEngine,
    words: Mutex<mpsc::Receiver<std::io::Result<()>>>,
}

impl Engine for SlowDisk {
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
        let word = self.words.lock().unwrap().recv().unwrap_or(Ok(()));
        word.map_err(|error| EngineError::Sync(error.into()))
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.memory.disk_bytes()
    }
}

/// An outbox on such a disk, and where its words are said.
fn on_slow_disk() -> (Outbox, mpsc::Sender<std::io::Result<()>>) {
    let (word, words) = mpsc::channel();
    let engine = SlowDisk { memory: MemoryEngine::default(), words: Mutex::new(words) };
    let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
    word.send(Ok(())).unwrap(); // for the sync that makes a new store
    (Outbox::open(Arc::new(engine), options).unwrap(), word)
}

fn request() -> AcceptRequest {
    let event = fixtures::event("t-1", "ftd", Status::Approved);
    AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan: Vec::new(), source: "test".into() }
}

#[tokio::test]
async fn a_caller_that_goes_away_gives_nothing_back_before_its_events_are_durable() {
    let (outbox, word) = on_slow_disk();
    let budget = Arc::new(Semaphore::new(5));

    let held = vec![Arc::clone(&budget).try_acquire_many_owned(5).unwrap()];
    let mut accepting = Box::pin(outbox.accept_holding(vec![request()], held));
    let asked = futures_util::poll!(accepting.as_mut());
    assert!(asked.is_pending(), "the disk has not said a word");
    drop(accepting);
    assert_eq!(budget.available_permits(), 0, "its events still wait");

    word.send(Ok(())).unwrap();
    let back = tokio::time::timeout(std::time::Duration::from_secs(30), budget.acquire_many(5)).await;
    assert!(back.unwrap().is_ok());
    assert_eq!(outbox.reader().totals().accepted, 1, "they were written all the same");
    drop(word);
    outbox.close().await;
}

/// An event that somebody is told of.
fn planned() -> AcceptRequest {
    let postback = PostbackRef { affiliate: "acme".parse().unwrap(), postback: "all".parse().unwrap() };
    AcceptRequest { plan: vec![PlannedDelivery { postback, lane: None, order: OrderPolicy::default() }], ..request() }
}

#[tokio::test]
async fn what_has_come_in_is_leased_at_once_and_sent_once_it_is_durable() {
    for fails in [false, true] {
        let (outbox, word) = on_slow_disk();
        let accepting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.accept(vec![planned()]).await }
        });
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, outbox.arrivals().wait()).await.unwrap();
        let due = outbox.arrivals().take().due.remove(0);
        assert!(outbox.begin_due(due).unwrap().leased().is_some());
        let mut durable = Box::pin(outbox.durable(due.id.event));
        assert!(futures_util::poll!(durable.as_mut()).is_pending(), "the disk has not said a word");
        assert!(!accepting.is_finished());

        word.send(if fails { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }).unwrap();
        let durable = tokio::time::timeout(patience, durable).await.unwrap();
        let accepted = accepting.await.unwrap();
        assert_eq!((durable.is_err(), accepted.is_err()), (fails, fails));
        drop(word);
        outbox.close().await;
    }
}

#[tokio::test]
async fn a_reversal_waits_for_an_original_that_is_on_its_way_to_the_disk() {
    let (outbox, word) = on_slow_disk();
    let PlannedDelivery { postback, lane, .. } = planned().plan.remove(0);
    let order = OrderPolicy { original_unknown: OriginalUnknown::Send, ..OrderPolicy::default() };
    let plan = vec![PlannedDelivery { postback, lane, order }];
    let reverses = Some("t-1".parse().unwrap());
    let reversal = Event { reverses, ..fixtures::event("r-1", "refund", Status::Approved) };
    word.send(Ok(())).unwrap();
    let accepted = outbox.accept(vec![AcceptRequest { event: reversal, plan, ..request() }]).await.unwrap().remove(0);
    let Ingested::Accepted(accepted) = accepted.unwrap() else { panic!("it is new") };
    let id = accepted.deliveries[0];
    assert!(outbox.begin(id).unwrap().leased().is_some(), "nobody knows of an original");

    let mut accepting = Box::pin(outbox.accept(vec![request()]));
    assert!(futures_util::poll!(accepting.as_mut()).is_pending(), "the disk has not said a word");
    let visible = async {
        while outbox.reader().totals().accepted < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), visible).await.unwrap();
    let busy = async {
        while !matches!(outbox.begin(id).unwrap(), Begun::Busy) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), busy).await.unwrap();
    drop(word);
    accepting.await.unwrap();
    assert!(outbox.begin(id).unwrap().leased().is_some());
    outbox.close().await;
}

#[tokio::test]
async fn a_pause_is_told_before_what_came_in_behind_it() {
    let (outbox, word) = on_slow_disk();
    let request = planned();
    let pause = Pause { at: fixtures::now(), by: "ops".into(), reason: "wrong template".into() };
    let mut pausing = Box::pin(outbox.pause(request.plan[0].postback.clone(), Some(pause)));
    assert!(futures_util::poll!(pausing.as_mut()).is_pending(), "the disk has not said a word");
    let mut accepting = Box::pin(outbox.accept(vec![request]));
    assert!(futures_util::poll!(accepting.as_mut()).is_pending());
    let mut pauses = std::collections::BTreeSet::new();
    let arrived = async {
        loop {
            outbox.arrivals().wait().await;
            let taken = outbox.arrivals().take();
            pauses.extend(taken.pauses);
            if let Some(due) = taken.due.first() {
                return due.postback;
            }
        }
    };
    let postback = tokio::time::timeout(std::time::Duration::from_secs(30), arrived).await.unwrap();
    assert!(pauses.contains(&postback));
    drop(word);
    pausing.await.unwrap();
    assert!(outbox.arrivals().take().pauses.contains(&postback), "known for certain before it is acknowledged");
    accepting.await.unwrap();
    outbox.close().await;
}

#[tokio::test]
async fn nothing_is_sent_once_the_disk_has_failed() {
    let (outbox, word) = on_slow_disk();
    word.send(Ok(())).unwrap();
    let accepted = outbox.accept(vec![planned()]).await.unwrap().remove(0);
    let Ingested::Accepted(accepted) = accepted.unwrap() else { panic!("it is new") };
    let id = accepted.deliveries[0];
    assert!(outbox.begin(id).unwrap().leased().is_some());

    word.send(Err(std::io::ErrorKind::Other.into())).unwrap();
    assert!(outbox.accept(vec![request()]).await.is_err());
    assert!(matches!(outbox.begin(id), Err(OutboxError::Stopped(_))), "its end could not be written down");
    drop(word);
    outbox.close().await;
}

/// An engine that hangs behind a write that has failed, and knows of it.
#[derive(Debug, Default)]
struct HangingDisk {
    memory: MemoryEngine,
    failed: std::sync::atomic::AtomicBool,
}

impl Engine for HangingDisk {
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
        while self.failed.load(std::sync::atomic::Ordering::Acquire) {
            std::thread::park();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), EngineError> {
        let failed = self.failed.load(std::sync::atomic::Ordering::Acquire);
        if failed { Err(EngineError::Write("the disk".into())) } else { Ok(()) }
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.memory.disk_bytes()
    }
}

#[tokio::test]
async fn who_waits_behind_an_engine_that_hangs_is_told_why() {
    let engine = Arc::new(HangingDisk::default());
    let options = Options { clock: Arc::new(SystemClock), keep_free: None, observer: None };
    let outbox = Outbox::open(Arc::clone(&engine) as Arc<_>, options).unwrap();
    engine.failed.store(true, std::sync::atomic::Ordering::Release);
    let error = outbox.accept(vec![request()]).await.unwrap_err();
    assert!(error.to_string().contains("writing to the outbox: the disk"), "{error}");
    assert!(outbox.failed().await.to_string().contains("the disk"), "the daemon ends");
    assert!(outbox.accept(vec![request()]).await.is_err(), "nothing more is taken");
    // Its thread hangs for good: nobody waits for it.
    drop(outbox);
}
