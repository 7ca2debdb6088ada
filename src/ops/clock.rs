//! The one place that reads a clock.
//!
//! Everything else is handed a [`Clock`] or a time, so that tests and simulations decide what time it is.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// A clock that can be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The monotonic clock, for durations only.
///
/// The runtime's, so that what is timed here agrees with the runtime's timers also where a simulation moves these.
#[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
pub fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}
