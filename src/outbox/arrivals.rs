//! How the dispatcher learns of deliveries that became due to be scheduled, without ever losing one.
//!
//! Commits put here what they scheduled: deliveries of new events once they can be seen, so that they are made ready while the
//! disk is at it, others once they are durable. The buffer is bounded: past its bound it only notes that something was left out,
//! and the dispatcher reads the disk instead.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::model::PostbackNo;
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;

/// Most arrivals kept in memory before the disk has to be read.
const MAX_ARRIVALS: usize = 65_536;

/// First sends and retries are kept apart, so that neither can starve the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendClass {
    /// Never sent so far.
    First = 0,
    /// Sent before.
    Retry = 1,
}

impl SendClass {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::First, Self::Retry];

    /// The class of a scheduled delivery.
    pub fn of(delivery: &Delivery) -> Self {
        if delivery.made == 0 { Self::First } else { Self::Retry }
    }
}

/// A scheduled delivery, in the order in which deliveries of a postback are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// When it is due. A first send is due at once: its time only says since when it waits.
    pub at: Timestamp,
    /// Which delivery.
    pub id: DeliveryId,
    /// Its postback.
    pub postback: PostbackNo,
    /// First send or retry.
    pub class: SendClass,
}

/// What was scheduled since the dispatcher last looked.
#[derive(Debug, Default)]
pub struct Arrivals {
    buffer: Mutex<Taken>,
    signal: Notify,
}

/// What [`Arrivals::take`] hands over.
#[derive(Debug, Default)]
pub struct Taken {
    /// Newly scheduled deliveries.
    pub due: Vec<Due>,
    /// Whether some were left out, so that the disk has to be read.
    pub incomplete: bool,
    /// Postbacks whose pauses began or ended.
    pub pauses: BTreeSet<PostbackNo>,
}

impl Arrivals {
    pub(super) fn push(&self, due: Vec<Due>, pauses: Vec<PostbackNo>) {
        if due.is_empty() && pauses.is_empty() {
            return;
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.pauses.extend(pauses);
        if buffer.due.len() + due.len() > MAX_ARRIVALS {
            buffer.incomplete = true;
        } else {
            buffer.due.extend(due);
        }
        drop(buffer);
        self.signal.notify_one();
    }

    /// Takes all there is.
    pub fn take(&self) -> Taken {
        std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is something to take.
    pub async fn wait(&self) {
        self.signal.notified().await;
    }
}
