//! Places in an export: how far its walk over events, their deliveries and their histories has come.

use std::fmt;

use jiff::Timestamp;

use crate::domain::id::{DeliveryId, EventId};
use crate::inspect::cursor::invalid;
use crate::inspect::filter::InvalidFilter;

/// A place: everything up to it is done. Places sort as the walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    delivery: DeliveryId,
    entry: u32,
}

impl Place {
    /// Behind an event with all of its deliveries.
    pub(super) fn behind_event(event: EventId) -> Self {
        Self::behind_delivery(DeliveryId { event, ordinal: u16::MAX })
    }

    /// Behind a delivery with all of its history.
    pub(super) fn behind_delivery(delivery: DeliveryId) -> Self {
        Self { delivery, entry: u32::MAX }
    }

    /// Behind an entry of a delivery's history.
    pub(super) fn behind_entry(delivery: DeliveryId, entry: u32) -> Self {
        Self { delivery, entry }
    }

    /// The event that it is in.
    pub(super) fn event(self) -> EventId {
        self.delivery.event
    }

    /// When the event that it is in was accepted.
    pub(super) fn time(self) -> Option<Timestamp> {
        i64::try_from(self.event().as_u64()).ok().and_then(|at| Timestamp::from_microsecond(at).ok())
    }

    /// The first entry of a delivery's history that is behind this place.
    pub(super) fn first_entry(self, delivery: DeliveryId) -> u32 {
        if self.delivery == delivery { self.entry.saturating_add(1) } else { 0 }
    }

    /// A place before it that does not tell at which moment there was an event.
    pub(super) fn blurred(self) -> Self {
        const MILLISECOND: u64 = 1_000;
        let micros = self.delivery.event.as_u64();
        Self::behind_event(EventId::from_u64((micros - micros % MILLISECOND).saturating_sub(1)))
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidFilter> {
        let unlike = || invalid(text, &"is no cursor of an export");
        let (delivery, entry) = text.split_once('.').ok_or_else(unlike)?;
        let delivery = delivery.parse().map_err(|why| invalid(text, &why))?;
        Ok(Self { delivery, entry: entry.parse().map_err(|why| invalid(text, &why))? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.delivery, self.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_sort_as_the_walk_goes_and_are_read_as_they_were_written() {
        let delivery = DeliveryId { event: EventId::from_u64(1_790_000_000_123_456), ordinal: 3 };
        let places = [
            Place::behind_event(delivery.event).blurred(),
            Place::behind_entry(delivery, 0),
            Place::behind_entry(delivery, 7),
            Place::behind_delivery(delivery),
            Place::behind_delivery(DeliveryId { ordinal: 4, ..delivery }),
            Place::behind_event(delivery.event),
            Place::behind_entry(DeliveryId { event: delivery.event.successor(), ordinal: 0 }, 0),
        ];
        assert!(places.is_sorted());
        for place in places {
            assert_eq!(Place::parse(&place.to_string()), Ok(place));
        }
        for text in ["", "dlv_00361eqgvzjp6000", "dlv_00361eqgvzjp6000.x", "evt_1.2"] {
            assert_eq!(Place::parse(text).unwrap_err().field, "cursor", "{text}");
        }
        assert_eq!(places[2].first_entry(delivery), 8);
        assert_eq!(places[2].first_entry(DeliveryId { ordinal: 4, ..delivery }), 0);
    }
}
