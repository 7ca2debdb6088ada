//! An affiliate: who is told, through which postbacks and within which limits.

use std::sync::Arc;
use std::time::Duration;

use super::id::AffiliateId;
use super::postback::Postback;

/// A partner who is told of conversions.
#[derive(Debug, Clone)]
pub struct Affiliate {
    /// Its id, as events name it.
    pub id: AffiliateId,
    /// Its name for people.
    pub name: String,
    /// Whether it hears of every affiliate's events.
    pub global: bool,
    /// Limits over all its postbacks.
    pub limits: Limits,
    /// Its postbacks, in the order of its file.
    pub postbacks: Vec<Arc<Postback>>,
}

/// Limits over all postbacks of an affiliate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Most attempts in flight at once.
    pub concurrency: u32,
    /// Most attempts begun in a time.
    pub rate: Option<Rate>,
    /// When to stop sending to a receiver that fails.
    pub breaker: Option<BreakerPolicy>,
}

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl Rate {
    /// The time between two sends at an even pace.
    pub fn interval(self) -> Duration {
        (self.per / self.count.max(1)).max(Duration::from_nanos(1))
    }
}

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open at first; doubles with each failed probe.
    pub open: Duration,
    /// Longest it stays open between two probes.
    pub max_open: Duration,
}
