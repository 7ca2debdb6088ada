//! Counts and tallies that are ahead of their own records.
//!
//! A group of commits changes those of each postback that it touches. Written one by one they would be a third of all
//! writes where fifty affiliates are told, so they stand together in one record that each group replaces. Where there are too
//! many in it, a few of those that the group has not touched go to their own records again. All of that happens in the batch
//! that changes what is counted.

use std::collections::BTreeSet;

use super::engine::Engine;
use super::model::{Counts, OutboxError, PostbackNo};
use super::read::Mirror;
use super::tally::Tally;
use super::{codec, keys};

/// The name under which the record is kept.
const NAME: &str = "ahead";
/// As many postbacks may be in it whatever a group touches. Fewer in tests, whose stories have few postbacks.
const FEW: usize = if cfg!(test) { 1 } else { 16 };
/// As many may be in it for each that a group touches, and leave it with a group.
const FOR_EACH_TOUCHED: usize = 2;
/// Bytes of the record from which on everything goes to its own.
const MOST_BYTES: usize = codec::MAX_RECORD_BYTES / 2;

/// What is counted of a postback.
pub(super) type Counted = (PostbackNo, Counts, Tally);
/// A key with what is to be written.
type Write = (Vec<u8>, Option<Vec<u8>>);

/// The record's key.
pub(super) fn key() -> Vec<u8> {
    keys::meta(NAME)
}

/// What a store has of it.
pub(super) fn load(engine: &dyn Engine) -> Result<Vec<Counted>, OutboxError> {
    let key = key();
    engine.get(&key)?.map_or_else(|| Ok(Vec::new()), |bytes| codec::decode(&key, &bytes))
}

/// What is written where a group has changed what is counted of some postbacks; `mirror` has it as it is now.
pub(super) fn writes(mirror: &mut Mirror, touched: &BTreeSet<PostbackNo>) -> Result<Vec<Write>, OutboxError> {
    if touched.is_empty() {
        return Ok(Vec::new());
    }
    mirror.ahead.extend(touched);
    let for_touched = FOR_EACH_TOUCHED * touched.len();
    let surplus = mirror.ahead.len().saturating_sub(FEW.max(for_touched)).min(for_touched);
    let leaving: Vec<PostbackNo> = mirror.ahead.difference(touched).take(surplus).copied().collect();
    let mut writes = own_records(mirror, &leaving)?;
    mirror.ahead.retain(|number| !leaving.contains(number));
    let counted: Vec<Counted> = mirror.ahead.iter().map(|number| counted(mirror, *number)).collect();
    match codec::encode(&key(), &counted) {
        Ok(record) if record.len() <= MOST_BYTES => writes.push((key(), Some(record))),
        Ok(_) | Err(_) => writes.extend(caught_up(mirror)?),
    }
    Ok(writes)
}

/// What is written so that nothing is ahead any more.
pub(super) fn caught_up(mirror: &mut Mirror) -> Result<Vec<Write>, OutboxError> {
    let ahead: Vec<PostbackNo> = std::mem::take(&mut mirror.ahead).into_iter().collect();
    let mut writes = own_records(mirror, &ahead)?;
    if !ahead.is_empty() {
        writes.push((key(), None));
    }
    Ok(writes)
}

fn own_records(mirror: &Mirror, numbers: &[PostbackNo]) -> Result<Vec<Write>, OutboxError> {
    let mut writes = Vec::with_capacity(2 * numbers.len() + 1);
    for number in numbers {
        let (number, counts, tally) = counted(mirror, *number);
        let (counts_key, tally_key) = (keys::counts(number), keys::tally(number));
        let values = (codec::encode(&counts_key, &counts)?, codec::encode(&tally_key, &tally)?);
        writes.extend([(counts_key, Some(values.0)), (tally_key, Some(values.1))]);
    }
    Ok(writes)
}

fn counted(mirror: &Mirror, number: PostbackNo) -> Counted {
    let counts = mirror.counts.get(&number).copied().unwrap_or_default();
    (number, counts, mirror.tallies.get(&number).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::StateKind;
    use crate::outbox::engine::Batch;
    use crate::outbox::memory::MemoryEngine;

    /// Counts one more of each postback; returns what was written besides the record itself.
    fn touch(engine: &MemoryEngine, mirror: &mut Mirror, numbers: impl IntoIterator<Item = PostbackNo>) -> usize {
        let touched: BTreeSet<PostbackNo> = numbers.into_iter().collect();
        for number in &touched {
            let counts = mirror.counts.entry(*number).or_default();
            *counts = counts.with_one_more(StateKind::Delivered);
        }
        let writes = writes(mirror, &touched).unwrap();
        let own = writes.iter().filter(|(written, _)| *written != key()).count();
        engine.apply(Batch { writes }).unwrap();
        own
    }

    #[test]
    fn what_is_ahead_goes_to_its_own_records_once_there_is_too_much_of_it() {
        let (engine, mut mirror) = (MemoryEngine::default(), Mirror::default());
        let few = PostbackNo::try_from(FEW.max(FOR_EACH_TOUCHED)).unwrap();
        for number in 0..few {
            assert_eq!(touch(&engine, &mut mirror, [number]), 0);
        }
        assert_eq!(load(&engine).unwrap().len(), few as usize);
        assert_eq!(touch(&engine, &mut mirror, [few]), 2, "one leaves, with counts and a tally");
        assert_eq!(load(&engine).unwrap().len(), few as usize);
        assert_eq!(touch(&engine, &mut mirror, 100..150), 0, "a group that touches many may keep as many");
        assert_eq!(touch(&engine, &mut mirror, 150..200), 2 * few as usize);
        assert_eq!(load(&engine).unwrap().len(), 100);
        assert_eq!(touch(&engine, &mut mirror, [150]), 2 * 2, "and one that touches few does not write all of them");
        assert_eq!(load(&engine).unwrap().len(), 98);
        assert_eq!(touch(&engine, &mut mirror, []), 0);
        let kept = load(&engine).unwrap();
        assert!(kept.iter().all(|(number, ..)| *number >= 102) && kept.len() == 98);
        let writes = caught_up(&mut mirror).unwrap();
        assert_eq!(writes.len(), 2 * 98 + 1);
        engine.apply(Batch { writes }).unwrap();
        assert_eq!(load(&engine).unwrap(), []);
    }

    #[test]
    fn a_record_that_grows_too_long_is_not_written() {
        let (engine, mut mirror) = (MemoryEngine::default(), Mirror::default());
        assert_eq!(touch(&engine, &mut mirror, 0..3), 0);
        assert_eq!(touch(&engine, &mut mirror, 0..2_000), 4_000);
        assert_eq!(load(&engine).unwrap(), [], "nor is there an old one to be believed");
    }
}
