//! How each affiliate's receivers did within about the last hour, for whoever looks without a time series at hand.
//!
//! Kept in memory in a fixed number of periods and buckets, so that it costs the same at any rate.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::id::AffiliateId;

/// Seconds of a period.
const PERIOD: i64 = 600;
/// Periods that are looked at: the last one has only begun.
const PERIODS: usize = 6;
/// The same, to be counted with.
const IN_ALL: i64 = 6;
/// Buckets of durations: each a quarter of a doubling wide, from a millisecond to two minutes.
const BUCKETS: usize = 68;
const SHORTEST_MICROS: f64 = 1_000.0;
const PER_DOUBLING: f64 = 4.0;

/// The attempts of about the last hour.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<BTreeMap<AffiliateId, [Period; PERIODS]>>);

#[derive(Debug, Clone, Copy)]
struct Period {
    number: i64,
    attempts: u64,
    succeeded: u64,
    durations: [u32; BUCKETS],
}

impl Default for Period {
    fn default() -> Self {
        Self { number: i64::MIN, attempts: 0, succeeded: 0, durations: [0; BUCKETS] }
    }
}

/// What came of an affiliate's attempts of about the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lately {
    /// Attempts made.
    pub attempts: u64,
    /// Attempts that ended as delivered or duplicate.
    pub succeeded: u64,
    /// Half of the requests took at most so long, to within a fifth.
    pub p50: Option<Duration>,
    /// Nineteen of twenty requests took at most so long, to within a fifth.
    pub p95: Option<Duration>,
}

impl Recent {
    /// Counts an attempt; one that sent nothing has no duration.
    pub(super) fn count(&self, affiliate: &AffiliateId, at: Timestamp, succeeded: bool, took: Option<Duration>) {
        let number = at.as_second().div_euclid(PERIOD);
        let mut affiliates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !affiliates.contains_key(affiliate) {
            affiliates.insert(affiliate.clone(), [Period::default(); PERIODS]);
        }
        let periods = affiliates.get_mut(affiliate);
        let Some(period) = periods.and_then(|periods| periods.get_mut(place(number))) else { return };
        if period.number != number {
            *period = Period { number, ..Period::default() };
        }
        period.attempts += 1;
        period.succeeded += u64::from(succeeded);
        if let Some(count) = took.and_then(|took| period.durations.get_mut(bucket(took))) {
            *count = count.saturating_add(1);
        }
    }

    /// How each affiliate that was sent anything did.
    pub(super) fn look(&self, now: Timestamp) -> BTreeMap<AffiliateId, Lately> {
        let last = now.as_second().div_euclid(PERIOD);
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        counted.into_iter().map(|(affiliate, periods)| (affiliate, lately(&periods, last))).collect()
    }
}

fn place(number: i64) -> usize {
    usize::try_from(number.rem_euclid(IN_ALL)).unwrap_or(0)
}

fn lately(periods: &[Period], last: i64) -> Lately {
    let first = last.saturating_sub(IN_ALL - 1);
    let mut lately = Lately::default();
    let mut durations = [0_u64; BUCKETS];
    for period in periods.iter().filter(|period| (first..=last).contains(&period.number)) {
        lately.attempts += period.attempts;
        lately.succeeded += period.succeeded;
        for (sum, count) in durations.iter_mut().zip(period.durations) {
            *sum += u64::from(count);
        }
    }
    lately.p50 = quantile(&durations, 50);
    lately.p95 = quantile(&durations, 95);
    lately
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the buckets there are")]
fn bucket(took: Duration) -> usize {
    let doublings = (took.as_secs_f64() * 1e6 / SHORTEST_MICROS).max(1.0).log2();
    ((doublings * PER_DOUBLING).ceil() as usize).min(BUCKETS - 1)
}

/// The upper bound of a bucket.
#[allow(clippy::cast_precision_loss, reason = "there are only some tens of buckets")]
fn bound(bucket: usize) -> Duration {
    Duration::from_secs_f64(SHORTEST_MICROS * (bucket as f64 / PER_DOUBLING).exp2() / 1e6)
}

fn quantile(durations: &[u64], percent: u64) -> Option<Duration> {
    let rank = (durations.iter().sum::<u64>() * percent).div_ceil(100);
    let mut seen = 0;
    let found = durations.iter().position(|count| {
        seen += count;
        rank > 0 && seen >= rank
    });
    found.map(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn acme(recent: &Recent, now: Timestamp) -> Lately {
        recent.look(now).remove(&"acme".parse::<AffiliateId>().unwrap()).unwrap_or_default()
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let recent = Recent::default();
        let affiliate = "acme".parse().unwrap();
        for (minute, succeeded) in [(0, true), (9, false), (10, true), (59, true)] {
            recent.count(&affiliate, at(minute * 60), succeeded, None);
        }
        let counted = |minute: i64| (acme(&recent, at(minute * 60)).attempts, acme(&recent, at(minute * 60)).succeeded);
        assert_eq!(counted(59), (4, 3));
        assert_eq!(counted(60), (2, 2), "the first ten minutes are over");
        assert_eq!(counted(110), (0, 0));
        // The places of what is over are taken again.
        recent.count(&affiliate, at(61 * 60), true, None);
        assert_eq!(counted(61), (3, 3));
    }

    #[test]
    fn quantiles_are_right_to_within_a_fifth() {
        let recent = Recent::default();
        let affiliate = "acme".parse().unwrap();
        for millis in 1..=1_000_u64 {
            recent.count(&affiliate, at(0), true, Some(Duration::from_millis(millis)));
        }
        let Lately { p50: Some(p50), p95: Some(p95), .. } = acme(&recent, at(0)) else { panic!("both are known") };
        assert!((500..=600).contains(&p50.as_millis()), "{p50:?}");
        assert!((950..=1_140).contains(&p95.as_millis()), "{p95:?}");
        recent.count(&affiliate, at(0), true, Some(Duration::from_hours(1)));
        assert_eq!(acme(&Recent::default(), at(0)).p50, None);
    }
}
