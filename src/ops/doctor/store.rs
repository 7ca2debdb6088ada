//! What the store holds that somebody should look at.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{About, Finding, bytes, counted, first_few};
use crate::domain::delivery::StateKind;
use crate::domain::engine_kind::EngineKind;
use crate::inspect::Stats;
use crate::outbox::Verified;

/// What stands in it.
pub const ABOUT: About = About {
    name: "store",
    looks_at: "what is open, held and dead, from the daemon or, while it is down, from its store: warns of paused and misconfigured postbacks, \
               open breakers, deliveries overdue by ten minutes, a file far larger than its records, and torn snapshots; \
               fails where the store cannot be read, is of another engine than the configuration names, or a finished snapshot is damaged",
    remedy: "`postbackd stats`, `postbackd dead list --group`, `postbackd affiliate resume`; torn snapshots go at the next start",
};

/// Whether it is whole.
pub const ABOUT_VERIFY: About = About {
    name: "verify",
    looks_at: "with `--verify`, every record, index entry and counter: fails where one is damaged, missing or wrong",
    remedy: "keep a copy of the directory as it is; restore a backup, or ask for help with what `--json` shows; nothing is changed",
};

/// Later than this, something holds deliveries up.
const OVERDUE: Duration = Duration::from_mins(10);
/// A file smaller than this may be mostly empty.
const SMALL: u64 = 1 << 30;
/// Bytes on disk for each byte of records, above which most of the file is empty.
const SPREAD: u64 = 8;

/// A snapshot of the engine that does not check out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornSnapshot {
    /// The file.
    pub path: PathBuf,
    /// Whether it was finished, so that only a failing disk can have torn it.
    pub was_finished: bool,
}

/// Judges what stands in a store.
pub fn judge(stats: &Stats, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |kind| stats.deliveries.get(&kind).copied().unwrap_or(0);
    let named = |affiliate: &str, postback: &str| format!("{affiliate}/{postback}");
    let (mut paused, mut misconfigured) = (Vec::new(), Vec::new());
    for affiliate in &stats.affiliates {
        for postback in &affiliate.postbacks {
            let name = named(&affiliate.affiliate, &postback.postback);
            if let Some(pause) = &postback.paused {
                paused.push(format!("{name} by {}: {}", pause.by, pause.reason));
            }
            if let Some(flag) = &postback.misconfigured {
                misconfigured.push(format!("{name}: {}, see {}", flag.rule, flag.delivery));
            }
        }
        if let Some(breaker) = affiliate.breaker.as_deref().filter(|breaker| *breaker != "closed") {
            let found = format!("the breaker of {} is {breaker}: {} wait", affiliate.affiliate, affiliate.backlog);
            let remedy =
                format!("their receiver fails; see: postbackd tail --affiliate {} --last 20", affiliate.affiliate);
            findings.push(Finding::warning(ABOUT.name, found, remedy));
        }
        let overdue = affiliate.oldest_due.and_then(|due| Duration::try_from(now.duration_since(due)).ok());
        if let Some(overdue) = overdue.filter(|overdue| *overdue > OVERDUE) {
            let minutes = overdue.as_secs() / 60;
            let found = format!("deliveries to {} are overdue by {minutes} minutes", affiliate.affiliate);
            let remedy = format!("see: postbackd list --affiliate {} --state scheduled --oldest", affiliate.affiliate);
            findings.push(Finding::warning(ABOUT.name, found, remedy));
        }
    }
    if !paused.is_empty() {
        let found = format!("{}: {}", counted(paused.len(), "paused postback", "paused postbacks"), first_few(&paused));
        findings.push(Finding::warning(ABOUT.name, found, "once the reason is gone: postbackd affiliate resume …"));
    }
    if !misconfigured.is_empty() {
        let count = counted(misconfigured.len(), "misconfigured postback", "misconfigured postbacks");
        let found = format!("{count}: {}", first_few(&misconfigured));
        findings.push(Finding::warning(ABOUT.name, found, "correct the postback or ask the affiliate, then replay"));
    }
    if stats.disk_bytes > SMALL && stats.disk_bytes / SPREAD > stats.record_bytes {
        let (disk, records) = (bytes(stats.disk_bytes), bytes(stats.record_bytes));
        let found = format!("it takes {disk} of the disk for {records} of records");
        findings.push(Finding::warning(
            ABOUT.name,
            found,
            "the space is used again by new events; the file does not shrink",
        ));
    }
    if findings.is_empty() {
        let open = of(StateKind::Scheduled) + of(StateKind::Waiting) + of(StateKind::InFlight);
        findings.push(Finding::ok(
            ABOUT.name,
            format!(
                "{} events accepted; {open} deliveries open, {} held, {} dead; {} on disk for {} of records",
                stats.totals.accepted,
                of(StateKind::Held),
                of(StateKind::Dead),
                bytes(stats.disk_bytes),
                bytes(stats.record_bytes),
            ),
        ));
    }
    findings
}

/// Judges the engine's snapshots that do not check out.
pub fn judge_snapshots(torn: &[TornSnapshot]) -> Vec<Finding> {
    let judged = torn.iter().map(|snapshot| {
        let path = snapshot.path.display();
        if snapshot.was_finished {
            let remedy =
                "copy the directory, then move this file out of it and start again: it is made anew; see to the disk";
            Finding::failure(
                ABOUT.name,
                format!("the snapshot {path} is damaged, which only a failing disk does"),
                remedy,
            )
        } else {
            let found = format!("the snapshot {path} was cut off by a full disk or a kill");
            Finding::warning(ABOUT.name, found, "nothing of the store is lost: it goes at the next start")
        }
    });
    judged.collect()
}

