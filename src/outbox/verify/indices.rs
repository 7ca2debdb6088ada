//! The indices of deliveries, and the record of first sends that have no key of their own, against how deliveries stand.

use std::collections::BTreeSet;

use super::{Standing, Walk};
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
use crate::outbox::engine::Engine;
use crate::outbox::model::{EventRecord, OutboxError};
use crate::outbox::writer::index_keys;
use crate::outbox::{ahead, keys};

/// The keys of what is scheduled without any; `None` where the record of it is damaged, which is told where it stands.
pub(super) fn soon(engine: &dyn Engine) -> Result<Option<BTreeSet<Vec<u8>>>, OutboxError> {
    match ahead::load(engine) {
        Ok((_, soon)) => Ok(Some(soon.keys().collect())),
        Err(OutboxError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Walk<'_> {
    /// What stands in the record of first sends.
    pub(super) fn first_sends(&mut self) -> Result<(), OutboxError> {
        for key in self.soon.clone().into_iter().flatten() {
            if let Some(what) = self.misplaced(&key)? {
                self.damage(&ahead::key(), what);
            }
        }
        Ok(())
    }

    /// A key that must be there, or in the record of first sends.
    pub(super) fn expect(&mut self, key: &[u8], what: impl FnOnce() -> String) -> Result<(), OutboxError> {
        let elsewhere = match &self.soon {
            Some(soon) => soon.contains(key),
            None => key.first() == Some(&keys::SCHEDULED),
        };
        if !elsewhere && self.view.get(key)?.is_none() {
            self.damage(key, what());
        }
        Ok(())
    }

    /// The index keys of a delivery; `None` where its postback has no name.
    pub(super) fn indices_of(&self, id: DeliveryId, record: &EventRecord, delivery: &Delivery) -> Option<Vec<Vec<u8>>> {
        let postback = record.entry(id)?.postback;
        let affiliate = &self.names.get(&postback)?.affiliate;
        let group = keys::group_hash(affiliate, &record.event.affiliate_id, record.root());
        Some(index_keys(id, postback, || group, delivery).map(|(key, _)| key).collect())
    }

    /// A key of an index.
    pub(super) fn index(&mut self, key: &[u8]) -> Result<(), OutboxError> {
        if self.soon.as_ref().is_some_and(|soon| soon.contains(key)) {
            self.damage(key, "is also in the record of what has no key");
        }
        if let Some(what) = self.misplaced(key)? {
            self.damage(key, what);
        }
        Ok(())
    }

    /// What is wrong with the key of an index, if anything.
    fn misplaced(&self, key: &[u8]) -> Result<Option<String>, OutboxError> {
        let Some(id) = keys::parse_last_delivery(key) else { return Ok(Some("names no delivery".into())) };
        Ok(match self.standing(id)? {
            Standing::Unreadable => None,
            Standing::Missing => Some(format!("lists {id}, which there is not")),
            Standing::Found(record, delivery) => {
                let is_one = self.indices_of(id, &record, &delivery).is_none_or(|keys| keys.iter().any(|k| k == key));
                let state = delivery.state.kind().name();
                (!is_one).then(|| format!("lists {id}, which is {state} and does not stand here"))
            }
        })
    }
}
