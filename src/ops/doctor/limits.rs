//! Whether the system grants what the configuration may ask for at its busiest: open files, memory.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::{About, Finding, bytes};

/// Open files.
pub const ABOUT_FILES: About = About {
    name: "open files",
    looks_at: "the limit of open files (the daemon's own while it is up) against `max_connections` and `in_flight`: warns where they may not all fit",
    remedy: "set LimitNOFILE= in the unit (`ulimit -n` in a shell), or lower `[api] max_connections` or `[dispatch] in_flight`",
};

/// Memory.
pub const ABOUT_MEMORY: About = About {
    name: "memory",
    looks_at: "the machine's memory, or the control group's limit, against `cache`, `max_buffered` and responses in flight: warns where they \
               take more than three quarters of it, fails where they do not fit",
    remedy: "lower `[outbox] cache` or `[ingest] max_buffered`, or give the machine more memory",
};

/// Files that are open beside connections: the store, the log, listeners, the runtime's own.
const OTHERS: u64 = 64;

/// What the configuration may need at its busiest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Connections of callers, on each of two listeners.
    pub connections: u64,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Bytes of pages of the store.
    pub cache: u64,
    /// Bytes of bodies.
    pub buffered: u64,
    /// Bytes of each response.
    pub response: u64,
}

/// The most files that this process could have open, as the daemon raises its limit to it; `None` for no limit.
pub fn measure_files() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Bytes of memory that there are for processes of the control group that the root of the file system shows.
pub fn measure_memory(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| total(&text));
    let group = read("sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// `MemTotal` of `/proc/meminfo` (proc(5)), in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// Judges the limit of open files.
pub fn judge_files(limit: Option<u64>, whose: &str, needs: Needs) -> Finding {
    let needed = 2 * needs.connections + needs.in_flight + OTHERS;
    match limit {
        Some(limit) if limit < needed => Finding::warning(
            ABOUT_FILES.name,
            format!("{whose} may open {limit}, up to {needed} may be needed: attempts fail for want of them"),
            ABOUT_FILES.remedy,
        ),
        Some(limit) => Finding::ok(ABOUT_FILES.name, format!("{whose} may open {limit}, up to {needed} may be needed")),
        None => Finding::ok(ABOUT_FILES.name, format!("{whose} may open any number, up to {needed} may be needed")),
    }
}

/// Judges the memory there is.
pub fn judge_memory(there: Option<u64>, needs: Needs) -> Finding {
    // A response is held as it came, and once more as it is recorded.
    let responses = needs.in_flight.saturating_mul(needs.response).saturating_mul(2);
    let needed = needs.cache.saturating_add(needs.buffered).saturating_add(responses);
    let Some(there) = there else {
        return Finding::warning(
            ABOUT_MEMORY.name,
            format!("the system does not tell how much there is, up to {} may be needed", bytes(needed)),
            "see to it that there is as much",
        );
    };
    let found = format!("{}, of which the configuration may take {}", bytes(there), bytes(needed));
    if needed > there {
        Finding::failure(ABOUT_MEMORY.name, found, ABOUT_MEMORY.remedy)
    } else if needed > there / 4 * 3 {
        Finding::warning(ABOUT_MEMORY.name, found, ABOUT_MEMORY.remedy)
    } else {
        Finding::ok(ABOUT_MEMORY.name, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    const NEEDS: Needs = Needs { connections: 1_024, in_flight: 256, cache: 600, buffered: 144, response: 0 };

    #[test]
    fn files_and_memory_must_suffice_for_the_busiest_hour() {
        for (limit, level) in [(None, Level::Ok), (Some(2_368), Level::Ok), (Some(2_367), Level::Warning)] {
            assert_eq!(judge_files(limit, "the daemon", NEEDS).level, level, "{limit:?}");
        }
        let table = [
            (Some(1_000), Level::Ok),
            (Some(988), Level::Warning),
            (Some(744), Level::Warning),
            (Some(743), Level::Failure),
            (None, Level::Warning),
        ];
        for (there, level) in table {
            assert_eq!(judge_memory(there, NEEDS).level, level, "{there:?}");
        }
    }

    #[test]
    fn a_control_groups_limit_counts_where_it_is_smaller() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(measure_memory(root.path()), None);
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::create_dir_all(root.path().join("sys/fs/cgroup")).unwrap();
        std::fs::write(root.path().join("proc/meminfo"), "MemFree: 1 kB\nMemTotal:     2048 kB\n").unwrap();
        std::fs::write(root.path().join("sys/fs/cgroup/memory.max"), "max\n").unwrap();
        assert_eq!(measure_memory(root.path()), Some(2 << 20));
        std::fs::write(root.path().join("sys/fs/cgroup/memory.max"), "4096\n").unwrap();
        assert_eq!(measure_memory(root.path()), Some(4_096));
    }
}
