//! What the kernel tells of this process, by `/proc`. Where it does not tell (not Linux), nothing is shown.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// The process as the kernel sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    /// Seconds since 1970.
    pub(super) started: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// Asks the kernel.
    pub(super) fn look() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let clock = Clock::of(&stat, rustix::param::clock_ticks_per_second());
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // The directory that is being listed is one of the descriptors.
        let open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
        Self {
            cpu_seconds: clock.map(|clock| clock.used),
            started: clock.zip(booted(&boot)).map(|(clock, booted)| booted + clock.started),
            resident_bytes: resident(&status),
            open_fds,
            max_fds: open_fds.and_then(|_| getrlimit(Resource::Nofile).current),
        }
    }
}

/// Bytes of memory that this process holds.
pub fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// Times of a process, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Clock {
    used: f64,
    /// Since boot.
    started: f64,
}

impl Clock {
    /// Reads `/proc/PID/stat` (proc(5)): behind the name in parentheses, which may hold anything, the fields are
    /// separated by spaces; user time is the 14th of the line, system time the 15th, start the 22nd.
    #[allow(clippy::cast_precision_loss, reason = "ticks of a process stay far below 2^52")]
    fn of(stat: &str, ticks_per_second: u64) -> Option<Self> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        let seconds = |place: usize| -> Option<f64> {
            let ticks: u64 = fields.get(place - 3)?.parse().ok()?;
            Some(ticks as f64 / ticks_per_second as f64)
        };
        Some(Self { used: seconds(14)? + seconds(15)?, started: seconds(22)? })
    }
}

/// The time of boot in `/proc/stat`, in seconds since 1970.
fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The resident memory in `/proc/PID/status`.
fn resident(status: &str) -> Option<u64> {
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read_also_where_the_name_is_strange() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 8 0 12345 1 2 3";
        assert_eq!(Clock::of(stat, 100), Some(Clock { used: 3.0, started: 123.45 }));
        assert_eq!(Clock::of("", 100), None);
        assert_eq!(booted("cpu 1 2\nbtime 1763632800\nprocesses 9\n"), Some(1_763_632_800.0));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
    }
}
