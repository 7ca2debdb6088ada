//! Ranges that are known to be empty.
//!
//! A key that is deleted leaves a tombstone until merges come to it, and a walk that begins in front of many passes each of
//! them: a queue whose front has been worked off for a while, such as what is scheduled, costs more with every look at it.
//! A walk whose first step was slow therefore leaves word how far it had to go, and the next one goes there at once.
//!
//! Whatever is put into such a range shortens it before it can be seen, and is told to the walks that are under way: at the
//! end of its batch, once nobody begins any more to look at the store as it was before. A walk uses only what was learnt of
//! the store as it sees it, or earlier.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Most ranges that are remembered. Each belongs to a queue; with more of them, the first is forgotten.
const MOST: usize = 1_024;

/// Where a range ends: in front of a key, or behind all.
type End = Option<Vec<u8>>;

#[derive(Debug)]
struct Gap {
    end: End,
    /// The number of the batch behind which it was empty.
    since: u64,
}

/// A step whose end is not known yet, with the least key that was put behind its beginning meanwhile.
#[derive(Debug)]
struct Step {
    ticket: u64,
    from: Vec<u8>,
    put: End,
}

/// The ranges that are known to be empty; they do not touch each other.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    known: BTreeMap<Vec<u8>, Gap>,
    steps: Vec<Step>,
    tickets: u64,
}

fn reaches(end: &End, key: &[u8]) -> bool {
    end.as_deref().is_none_or(|end| key < end)
}

impl Gaps {
    /// Takes note of a step before its snapshot is taken: what is put from now on may not be in that.
    pub(super) fn begin(&mut self, from: &[u8]) -> u64 {
        self.tickets += 1;
        self.steps.push(Step { ticket: self.tickets, from: from.to_vec(), put: None });
        self.tickets
    }

    /// Ends a step. Where it was slow, `found` is the end of what it passed, of the store behind batch `since`.
    pub(super) fn end(&mut self, ticket: u64, found: Option<(End, u64)>) {
        let Some(place) = self.steps.iter().position(|step| step.ticket == ticket) else { return };
        let Step { from, put, .. } = self.steps.swap_remove(place);
        let Some((found, since)) = found else { return };
        let end = match (found, put) {
            (Some(found), Some(put)) => Some(found.min(put)),
            (found, put) => found.or(put),
        };
        if reaches(&end, &from) {
            self.insert(from, Gap { end, since });
        }
    }

    fn insert(&mut self, mut from: Vec<u8>, mut gap: Gap) {
        let before = self.known.range(..=from.clone()).next_back().filter(|(_, before)| reaches(&before.end, &from));
        if let Some((begin, _)) = before {
            from.clone_from(begin);
        }
        let touching = |(begin, _): &(&Vec<u8>, &Gap)| reaches(&gap.end, begin);
        let within: Vec<Vec<u8>> =
            self.known.range(from.clone()..).take_while(touching).map(|(begin, _)| begin.clone()).collect();
        for other in within.iter().filter_map(|begin| self.known.remove(begin)) {
            gap.since = gap.since.max(other.since);
            gap.end = match (gap.end, other.end) {
                (Some(one), Some(other)) => Some(one.max(other)),
                _ => None,
            };
        }
        self.known.insert(from, gap);
        if self.known.len() > MOST {
            self.known.pop_first();
        }
    }

    /// How far nothing is to be found from a key on, for who sees the store as behind batch `number`: `None` where that is
    /// not known, `Some(None)` where there is nothing at all.
    pub(super) fn skip(&self, from: &[u8], number: u64) -> Option<End> {
        let (_, gap) = self.known.range::<[u8], _>((Bound::Unbounded, Bound::Included(from))).next_back()?;
        (gap.since <= number && reaches(&gap.end, from)).then(|| gap.end.clone())
    }

    /// Takes note of a key that was put, and is about to be seen.
    pub(super) fn put(&mut self, key: &[u8]) {
        for step in self.steps.iter_mut().filter(|step| key >= step.from.as_slice()) {
            if reaches(&step.put, key) {
                step.put = Some(key.to_vec());
            }
        }
        let Some((begin, gap)) = self.known.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
        else {
            return;
        };
        if !reaches(&gap.end, key) {
            return;
        }
        if begin == key {
            self.known.remove(key);
        } else {
            gap.end = Some(key.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(gaps: &mut Gaps, from: &str, to: Option<&str>, since: u64) {
        let ticket = gaps.begin(from.as_bytes());
        gaps.end(ticket, Some((to.map(|to| to.as_bytes().to_vec()), since)));
    }

    fn skipped(gaps: &Gaps, from: &str, number: u64) -> Option<End> {
        gaps.skip(from.as_bytes(), number)
    }

    fn to(key: &str) -> Vec<u8> {
        key.as_bytes().to_vec()
    }

    #[test]
    fn a_range_is_known_from_its_beginning_to_its_end_and_grows() {
        let mut gaps = Gaps::default();
        learnt(&mut gaps, "b", Some("f"), 5);
        assert_eq!([skipped(&gaps, "a", 9), skipped(&gaps, "f", 9)], [None, None]);
        assert_eq!([skipped(&gaps, "b", 9), skipped(&gaps, "d", 9)], [Some(Some(to("f"))), Some(Some(to("f")))]);
        assert_eq!(skipped(&gaps, "b", 4), None, "who sees an older store may find something there");
        learnt(&mut gaps, "e", Some("h"), 7);
        assert_eq!([skipped(&gaps, "b", 7), skipped(&gaps, "b", 6)], [Some(Some(to("h"))), None]);
        learnt(&mut gaps, "a", None, 8);
        assert_eq!([skipped(&gaps, "a", 8), skipped(&gaps, "z", 8)], [Some(None), Some(None)]);
        assert_eq!(gaps.known.len(), 1, "they are one");
    }

    #[test]
    fn what_is_put_ends_a_range_also_while_it_is_learnt() {
        let mut gaps = Gaps::default();
        learnt(&mut gaps, "b", Some("f"), 5);
        gaps.put(b"d");
        assert_eq!([skipped(&gaps, "b", 9), skipped(&gaps, "d", 9)], [Some(Some(to("d"))), None]);
        gaps.put(b"b");
        assert_eq!(skipped(&gaps, "b", 9), None);
        let ticket = gaps.begin(b"b");
        for key in ["a", "e", "c", "d"] {
            gaps.put(key.as_bytes());
        }
        gaps.end(ticket, Some((None, 9)));
        assert_eq!([skipped(&gaps, "b", 9), skipped(&gaps, "c", 9)], [Some(Some(to("c"))), None]);
        let ticket = gaps.begin(b"x");
        gaps.put(b"x");
        gaps.end(ticket, Some((None, 9)));
        assert_eq!(skipped(&gaps, "x", 9), None);
        assert!(gaps.steps.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut gaps = Gaps::default();
        for number in 0..(MOST as u64 + 10) {
            learnt(&mut gaps, &format!("{number:06}"), Some(&format!("{number:06}x")), 1);
        }
        assert_eq!(gaps.known.len(), MOST);
    }
}
