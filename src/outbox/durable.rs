//! How far what came in is durable. It can be seen before, so that it is made ready to be sent while the disk is at it; the
//! first byte waits here.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::domain::id::EventId;

/// The last event that is durable. Ids rise in the order of acceptance, so that all before it are, too.
#[derive(Debug)]
pub(crate) struct Durable {
    last: AtomicU64,
    signal: Notify,
}

impl Durable {
    pub(super) fn up_to(last: EventId) -> Self {
        Self { last: AtomicU64::new(last.as_u64()), signal: Notify::new() }
    }

    /// Notes that an event is durable, and all before it.
    pub(super) fn reaches(&self, last: EventId) {
        if self.last.fetch_max(last.as_u64(), Ordering::Release) < last.as_u64() {
            self.signal.notify_waiters();
        }
    }

    pub(super) fn holds(&self, event: EventId) -> bool {
        event.as_u64() <= self.last.load(Ordering::Acquire)
    }

    /// Waits until an event is durable.
    pub(super) async fn wait_for(&self, event: EventId) {
        loop {
            // Made before it is looked, so that a word in between is heard.
            let signalled = self.signal.notified();
            if self.holds(event) {
                return;
            }
            signalled.await;
        }
    }
}
