//! Which transactions and which waiting groups the store may know.
//!
//! Whenever an event comes in, its transaction is looked for, and whenever a delivery is settled, those that have waited
//! for it; mostly there is nothing. A Bloom filter in memory says so without a walk in the store: it may say yes where
//! nothing is, and never no where something is. It is filled while the outbox is already in use; until then it says yes.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::engine::Engine;
use super::keys;

/// Bits of the filter: at most sixteen megabytes. With thirteen million transactions it is wrong in three of a hundred
/// cases.
const BITS: usize = 1 << 27;
/// Bits of a page, and pages: a small store needs few of them.
const PAGE_BITS: usize = 1 << 15;
const PAGES: usize = BITS / PAGE_BITS;
/// Keys that are read before it is asked whether to go on.
const READ_AT_ONCE: usize = 1_024;

/// The filter. What is written goes into it before anybody can see it.
#[derive(Debug)]
pub(crate) struct Known {
    /// Whether it is filled with transactions; else it says yes to each.
    transactions: bool,
    pages: Box<[OnceLock<Page>]>,
    is_complete: AtomicBool,
    is_over: AtomicBool,
}

type Page = Box<[AtomicU64]>;

impl Known {
    /// An empty filter for what an engine does not tell as fast.
    pub(crate) fn beside(engine: &dyn Engine) -> Self {
        let transactions = engine.walks_are_dear();
        let pages = std::iter::repeat_with(OnceLock::new).take(PAGES).collect();
        Self { transactions, pages, is_complete: AtomicBool::new(false), is_over: AtomicBool::new(false) }
    }

    /// Takes in all that the store has. What cannot be read is found out about by whoever needs it: without that the
    /// filter stays as it is, and says yes.
    pub(crate) fn read(&self, engine: &dyn Engine) {
        for space in [keys::WAITING, keys::IDENTITIES].into_iter().filter(|space| self.is_filled_with(*space)) {
            let prefix = keys::space(space);
            let pairs = engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
            for (number, pair) in pairs.enumerate() {
                let Ok((key, _)) = pair else { return };
                self.note(&key);
                if number % READ_AT_ONCE == 0 && self.is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
        self.is_complete.store(true, Ordering::Release);
    }

    /// Has whoever still reads the store come to an end.
    fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Takes in a key that is about to be written.
    pub(crate) fn note(&self, key: &[u8]) {
        let empty = || std::iter::repeat_with(AtomicU64::default).take(PAGE_BITS / 64).collect::<Page>();
        for Place { page, word, bit } in self.prefix_of(key).into_iter().flat_map(places) {
            let page = self.pages.get(page).map(|page| page.get_or_init(empty));
            if let Some(word) = page.and_then(|page| page.get(word)) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether there may be a key with a prefix, which is that of a transaction of one owner or of a waiting group.
    pub(crate) fn may_hold(&self, prefix: &[u8]) -> bool {
        let is_set = |Place { page, word, bit }: Place| {
            let page = self.pages.get(page).and_then(OnceLock::get);
            page.and_then(|page| page.get(word)).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        };
        !self.is_complete.load(Ordering::Acquire)
            || self.prefix_of(prefix).is_none_or(|prefix| places(prefix).into_iter().all(is_set))
    }

    fn is_filled_with(&self, space: u8) -> bool {
        match space {
            keys::WAITING => true,
            keys::IDENTITIES => self.transactions,
            _ => false,
        }
    }

    /// The bytes of a key that it is known by: eight of a hash; none where it is not filled with such keys.
    fn prefix_of(&self, key: &[u8]) -> Option<u64> {
        let space = key.first().filter(|space| self.is_filled_with(**space))?;
        let number = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
        // What is a group in one space is not one in the other.
        Some(if *space == keys::WAITING { !number } else { number })
    }
}

/// Ends the reading of the store when it is dropped, also behind a panic: closing waits for it.
pub(crate) struct StopReading(pub(crate) Arc<Known>);

impl Drop for StopReading {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Where a bit stands.
struct Place {
    page: usize,
    word: usize,
    bit: u64,
}

/// The bits of a hash.
fn places(hash: u64) -> [Place; 2] {
    [hash, hash >> 32].map(|hash| {
        let at = usize::try_from(hash % BITS as u64).unwrap_or_default();
        Place { page: at / PAGE_BITS, word: at % PAGE_BITS / 64, bit: 1 << (at % 64) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{DeliveryId, EventId};
    use crate::outbox::engine::Batch;
    use crate::outbox::memory::MemoryEngine;

    const ID: DeliveryId = DeliveryId { event: EventId::MIN, ordinal: 0 };

    fn waiting(group: u8) -> Vec<u8> {
        keys::waiting([group; 8], ID)
    }

    fn transaction(name: &str) -> Vec<u8> {
        keys::owned_transaction(&name.parse().unwrap(), &"acme".parse().unwrap())
    }

    #[test]
    fn what_the_store_has_and_what_is_written_is_known_and_nothing_else_is() {
        let engine = MemoryEngine::default();
        let identity = [transaction("old"), vec![7; 8]].concat();
        engine.apply(Batch { writes: vec![(waiting(1), Some(vec![])), (identity, Some(vec![]))] }).unwrap();
        let known = Known::beside(&engine);
        assert!(known.may_hold(&keys::waiting_in([3; 8])), "nothing is read yet");
        known.note(&waiting(2));
        known.note(&[transaction("new"), vec![7; 8]].concat());
        known.note(&keys::event(EventId::MIN));
        known.read(&engine);
        let groups = [1, 2, 3].map(|group| known.may_hold(&keys::waiting_in([group; 8])));
        assert_eq!(groups, [true, true, false]);
        let transactions = ["old", "new", "none"].map(|name| known.may_hold(&transaction(name)));
        assert_eq!(transactions, [true, true, false]);
        assert!(known.may_hold(&keys::event(EventId::MIN)), "of other keys it knows nothing");
    }

    #[test]
    fn a_filter_that_was_not_filled_to_the_end_rules_nothing_out() {
        let engine = MemoryEngine::default();
        engine.apply(Batch { writes: vec![(waiting(1), Some(vec![]))] }).unwrap();
        let known = Arc::new(Known::beside(&engine));
        drop(StopReading(Arc::clone(&known)));
        known.read(&engine);
        assert!(known.may_hold(&keys::waiting_in([3; 8])));
    }
}
