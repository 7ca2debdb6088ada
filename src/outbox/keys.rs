//! The one place that knows the bytes of a key.
//!
//! | space | key behind the prefix byte | value |
//! |---|---|---|
//! | `e` | event | the event with its plan |
//! | `k` | hash of transaction, hash of owner, hash of identity or of group membership | event ids: finds duplicates and order groups |
//! | `c` | hash of click, event | nothing |
//! | `s` | postback, send class, due, delivery | nothing: scheduled deliveries, but for those that `m` names |
//! | `w` | hash of group, delivery | nothing: deliveries waiting in their order group |
//! | `l` | postback, delivery | nothing: held deliveries |
//! | `d` | postback, delivery | nothing: dead letters |
//! | `h` | delivery, entry number | one history entry; the last one holds the state |
//! | `i` | delivery | nothing: attempts under way to receivers that do not recognise duplicates |
//! | `u` | event | nothing: unrouted events |
//! | `p` | postback's full name | its number |
//! | `n` | postback | counts by state |
//! | `a` | postback | its tally: dead letters by reason, money |
//! | `z` | postback | who paused it and why |
//! | `f` | postback | since when it is misconfigured |
//! | `o` | bulk order | the order, and how far it is |
//! | `t` | bulk order, delivery | nothing: what is still to be done |
//! | `x` | consumer of exports | how far its exports reach |
//! | `m` | name | format version, totals, what is stored; what is ahead of its own records: counts, tallies, first sends without a key |
//!
//! Numbers are big-endian, so that the order of bytes is their order.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::arrivals::SendClass;
use super::model::PostbackNo;
use crate::domain::event::Event;
use crate::domain::id::{AffiliateId, BulkId, ClickId, ConsumerName, DeliveryId, EventId, PostbackRef, TransactionId};

pub(crate) const EVENTS: u8 = b'e';
pub(crate) const SCHEDULED: u8 = b's';
pub(crate) const WAITING: u8 = b'w';
pub(crate) const HELD: u8 = b'l';
pub(crate) const DEAD: u8 = b'd';
pub(crate) const HISTORY: u8 = b'h';
pub(crate) const INTENTS: u8 = b'i';
pub(crate) const UNROUTED: u8 = b'u';
pub(crate) const POSTBACKS: u8 = b'p';
pub(crate) const COUNTS: u8 = b'n';
pub(crate) const TALLIES: u8 = b'a';
pub(crate) const PAUSES: u8 = b'z';
pub(crate) const FLAGS: u8 = b'f';
pub(crate) const BULKS: u8 = b'o';
pub(crate) const MARKS: u8 = b'x';
pub(crate) const TARGETS: u8 = b't';
pub(crate) const IDENTITIES: u8 = b'k';
pub(crate) const CLICKS: u8 = b'c';
pub(crate) const META: u8 = b'm';

/// Which deliveries wait for each other: a hash of affiliate and transaction.
pub(crate) type GroupHash = [u8; 8];

fn hash8(parts: &[&str]) -> [u8; 8] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hash = [0; 8];
    for (to, from) in hash.iter_mut().zip(hasher.finalize()) {
        *to = from;
    }
    hash
}

fn join(space: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(space);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn event_bytes(event: EventId) -> [u8; 8] {
    event.as_u64().to_be_bytes()
}

fn delivery_bytes(id: DeliveryId) -> [u8; 10] {
    let mut bytes = [0; 10];
    let all = event_bytes(id.event).into_iter().chain(id.ordinal.to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = from;
    }
    bytes
}

fn due_bytes(due: Timestamp) -> [u8; 8] {
    u64::try_from(due.as_microsecond()).unwrap_or(0).to_be_bytes()
}

/// All keys of a space.
pub(crate) fn space(space: u8) -> Vec<u8> {
    vec![space]
}

pub(crate) fn event(id: EventId) -> Vec<u8> {
    join(EVENTS, &[&event_bytes(id)])
}

pub(crate) fn unrouted(id: EventId) -> Vec<u8> {
    join(UNROUTED, &[&event_bytes(id)])
}

/// Where the dedupe key of an event points to its id.
pub(crate) fn identity(event: &Event) -> Vec<u8> {
    identity_in(&owned_transaction(&event.transaction_id, &event.affiliate_id), event)
}

/// The same, where the prefix of the event's transaction is known.
pub(crate) fn identity_in(owned_transaction: &[u8], event: &Event) -> Vec<u8> {
    let rest = hash8(&["identity", event.kind.as_str(), event.status.name()]);
    [owned_transaction, &rest].concat()
}

/// Where a transaction's group points to an event of another transaction, such as a reversal.
pub(crate) fn membership(root: &TransactionId, owner: &AffiliateId, member: EventId) -> Vec<u8> {
    let rest = hash8(&["member", &member.to_string()]);
    join(IDENTITIES, &[&transaction_of(root, owner), &rest])
}

/// All events of a transaction of any owner, and those that joined its group.
pub(crate) fn transaction(root: &TransactionId) -> Vec<u8> {
    join(IDENTITIES, &[&hash8(&[root.as_str()])])
}

/// All events of an owner's transaction, and those that joined its group.
pub(crate) fn owned_transaction(root: &TransactionId, owner: &AffiliateId) -> Vec<u8> {
    join(IDENTITIES, &[&transaction_of(root, owner)])
}

/// Four bytes of the owner's hash are enough to keep owners with the same names of transactions apart.
fn transaction_of(transaction: &TransactionId, owner: &AffiliateId) -> [u8; 12] {
    let mut bytes = [0; 12];
    let all = hash8(&[transaction.as_str()]).into_iter().chain(hash8(&["owner", owner.as_str()]));
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = from;
    }
    bytes
}

