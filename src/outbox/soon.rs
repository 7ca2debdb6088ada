//! First sends that were scheduled last and are due at once.
//!
//! Most are sent and settled within moments. With a key for each, two of six writes of an event would put that key there and take it
//! away again; on sled, whose pages are split and merged for it, they would cost more than a third. So they stand together in the record of what is
//! ahead, which each group replaces. Where there are too many of them a new one has a key at once, and one that is not sent within a
//! second leaves for a key of its own: a backlog costs what it would cost without the record. All of that happens in the batch that schedules or settles
//! them: what a crash leaves is whole.

use std::collections::BTreeSet;
use std::iter::Peekable;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::arrivals::SendClass;
use super::engine::{Engine, EngineError};
use super::keys;
use super::model::PostbackNo;
use super::view::Overlay;
use crate::domain::id::{DeliveryId, EventId};

/// As many may stand there whatever a group changes. Fewer in tests, whose groups are small.
const FEW: usize = if cfg!(test) { 2 } else { 64 };
/// As many may stand there for each that a group schedules or settles: a record that is much longer costs as much as keys do.
const FOR_EACH_CHANGE: usize = if cfg!(test) { 2 } else { 8 };
/// As many may stand there at most, with some 8 bytes each.
const MOST: usize = 1_024;
/// As many leave with a group for each that it schedules or settles.
const LEAVE_FOR_EACH_CHANGE: usize = 2;
/// Microseconds of event ids behind which one is not about to be sent. Fewer in tests, whose events come at one moment.
const STAY: u64 = if cfg!(test) { 3 } else { 1_000_000 };

/// One of them, in the order of the keys that it would have.
type Entry = (PostbackNo, Timestamp, DeliveryId);
/// When a delivery is due, and which one it is: the order in which those of a postback are due.
pub(crate) type Place = (Timestamp, DeliveryId);

/// Those that have no key of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Soon(BTreeSet<Entry>);

/// What a group changes of them.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    come: Vec<Entry>,
    gone: Vec<Entry>,
}

impl Soon {
    /// Takes those out of a group's writes that need no key of their own, and adds the keys of those that leave.
    ///
    /// Only deliveries of events that are newer than `known` come in: no key of them can be in the store.
    pub(super) fn absorb(&mut self, writes: &mut Overlay, known: EventId) -> Changes {
        let mut changes = Changes::default();
        let space = keys::space(keys::SCHEDULED);
        let all = (std::ops::Bound::Included(space.clone()), keys::prefix_end(&space));
        let count = writes.range(all.clone()).count();
        let room = FEW.max(FOR_EACH_CHANGE * count).min(MOST);
        let absorbed = writes.extract_if(all, |key, value| {
            let Some(entry) = first_send(key) else { return false };
            let is_here = self.0.contains(&entry);
            match value {
                Some(_) if !is_here && entry.2.event > known && self.0.len() < room => {
                    self.0.insert(entry);
                    changes.come.push(entry);
                    true
                }
                Some(_) => is_here,
                None if is_here => {
                    self.0.remove(&entry);
                    changes.gone.push(entry);
                    true
                }
                None => false,
            }
        });
        drop(absorbed.collect::<Vec<_>>());
        for entry in self.overdue(known, LEAVE_FOR_EACH_CHANGE * count) {
            self.0.remove(&entry);
            changes.gone.push(entry);
            writes.insert(key(&entry), Some(Vec::new()));
        }
        changes
    }

    /// Those that were not sent in time, as of the last event; at most `most`.
    fn overdue(&self, last: EventId, most: usize) -> Vec<Entry> {
        let until = last.as_u64().saturating_sub(STAY);
        self.0.iter().filter(|(_, _, id)| id.event.as_u64() < until).take(most).copied().collect()
    }

    /// Takes all of them out; returns their keys.
    pub(super) fn take_all(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0).iter().map(key).collect()
    }

    /// The keys that they would have.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().map(key)
    }

    /// Carries out what a group has changed.
    pub(super) fn follow(&mut self, changes: Changes) {
        self.0.extend(changes.come);
        for entry in &changes.gone {
            self.0.remove(entry);
        }
    }

    /// Those of a postback and class, in the order in which they are due, behind a place.
    pub(super) fn of(&self, postback: PostbackNo, class: SendClass, after: Option<Place>) -> Vec<Place> {
        if class != SendClass::First {
            return Vec::new();
        }
        let of_postback = self.0.range((postback, Timestamp::MIN, DeliveryId::MIN)..);
        let places = of_postback.take_while(|(number, ..)| *number == postback).map(|(_, due, id)| (*due, *id));
        places.filter(|place| after.is_none_or(|after| *place > after)).collect()
    }
}

