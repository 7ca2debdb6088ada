//! The store as it will be once the writes of the group being built are applied, or as it is where there are none.
//!
//! Finds records by their keys; knows nothing of lists, names or counts.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::codec;
use super::engine::{Engine, Pair};
use super::keys;
use super::model::{EventRecord, OutboxError};
use crate::domain::delivery::Delivery;
use crate::domain::id::{AffiliateId, DeliveryId, EventId, TransactionId};
use crate::domain::record::HistoryEntry;

/// Most events of one order group: more than any honest one has.
pub(crate) const MAX_GROUP_EVENTS: usize = 256;
/// Most pairs read for one prefix: more than the events of a group need, each with a dedupe key and a membership.
const MAX_PREFIXED: usize = 4 * MAX_GROUP_EVENTS;

/// Writes that are not yet applied, laid over the engine.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The store as it will be once the overlay is applied.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) overlay: Option<&'a Overlay>,
}

impl View<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OutboxError> {
        match self.overlay.and_then(|overlay| overlay.get(key)) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.engine.get(key)?),
        }
    }

    /// All pairs with the prefix, at most [`MAX_PREFIXED`], in the order of their keys.
    pub(crate) fn with_prefix(&self, prefix: &[u8]) -> Result<Vec<Pair>, OutboxError> {
        let (from, to) = (Bound::Included(prefix.to_vec()), keys::prefix_end(prefix));
        let stored = self.engine.scan(from.clone(), to.clone()).take(MAX_PREFIXED).collect::<Result<Vec<_>, _>>()?;
        let Some(overlay) = self.overlay else { return Ok(stored) };
        let mut written = overlay.range::<Vec<u8>, _>((from, to)).peekable();
        if written.peek().is_none() {
            return Ok(stored);
        }
        let mut merged: BTreeMap<_, _> = stored.into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().collect())
    }

    /// The last pair with the prefix.
    fn last_with_prefix(&self, prefix: &[u8]) -> Result<Option<Pair>, OutboxError> {
        let (from, to) = (Bound::Included(prefix.to_vec()), keys::prefix_end(prefix));
        let written =
            self.overlay.and_then(|overlay| overlay.range::<Vec<u8>, _>((from.clone(), to.clone())).next_back());
        if let Some((key, Some(value))) = written {
            return Ok(Some((key.clone(), value.clone())));
        }
        Ok(self.engine.scan_back(from, to).next().transpose()?)
    }

    pub(crate) fn event(&self, id: EventId) -> Result<Option<EventRecord>, OutboxError> {
        let key = keys::event(id);
        self.get(&key)?.map(|bytes| codec::decode(&key, &bytes)).transpose()
    }

    /// A delivery's last history entry with the number of the next one.
    pub(crate) fn last_entry(&self, id: DeliveryId) -> Result<(u32, Option<HistoryEntry>), OutboxError> {
        // Most deliveries have none yet, which a look for the first of them says for less than a walk does.
        if self.get(&keys::history(id, 0))?.is_none() {
            return Ok((0, None));
        }
        let Some((key, bytes)) = self.last_with_prefix(&keys::histories(id))? else { return Ok((0, None)) };
        let next = keys::parse_history_number(&key).and_then(|number| number.checked_add(1));
        let next = next.ok_or_else(|| codec::corrupt(&key, "its number has none behind it"))?;
        Ok((next, Some(codec::decode(&key, &bytes)?)))
    }

    /// How a delivery of the event stands, with the number of its next history entry.
    pub(crate) fn standing(
        &self,
        id: DeliveryId,
        record: &EventRecord,
    ) -> Result<Option<(u32, Delivery)>, OutboxError> {
        let Some(planned) = record.entry(id) else { return Ok(None) };
        let (next, entry) = self.last_entry(id)?;
        Ok(Some((next, entry.map_or_else(|| planned.delivery.clone(), |entry| entry.delivery))))
    }

    /// The keys with the prefix, however many.
    pub(crate) fn all_keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, OutboxError> {
        let (from, to) = (Bound::Included(prefix.to_vec()), keys::prefix_end(prefix));
        let stored = self.engine.scan(from.clone(), to.clone()).map(|pair| Ok(pair?.0));
        let mut keys = stored.collect::<Result<Vec<_>, OutboxError>>()?;
        let written =
            self.overlay.into_iter().flat_map(|overlay| overlay.range::<Vec<u8>, _>((from.clone(), to.clone())));
        keys.extend(written.filter(|(_, value)| value.is_some()).map(|(key, _)| key.clone()));
        Ok(keys)
    }

    /// Whether there is a pair with the prefix.
    pub(crate) fn has_prefix(&self, prefix: &[u8]) -> Result<bool, OutboxError> {
        let (from, to) = (Bound::Included(prefix.to_vec()), keys::prefix_end(prefix));
        let Some(overlay) = self.overlay else { return Ok(self.engine.scan(from, to).next().transpose()?.is_some()) };
        let written = || overlay.range::<Vec<u8>, _>((from.clone(), to.clone()));
        if written().any(|(_, value)| value.is_some()) {
            return Ok(true);
        }
        for pair in self.engine.scan(from.clone(), to.clone()) {
            let (key, _) = pair?;
            if !overlay.contains_key(&key) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The events of an owner's transaction and those that joined its group, in the order of acceptance.
    pub(crate) fn related_of(&self, transaction: &TransactionId, owner: &AffiliateId) -> Result<Related, OutboxError> {
        self.related_in(&self.owned(&keys::owned_transaction(transaction, owner))?, owner)
    }

    /// What is known of an owner's transaction, by the prefix of its keys: which events it has, by their identities, and which
    /// joined its group.
    pub(crate) fn owned(&self, transaction: &[u8]) -> Result<Owned, OutboxError> {
        Ok(Owned(self.with_prefix(transaction)?))
    }

    /// The value of an identity key of an owner's transaction.
    pub(crate) fn identity_in(&self, index: &Owned, identity: &[u8]) -> Result<Option<Vec<u8>>, OutboxError> {
        match index.0.iter().find(|(key, _)| key == identity) {
            Some((_, value)) => Ok(Some(value.clone())),
            None if index.0.is_empty() => Ok(None),
            // What was read has a bound, and what the group deletes makes it shorter: only the key itself is sure.
            None => self.get(identity),
        }
    }

    /// As [`View::related_of`], of what has been read.
    pub(crate) fn related_in(&self, index: &Owned, owner: &AffiliateId) -> Result<Related, OutboxError> {
        let mut ids: Vec<EventId> = index.0.iter().flat_map(|(_, value)| event_ids(value)).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut related = Related { events: Vec::with_capacity(ids.len()), damaged: false };
        for id in ids {
            match self.event(id) {
                Ok(Some(record)) if record.event.affiliate_id == *owner => related.events.push((id, record)),
                Ok(_) => {}
                Err(error @ OutboxError::Corrupt { .. }) => {
                    tracing::error!(event = %id, %error, "an event of a transaction is left out");
                    related.damaged = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(related)
    }
}

/// The keys of an owner's transaction, with the ids in them; at most [`MAX_PREFIXED`].
#[derive(Debug, Default)]
pub(crate) struct Owned(Vec<Pair>);

/// The events found for a transaction.
#[derive(Debug, Default)]
pub(crate) struct Related {
    /// The events in the order of acceptance.
    pub(crate) events: Vec<(EventId, EventRecord)>,
    /// Whether some could not be read, because their records are damaged.
    pub(crate) damaged: bool,
}

impl Related {
    pub(crate) fn extend(&mut self, more: Self) {
        self.events.extend(more.events);
        self.events.sort_by_key(|(id, _)| *id);
        self.damaged |= more.damaged;
    }
}

/// The ids in the value of an identity key.
pub(crate) fn event_ids(value: &[u8]) -> impl Iterator<Item = EventId> {
    value.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_be_bytes).map(EventId::from_u64)
}