pub(crate) fn click(click: &ClickId, event: EventId) -> Vec<u8> {
    join(CLICKS, &[&hash8(&[click.as_str()]), &event_bytes(event)])
}

/// All events of a click.
pub(crate) fn clicks(click: &ClickId) -> Vec<u8> {
    join(CLICKS, &[&hash8(&[click.as_str()])])
}

pub(crate) fn scheduled(postback: PostbackNo, class: SendClass, due: Timestamp, id: DeliveryId) -> Vec<u8> {
    join(SCHEDULED, &[&postback.to_be_bytes(), &[class as u8], &due_bytes(due), &delivery_bytes(id)])
}

/// All scheduled deliveries of a postback and class.
pub(crate) fn schedule(postback: PostbackNo, class: SendClass) -> Vec<u8> {
    join(SCHEDULED, &[&postback.to_be_bytes(), &[class as u8]])
}

/// The due time and the delivery of a key of [`scheduled`].
pub(crate) fn parse_scheduled(key: &[u8]) -> Option<(Timestamp, DeliveryId)> {
    let due = i64::from_be_bytes(key.get(6..14)?.try_into().ok()?);
    Some((Timestamp::from_microsecond(due).ok()?, parse_delivery(key.get(14..)?)?))
}

pub(crate) fn group_hash(affiliate: &AffiliateId, owner: &AffiliateId, root: &TransactionId) -> GroupHash {
    hash8(&["group", affiliate.as_str(), owner.as_str(), root.as_str()])
}

pub(crate) fn waiting(group: GroupHash, id: DeliveryId) -> Vec<u8> {
    join(WAITING, &[&group, &delivery_bytes(id)])
}

/// All waiting deliveries of a group.
pub(crate) fn waiting_in(group: GroupHash) -> Vec<u8> {
    join(WAITING, &[&group])
}

pub(crate) fn held(postback: PostbackNo, id: DeliveryId) -> Vec<u8> {
    join(HELD, &[&postback.to_be_bytes(), &delivery_bytes(id)])
}

pub(crate) fn dead(postback: PostbackNo, id: DeliveryId) -> Vec<u8> {
    join(DEAD, &[&postback.to_be_bytes(), &delivery_bytes(id)])
}

/// All held (`HELD`) or dead (`DEAD`) deliveries of a postback.
pub(crate) fn listed(space: u8, postback: PostbackNo) -> Vec<u8> {
    join(space, &[&postback.to_be_bytes()])
}

pub(crate) fn intent(id: DeliveryId) -> Vec<u8> {
    join(INTENTS, &[&delivery_bytes(id)])
}

pub(crate) fn history(id: DeliveryId, entry: u32) -> Vec<u8> {
    join(HISTORY, &[&delivery_bytes(id), &entry.to_be_bytes()])
}

/// The delivery and the entry's number of a key of [`history`].
pub(crate) fn parse_history(key: &[u8]) -> Option<(DeliveryId, u32)> {
    Some((parse_delivery(key.get(1..)?)?, parse_history_number(key)?))
}

/// The whole history of a delivery.
pub(crate) fn histories(id: DeliveryId) -> Vec<u8> {
    join(HISTORY, &[&delivery_bytes(id)])
}

/// The entry's number of a key of [`history`].
pub(crate) fn parse_history_number(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(11..15)?.try_into().ok()?))
}

pub(crate) fn postback(reference: &PostbackRef) -> Vec<u8> {
    join(POSTBACKS, &[reference.to_string().as_bytes()])
}

/// The full name in a key of [`postback`].
pub(crate) fn parse_postback(key: &[u8]) -> Option<PostbackRef> {
    let text = std::str::from_utf8(key.get(1..)?).ok()?;
    let (affiliate, postback) = text.split_once('/')?;
    Some(PostbackRef { affiliate: affiliate.parse().ok()?, postback: postback.parse().ok()? })
}

pub(crate) fn counts(postback: PostbackNo) -> Vec<u8> {
    join(COUNTS, &[&postback.to_be_bytes()])
}

pub(crate) fn tally(postback: PostbackNo) -> Vec<u8> {
    join(TALLIES, &[&postback.to_be_bytes()])
}

