//! Identifiers: what names an event, a delivery, an affiliate, a postback, a transaction and a click.
//!
//! Ids that we give are time-ordered integers shown in Crockford base 32 behind a prefix. Names that
//! others give are checked text. Two of them can never be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use smol_str::{SmolStr, format_smolstr};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const EVENT_DIGITS: usize = 13;
const DELIVERY_DIGITS: usize = 16;

/// Why a text is not one of our identifiers or names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text does not start with the prefix of this kind of id.
    #[error("an id of this kind starts with \"{0}\"")]
    Prefix(&'static str),
    /// The text has the wrong length or a character outside the base 32 alphabet.
    #[error("an id has {0} characters of 0-9 and a-z (without i, l, o, u) behind its prefix")]
    Digits(usize),
    /// A name is empty.
    #[error("must not be empty")]
    Empty,
    /// A name is longer than its limit.
    #[error("has {length} characters, at most {limit} are allowed")]
    TooLong {
        /// Characters found.
        length: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// A name holds a character that is not allowed.
    #[error("character {0:?} is not allowed here")]
    Character(char),
}

/// Names one accepted event: microseconds since 1970 at acceptance, made unique and strictly rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(u64);

impl EventId {
    /// The smallest id: a bound for scans.
    pub const MIN: Self = Self(0);
    /// The largest id: a bound for scans.
    pub const MAX: Self = Self(u64::MAX);

    /// Makes an id of its number.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The id's number, in the order of acceptance.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id of an event accepted at `now`, later than `self`, the id given last.
    ///
    /// Rises by one where the clock stands still or has been set back.
    #[must_use]
    pub fn next(self, now: jiff::Timestamp) -> Self {
        let micros = u64::try_from(now.as_microsecond()).unwrap_or(0);
        Self(micros.max(self.0.saturating_add(1)))
    }

    /// The id behind this one in order, a bound for scans that go on.
    #[must_use]
    pub fn successor(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<EVENT_DIGITS>(f, "evt_", u128::from(self.0))
    }
}

impl FromStr for EventId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix("evt_").ok_or(InvalidId::Prefix("evt_"))?;
        let number = decode(digits, EVENT_DIGITS)?;
        u64::try_from(number).map(Self).map_err(|_| InvalidId::Digits(EVENT_DIGITS))
    }
}

/// Names one delivery: its event, and its place in the event's plan.
///
/// Its text is also the delivery's idempotency key: the same on every attempt, replays included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The event that is delivered.
    pub event: EventId,
    /// The delivery's place in the event's plan, from 0.
    pub ordinal: u16,
}

impl DeliveryId {
    /// Comes before all others.
    pub const MIN: Self = Self { event: EventId::MIN, ordinal: 0 };
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = (u128::from(self.event.0) << 16) | u128::from(self.ordinal);
        write_id::<DELIVERY_DIGITS>(f, "dlv_", number)
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix("dlv_").ok_or(InvalidId::Prefix("dlv_"))?;
        let number = decode(digits, DELIVERY_DIGITS)?;
        let event = u64::try_from(number >> 16).map_err(|_| InvalidId::Digits(DELIVERY_DIGITS))?;
        let ordinal = u16::try_from(number & 0xffff).map_err(|_| InvalidId::Digits(DELIVERY_DIGITS))?;
        Ok(Self { event: EventId(event), ordinal })
    }
}

/// Names one bulk order: microseconds since 1970 when it was given, made unique and strictly rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(u64);

impl BulkId {
    /// Makes an id of its number.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The id's number, in the order in which orders were given.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id::<EVENT_DIGITS>(f, "ord_", u128::from(self.0))
    }
}

impl FromStr for BulkId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix("ord_").ok_or(InvalidId::Prefix("ord_"))?;
        let number = decode(digits, EVENT_DIGITS)?;
        u64::try_from(number).map(Self).map_err(|_| InvalidId::Digits(EVENT_DIGITS))
    }
}

impl Serialize for BulkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for BulkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(serde::de::Error::custom);
        }
        u64::deserialize(deserializer).map(Self)
    }
}

/// Writes a prefix and so many digits of a number.
fn write_id<const DIGITS: usize>(f: &mut fmt::Formatter<'_>, prefix: &str, mut number: u128) -> fmt::Result {
    let mut text = [b'0'; DIGITS];
    for digit in text.iter_mut().rev() {
        let index = usize::try_from(number & 31).unwrap_or_default();
        *digit = ALPHABET.get(index).copied().unwrap_or(b'0');
        number >>= 5;
    }
    f.write_str(prefix)?;
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn decode(text: &str, digits: usize) -> Result<u128, InvalidId> {
    if text.len() != digits {
        return Err(InvalidId::Digits(digits));
    }
    text.bytes().try_fold(0_u128, |number, byte| {
        let value =
            ALPHABET.iter().position(|&digit| digit == byte.to_ascii_lowercase()).ok_or(InvalidId::Digits(digits))?;
        Ok((number << 5) | value as u128)
    })
}

/// Checks a name that somebody else gave: not empty, bounded, no control characters or white space at its ends.
fn check_name(text: &str, limit: usize, allowed: fn(char) -> bool) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    let length = text.chars().count();
    if length > limit {
        return Err(InvalidId::TooLong { length, limit });
    }
    match text.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(InvalidId::Character(c)),
        None => Ok(()),
    }
}

