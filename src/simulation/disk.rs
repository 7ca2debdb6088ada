//! A disk that can lose power: what is applied can be seen, only what was synced is there behind a power cut.
//!
//! A cut keeps what was synced and some of what was applied behind that, in order. A sync covers what was applied before
//! it began. It can be slow, and it can fail.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dice::Dice;
use crate::domain::id::EventId;
use crate::outbox::onlooker;
use crate::outbox::unthreaded::Pace;
use crate::outbox::{Batch, Engine, EngineError, MemoryEngine, Pairs};

#[derive(Debug)]
pub(super) struct Disk(Mutex<Plates>);

#[derive(Debug)]
struct Plates {
    dice: Dice,
    visible: MemoryEngine,
    durable: MemoryEngine,
    unsynced: Vec<Batch>,
    /// Of what is not synced, how much the sync under way covers.
    covered: Option<usize>,
    slow: bool,
    fails: bool,
    /// Whether a sync has failed since the power was last cut.
    has_failed: bool,
    /// What was deleted although it was not settled.
    lost: Vec<String>,
    /// The events whose deletion is durable.
    retired: BTreeSet<EventId>,
}

impl Plates {
    /// Makes the first batches that are not synced durable.
    fn keep(&mut self, count: usize) {
        for batch in self.unsynced.drain(..count) {
            self.retired.extend(onlooker::deleted_events(&batch));
            self.durable.apply(batch).unwrap();
        }
    }
}

impl Disk {
    pub(super) fn new(dice: Dice) -> Self {
        Self(Mutex::new(Plates {
            dice,
            visible: MemoryEngine::default(),
            durable: MemoryEngine::default(),
            unsynced: Vec::new(),
            covered: None,
            slow: false,
            fails: false,
            has_failed: false,
            lost: Vec::new(),
            retired: BTreeSet::new(),
        }))
    }

    fn plates(&self) -> MutexGuard<'_, Plates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes commits slow, or quick again.
    pub(super) fn set_slow(&self, slow: bool) {
        self.plates().slow = slow;
    }

    /// Lets the next syncs fail, or work again.
    pub(super) fn set_failing(&self, fails: bool) {
        self.plates().fails = fails;
    }

    /// Whether a sync has failed since the power was last cut.
    pub(super) fn has_failed(&self) -> bool {
        self.plates().has_failed
    }

    /// Cuts the power; returns how many of how many unsynced batches are still there.
    pub(super) fn cut_power(&self) -> (usize, usize) {
        let mut plates = self.plates();
        let all = plates.unsynced.len();
        let kept = usize::try_from(plates.dice.roll(all as u64 + 1)).unwrap();
        plates.keep(kept);
        plates.unsynced.clear();
        let Plates { durable, visible, .. } = &mut *plates;
        *visible = MemoryEngine::default();
        let writes =
            durable.scan(Bound::Unbounded, Bound::Unbounded).map(|pair| pair.map(|(key, value)| (key, Some(value))));
        visible.apply(Batch { writes: writes.map(Result::unwrap).collect() }).unwrap();
        plates.covered = None;
        (plates.fails, plates.has_failed) = (false, false);
        (kept, all)
    }

    /// Reads what is durable.
    pub(super) fn durable<T>(&self, read: impl FnOnce(&dyn Engine) -> T) -> T {
        read(&self.plates().durable)
    }

    /// Whether an event was deleted for good.
    pub(super) fn has_retired(&self, event: EventId) -> bool {
        self.plates().retired.contains(&event)
    }

    /// What was deleted although it was not settled.
    pub(super) fn lost(&self) -> Vec<String> {
        std::mem::take(&mut self.plates().lost)
    }
}

impl Engine for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.plates().visible.get(key)
    }

    fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(self.plates().visible.scan(from, to).collect::<Vec<_>>().into_iter())
    }

    fn scan_back(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Pairs<'_> {
        Box::new(self.plates().visible.scan_back(from, to).collect::<Vec<_>>().into_iter())
    }

    fn apply(&self, batch: Batch) -> Result<(), EngineError> {
        let mut plates = self.plates();
        for event in onlooker::deleted_events(&batch) {
            let open = onlooker::open_deliveries(&plates.visible, event);
            plates.lost.extend(open.into_iter().map(|id| format!("{id} was deleted and is not settled")));
        }
        plates.visible.apply(batch.clone())?;
        plates.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut plates = self.plates();
        let covered = plates.covered.take().unwrap_or(plates.unsynced.len());
        if plates.fails {
            plates.has_failed = true;
            return Err(EngineError::Sync("the disk is gone".into()));
        }
        plates.keep(covered);
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.plates().visible.disk_bytes()
    }
}

impl Pace for Disk {
    fn gathering(&self) -> Duration {
        let mut plates = self.plates();
        Duration::from_millis(if plates.dice.chance(70) { 0 } else { plates.dice.roll(3) })
    }

    fn applying(&self) -> Duration {
        let mut plates = self.plates();
        Duration::from_millis(if plates.dice.chance(70) { 0 } else { plates.dice.roll(4) })
    }

    fn syncing(&self) -> Duration {
        let mut plates = self.plates();
        plates.covered = Some(plates.unsynced.len());
        let most = if plates.slow { 250 } else { 6 };
        Duration::from_millis(plates.dice.roll(most))
    }
}