impl Changes {
    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.come.is_empty() && self.gone.is_empty()
    }

    /// Notes that all of them have left.
    pub(super) fn all_gone(&mut self, soon: &Soon) {
        self.gone.extend(&soon.0);
    }
}

fn key((postback, due, id): &Entry) -> Vec<u8> {
    keys::scheduled(*postback, SendClass::First, *due, *id)
}

/// What a key of scheduled deliveries names, where that is a first send.
fn first_send(key: &[u8]) -> Option<Entry> {
    let ((due, id), postback) = (keys::parse_scheduled(key)?, keys::parse_number(key)?);
    let entry = (postback, due, id);
    (self::key(&entry) == key).then_some(entry)
}

/// The scheduled deliveries of a postback and class, in the order in which they are due, behind a place. `soon` has to be read
/// before: what leaves it meanwhile is in the store by then.
pub(super) fn scheduled(
    engine: &dyn Engine,
    soon: Vec<Place>,
    postback: PostbackNo,
    class: SendClass,
    after: Option<Place>,
) -> impl Iterator<Item = Result<Place, EngineError>> + '_ {
    let prefix = keys::schedule(postback, class);
    let end = keys::prefix_end(&prefix);
    let from = match after {
        None => std::ops::Bound::Included(prefix),
        Some((due, id)) => std::ops::Bound::Excluded(keys::scheduled(postback, class, due, id)),
    };
    let stored = engine.scan(from, end).filter_map(|pair| match pair {
        Ok((key, _)) => keys::parse_scheduled(&key).map(Ok),
        Err(error) => Some(Err(error)),
    });
    let (mut soon, mut stored) = (soon.into_iter().peekable(), stored.peekable());
    std::iter::from_fn(move || next_of(&mut soon, &mut stored))
}

/// The next of two sequences in order; what is in both is told once.
fn next_of(
    soon: &mut Peekable<impl Iterator<Item = Place>>,
    stored: &mut Peekable<impl Iterator<Item = Result<Place, EngineError>>>,
) -> Option<Result<Place, EngineError>> {
    match (soon.peek(), stored.peek()) {
        (Some(one), Some(Ok(other))) if one == other => {
            soon.next();
            stored.next()
        }
        (Some(one), Some(Ok(other))) if one < other => soon.next().map(Ok),
        (Some(_), None) => soon.next().map(Ok),
        (_, Some(_)) | (None, None) => stored.next(),
    }
}

/// What is written of one: postback, event beyond that of the first one, ordinal, and the due time beyond the event's own.
type Packed = (PostbackNo, i64, u16, i64);