fn slug(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn opaque(c: char) -> bool {
    !c.is_control() && !c.is_whitespace()
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $limit:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(SmolStr);

        impl $type {
            /// Longest allowed name, in characters.
            pub const LIMIT: usize = $limit;

            /// Checks the text and makes a name of it.
            ///
            /// # Errors
            /// When it is empty, too long, or holds a character that is not allowed.
            pub fn parse(text: impl Into<SmolStr>) -> Result<Self, InvalidId> {
                let text = text.into();
                check_name(&text, Self::LIMIT, $allowed)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.into()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(SmolStr::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl FromStr for $type {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Names an affiliate, as in its configuration file: letters, digits, `-`, `_`, `.`.
    AffiliateId,
    64,
    slug
);
name!(
    /// Names a postback within its affiliate: letters, digits, `-`, `_`, `.`.
    PostbackName,
    64,
    slug
);
name!(
    /// Names an order lane of an affiliate. Postbacks in different lanes need no common order.
    LaneName,
    64,
    slug
);
name!(
    /// Who takes exports and marks how far they reach, such as `finance`: letters, digits, `-`, `_`, `.`.
    ConsumerName,
    64,
    slug
);
name!(
    /// A type of event in the operator's dictionary, such as `ftd`.
    EventType,
    64,
    slug
);
name!(
    /// The operator's own name of a transaction. Opaque; no white space or control characters.
    TransactionId,
    128,
    opaque
);
name!(
    /// The affiliate's name of the click that led to the conversion. Opaque.
    ClickId,
    512,
    opaque
);
name!(
    /// The operator's name of an offer. Opaque.
    OfferId,
    128,
    opaque
);

impl TransactionId {
    /// A name for the transaction of an event that came without one. A click too long for it is named by its hash.
    pub fn of_click(kind: &EventType, click: &ClickId) -> Self {
        const ROOM: usize = 32;
        let named = format_smolstr!("click:{kind}:{click}");
        if named.chars().count() + ROOM <= Self::LIMIT {
            return Self(named);
        }
        let hash = hex::encode(Sha256::digest(click.as_str()));
        let kind: String = kind.as_str().chars().take(ROOM - "click::".len()).collect();
        Self(format_smolstr!("click:{kind}:{hash}"))
    }

    /// The root of an order group for such transactions: one for each first event of a time of the click.
    #[must_use]
    pub fn opened_by(&self, first: EventId) -> Self {
        Self(format_smolstr!("{self}@{first}"))
    }
}

/// Names one postback of one affiliate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PostbackRef {
    /// The affiliate that is told.
    pub affiliate: AffiliateId,
    /// Its postback.
    pub postback: PostbackName,
}

impl fmt::Display for PostbackRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.affiliate, self.postback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text() {
        for number in [0, 1, 1_763_632_800_000_000, u64::MAX] {
            let event = EventId(number);
            assert_eq!(event.to_string().parse(), Ok(event));
            let delivery = DeliveryId { event, ordinal: 517 };
            assert_eq!(delivery.to_string().parse(), Ok(delivery));
        }
    }

    #[test]
    fn text_order_is_id_order() {
        let early = DeliveryId { event: EventId(99), ordinal: 65_535 };
        let late = DeliveryId { event: EventId(100), ordinal: 0 };
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn an_id_rises_when_the_clock_goes_back() {
        let first = EventId::MIN.next(jiff::Timestamp::from_second(1_000).unwrap());
        let second = first.next(jiff::Timestamp::from_second(10).unwrap());
        assert_eq!(second.as_u64(), first.as_u64() + 1);
    }

    #[test]
    fn foreign_text_is_refused() {
        assert_eq!("dlv_0".parse::<EventId>(), Err(InvalidId::Prefix("evt_")));
        assert_eq!("evt_0".parse::<EventId>(), Err(InvalidId::Digits(13)));
        assert_eq!("evt_uuuuuuuuuuuuu".parse::<EventId>(), Err(InvalidId::Digits(13)));
        assert_eq!(AffiliateId::parse("a/b"), Err(InvalidId::Character('/')));
        assert_eq!(TransactionId::parse("a\r\nb"), Err(InvalidId::Character('\r')));
        assert_eq!(ClickId::parse(""), Err(InvalidId::Empty));
    }
}
