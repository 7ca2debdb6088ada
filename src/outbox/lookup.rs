//! Events by what their producers name: a transaction or a click, which many events may share.
//!
//! Read lazily and in the order of acceptance, from whichever end is asked for, so that a click that a whole campaign
//! shares costs a page of it and nothing is cut off unsaid.

use std::ops::Bound;

use super::engine::{Pair, Pairs};
use super::keys;
use super::model::{EventRecord, OutboxError};
use super::read::Reader;
use super::view::event_ids;
use crate::domain::id::{ClickId, EventId, TransactionId};

/// Most events of one transaction id that are found, of all who use it: ids are sorted in memory.
const MAX_OF_TRANSACTION: usize = 1 << 17;

/// Events that are read as they are asked for.
pub type Found<'r> = Box<dyn Iterator<Item = Result<(EventId, EventRecord), OutboxError>> + Send + 'r>;

/// From where on events are read, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The oldest first, from this one on.
    Oldest(EventId),
    /// The newest first, from this one on or, where there is none, from the last.
    Newest(Option<EventId>),
}

impl Reader {
    /// The events of a transaction, and those that reverse it, of all affiliates.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn transaction(&self, id: &TransactionId, from: From) -> Result<Found<'_>, OutboxError> {
        let prefix = keys::transaction(id);
        let pairs = self.engine().scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
        let mut ids = Vec::new();
        for pair in pairs {
            ids.extend(event_ids(&pair?.1).filter(|event| from.meets(*event)));
            if ids.len() > MAX_OF_TRANSACTION {
                tracing::warn!(transaction = %id, "more events have this transaction id than are looked up");
                break;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        if let From::Newest(_) = from {
            ids.reverse();
        }
        let id = id.clone();
        Ok(self
            .events(ids.into_iter().map(Ok), move |record| record.event.transaction_id == id || *record.root() == id))
    }

    /// The events of a click.
    pub fn click(&self, click: &ClickId, from: From) -> Found<'_> {
        let prefix = keys::clicks(click);
        let all = Bound::Included(prefix.clone());
        let pairs: Pairs<'_> = match from {
            From::Oldest(first) => {
                self.engine().scan(Bound::Included(keys::click(click, first)), keys::prefix_end(&prefix))
            }
            From::Newest(None) => self.engine().scan_back(all, keys::prefix_end(&prefix)),
            From::Newest(Some(last)) => self.engine().scan_back(all, Bound::Included(keys::click(click, last))),
        };
        let id = |pair: Result<Pair, _>| match pair {
            Ok((key, _)) => keys::parse_click(&key).map(Ok),
            Err(error) => Some(Err(OutboxError::from(error))),
        };
        let click = click.clone();
        self.events(pairs.filter_map(id), move |record| record.event.click_id.as_ref() == Some(&click))
    }

    /// The events of some ids that are meant: hashes in keys can collide. Damaged ones are left out, and logged.
    fn events<'r>(
        &'r self,
        ids: impl Iterator<Item = Result<EventId, OutboxError>> + Send + 'r,
        is_meant: impl Fn(&EventRecord) -> bool + Send + 'r,
    ) -> Found<'r> {
        Box::new(ids.filter_map(move |id| {
            let id = match id {
                Ok(id) => id,
                Err(error) => return Some(Err(error)),
            };
            match self.event(id) {
                Ok(found) => found.filter(&is_meant).map(|record| Ok((id, record))),
                Err(error @ OutboxError::Corrupt { .. }) => {
                    tracing::error!(event = %id, %error, "an event is left out");
                    None
                }
                Err(error) => Some(Err(error)),
            }
        }))
    }
}

impl From {
    fn meets(self, event: EventId) -> bool {
        match self {
            Self::Oldest(first) => event >= first,
            Self::Newest(last) => last.is_none_or(|last| event <= last),
        }
    }
}
