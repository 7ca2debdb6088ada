//! `Retry-After`: whatever a receiver asks for is bounded, only delays, and is read as it was meant.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Pieces, now};
use crate::domain::delivery::{Conclusion, Delivery, State};
use crate::domain::outcome::{Response, conclude, judge};
use crate::domain::retry::{Jitter, MAX_RETRY_AFTER, RetryPolicy, after, parse_retry_after};

/// The step of the schedule that is tried.
const STEP: Duration = Duration::from_secs(30);

/// The first piece is the header, the second the seconds since 1970 at which it is read.
pub(super) fn retry_after(input: &[u8]) {
    let pieces = Pieces::of(input);
    let at = pieces.text(1).trim().parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = at.unwrap_or_else(now);
    let header = pieces.text(0);
    let wait = parse_retry_after(&header, at);
    assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER), "{wait:?} is longer than may be asked for");
    if let Ok(seconds) = header.trim().parse::<u64>() {
        let plain = header.trim().len() <= 10 && !header.trim().starts_with('+');
        let meant = plain.then(|| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        assert_eq!(wait, meant, "{header:?} is a number of seconds");
    }
    only_delays(wait, at);
    if let Some(wait) = wait {
        as_date(wait, at);
    }
}

/// An answer with the wait is followed by an attempt no earlier than without it, and no earlier than was asked for.
fn only_delays(wait: Option<Duration>, at: Timestamp) {
    let policy = RetryPolicy::explicit(vec![STEP; 2], Jitter::None);
    let delivery = Delivery { state: State::InFlight { since: at }, made: 0, spent: 0 };
    let due = |status, retry_after| {
        let response = Response { status, content_type: None, retry_after, body: b"", over_cap: false };
        match conclude(&judge(&response, &[], true), &delivery, &policy, true, at, 0.0) {
            Conclusion::Again { due, .. } => due,
            other => panic!("{status} is followed by {other:?}"),
        }
    };
    let earliest = after(at, wait.unwrap_or_default());
    for status in [302, 404, 429, 500, 503] {
        let due = due(status, wait);
        assert!(due >= earliest, "{status}: {due} is earlier than asked for, {earliest}");
        assert!(due <= after(at, MAX_RETRY_AFTER), "{status}: {due} is too late");
    }
    assert!(due(500, wait) >= due(500, None), "the receiver made an attempt come earlier");
}

/// The same wait as a date (RFC 9110, section 5.6.7) is read as the same wait.
fn as_date(wait: Duration, at: Timestamp) {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let Ok(then) = whole.checked_add(Duration::from_secs(wait.as_secs())) else { return };
    let year = then.to_zoned(TimeZone::UTC).year();
    if (1970..=9999).contains(&year) {
        let date = then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert_eq!(parse_retry_after(&date, whole), Some(Duration::from_secs(wait.as_secs())), "{date}");
    }
}
