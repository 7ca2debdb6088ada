//! What is ahead of its own records: counts, tallies, and what is to be sent at once.
//!
//! A group of commits changes the counts and the tally of each postback that it touches. Written one by one they would be a third of all
//! writes where fifty affiliates are told, so they stand together in one record that each group replaces. Where there are too
//! many in it, a few of those that the group has not touched go to their own records again. All of that happens in the batch
//! that changes what is counted. First sends stand there, too ([`Soon`]).

use std::collections::BTreeSet;

use super::engine::Engine;
use super::model::{Counts, OutboxError, PostbackNo};
use super::read::Mirror;
use super::soon::{Changes, Soon};
use super::tally::Tally;
use super::{codec, keys};
use crate::planted::{Bug, planted};

/// The name under which the record is kept.
const NAME: &str = "ahead.3";
/// The name that it had with format 2, and nothing but what is counted in it.
const FORMER_NAME: &str = "ahead";
/// As many postbacks may be in it whatever a group touches. Fewer in tests, whose stories have few postbacks.
const FEW: usize = if cfg!(test) { 1 } else { 16 };
/// As many may be in it for each that a group touches, and leave it with a group.
const FOR_EACH_TOUCHED: usize = 2;
/// Bytes of what is counted from which on it goes to its own records. What is to be sent at once has as many again.
const MOST_BYTES: usize = codec::MAX_RECORD_BYTES / 2;

/// What is counted of a postback.
pub(super) type Counted = (PostbackNo, Counts, Tally);
/// The record: what is counted, and what is to be sent at once.
pub(super) type Record = (Vec<Counted>, Soon);
/// A key with what is to be written.
type Write = (Vec<u8>, Option<Vec<u8>>);

/// The record's key.
pub(super) fn key() -> Vec<u8> {
    keys::meta(NAME)
}

/// The key of the record as format 2 has it.
pub(super) fn former_key() -> Vec<u8> {
    keys::meta(FORMER_NAME)
}

/// What a store has of it.
pub(super) fn load(engine: &dyn Engine) -> Result<Record, OutboxError> {
    let (key, former) = (key(), former_key());
    if let Some(bytes) = engine.get(&key)? {
        return codec::decode(&key, &bytes);
    }
    let counted = engine.get(&former)?.map_or_else(|| Ok(Vec::new()), |bytes| codec::decode(&former, &bytes))?;
    Ok((counted, Soon::default()))
}

/// What is written where a group has changed what is counted of some postbacks; `mirror` has that as it is now, `soon` what is
/// to be sent at once. Notes in `changes` what leaves.
pub(super) fn writes(
    mirror: &mut Mirror,
    touched: &BTreeSet<PostbackNo>,
    soon: &mut Soon,
    changes: &mut Changes,
) -> Result<Vec<Write>, OutboxError> {
    if touched.is_empty() && changes.is_empty() {
        return Ok(Vec::new());
    }
    mirror.ahead.extend(touched);
    let for_touched = FOR_EACH_TOUCHED * touched.len();
    let surplus = mirror.ahead.len().saturating_sub(FEW.max(for_touched)).min(for_touched);
    let leaving: Vec<PostbackNo> = mirror.ahead.difference(touched).take(surplus).copied().collect();
    let mut writes = own_records(mirror, &leaving)?;
    mirror.ahead.retain(|number| !leaving.contains(number));
    let counted: Vec<Counted> = if planted(Bug::CountsBehind) {
        Vec::new()
    } else {
        mirror.ahead.iter().map(|number| counted(mirror, *number)).collect()
    };
    let nothing = Soon::default();
    let written = if planted(Bug::SoonForgotten) { &nothing } else { &*soon };
    if let Ok(record) = codec::encode(&key(), &(&counted, written))
        && (record.len() <= MOST_BYTES || codec::encode(&key(), &counted)?.len() <= MOST_BYTES)
    {
        writes.push((key(), Some(record)));
        return Ok(writes);
    }
    let counted = std::mem::take(&mut mirror.ahead).into_iter().collect::<Vec<_>>();
    writes.extend(own_records(mirror, &counted)?);
    match codec::encode(&key(), &(Vec::<Counted>::new(), written)) {
        Ok(record) => writes.push((key(), Some(record))),
        Err(_) => {
            changes.all_gone(soon);
            writes.extend(caught_up(mirror, soon)?);
        }
    }
    Ok(writes)
}

