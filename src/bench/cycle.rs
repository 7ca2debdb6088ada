//! Full cycles: accept, begin, settle with the attempt's record, each durable. Through the port of the outbox, and as a
//! bare loop over the engine that writes as few keys as could do.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::figure::{Figure, Measured, Series, Unit};
use super::{BenchError, BenchOptions, failed, sample, stored};
use crate::domain::delivery::{Conclusion, DeliveredHow, Delivery, State};
use crate::domain::engine_kind::EngineKind;
use crate::domain::record::{Cause, HistoryEntry};
use crate::ops::clock::{Clock as _, SystemClock, monotonic};
use crate::outbox::{AcceptRequest, Batch, Engine, EventRecord, Outbox, PlanEntry, Settlement, open_engine};

/// Events under way: what a busy dispatcher and its producers keep so, and what the outbox commits at once.
const AT_ONCE: usize = 512;
/// Keys of an event when it comes in.
const KEYS: usize = 4;
/// Bytes of version and checksum that the outbox adds to a record.
const SEAL: [u8; 5] = [1, 0x5a, 0xa5, 0x5a, 0xa5];

/// Compares the port with the bare loop.
///
/// # Errors
/// When the store fails.
pub(super) async fn run(options: &BenchOptions, say: &dyn Fn(&str)) -> Result<Vec<Figure>, BenchError> {
    say("full cycles: accept, begin, settle with the attempt's record, each durable");
    let outbox = super::open(&options.directory.join("cycle"), options.engine)?;
    let mut lean = Lean::open(&options.directory.join("lean"), options.engine)?;
    let name = format!("full cycles through the port, {AT_ONCE} under way");
    let mut port = Series::new(name, Unit::PerSecond);
    let bare = format!("bare loop over {}, 4 keys an event, groups of {AT_ONCE}", options.engine.name());
    let mut bare = Series::new(bare, Unit::PerSecond);
    for turn in 0..options.turns {
        bare.push(lean.cycles(options.events)?.per_second());
        port.push(through_port(&outbox, options.events, turn * options.events).await?.per_second());
    }
    outbox.close().await;
    Ok(vec![port.beside(&bare, Some(options.targets().cycles()))])
}

/// Cycles through the port, by as many callers as are under way.
pub(super) async fn through_port(outbox: &Outbox, events: usize, first: usize) -> Result<Measured, BenchError> {
    let each = (events / AT_ONCE).max(1);
    let mut tasks = JoinSet::new();
    let started = monotonic();
    for client in 0..AT_ONCE {
        let outbox = outbox.clone();
        tasks.spawn(async move {
            for number in 0..each {
                one(&outbox, first + client * each + number).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(failed)??;
    }
    Ok(Measured { count: each * AT_ONCE, took: monotonic().duration_since(started), times: Vec::new() })
}

async fn one(outbox: &Outbox, number: usize) -> Result<(), BenchError> {
    let ids = stored::accepted(outbox.accept(vec![sample::request(number)?]).await?)?;
    let id = ids.first().copied().ok_or_else(|| failed("an event was not planned"))?;
    let lease = outbox.begin(id)?.leased().ok_or_else(|| failed(format!("{id} is not scheduled")))?;
    let conclusion = Conclusion::Delivered(DeliveredHow::Accepted);
    let at = SystemClock.now();
    outbox.settle(Settlement { lease, attempt: sample::attempt(), conclusion, at, pause: None }).await?;
    // Nobody dispatches here: what arrives is not waited for.
    drop(outbox.arrivals().take());
    Ok(())
}

/// The bare loop: no port, no threads, no reads, no decisions; one batch and one sync a group.
///
/// An event is four keys (itself with its plan, when it is due, the hash that finds duplicates, the hash of its click);
/// its end takes away the one that is due and adds the attempt. Keys and values are as long as those of the outbox.
struct Lean {
    engine: Arc<dyn Engine>,
    next: u64,
}

impl Lean {
    fn open(path: &Path, engine: EngineKind) -> Result<Self, BenchError> {
        Ok(Self { engine: open_engine(engine, path, super::CACHE_BYTES)?, next: 1 })
    }

    fn cycles(&mut self, events: usize) -> Result<Measured, BenchError> {
        let groups = (events / AT_ONCE).max(1);
        let started = monotonic();
        for _ in 0..groups {
            let group = self.next..self.next + AT_ONCE as u64;
            self.next = group.end;
            self.commit(group.clone(), accept)?;
            self.commit(group, settle)?;
        }
        Ok(Measured { count: groups * AT_ONCE, took: monotonic().duration_since(started), times: Vec::new() })
    }

    fn commit(
        &self,
        group: std::ops::Range<u64>,
        write: impl Fn(&mut Batch, u64) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let mut batch = Batch { writes: Vec::with_capacity(AT_ONCE * KEYS) };
        group.into_iter().try_for_each(|id| write(&mut batch, id))?;
        self.engine.apply(batch)?;
        Ok(self.engine.sync()?)
    }
}

fn accept(batch: &mut Batch, id: u64) -> Result<(), BenchError> {
    let AcceptRequest { event, plan, source, .. } = sample::request(usize::try_from(id).map_err(failed)?)?;
    let now = SystemClock.now();
    let delivery = Delivery { state: State::Scheduled { due: now }, made: 0, spent: 0 };
    let entry = |planned: crate::outbox::PlannedDelivery| PlanEntry {
        postback: 1,
        lane: planned.lane,
        order: planned.order,
        delivery: delivery.clone(),
    };
    let plan = plan.into_iter().map(entry).collect();
    let record = EventRecord { event, root: None, source, accepted_at: now, plan };
    let put = |key: Vec<u8>, value: Vec<u8>| (key, Some(value));
    batch.writes.extend([
        put(key(b'e', &[&id.to_be_bytes()]), sealed(&record)?),
        put(due_key(id), Vec::new()),
        put(key(b'k', &[&mixed(id).to_be_bytes(), &[0; 4], &mixed(!id).to_be_bytes()]), id.to_be_bytes().to_vec()),
        put(key(b'c', &[&mixed(id ^ 0x5a5a).to_be_bytes(), &id.to_be_bytes()]), Vec::new()),
    ]);
    Ok(())
}

fn settle(batch: &mut Batch, id: u64) -> Result<(), BenchError> {
    let state = State::Delivered { how: DeliveredHow::Accepted };
    let entry = HistoryEntry {
        at: SystemClock.now(),
        cause: Cause::Attempted(Box::new(sample::attempt())),
        delivery: Delivery { state, made: 1, spent: 1 },
    };
    batch.writes.push((due_key(id), None));
    batch.writes.push((key(b'h', &[&id.to_be_bytes(), &[0; 6]]), Some(sealed(&entry)?)));
    Ok(())
}

/// Postback, class, due time, event and ordinal, as the outbox's own.
fn due_key(id: u64) -> Vec<u8> {
    key(b's', &[&[0, 0, 0, 1], &[0], &id.to_be_bytes(), &id.to_be_bytes(), &[0; 2]])
}

fn key(space: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![space];
    key.extend(parts.concat());
    key
}

fn sealed(record: &impl serde::Serialize) -> Result<Vec<u8>, BenchError> {
    let mut bytes = postcard::to_stdvec(record).map_err(failed)?;
    bytes.extend_from_slice(&SEAL);
    Ok(bytes)
}

/// Spreads numbers as a hash does, at the cost of none.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
