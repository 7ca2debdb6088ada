//! Cursors: where the next page of a list begins.
//!
//! A cursor says all that is needed to go on, so that it works also when what it names is gone by then.

use std::fmt;
use std::str::FromStr;

use super::filter::InvalidFilter;
use crate::domain::id::DeliveryId;
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