impl Serialize for Soon {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let base = self.0.first().map_or(0, |(_, _, id)| id.event.as_u64());
        let packed = self.0.iter().map(|(postback, due, id)| -> Packed {
            let event = id.event.as_u64();
            let beyond = due.as_microsecond().wrapping_sub(event.cast_signed());
            (*postback, event.wrapping_sub(base).cast_signed(), id.ordinal, beyond)
        });
        (base, packed.collect::<Vec<_>>()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Soon {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (base, packed) = <(u64, Vec<Packed>)>::deserialize(deserializer)?;
        let entry = |(postback, event, ordinal, beyond): Packed| -> Result<Entry, D::Error> {
            let event = base.wrapping_add_signed(event);
            let due =
                Timestamp::from_microsecond(event.cast_signed().wrapping_add(beyond)).map_err(de::Error::custom)?;
            Ok((postback, due, DeliveryId { event: EventId::from_u64(event), ordinal }))
        };
        let entries = packed.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let first = entries.first().map_or(0, |(_, _, id)| id.event.as_u64());
        if first != base || !entries.is_sorted_by(|one, next| one < next) {
            return Err(de::Error::custom("first sends that are not in their order"));
        }
        Ok(Self(entries.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::outbox::engine::Batch;
    use crate::outbox::memory::MemoryEngine;

    fn id(event: u64) -> DeliveryId {
        DeliveryId { event: EventId::from_u64(event), ordinal: 1 }
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    fn scheduled_key(postback: PostbackNo, class: SendClass, due: i64, event: u64) -> Vec<u8> {
        keys::scheduled(postback, class, at(due), id(event))
    }

    fn group(writes: impl IntoIterator<Item = (Vec<u8>, bool)>) -> Overlay {
        writes.into_iter().map(|(key, put)| (key, put.then(Vec::new))).collect()
    }

    #[test]
    fn what_is_settled_soon_never_has_a_key() {
        let mut soon = Soon::default();
        let (key, other) = (scheduled_key(7, SendClass::First, 5, 5), b"other".to_vec());
        let mut writes = group([(key.clone(), true), (other.clone(), true)]);
        soon.absorb(&mut writes, EventId::from_u64(4));
        assert_eq!(writes, group([(other, true)]));
        assert!(soon.keys().eq([key.clone()]));
        let mut writes = group([(key, false)]);
        soon.absorb(&mut writes, EventId::from_u64(5));
        assert_eq!((writes, soon), (group([]), Soon::default()));
    }

    #[test]
    fn retries_and_what_may_have_a_key_already_are_left_alone() {
        let (retry, old) = (scheduled_key(7, SendClass::Retry, 5, 5), scheduled_key(7, SendClass::First, 4, 4));
        let all = group([(retry, true), (old, true), (scheduled_key(7, SendClass::First, 3, 3), false)]);
        let (mut soon, mut writes) = (Soon::default(), all.clone());
        let changes = soon.absorb(&mut writes, EventId::from_u64(4));
        assert_eq!((writes, soon), (all, Soon::default()));
        assert!(changes.is_empty());
    }

    #[test]
    fn what_is_scheduled_again_as_it_was_stays_where_it_is() {
        let (mut soon, key) = (Soon::default(), scheduled_key(7, SendClass::First, 5, 5));
        soon.absorb(&mut group([(key.clone(), true)]), EventId::from_u64(4));
        let mut writes = group([(key.clone(), true)]);
        soon.absorb(&mut writes, EventId::from_u64(5));
        assert_eq!((writes, soon.keys().collect::<Vec<_>>()), (group([]), vec![key]));
    }

    #[test]
    fn where_there_are_many_a_new_one_has_a_key_at_once() {
        let mut soon = Soon::default();
        let key = |event| scheduled_key(7, SendClass::First, 50, event);
        soon.absorb(&mut group((1..=3).map(|event| (key(event), true))), EventId::MIN);
        let mut writes = group([(key(4), true)]);
        let changes = soon.absorb(&mut writes, EventId::from_u64(3));
        assert_eq!((FEW, FOR_EACH_CHANGE), (2, 2));
        assert!(changes.is_empty() && writes == group([(key(4), true)]), "there is room for two beside one change");
        let mut writes = group((10..10 + 2 * MOST as u64).map(|event| (key(event), true)));
        soon.absorb(&mut writes, EventId::from_u64(4));
        assert_eq!((soon.0.len(), writes.len()), (MOST, MOST + 3), "nor is there ever more than a record can hold");
    }

    #[test]
    fn what_is_not_sent_in_time_leaves() {
        let (mut soon, mut seen) = (Soon::default(), Soon::default());
        let key = |event: u64| scheduled_key(9 - u32::try_from(event).unwrap(), SendClass::First, 50, event);
        seen.follow(soon.absorb(&mut group((1..=5).map(|event| (key(event), true))), EventId::MIN));
        let mut writes = group([]);
        assert!(
            soon.absorb(&mut writes, EventId::from_u64(9)).is_empty(),
            "a group that has nothing to write stays empty"
        );
        let mut writes = group([(key(8), true)]);
        seen.follow(soon.absorb(&mut writes, EventId::from_u64(STAY + 4)));
        assert_eq!(writes.range(key(8)..=key(8)).count(), 1);
        writes.remove(&key(8));
        assert_eq!(LEAVE_FOR_EACH_CHANGE, 2);
        assert_eq!(writes, group([(key(2), true), (key(3), true)]), "two for a change, of those before the fourth");
        assert_eq!(soon.keys().collect::<BTreeSet<_>>(), [1, 4, 5].map(key).into());
        assert_eq!(seen, soon);
    }

    #[test]
    fn what_leaves_while_somebody_reads_is_told_once() {
        let engine = MemoryEngine::default();
        let keys = [scheduled_key(7, SendClass::First, 5, 5), scheduled_key(7, SendClass::First, 6, 6)];
        engine.apply(Batch { writes: keys.map(|key| (key, Some(Vec::new()))).into() }).unwrap();
        let soon = vec![(at(4), id(4)), (at(5), id(5)), (at(7), id(7))];
        let listed = scheduled(&engine, soon, 7, SendClass::First, None).map(|place| place.unwrap().1.event.as_u64());
        assert_eq!(listed.collect::<Vec<_>>(), [4, 5, 6, 7]);
    }

    #[test]
    fn what_is_not_in_its_order_is_not_read() {
        let read = |base: u64, packed: &[Packed]| {
            postcard::from_bytes::<Soon>(&postcard::to_allocvec(&(base, packed)).unwrap())
        };
        let (one, next) = ((7, 0, 1, 0), (7, 1, 1, 0));
        assert_eq!(read(5, &[one, next]).unwrap().keys().count(), 2);
        for (base, packed) in [(5, vec![next, one]), (5, vec![one, one]), (5, vec![next]), (5, Vec::new())] {
            assert!(read(base, &packed).is_err(), "{packed:?}");
        }
    }

    /// One step of a story: which postback, class, due time and event, whether it is scheduled or no longer is, and whether
    /// the group ends behind it.
    type Step = (u32, bool, i64, bool, bool);

    proptest::proptest! {
        #[test]
        fn what_is_scheduled_is_listed_in_order_wherever_it_stands(
            steps in proptest::collection::vec(proptest::prelude::any::<(u8, bool, u8, bool, bool)>(), 1..60),
        ) {
            let steps: Vec<Step> = steps
                .into_iter()
                .map(|(postback, first, due, put, ends)| (u32::from(postback % 2), first, i64::from(due % 8), put, ends))
                .collect();
            let engine = MemoryEngine::default();
            let (mut soon, mut seen) = (Soon::default(), Soon::default());
            let mut expected: BTreeSet<(PostbackNo, SendClass, Place)> = BTreeSet::new();
            let (mut writes, mut last, mut known) = (BTreeMap::new(), 0, EventId::MIN);
            for (postback, first, due, put, ends) in steps {
                let class = if first { SendClass::First } else { SendClass::Retry };
                if put {
                    last += 1;
                    expected.insert((postback, class, (at(due), id(last))));
                    writes.insert(scheduled_key(postback, class, due, last), Some(Vec::new()));
                } else if let Some(settled) = expected.iter().nth(usize::try_from(due).unwrap()).copied() {
                    expected.remove(&settled);
                    let (postback, class, (due, id)) = settled;
                    writes.insert(keys::scheduled(postback, class, due, id), None);
                }
                if !ends {
                    continue;
                }
                let changes = soon.absorb(&mut writes, known);
                known = EventId::from_u64(last);
                engine.apply(Batch { writes: std::mem::take(&mut writes).into_iter().collect() }).unwrap();
                seen.follow(changes);
                assert_eq!(seen, soon);
                let bytes = postcard::to_allocvec(&soon).unwrap();
                assert_eq!(postcard::from_bytes::<Soon>(&bytes).unwrap(), soon);
                assert!(soon.keys().all(|key| engine.get(&key).unwrap().is_none()), "both in it and with a key");
                for (postback, class) in [0, 1].into_iter().flat_map(|postback| SendClass::ALL.map(|class| (postback, class))) {
                    let of_it = expected.iter().filter(|(number, other, _)| (*number, *other) == (postback, class));
                    let places: Vec<Place> = of_it.map(|(.., place)| *place).collect();
                    for after in [None].into_iter().chain(places.iter().copied().map(Some)) {
                        let here = soon.of(postback, class, after);
                        let listed = scheduled(&engine, here, postback, class, after).collect::<Result<Vec<_>, _>>().unwrap();
                        let behind = places.iter().filter(|place| after.is_none_or(|after| **place > after));
                        assert_eq!(listed, behind.copied().collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}
