//! Is the space of what retention deletes used again? Events come and go for long, while the same number is kept.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::{BenchError, BenchOptions, stored};
use crate::domain::id::EventId;
use crate::domain::retention::{Exported, Pressure, RetentionPolicy, SizeLimits};
use crate::ops::clock::monotonic;
use crate::ops::metrics::resident_bytes;
use crate::outbox::Outbox;

/// Events that come before as many go.
const ROUND: usize = 5_000;
/// Events that go in one commit, as retention deletes them.
const GO_AT_ONCE: usize = 128;
/// Rows of the table.
const SAMPLES: usize = 20;
/// Everything that is settled may go.
const AT_ONCE: RetentionPolicy = RetentionPolicy {
    delivered: Duration::ZERO,
    dead: Duration::ZERO,
    exported: Exported::NotAsked,
    sizes: SizeLimits { delivered: None, dead: None },
    pressure: Pressure { delivered: false, dead: false },
};

/// How large everything was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Events that came so far.
    pub came: usize,
    /// Events that are there.
    pub live: usize,
    /// Bytes of the store on disk, in the mean since the sample before: an engine that writes ahead and merges later takes more
    /// and less from moment to moment.
    pub disk_bytes: u64,
    /// The most of them at once.
    pub most_disk_bytes: u64,
    /// Bytes of records.
    pub record_bytes: u64,
    /// Bytes of memory that the process holds.
    pub resident_bytes: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Churn {
    /// The store over time.
    pub samples: Vec<Sample>,
    /// Events that came and went, a second.
    pub per_second: f64,
    /// The largest mean size on disk in the second half of the run by the smallest.
    pub growth: f64,
    /// The most that was on disk in the second half by what was in the first.
    pub growth_of_most: f64,
}

/// Lets events come and go.
///
/// # Errors
/// When the store fails.
pub async fn run(options: &BenchOptions, events: usize, live: usize, say: &dyn Fn(&str)) -> Result<Churn, BenchError> {
    let outbox = super::open(&options.directory.join("churn"), options.engine)?;
    let mut kept: VecDeque<EventId> = VecDeque::new();
    let mut samples: Vec<Sample> = Vec::new();
    let mut sizes = Vec::new();
    let started = monotonic();
    for first in (0..events).step_by(ROUND) {
        let came = events.min(first + ROUND);
        kept.extend(stored::fill(&outbox, first..came, None).await?.into_iter().map(|id| id.event));
        retire(&outbox, &mut kept, live).await?;
        sizes.push(outbox.reader().disk_bytes()?);
        if came * SAMPLES / events > samples.len() {
            samples.push(Sample {
                came,
                live: kept.len(),
                disk_bytes: sizes.iter().sum::<u64>() / sizes.len() as u64,
                most_disk_bytes: sizes.drain(..).max().unwrap_or_default(),
                record_bytes: outbox.reader().record_bytes(),
                resident_bytes: resident_bytes().unwrap_or_default(),
            });
            say(&format!("{came} of {events} came, {} are kept", kept.len()));
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = events as f64 / monotonic().duration_since(started).as_secs_f64().max(f64::EPSILON);
    outbox.close().await;
    Ok(Churn { per_second, growth: growth(&samples), growth_of_most: growth_of_most(&samples), samples })
}

async fn retire(outbox: &Outbox, kept: &mut VecDeque<EventId>, live: usize) -> Result<(), BenchError> {
    while kept.len() > live {
        let count = GO_AT_ONCE.min(kept.len() - live);
        let gone = kept.drain(..count).collect();
        outbox.retire(gone, AT_ONCE).await?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
fn growth(samples: &[Sample]) -> f64 {
    let second_half = samples.iter().skip(samples.len() / 2).map(|sample| sample.disk_bytes);
    let (least, most) = second_half.fold((u64::MAX, 0), |(least, most), bytes| (least.min(bytes), most.max(bytes)));
    most as f64 / least.max(1) as f64
}

#[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
fn growth_of_most(samples: &[Sample]) -> f64 {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |samples: &[Sample]| samples.iter().map(|sample| sample.most_disk_bytes).max().unwrap_or_default();
    most(second) as f64 / most(first).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_second_half() {
        let sample = |(disk_bytes, most_disk_bytes)| Sample {
            came: 0,
            live: 0,
            disk_bytes,
            most_disk_bytes,
            record_bytes: 0,
            resident_bytes: 0,
        };
        let samples = [(10, 80), (40, 60), (50, 90), (40, 100)].map(sample);
        assert_eq!((growth(&samples), growth_of_most(&samples)), (1.25, 1.25));
    }
}