/// Judges the engine of a store against the one that the configuration names; `None` where they agree, or there is no store.
pub fn judge_engine(configured: EngineKind, found: Option<EngineKind>) -> Option<Finding> {
    let found = found.filter(|found| *found != configured)?;
    let (wanted, found) = (configured.name(), found.name());
    Some(Finding::failure(
        ABOUT.name,
        format!("it is of {found}, and [outbox] engine is \"{wanted}\": no daemon starts there"),
        format!("set engine = \"{found}\", or move it over: postbackd outbox migrate --to {wanted}"),
    ))
}

/// Judges what a walk over the whole store has seen; `named` are the first things that are wrong.
pub fn judge_verified(verified: &Verified, named: &[String]) -> Finding {
    let Verified { pairs, events, deliveries, damaged, unreadable } = verified;
    let seen = format!("{events} events with {deliveries} deliveries in {pairs} pairs");
    if *damaged == 0 {
        return Finding::ok(ABOUT_VERIFY.name, format!("{seen}: all whole"));
    }
    let uncounted = if *unreadable > 0 { "; counters were not compared, since records cannot be read" } else { "" };
    let found = format!("{damaged} things are wrong in {seen}{uncounted}: {}", first_few(named));
    Finding::failure(ABOUT_VERIFY.name, found, ABOUT_VERIFY.remedy)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;

    use super::*;
    use crate::fixtures::now;
    use crate::inspect::{AffiliateStats, PauseView, PostbackStats, stats};
    use crate::ops::doctor::Level;
    use crate::outbox::{MemoryEngine, Outbox};

    fn whole(change: impl FnOnce(&mut Stats, AffiliateStats)) -> Vec<Finding> {
        let reader = Outbox::open_reader(Arc::new(MemoryEngine::default())).unwrap();
        let mut stats = stats(&reader, now()).unwrap();
        let postback = PostbackStats { postback: "c".into(), paused: None, misconfigured: None, deliveries: [].into() };
        let affiliate = AffiliateStats {
            affiliate: "acme".into(),
            breaker: Some("closed".into()),
            in_flight: None,
            backlog: 3,
            oldest_due: Some(now() - SignedDuration::from_mins(10)),
            dead: [].into(),
            money: Vec::new(),
            lately: None,
            postbacks: vec![postback],
        };
        change(&mut stats, affiliate);
        judge(&stats, now())
    }

    #[test]
    fn whatever_somebody_should_look_at_is_a_warning() {
        let well = whole(|stats, affiliate| stats.affiliates.push(affiliate));
        assert_eq!((well.len(), well[0].level), (1, Level::Ok), "{well:?}");
        let pause = PauseView { at: now(), by: "ops".into(), reason: "theirs".into() };
        let warned = [
            (
                whole(|stats, affiliate| {
                    stats.affiliates.push(AffiliateStats { breaker: Some("open".into()), ..affiliate });
                }),
                "breaker of acme is open: 3 wait",
            ),
            (
                whole(|stats, affiliate| {
                    let oldest_due = Some(now() - SignedDuration::from_mins(11));
                    stats.affiliates.push(AffiliateStats { oldest_due, ..affiliate });
                }),
                "overdue by 11 minutes",
            ),
            (
                whole(|stats, mut affiliate| {
                    affiliate.postbacks[0].paused = Some(pause);
                    stats.affiliates.push(affiliate);
                }),
                "1 paused postback: acme/c by ops: theirs",
            ),
            (
                whole(|stats, _| (stats.disk_bytes, stats.record_bytes) = (9 << 30, 1 << 30)),
                "9.0 GiB of the disk for 1.0 GiB",
            ),
        ];
        for (findings, words) in warned {
            assert_eq!((findings.len(), findings[0].level), (1, Level::Warning), "{findings:?}");
            assert!(findings[0].found.contains(words), "{findings:?}");
        }
    }

    #[test]
    fn a_torn_snapshot_is_told_by_whether_it_was_finished() {
        let torn = |was_finished| TornSnapshot { path: "/x/snap.1".into(), was_finished };
        let levels: Vec<_> = judge_snapshots(&[torn(false), torn(true)]).iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Warning, Level::Failure]);
    }

    #[test]
    fn a_store_of_another_engine_fails() {
        let (sled, fjall) = (EngineKind::Sled, EngineKind::Fjall);
        assert_eq!((judge_engine(sled, Some(sled)), judge_engine(fjall, None)), (None, None));
        let finding = judge_engine(fjall, Some(sled)).unwrap();
        assert_eq!(finding.level, Level::Failure);
        assert!(
            finding.remedy.contains("engine = \"sled\"") && finding.remedy.contains("migrate --to fjall"),
            "{finding:?}"
        );
    }

    #[test]
    fn one_damage_fails() {
        let verified = Verified { pairs: 9, events: 2, deliveries: 3, damaged: 0, unreadable: 0 };
        assert_eq!(judge_verified(&verified, &[]).level, Level::Ok);
        let finding = judge_verified(&Verified { damaged: 1, unreadable: 1, ..verified }, &["event e1: x".into()]);
        assert_eq!(finding.level, Level::Failure);
        assert!(finding.found.contains("event e1: x") && finding.found.contains("not compared"), "{finding:?}");
    }
}
