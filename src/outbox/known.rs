//! Which order groups may have deliveries that wait.
//!
//! Whenever a delivery is settled, those are looked for that have waited for it, and mostly there are none. A filter in
//! memory says so without a walk in the store: a Bloom filter of one bit for each group that anything has waited in since
//! the store was opened. It may say yes where nothing waits, and never no where something does.

use std::ops::Bound;

use crate::outbox::engine::Engine;
use crate::outbox::keys::{self, GroupHash};

/// Bits of the filter: half a megabyte.
const BITS: usize = 1 << 22;
/// Most deliveries that are looked through when a store is opened; where more wait, every group may hold some.
const MOST_READ: usize = 200_000;

#[derive(Debug)]
pub(super) enum WaitingGroups {
    /// Nobody knows.
    Any,
    Filter(Box<[u64]>),
}

impl WaitingGroups {
    /// The groups of a store.
    pub(super) fn of(engine: &dyn Engine) -> Self {
        let mut filter = Self::Filter(vec![0; BITS / 64].into());
        let prefix = keys::space(keys::WAITING);
        for (read, pair) in engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix)).enumerate() {
            match pair {
                Ok((key, _)) if read < MOST_READ => filter.note(&key),
                // What cannot be read now is found out about by whoever needs it.
                Ok(_) | Err(_) => return Self::Any,
            }
        }
        filter
    }

    /// Notes a key that is written.
    pub(super) fn note(&mut self, key: &[u8]) {
        let (Self::Filter(words), Some(group)) = (self, keys::parse_waiting_group(key)) else { return };
        let (word, bit) = place(group);
        if let Some(word) = words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether something may wait in a group.
    pub(super) fn may_hold(&self, group: GroupHash) -> bool {
        let Self::Filter(words) = self else { return true };
        let (word, bit) = place(group);
        words.get(word).is_none_or(|word| word & bit != 0)
    }
}

/// The word and the bit of a group.
fn place(group: GroupHash) -> (usize, u64) {
    let bit = usize::try_from(u64::from_be_bytes(group) % BITS as u64).unwrap_or_default();
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{DeliveryId, EventId};
    use crate::outbox::engine::Batch;
    use crate::outbox::memory::MemoryEngine;

    fn group(number: u64) -> GroupHash {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
    }

    #[test]
    fn groups_are_known_from_the_store_and_from_what_is_written() {
        let engine = MemoryEngine::default();
        let id = DeliveryId { event: EventId::from_u64(1), ordinal: 0 };
        engine.apply(Batch { writes: vec![(keys::waiting(group(1), id), Some(Vec::new()))] }).unwrap();
        let mut groups = WaitingGroups::of(&engine);
        groups.note(&keys::waiting(group(2), id));
        groups.note(&keys::event(EventId::from_u64(u64::from_be_bytes(group(3)))));
        assert_eq!([1, 2, 3].map(|number| groups.may_hold(group(number))), [true, true, false]);
        assert!(WaitingGroups::Any.may_hold(group(3)));
    }
}
