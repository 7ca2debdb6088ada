//! Listening to what the commit thread writes, while a backup is taken.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::outbox::engine::Batch;

/// Bytes that may wait for whoever takes the backup. Behind that the backup fails: commits wait for nobody.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// What a backup hears of the commit thread.
#[derive(Debug)]
pub(in crate::outbox) struct Tapped {
    batches: Receiver<Batch>,
    waiting: Arc<Waiting>,
    unplugged: Cell<bool>,
}

/// The commit thread's end.
#[derive(Debug)]
pub(in crate::outbox) struct Tap {
    to: Sender<Batch>,
    waiting: Arc<Waiting>,
}

/// Names a tap, so that nobody closes another's.
#[derive(Debug, Clone)]
pub(in crate::outbox) struct Ticket(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    missed: AtomicBool,
}

/// Where the commit thread keeps the tap of the backup that is being taken.
#[derive(Debug, Default)]
pub(in crate::outbox) struct TapHolder(Mutex<Option<Tap>>);

/// A tap, and what is heard of it.
pub(super) fn tap() -> (Tap, Tapped) {
    let (to, batches) = channel();
    let waiting = Arc::<Waiting>::default();
    (Tap { to, waiting: Arc::clone(&waiting) }, Tapped { batches, waiting, unplugged: Cell::new(false) })
}

impl TapHolder {
    /// Begins to listen; `false` where somebody else does. Whoever was too slow keeps his place until he closes his tap: he
    /// does not know it yet.
    pub(in crate::outbox) fn open(&self, tap: Tap) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A backup that ended in a panic leaves a tap behind that nobody hears.
        let free = held.as_ref().is_none_or(Tap::is_deaf);
        if free {
            *held = Some(tap);
        }
        free
    }

    /// Ends one's own.
    pub(in crate::outbox) fn close(&self, Ticket(own): &Ticket) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.take_if(|tap| Arc::ptr_eq(&tap.waiting, own));
    }

    /// A copy of a batch that is about to be applied, where somebody listens.
    pub(in crate::outbox) fn copy(&self, batch: &Batch) -> Option<Batch> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|tap| !tap.waiting.missed.load(Ordering::Acquire)).map(|_| batch.clone())
    }

    /// Passes on what was applied.
    pub(in crate::outbox) fn applied(&self, batch: Option<Batch>) {
        let Some(batch) = batch else { return };
        if let Some(tap) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            tap.tell(batch);
        }
    }
}

impl Tap {
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(Arc::clone(&self.waiting))
    }

    fn is_deaf(&self) -> bool {
        Arc::strong_count(&self.waiting) == 1
    }

    fn tell(&self, batch: Batch) {
        let bytes = size(&batch);
        let waiting = self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > MAX_WAITING_BYTES || self.to.send(batch).is_err() {
            self.waiting.missed.store(true, Ordering::Release);
        }
    }
}

impl Tapped {
    /// What was written and not yet heard; `None` where there is none at present.
    pub(super) fn heard(&self) -> Option<Batch> {
        match self.batches.try_recv() {
            Ok(batch) => {
                self.waiting.bytes.fetch_sub(size(&batch), Ordering::Relaxed);
                Some(batch)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.unplugged.set(true);
                None
            }
        }
    }

    /// Whether something was written that could not wait.
    pub(super) fn has_missed(&self) -> bool {
        self.waiting.missed.load(Ordering::Acquire)
    }

    /// Whether it was heard that nothing more is told: that is right only behind the end of the tap.
    pub(super) fn is_unplugged(&self) -> bool {
        self.unplugged.get()
    }
}

fn size(batch: &Batch) -> usize {
    batch.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Batch {
        Batch { writes: vec![(Vec::new(), Some(vec![0; bytes]))] }
    }

    #[test]
    fn one_listens_at_a_time_and_who_has_gone_makes_room() {
        let holder = TapHolder::default();
        assert!(holder.copy(&batch(1)).is_none(), "nothing is copied for nobody");
        let ((first, heard), (second, _)) = (tap(), tap());
        assert!(holder.open(first));
        assert!(!holder.open(second));
        holder.applied(holder.copy(&batch(1)));
        assert!(heard.heard().is_some() && heard.heard().is_none());
        drop(heard);
        assert!(holder.open(tap().0));
    }

    #[test]
    fn who_is_too_slow_misses_and_knows_it() {
        let holder = TapHolder::default();
        let (told, heard) = tap();
        assert!(holder.open(told));
        holder.applied(Some(batch(MAX_WAITING_BYTES)));
        assert!(!heard.has_missed());
        holder.applied(Some(batch(1)));
        assert!(heard.has_missed());
        assert!(holder.copy(&batch(1)).is_none(), "nothing more is kept for it");
    }

    #[test]
    fn who_missed_something_keeps_the_place_and_closes_nobody_elses_tap() {
        let holder = TapHolder::default();
        let ((first, slow), (second, heard)) = (tap(), tap());
        let tickets = (first.ticket(), second.ticket());
        assert!(holder.open(first));
        holder.applied(Some(batch(MAX_WAITING_BYTES + 1)));
        assert!(slow.has_missed() && !holder.open(tap().0), "it does not know yet that it has failed");
        holder.close(&tickets.0);
        assert!(holder.open(second));
        holder.close(&tickets.0);
        holder.applied(holder.copy(&batch(1)));
        assert!(heard.heard().is_some() && heard.heard().is_none(), "the second one goes on");
        assert!(!heard.is_unplugged());
        holder.close(&tickets.1);
        assert!(heard.heard().is_none() && heard.is_unplugged());
    }
}
