//! The events that came in last, as they were written: most are sent within moments, and need not be read again.
//!
//! Of each it is known whether anything has happened to its deliveries since; where nothing has, they stand as they were
//! planned. The commit thread alone fills this, and notes what it changes before that can be seen: nobody is told anything here
//! that differs from the disk for longer than a reader of the disk could be told it.

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
    by_id: BTreeMap<EventId, Known>,
    bytes: usize,
}

/// What is known of an event.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) record: Arc<EventRecord>,
    /// The bytes that the record takes.
    pub(crate) bytes: usize,
    /// Whether nothing has happened to its deliveries.
    pub(crate) as_planned: bool,
}

impl Recent {
    /// Adds a new event; the oldest ones make room for it.
    pub(crate) fn insert(&self, id: EventId, known: Known) {
        let mut outdated = Vec::new();
        let mut events = self.lock();
        events.bytes += known.bytes;
        events.by_id.insert(id, known);
        while events.bytes > MOST_BYTES
            && let Some((_, oldest)) = events.by_id.pop_first()
        {
            events.bytes -= oldest.bytes;
            outdated.push(oldest);
        }
        drop(events);
        // Who waits for the lock does not wait for this.
        drop(outdated);
    }

    /// Forgets an event.
    pub(crate) fn remove(&self, id: EventId) {
        let mut events = self.lock();
        let removed = events.by_id.remove(&id);
        events.bytes -= removed.as_ref().map_or(0, |known| known.bytes);
        drop(events);
        drop(removed);
    }

    /// Notes that something happens to the deliveries of an event.
    pub(crate) fn changes(&self, id: EventId) {
        if let Some(known) = self.lock().by_id.get_mut(&id) {
            known.as_planned = false;
        }
    }

    /// What is known of an event, if anything.
    pub(crate) fn get(&self, id: EventId) -> Option<Known> {
        self.lock().by_id.get(&id).cloned()
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
        let known = |bytes| Known { record: Arc::new(record.clone()), bytes, as_planned: true };
        let (old, middle, new) = (EventId::from_u64(1), EventId::from_u64(2), EventId::from_u64(3));
        let recent = Recent::default();
        recent.insert(old, known(MOST_BYTES / 2));
        recent.insert(middle, known(MOST_BYTES / 2));
        assert!(recent.get(old).is_some());
        recent.insert(new, known(1));
        assert!(recent.get(old).is_none() && recent.get(middle).is_some() && recent.get(new).is_some());
        recent.remove(middle);
        recent.remove(middle);
        assert!(recent.get(middle).is_none());
        assert_eq!(recent.lock().bytes, 1);
        recent.changes(new);
        recent.changes(middle);
        assert!(recent.get(new).is_some_and(|known| !known.as_planned));
    }
}
