//! Whether somebody keeps the clock right, and whether it has been set back behind what is stored.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{About, Finding};

/// Whether the clock is kept.
pub const ABOUT: About = About {
    name: "clock",
    looks_at: "whether a service keeps the clock (systemd-timesyncd, chrony, ntpd): warns where none is seen, or it has not synchronised yet",
    remedy: "`timedatectl set-ntp true`, or install chrony; in a container or virtual machine, see to the host's",
};

/// Whether the clock stands behind what is stored.
pub const ABOUT_STORE: About = About {
    name: "clock and store",
    looks_at: "the newest event's time of acceptance against the clock: fails where it lies in the future, since the clock was set back",
    remedy: "set the clock right; until it passes that time, retries and exports may be late (docs/known-faults.md)",
};

/// How far ahead of the clock an event may be: many that come within a microsecond take the next ones.
const AHEAD: Duration = Duration::from_secs(2);

/// Where services that keep the clock are seen, and whether that shows that the clock is synchronised.
const KEEPERS: [(&str, &str, bool); 6] = [
    ("systemd-timesyncd", "run/systemd/timesync/synchronized", true),
    ("chrony", "run/chrony/chronyd.pid", false),
    ("chrony", "run/chronyd.pid", false),
    ("ntpd", "run/ntpd.pid", false),
    ("openntpd", "run/ntpd.sock", false),
    ("systemd-timesyncd", "run/systemd/timesync", false),
];

/// Who keeps the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// This service, and the clock is synchronised.
    Synchronised(&'static str),
    /// This service runs; it has to be asked itself how well.
    Running(&'static str),
    /// Nobody that we know.
    Nobody,
}

/// Looks who keeps the clock, under the root of the file system.
pub fn measure(root: &Path) -> Keeper {
    match KEEPERS.into_iter().find(|(_, path, _)| root.join(path).exists()) {
        Some((name, _, true)) => Keeper::Synchronised(name),
        Some((name, _, false)) => Keeper::Running(name),
        None => Keeper::Nobody,
    }
}

/// Judges who keeps the clock.
pub fn judge(keeper: Keeper) -> Finding {
    match keeper {
        Keeper::Synchronised(name) => Finding::ok(ABOUT.name, format!("{name} has synchronised it")),
        Keeper::Running("systemd-timesyncd") => {
            let found = "systemd-timesyncd runs and has not synchronised it yet";
            Finding::warning(ABOUT.name, found, "see `timedatectl timesync-status`: its servers may be out of reach")
        }
        Keeper::Running(name) => Finding::ok(ABOUT.name, format!("{name} keeps it")),
        Keeper::Nobody => {
            let found = "no service is seen that keeps it: signatures with a time, and retries, go wrong with it";
            Finding::warning(ABOUT.name, found, ABOUT.remedy)
        }
    }
}

/// Judges the time of the newest event against the clock.
pub fn judge_newest(newest: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(newest) = newest else { return Finding::ok(ABOUT_STORE.name, "there is no event yet") };
    match Duration::try_from(newest.duration_since(now)) {
        Ok(ahead) if ahead > AHEAD => {
            let found = format!(
                "the newest event was accepted at {newest}, {} s from now: the clock was set back",
                ahead.as_secs()
            );
            Finding::failure(ABOUT_STORE.name, found, ABOUT_STORE.remedy)
        }
        Ok(_) | Err(_) => Finding::ok(ABOUT_STORE.name, format!("the newest event was accepted at {newest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level;

    #[test]
    fn whoever_keeps_the_clock_is_found_by_what_it_leaves_in_run() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(measure(root.path()), Keeper::Nobody);
        std::fs::create_dir_all(root.path().join("run/systemd/timesync")).unwrap();
        assert_eq!(measure(root.path()), Keeper::Running("systemd-timesyncd"));
        std::fs::write(root.path().join("run/systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(measure(root.path()), Keeper::Synchronised("systemd-timesyncd"));
    }

    #[test]
    fn an_unkept_clock_warns_and_one_set_back_fails() {
        let table = [
            (judge(Keeper::Synchronised("chrony")), Level::Ok),
            (judge(Keeper::Running("chrony")), Level::Ok),
            (judge(Keeper::Running("systemd-timesyncd")), Level::Warning),
            (judge(Keeper::Nobody), Level::Warning),
        ];
        for (finding, level) in table {
            assert_eq!(finding.level, level, "{finding:?}");
        }
        let now = crate::fixtures::now();
        let after = |seconds| Some(now + jiff::SignedDuration::from_secs(seconds));
        for (newest, level) in
            [(None, Level::Ok), (after(-5), Level::Ok), (after(2), Level::Ok), (after(3), Level::Failure)]
        {
            assert_eq!(judge_newest(newest, now).level, level, "{newest:?}");
        }
    }
}