pub(crate) fn bulk(id: BulkId) -> Vec<u8> {
    join(BULKS, &[&id.as_u64().to_be_bytes()])
}

/// The bulk order of a key of [`bulk`] or [`target`].
pub(crate) fn parse_bulk(key: &[u8]) -> Option<BulkId> {
    Some(BulkId::from_u64(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?)))
}

pub(crate) fn target(bulk: BulkId, delivery: DeliveryId) -> Vec<u8> {
    join(TARGETS, &[&bulk.as_u64().to_be_bytes(), &delivery_bytes(delivery)])
}

/// All that is still to be done of a bulk order.
pub(crate) fn targets(bulk: BulkId) -> Vec<u8> {
    join(TARGETS, &[&bulk.as_u64().to_be_bytes()])
}

pub(crate) fn flag(postback: PostbackNo) -> Vec<u8> {
    join(FLAGS, &[&postback.to_be_bytes()])
}

pub(crate) fn pause(postback: PostbackNo) -> Vec<u8> {
    join(PAUSES, &[&postback.to_be_bytes()])
}

/// The postback's number in a key of [`counts`], [`tally`], [`pause`], [`flag`] or [`scheduled`].
pub(crate) fn parse_number(key: &[u8]) -> Option<PostbackNo> {
    Some(PostbackNo::from_be_bytes(key.get(1..5)?.try_into().ok()?))
}

pub(crate) fn mark(consumer: &ConsumerName) -> Vec<u8> {
    join(MARKS, &[consumer.as_str().as_bytes()])
}

/// The consumer in a key of [`mark`].
pub(crate) fn parse_mark(key: &[u8]) -> Option<ConsumerName> {
    std::str::from_utf8(key.get(1..)?).ok()?.parse().ok()
}

pub(crate) fn meta(name: &str) -> Vec<u8> {
    join(META, &[name.as_bytes()])
}

/// The event id in a key of [`event`], [`unrouted`].
pub(crate) fn parse_event(key: &[u8]) -> Option<EventId> {
    Some(EventId::from_u64(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?)))
}

/// The event id at the end of a key of [`click`].
pub(crate) fn parse_click(key: &[u8]) -> Option<EventId> {
    Some(EventId::from_u64(u64::from_be_bytes(key.get(9..17)?.try_into().ok()?)))
}

/// The delivery at the end of a key of [`scheduled`], [`held`], [`dead`], [`waiting`] or [`intent`].
pub(crate) fn parse_last_delivery(key: &[u8]) -> Option<DeliveryId> {
    parse_delivery(key.get(key.len().checked_sub(10)?..)?)
}

fn parse_delivery(bytes: &[u8]) -> Option<DeliveryId> {
    let event = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let ordinal = u16::from_be_bytes(bytes.get(8..10)?.try_into().ok()?);
    Some(DeliveryId { event: EventId::from_u64(event), ordinal })
}

/// The first key behind all keys with the prefix.
pub(crate) fn prefix_end(prefix: &[u8]) -> std::ops::Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return std::ops::Bound::Excluded(end);
        }
    }
    std::ops::Bound::Unbounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_scheduled_keys_is_the_order_of_due_times() {
        let key = |due, event| {
            let id = DeliveryId { event: EventId::from_u64(event), ordinal: 3 };
            scheduled(7, SendClass::First, Timestamp::from_microsecond(due).unwrap(), id)
        };
        assert!(key(1_000, 9) < key(1_001, 1));
        assert!(key(255, 1) < key(256, 1));
        let (due, id) = parse_scheduled(&key(1_000, 9)).unwrap();
        assert_eq!((due.as_microsecond(), id.event.as_u64(), id.ordinal), (1_000, 9, 3));
    }

    #[test]
    fn what_is_written_into_a_key_is_read_back() {
        let id = DeliveryId { event: EventId::from_u64(77), ordinal: 5 };
        assert_eq!(parse_last_delivery(&held(1, id)), Some(id));
        assert_eq!(parse_last_delivery(&waiting([9; 8], id)), Some(id));
        assert_eq!(parse_history_number(&history(id, 42)), Some(42));
        assert_eq!(parse_event(&event(id.event)), Some(id.event));
        assert_eq!(parse_click(&click(&ClickId::parse("c").unwrap(), id.event)), Some(id.event));
        let reference = PostbackRef { affiliate: "a.b".parse().unwrap(), postback: "c".parse().unwrap() };
        assert_eq!(parse_postback(&postback(&reference)), Some(reference));
        let consumer = ConsumerName::parse("finance.eu").unwrap();
        assert_eq!(parse_mark(&mark(&consumer)), Some(consumer));
        assert_eq!(parse_number(&pause(0x0102_0304)), Some(0x0102_0304));
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(prefix_end(b"ab"), std::ops::Bound::Excluded(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 0xff]), std::ops::Bound::Excluded(vec![2]));
        assert_eq!(prefix_end(&[0xff]), std::ops::Bound::Unbounded);
    }
}
