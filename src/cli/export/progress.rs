//! Shows how much of the time that an export covers is behind it.

use jiff::Timestamp;

use crate::cli::output::{Output, Unit};
use crate::inspect::DeliveryFilter;
use crate::ops::clock::{Clock, SystemClock};

/// The progress of an export, by the times of acceptance that its walk comes by.
pub(super) struct Progress<'o> {
    output: &'o Output,
    from: Option<Timestamp>,
    to: Timestamp,
}

impl<'o> Progress<'o> {
    pub(super) fn new(output: &'o Output, filter: &DeliveryFilter) -> Self {
        let now = SystemClock.now();
        Self { output, from: None, to: filter.until.map_or(now, |until| until.min(now)) }
    }

    /// The walk has come to a time, with so many rows.
    pub(super) fn came_to(&mut self, reached: Option<Timestamp>, rows: u64) {
        let Some(reached) = reached else { return };
        let seconds = |from: Timestamp, to: Timestamp| u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0);
        let from = *self.from.get_or_insert_with(|| {
            self.output.begin(Some(seconds(reached, self.to).max(1)), Unit::Time);
            reached
        });
        self.output.proceed(seconds(from, reached), format!("{rows} rows, accepted until {reached:.0}"));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.output.end();
    }
}
