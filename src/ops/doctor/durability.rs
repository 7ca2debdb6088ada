//! How long the disk takes to make a write durable: what every accepted event waits for.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::directory::nearest;
use super::{About, Finding};
use crate::ops::clock::monotonic;

/// The check.
pub const ABOUT: About = About {
    name: "fsync",
    looks_at: "200 appends of 4 KiB, each followed by fdatasync, in a file beside the store: warns above 5 ms for half of them, fails above 50 ms",
    remedy: "use a local SSD with power-loss protection; move whatever else writes to that disk; hand events in by batches, which share one sync",
};

/// How often is written.
const TIMES: usize = 200;
/// Bytes of each write.
const BLOCK: [u8; 4_096] = [0x5a; 4_096];
/// Longest that is measured in all: a disk that is slower has said enough.
const LONGEST: Duration = Duration::from_secs(20);
/// Above this, half of the writes are too slow to be comfortable.
const SLOW: Duration = Duration::from_millis(5);
/// Above this, they are too slow to work with.
const TOO_SLOW: Duration = Duration::from_millis(50);

/// How long writes took to become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of them took at most this.
    pub p50: Duration,
    /// Of a hundred, ninety-nine took at most this.
    pub p99: Duration,
}

/// Measures where the directory is or would be; the file is removed behind it.
///
/// # Errors
/// When nothing can be written there.
pub fn measure(directory: &Path) -> io::Result<Latency> {
    let mut file = tempfile::Builder::new().prefix(".postbackd-doctor-").tempfile_in(nearest(directory))?;
    let began = monotonic();
    let mut times = Vec::with_capacity(TIMES);
    while times.len() < TIMES && monotonic().duration_since(began) < LONGEST {
        let before = monotonic();
        file.write_all(&BLOCK)?;
        file.as_file().sync_data()?;
        times.push(monotonic().duration_since(before));
    }
    file.close()?;
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(LONGEST);
    Ok(Latency { p50: at(50), p99: at(99) })
}

/// Judges how long writes take.
pub fn judge(latency: Latency) -> Finding {
    let Latency { p50, p99 } = latency;
    let each = 1_000_000 / p50.as_micros().max(1);
    let found = format!(
        "half of all writes are durable within {}, 99 % within {}: a producer that waits for each answer hands in about {each} events/s",
        shown(p50),
        shown(p99),
    );
    if p50 > TOO_SLOW {
        Finding::failure(ABOUT.name, found, ABOUT.remedy)
    } else if p50 > SLOW {
        Finding::warning(ABOUT.name, found, ABOUT.remedy)
    } else {
        Finding::ok(ABOUT.name, found)
    }
}

fn shown(time: Duration) -> String {
    format!("{}.{:02} ms", time.as_millis(), time.as_micros() % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    #[test]
    fn the_half_of_all_writes_decides() {
        let table = [
            (900, Level::Ok, "1111 events/s"),
            (5_000, Level::Ok, "5.00 ms"),
            (5_001, Level::Warning, "199 events/s"),
            (50_000, Level::Warning, "50.00 ms"),
            (50_001, Level::Failure, "19 events/s"),
        ];
        for (micros, level, words) in table {
            let p50 = Duration::from_micros(micros);
            let finding = judge(Latency { p50, p99: p50 * 3 });
            assert!(finding.level == level && finding.found.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let place = tempfile::tempdir().unwrap();
        let latency = measure(place.path()).unwrap();
        assert!(latency.p50 > Duration::ZERO && latency.p50 <= latency.p99);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
