//! The breaker of an affiliate: stops sending to a receiver that fails, and probes whether it is back.
//!
//! Pure: the time comes in as an argument.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::affiliate::BreakerPolicy;
use crate::domain::outcome::Health;
use crate::domain::retry::after;

/// Whether sends may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// They may.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// They may not before a time; then one probe goes out.
    Open {
        /// When the next probe may go out.
        until: Timestamp,
        /// How long it was opened for last.
        waited: Duration,
    },
    /// One probe is out.
    HalfOpen {
        /// How long it was opened for last.
        waited: Duration,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// The state's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Notes that a send goes out.
    #[must_use]
    pub fn sent(self, now: Timestamp) -> Self {
        match self {
            Self::Open { until, waited } if now >= until => Self::HalfOpen { waited },
            Self::Closed { .. } | Self::Open { .. } | Self::HalfOpen { .. } => self,
        }
    }

    /// Notes what a send came to.
    #[must_use]
    pub fn ended(self, health: Health, policy: BreakerPolicy, now: Timestamp) -> Self {
        let open = |waited: Duration| Self::Open { until: after(now, waited), waited };
        match (self, health) {
            (_, Health::Good) => Self::Closed { failures: 0 },
            (Self::Closed { failures }, Health::Bad) if failures + 1 >= policy.failures => open(policy.open),
            (Self::Closed { failures }, Health::Bad) => Self::Closed { failures: failures + 1 },
            (Self::HalfOpen { waited }, Health::Bad) => open(waited.saturating_mul(2).min(policy.max_open)),
            (Self::HalfOpen { waited }, Health::Unknown) => Self::Open { until: now, waited },
            (Self::Open { .. }, Health::Bad | Health::Unknown) | (Self::Closed { .. }, Health::Unknown) => self,
        }
    }

    /// Cuts its wait to the longest that could begin now: the policy changed, or the clock was set back.
    #[must_use]
    pub fn bounded(self, policy: BreakerPolicy, now: Timestamp) -> Self {
        match self {
            Self::Open { until, waited } => {
                let waited = waited.min(policy.max_open);
                Self::Open { until: until.min(after(now, waited)), waited }
            }
            Self::HalfOpen { waited } => Self::HalfOpen { waited: waited.min(policy.max_open) },
            Self::Closed { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { failures: 3, open: Duration::from_secs(10), max_open: Duration::from_secs(15) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_a_success() {
        let mut breaker = Breaker::default();
        for health in [Health::Bad, Health::Bad, Health::Good, Health::Bad, Health::Unknown, Health::Bad] {
            breaker = breaker.ended(health, POLICY, at(0));
            assert_eq!(breaker.name(), "closed");
        }
        breaker = breaker.ended(Health::Bad, POLICY, at(0));
        assert_eq!(breaker, Breaker::Open { until: at(10), waited: Duration::from_secs(10) });
        assert_eq!(breaker.ended(Health::Bad, POLICY, at(5)), breaker, "what was in flight does not prolong it");
        assert_eq!(breaker.ended(Health::Good, POLICY, at(5)), Breaker::default());
    }

    #[test]
    fn a_failed_probe_doubles_the_wait_up_to_its_bound() {
        let open = Breaker::Open { until: at(10), waited: Duration::from_secs(10) };
        assert_eq!(open.sent(at(9)), open);
        let probing = open.sent(at(10));
        assert_eq!(probing.name(), "half_open");
        let longer = probing.ended(Health::Bad, POLICY, at(11));
        assert_eq!(longer, Breaker::Open { until: at(26), waited: Duration::from_secs(15) });
        assert_eq!(probing.ended(Health::Good, POLICY, at(11)), Breaker::default());
        assert_eq!(probing.ended(Health::Unknown, POLICY, at(11)).sent(at(11)).name(), "half_open");
    }

    #[test]
    fn a_wait_is_no_longer_than_one_that_begins_now() {
        let open = Breaker::Open { until: at(7_210), waited: Duration::from_secs(10) };
        assert_eq!(open.bounded(POLICY, at(7_205)), open);
        let now = Breaker::Open { until: at(20), waited: Duration::from_secs(10) };
        assert_eq!(open.bounded(POLICY, at(10)), now, "the clock was set back by two hours");
        let shorter = BreakerPolicy { max_open: Duration::from_secs(2), ..POLICY };
        assert_eq!(now.bounded(shorter, at(10)), Breaker::Open { until: at(12), waited: Duration::from_secs(2) });
    }
}
