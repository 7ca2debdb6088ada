//! Whether the daemon runs, answers, and is of this version.

use super::{About, Finding};

/// The check.
pub const ABOUT: About = About {
    name: "daemon",
    looks_at: "the daemon's socket (or `--url`), `/healthz`, `/readyz` and its version: fails where it has died, may not be asked, or takes no \
               events; warns where it is stopped, or of another version than this program",
    remedy: "`systemctl status postbackd`, `journalctl -u postbackd`; run as its user or as a member of the socket's group",
};

/// What asking the daemon came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// There is no socket: it was stopped, or never started.
    Stopped,
    /// Nobody answers where somebody should.
    Silent(String),
    /// The system does not let us ask.
    Forbidden(String),
    /// It answers.
    Up(Answers),
}

/// What the daemon answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Why it is not ready, where it is not.
    pub unready: Option<String>,
    /// Its version, where it tells us.
    pub version: Option<String>,
    /// The most files that it may have open, where it tells us.
    pub max_files: Option<u64>,
}

impl Answers {
    /// Takes version and limit from what `/metrics` says.
    pub fn read_metrics(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(labels) = line.strip_prefix("postback_build_info{") {
                let version = labels.split(',').find_map(|label| label.strip_prefix("version=\""));
                self.version = version.and_then(|version| version.split('"').next()).map(str::to_owned);
            } else if let Some(number) = line.strip_prefix("process_max_fds ") {
                self.max_files = number.trim().parse().ok();
            }
        }
    }
}

/// Judges a daemon against this program's version.
pub fn judge(daemon: &Daemon, endpoint: &str, version: &str) -> Vec<Finding> {
    let answers = match daemon {
        Daemon::Stopped => {
            let found = format!("does not run: nothing is there at {endpoint}");
            return vec![Finding::warning(ABOUT.name, found, "systemctl start postbackd")];
        }
        Daemon::Silent(why) => {
            let found = format!("{endpoint} does not answer: {why}");
            return vec![Finding::failure(
                ABOUT.name,
                found,
                "see `journalctl -u postbackd`, then systemctl restart postbackd",
            )];
        }
        Daemon::Forbidden(why) => {
            let remedy = "run as the daemon's user (sudo -u postbackd …) or as a member of the socket's group";
            return vec![Finding::failure(ABOUT.name, format!("{endpoint}: {why}"), remedy)];
        }
        Daemon::Up(answers) => answers,
    };
    let mut findings = Vec::new();
    if let Some(why) = &answers.unready {
        let found = format!("is up and takes no events: {why}");
        findings.push(Finding::failure(ABOUT.name, found, "see the disk above, and the daemon's log"));
    }
    if let Some(other) = answers.version.as_deref().filter(|other| *other != version) {
        let found = format!("is of version {other}, this program of {version}");
        findings.push(Finding::warning(
            ABOUT.name,
            found,
            "restart the daemon after an update: systemctl restart postbackd",
        ));
    }
    if findings.is_empty() {
        let version = answers.version.as_deref().unwrap_or("that it does not tell us");
        findings.push(Finding::ok(ABOUT.name, format!("is up and takes events at {endpoint}, version {version}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level::{self, Failure, Ok, Warning};

    #[test]
    fn how_the_daemon_stands_is_judged() {
        let up = |unready: Option<&str>, version: Option<&str>| {
            Daemon::Up(Answers { unready: unready.map(Into::into), version: version.map(Into::into), max_files: None })
        };
        let table: [(Daemon, &[Level]); 7] = [
            (up(None, Some("1.0.0")), &[Ok]),
            (up(None, None), &[Ok]),
            (up(None, Some("0.9.0")), &[Warning]),
            (up(Some("the disk is full"), Some("0.9.0")), &[Failure, Warning]),
            (Daemon::Stopped, &[Warning]),
            (Daemon::Silent("refused".into()), &[Failure]),
            (Daemon::Forbidden("may not be opened".into()), &[Failure]),
        ];
        for (daemon, levels) in table {
            let findings = judge(&daemon, "the socket /p", "1.0.0");
            assert_eq!(findings.iter().map(|finding| finding.level).collect::<Vec<_>>(), levels, "{findings:?}");
        }
    }

    #[test]
    fn version_and_limit_are_read_from_metrics() {
        let mut answers = Answers::default();
        answers.read_metrics(
            "# TYPE postback_build info\npostback_build_info{version=\"1.2.3\",os=\"linux\"} 1\nprocess_max_fds 65536\n",
        );
        assert_eq!((answers.version.as_deref(), answers.max_files), (Some("1.2.3"), Some(65_536)));
    }
}
