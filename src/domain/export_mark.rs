//! Marks: how far a consumer of exports, such as finance, has taken what the outbox holds.
//!
//! A mark is a promise that everything that changed before a time is safely in the consumer's hands, so that
//! retention may delete it. It therefore never moves without the period that it covers, and never by accident.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::ConsumerName;

/// How long what happened may take until it is written down: the longest attempt takes 5 minutes, and its end waits for
/// the disk. A mark must not reach into it, or what is written down late would be in no export.
pub const SETTLING: Duration = Duration::from_mins(10);
/// Most consumers that have marks.
pub const MAX_MARKS: usize = 64;

/// How far a consumer has taken exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportMark {
    /// The time before which everything is exported.
    #[serde(with = "super::timestamp")]
    pub until: Timestamp,
    /// Rows of the export that set it.
    pub rows: u64,
    /// Who set it.
    pub by: String,
    /// When it was set.
    #[serde(with = "super::timestamp")]
    pub at: Timestamp,
}

/// A mark that somebody wants to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkRequest {
    /// The consumer.
    pub consumer: ConsumerName,
    /// Where the export began; `None` for the beginning of the store.
    pub since: Option<Timestamp>,
    /// Where it ended.
    pub until: Timestamp,
    /// Its rows.
    pub rows: u64,
    /// Who sets it.
    pub by: String,
    /// Whether the mark may go back, or leave a gap.
    pub force: bool,
}

/// Why a mark is not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkRefused {
    /// It reaches into what may still happen, or is not yet written down.
    #[error(
        "{until} is later than 10 minutes ago, and what happens until then may not be written down yet; end the export earlier, or wait"
    )]
    NotOver {
        /// The time of the mark.
        until: Timestamp,
    },
    /// The export begins elsewhere than where the last one ended.
    #[error("{consumer} has everything until {last}, and this export begins {begins}; begin where the last one ended")]
    Gap {
        /// The consumer.
        consumer: ConsumerName,
        /// Where the last one ended; the beginning where there was none.
        last: Edge,
        /// Where this one begins.
        begins: Edge,
    },
    /// It would take back what was marked before.
    #[error("{consumer} has everything until {last}, which is later than {until}; force it if that is meant")]
    Back {
        /// The consumer.
        consumer: ConsumerName,
        /// Its mark.
        last: Timestamp,
        /// The time asked for.
        until: Timestamp,
    },
    /// As many consumers have marks as may.
    #[error("{MAX_MARKS} consumers have marks, the most there can be; use one of their names")]
    TooMany,
}

/// An end of a period: a time, or the beginning of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge(pub Option<Timestamp>);

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(at) => write!(f, "{at}"),
            None => f.write_str("the beginning"),
        }
    }
}

/// The mark that a request leads to, where the consumer had `last` before and so many consumers have one.
///
/// # Errors
/// When the period is not over, does not begin where the last one ended, or would take the mark back.
pub fn set(
    request: MarkRequest,
    last: Option<&ExportMark>,
    consumers: usize,
    now: Timestamp,
) -> Result<ExportMark, MarkRefused> {
    let MarkRequest { consumer, since, until, rows, by, force } = request;
    let over = now.checked_sub(SETTLING).unwrap_or(Timestamp::MIN);
    if until > over {
        return Err(MarkRefused::NotOver { until });
    }
    if last.is_none() && consumers >= MAX_MARKS {
        return Err(MarkRefused::TooMany);
    }
    let reached = last.map(|mark| mark.until);
    if !force {
        if let Some(last) = reached.filter(|last| until < *last) {
            return Err(MarkRefused::Back { consumer, last, until });
        }
        if since != reached {
            return Err(MarkRefused::Gap { consumer, last: Edge(reached), begins: Edge(since) });
        }
    }
    Ok(ExportMark { until, rows, by, at: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn request(since: Option<i64>, until: i64, force: bool) -> MarkRequest {
        let consumer = ConsumerName::parse("finance").unwrap();
        MarkRequest { consumer, since: since.map(at), until: at(until), rows: 3, by: "ops".into(), force }
    }

    fn mark(until: i64) -> ExportMark {
        ExportMark { until: at(until), rows: 1, by: "ops".into(), at: at(until) }
    }

    #[test]
    fn a_mark_goes_on_where_the_last_one_ended_and_only_so() {
        let now = at(10 * HOUR);
        let set = |since, until, force, last: Option<i64>| {
            super::set(request(since, until, force), last.map(mark).as_ref(), 1, now)
        };
        let first = set(None, HOUR, false, None).unwrap();
        assert_eq!(first, ExportMark { until: at(HOUR), rows: 3, by: "ops".into(), at: now });
        assert_eq!(set(Some(HOUR), 2 * HOUR, false, Some(HOUR)).unwrap().until, at(2 * HOUR));
        assert!(set(Some(HOUR), HOUR, false, Some(HOUR)).is_ok(), "an empty period takes nothing back");
        assert!(matches!(set(Some(HOUR), 2 * HOUR, false, None), Err(MarkRefused::Gap { .. })));
        assert!(matches!(set(None, 2 * HOUR, false, Some(HOUR)), Err(MarkRefused::Gap { .. })));
        assert!(matches!(set(Some(HOUR + 1), 2 * HOUR, false, Some(HOUR)), Err(MarkRefused::Gap { .. })));
        assert!(matches!(set(None, HOUR - 1, false, Some(HOUR)), Err(MarkRefused::Back { .. })));
        assert_eq!(set(None, HOUR - 1, true, Some(HOUR)).unwrap().until, at(HOUR - 1));
    }

    #[test]
    fn a_mark_never_reaches_into_what_is_still_being_written_down() {
        let settling = i64::try_from(SETTLING.as_secs()).unwrap();
        let set = |until, force| super::set(request(None, until, force), None, 0, at(10 * HOUR));
        assert!(set(10 * HOUR - settling, false).is_ok());
        for force in [false, true] {
            let refused = set(10 * HOUR - settling + 1, force);
            assert!(matches!(refused, Err(MarkRefused::NotOver { .. })), "force: {force}");
        }
    }

    #[test]
    fn the_number_of_consumers_is_bounded() {
        let set = |last: Option<&ExportMark>| super::set(request(None, HOUR, true), last, MAX_MARKS, at(10 * HOUR));
        assert_eq!(set(None), Err(MarkRefused::TooMany));
        assert!(set(Some(&mark(HOUR))).is_ok());
    }
}
