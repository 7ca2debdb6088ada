//! The events that came in last, as they were written: most are sent within moments, and need not be read again.
//!
//! Only events that nothing was written about since: their deliveries stand as they were planned. The commit thread alone
//! fills this, and forgets an event before anything else about it can be seen: nobody is given a record here that differs from
//! the one on disk for longer than a reader of the disk could have it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::model::EventRecord;
use crate::domain::id::EventId;

/// Most bytes of records, as they are stored.
const MOST_BYTES: usize = 8 << 20;

/// Events by their ids, which are in the order of acceptance. Locked for one of them at a time.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Events>);

#[derive(Debug, Default)]
struct Events {
    by_id: BTreeMap<EventId, (Arc<EventRecord>, usize)>,
    bytes: usize,
}

impl Recent {
    /// Adds a new event whose record takes so many bytes; the oldest ones make room for it.
    pub(crate) fn insert(&self, id: EventId, record: Arc<EventRecord>, bytes: usize) {
        let mut events = self.lock();
        events.bytes += bytes;
        events.by_id.insert(id, (record, bytes));
        while events.bytes > MOST_BYTES
            && let Some((_, (_, bytes))) = events.by_id.pop_first()
        {
            events.bytes -= bytes;
        }
    }

    /// Forgets an event.
    pub(crate) fn remove(&self, id: EventId) {
        let mut events = self.lock();
        let removed = events.by_id.remove(&id);
        events.bytes -= removed.as_ref().map_or(0, |(_, bytes)| *bytes);
        drop(events);
        // Who waits for the lock does not wait for this.
        drop(removed);
    }

    /// The record of an event, where it is known.
    pub(crate) fn get(&self, id: EventId) -> Option<Arc<EventRecord>> {
        self.lock().by_id.get(&id).map(|(record, _)| Arc::clone(record))
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Status;
    use crate::fixtures;

    #[test]
    fn the_oldest_make_room_and_what_was_removed_is_gone() {
        let event = fixtures::event("t1", "ftd", Status::Approved);
        let source = "test".to_owned();
        let record = EventRecord { event, root: None, source, accepted_at: fixtures::now(), plan: Vec::new() };
        let record = || Arc::new(record.clone());
        let (old, middle, new) = (EventId::from_u64(1), EventId::from_u64(2), EventId::from_u64(3));
        let recent = Recent::default();
        recent.insert(old, record(), MOST_BYTES / 2);
        recent.insert(middle, record(), MOST_BYTES / 2);
        assert!(recent.get(old).is_some());
        recent.insert(new, record(), 1);
        assert!(recent.get(old).is_none() && recent.get(middle).is_some() && recent.get(new).is_some());
        recent.remove(middle);
        recent.remove(middle);
        assert!(recent.get(middle).is_none());
        assert_eq!(recent.lock().bytes, 1);
    }
}
