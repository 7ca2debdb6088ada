//! Cursors: where the next page of a list begins.
//!
//! A cursor says all that is needed to go on, so that it works also when what it names is gone by then.

use std::fmt;
use std::str::FromStr;

use super::filter::{Direction, InvalidFilter};
use crate::domain::id::{DeliveryId, EventId};
use crate::outbox::PostbackNo;

/// A place in a list of deliveries: behind one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The delivery.
    pub(super) id: DeliveryId,
    /// The number of its postback, in lists that go postback by postback.
    pub(super) postback: Option<PostbackNo>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.postback {
            None => write!(f, "{}", self.id),
            Some(number) => write!(f, "{}.{number}", self.id),
        }
    }
}

impl Cursor {
    /// Reads a cursor; the id of a delivery is one, too.
    ///
    /// # Errors
    /// When it is neither.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidFilter> {
        let (id, postback) = match text.split_once('.') {
            None => (text, None),
            Some((id, number)) => (id, Some(number)),
        };
        let postback = postback.map(PostbackNo::from_str).transpose().map_err(|why| invalid(text, &why))?;
        Ok(Self { id: id.parse().map_err(|why| invalid(text, &why))?, postback })
    }

    /// A place before it, as the list goes, that does not tell at which moment there was an event.
    fn blurred(self, direction: Direction) -> Self {
        const MILLISECOND: u64 = 1_000;
        let micros = self.id.event.as_u64();
        let begins = micros - micros % MILLISECOND;
        // No delivery has this ordinal.
        let event = match direction {
            Direction::Newest => begins.saturating_add(MILLISECOND - 1),
            Direction::Oldest => begins.saturating_sub(1),
        };
        let id = DeliveryId { event: EventId::from_u64(event), ordinal: u16::MAX };
        Self { id, postback: None }
    }
}

/// How far a page of a list has come. Looks at what the onlooker may not see count, but do not tell him of it.
#[derive(Debug)]
pub(super) struct Trail {
    direction: Direction,
    after: Option<Cursor>,
    /// The last place that the onlooker may know of.
    seen: Option<Cursor>,
    /// The last place looked at.
    done: Option<Cursor>,
}

impl Trail {
    /// A page that begins behind a cursor, or with the list.
    pub(super) fn new(direction: Direction, after: Option<Cursor>) -> Self {
        Self { direction, after, seen: None, done: None }
    }

    /// A place was looked at.
    pub(super) fn pass(&mut self, place: Cursor, visible: bool) {
        self.done = Some(place);
        if visible {
            self.seen = self.done;
        }
    }

    /// The last place that the onlooker may know of.
    pub(super) fn seen(&self) -> Option<Cursor> {
        self.seen
    }

    /// Where the next page begins. What the onlooker may not see is not told by it.
    pub(super) fn resume(&self) -> Option<Cursor> {
        let done = self.done?;
        // Lists that go postback by postback come by what the onlooker may see only.
        if self.seen == self.done || done.postback.is_some() {
            return Some(done);
        }
        let is_further = |place: Cursor, than: Cursor| match self.direction {
            Direction::Newest => place.id < than.id,
            Direction::Oldest => place.id > than.id,
        };
        let blurred = done.blurred(self.direction);
        let untold = self.seen.filter(|seen| is_further(*seen, blurred)).unwrap_or(blurred);
        // A page that came no further would be asked for for ever.
        Some(if self.after.is_none_or(|after| is_further(untold, after)) { untold } else { done })
    }
}

/// The fault of a cursor.
pub(super) fn invalid(text: &str, why: &dyn fmt::Display) -> InvalidFilter {
    InvalidFilter { field: "cursor", value: text.into(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for text in ["dlv_00361eqgvzjp6000", "dlv_00361eqgvzjp6000.17"] {
            assert_eq!(Cursor::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "dlv_", "dlv_00361eqgvzjp6000.", "dlv_00361eqgvzjp6000.x", "17"] {
            assert_eq!(Cursor::parse(text).unwrap_err().field, "cursor", "{text}");
        }
    }
}