/// What is written so that nothing is ahead any more.
pub(super) fn caught_up(mirror: &mut Mirror, soon: &mut Soon) -> Result<Vec<Write>, OutboxError> {
    let ahead: Vec<PostbackNo> = std::mem::take(&mut mirror.ahead).into_iter().collect();
    let mut writes = own_records(mirror, &ahead)?;
    writes.extend(soon.take_all().into_iter().map(|key| (key, Some(Vec::new()))));
    if !writes.is_empty() {
        writes.extend([(key(), None), (former_key(), None)]);
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
    use std::ops::Bound;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::delivery::StateKind;
    use crate::domain::id::{DeliveryId, EventId};
    use crate::outbox::arrivals::SendClass;
    use crate::outbox::engine::Batch;
    use crate::outbox::memory::MemoryEngine;

    /// Counts one more of each postback; returns what was written besides the record itself.
    fn touch(engine: &MemoryEngine, mirror: &mut Mirror, numbers: impl IntoIterator<Item = PostbackNo>) -> usize {
        let touched: BTreeSet<PostbackNo> = numbers.into_iter().collect();
        for number in &touched {
            let counts = mirror.counts.entry(*number).or_default();
            *counts = counts.with_one_more(StateKind::Delivered);
        }
        let writes = writes(mirror, &touched, &mut Soon::default(), &mut Changes::default()).unwrap();
        let own = writes.iter().filter(|(written, _)| ![key(), former_key()].contains(written)).count();
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
        assert_eq!(load(&engine).unwrap().0.len(), few as usize);
        assert_eq!(touch(&engine, &mut mirror, [few]), 2, "one leaves, with counts and a tally");
        assert_eq!(load(&engine).unwrap().0.len(), few as usize);
        assert_eq!(touch(&engine, &mut mirror, 100..150), 0, "a group that touches many may keep as many");
        assert_eq!(touch(&engine, &mut mirror, 150..200), 2 * few as usize);
        assert_eq!(load(&engine).unwrap().0.len(), 100);
        assert_eq!(touch(&engine, &mut mirror, [150]), 2 * 2, "and one that touches few does not write all of them");
        assert_eq!(load(&engine).unwrap().0.len(), 98);
        assert_eq!(touch(&engine, &mut mirror, []), 0);
        let (kept, _) = load(&engine).unwrap();
        assert!(kept.iter().all(|(number, ..)| *number >= 102) && kept.len() == 98);
        let writes = caught_up(&mut mirror, &mut Soon::default()).unwrap();
        assert_eq!(writes.len(), 2 * 98 + 2);
        engine.apply(Batch { writes }).unwrap();
        assert_eq!(load(&engine).unwrap().0, []);
    }

    #[test]
    fn first_sends_stay_where_there_is_too_much_counted_and_leave_where_they_are_too_much_themselves() {
        let key = |postback: PostbackNo, event| {
            let id = DeliveryId { event: EventId::from_u64(event), ordinal: u16::MAX };
            keys::scheduled(postback, SendClass::First, Timestamp::UNIX_EPOCH, id)
        };
        let (mut soon, mut seen, mut mirror) = (Soon::default(), Soon::default(), Mirror::default());
        let mut changes = soon.absorb(&mut [(key(7, 1), Some(Vec::new()))].into(), EventId::MIN);
        let written = writes(&mut mirror, &(0..2_000).collect(), &mut soon, &mut changes).unwrap();
        seen.follow(changes);
        let engine = MemoryEngine::default();
        engine.apply(Batch { writes: written }).unwrap();
        assert_eq!(load(&engine).unwrap(), (Vec::new(), soon.clone()));
        assert!(seen == soon && soon != Soon::default());
        // Numbers far from the first one take twice the bytes that those of a day take.
        let events = (1 << 62)..(1 << 62) + 2_000;
        let mut group = events.map(|event| (key(u32::MAX, event), Some(Vec::new()))).collect();
        let mut changes = soon.absorb(&mut group, EventId::from_u64(1));
        let written = writes(&mut mirror, &[7].into(), &mut soon, &mut changes).unwrap();
        seen.follow(changes);
        assert_eq!((&seen, &soon), (&Soon::default(), &Soon::default()));
        engine.apply(Batch { writes: group.into_iter().chain(written).collect() }).unwrap();
        assert_eq!(load(&engine).unwrap().1, soon);
        let all = keys::space(keys::SCHEDULED);
        assert_eq!(engine.scan(Bound::Included(all.clone()), keys::prefix_end(&all)).count(), 2_001);
    }

    #[test]
    fn a_record_that_grows_too_long_is_not_written() {
        let (engine, mut mirror) = (MemoryEngine::default(), Mirror::default());
        assert_eq!(touch(&engine, &mut mirror, 0..3), 0);
        assert_eq!(touch(&engine, &mut mirror, 0..2_000), 4_000);
        assert_eq!(load(&engine).unwrap().0, [], "nor is there an old one to be believed");
    }
}
