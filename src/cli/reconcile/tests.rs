//! Both sides at random with differences planted among them: each is found exactly once, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::asked::ReconcileArgs;
use super::line::Line;
use super::merge::Sides;
use super::result::{Files, Results};
use super::sorted::Room;
use crate::cli::context::Context;
use crate::cli::options::Globals;
use crate::cli::output::{Form, Output, Person};
use crate::domain::delivery::StateKind;
use crate::domain::event::Status;
use crate::domain::money::{Amount, Currency};
use crate::domain::reconcile::fixtures::{event, period, row, rules};
use crate::domain::reconcile::{Finding, OurEvent, Tally, Theirs, Verdict};

/// What is wrong with a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    Dead,
    Dropped,
    Unknown,
    Amount,
    Currency,
    Status,
    Reversed,
    ReversalUnknown,
    Twice,
    Late,
    Unsent,
    BeforePeriod,
    AcceptedBefore,
    ListedBehind,
    ArrivedBehind,
}

const PLANTED: [Planted; 16] = [
    Planted::Nothing,
    Planted::Dead,
    Planted::Dropped,
    Planted::Unknown,
    Planted::Amount,
    Planted::Currency,
    Planted::Status,
    Planted::Reversed,
    Planted::ReversalUnknown,
    Planted::Twice,
    Planted::Late,
    Planted::Unsent,
    Planted::BeforePeriod,
    Planted::AcceptedBefore,
    Planted::ListedBehind,
    Planted::ArrivedBehind,
];

impl Planted {
    /// What must be said of it.
    fn verdicts(self) -> &'static [Verdict] {
        match self {
            Self::Nothing | Self::AcceptedBefore => &[Verdict::Matched],
            Self::Dead | Self::Dropped | Self::ArrivedBehind => &[Verdict::MissingThere],
            Self::Unknown => &[Verdict::UnknownToUs],
            Self::Amount => &[Verdict::AmountDiffers],
            Self::Currency => &[Verdict::CurrencyDiffers],
            Self::Status | Self::ReversalUnknown => &[Verdict::StatusDiffers],
            Self::Twice => &[Verdict::Matched, Verdict::Duplicate],
            Self::Late | Self::ListedBehind => &[Verdict::Late],
            Self::Reversed | Self::Unsent | Self::BeforePeriod => &[],
        }
    }

    /// Both sides of a conversion, which is found by its click alone where `clicks`.
    fn sides(self, transaction: &str, clicks: bool) -> (Vec<OurEvent>, Vec<Theirs>) {
        let (mut ours, mut theirs) = (event(transaction), row(0, transaction));
        if clicks {
            theirs.transaction = None;
        }
        let reversal = OurEvent {
            reverses: Some(transaction.into()),
            kind: "ftd_reversed".into(),
            event_id: format!("evt_{transaction}_r"),
            ..event(&format!("{transaction}-r"))
        };
        match self {
            Self::Nothing => {}
            Self::Dead => {
                (ours.told.state, ours.told.delivered_at) = (StateKind::Dead, None);
                return (vec![ours], vec![]);
            }
            Self::Dropped => return (vec![ours], vec![]),
            Self::Unknown => return (vec![], vec![theirs]),
            Self::Amount => theirs.amount = Some(Amount::parse("119.99").unwrap()),
            Self::Currency => theirs.currency = Some(Currency::parse("USD").unwrap()),
            Self::Status => theirs.status = Some(Status::Pending),
            Self::Reversed => return (vec![ours, reversal], vec![]),
            Self::ReversalUnknown => return (vec![ours, reversal], vec![theirs]),
            Self::Twice => return (vec![ours], vec![theirs.clone(), theirs]),
            Self::Late => theirs.at = theirs.at.map(|at| at + SignedDuration::from_mins(90)),
            Self::Unsent => {
                (ours.told.state, ours.told.delivered_at) = (StateKind::Superseded, None);
                return (vec![ours], vec![]);
            }
            Self::BeforePeriod => {
                let before = period().since - SignedDuration::from_mins(1);
                (ours.told.accepted_at, ours.told.delivered_at) = (before, Some(before));
                return (vec![ours], vec![]);
            }
            Self::AcceptedBefore => {
                let before = period().since - SignedDuration::from_mins(1);
                (ours.told.accepted_at, ours.told.delivered_at) = (before, Some(before));
                theirs.at = Some(period().since);
            }
            Self::ListedBehind => theirs.at = Some(period().until),
            Self::ArrivedBehind => {
                ours.told.delivered_at = Some(period().until + SignedDuration::from_hours(1));
                return (vec![ours], vec![]);
            }
        }
        (vec![ours], vec![theirs])
    }
}

fn found(ours: Vec<OurEvent>, theirs: Vec<Theirs>, run_bytes: usize) -> (Vec<Finding>, Option<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let mut sides = Sides::new(&Room { directory: directory.path().to_path_buf(), run_bytes });
    for (line, row) in theirs.into_iter().enumerate() {
        sides.theirs(Theirs { line: line as u64 + 2, ..row }).unwrap();
    }
    for event in ours {
        sides.ours(event).unwrap();
    }
    let mut join = sides.join(rules(), period()).unwrap();
    let mut all = Vec::new();
    while let Some(findings) = join.next().unwrap() {
        all.extend(findings);
    }
    (all, join.median().unwrap())
}

fn shuffled<T>(mut of: Vec<(u64, T)>) -> Vec<T> {
    of.sort_by_key(|(place, _)| *place);
    of.into_iter().map(|(_, of)| of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_planted_difference_is_found_once_and_nothing_else(
        planted in prop::collection::vec((0..PLANTED.len(), any::<bool>(), any::<u64>()), 1..120),
        run_bytes in 700_usize..40_000,
    ) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut expected: BTreeMap<(String, Verdict), usize> = BTreeMap::new();
        for (number, (which, clicks, place)) in planted.into_iter().enumerate() {
            let (planted, transaction) = (PLANTED[which], format!("dep-{number:03}"));
            let (events, rows) = planted.sides(&transaction, clicks);
            // Theirs come in any order; ours, of one transaction, in the order of acceptance.
            ours.extend(events.into_iter().map(|event| (place, event)));
            theirs.extend(rows.into_iter().map(|row| (place.rotate_left(31), row)));
            for verdict in planted.verdicts() {
                *expected.entry((format!("click-{transaction}"), *verdict)).or_default() += 1;
            }
        }
        let (findings, _) = found(shuffled(ours), shuffled(theirs), run_bytes);
        let mut said: BTreeMap<(String, Verdict), usize> = BTreeMap::new();
        for finding in &findings {
            prop_assert!(finding.also.is_empty(), "{finding:?}");
            *said.entry((Line::of(finding).click_id.unwrap(), finding.verdict)).or_default() += 1;
        }
        prop_assert_eq!(said, expected);
        check_sums(&findings)?;
    }
}

/// Counts and sums are those of what is listed, both sides of each pair.
fn check_sums(findings: &[Finding]) -> Result<(), TestCaseError> {
    let mut tally = Tally::default();
    let (mut ours, mut theirs, mut difference) = (0, 0, Decimal::ZERO);
    for finding in findings {
        tally.add(finding, &period());
        let line = Line::of(finding);
        let counted = |amount: &Option<String>, status| match status {
            Some("rejected") => Decimal::ZERO,
            _ => amount.as_ref().map_or(Decimal::ZERO, |amount| amount.parse().unwrap()),
        };
        ours += u64::from(line.our_status.is_some());
        theirs += u64::from(line.their_line.is_some());
        difference += counted(&line.their_amount, line.their_status) - counted(&line.our_amount, line.our_status);
    }
    prop_assert_eq!((tally.ours(), tally.theirs()), (ours, theirs));
    let matched = tally.count(Verdict::Matched);
    prop_assert!(matched <= ours.min(theirs), "{} matched of {} and {}", matched, ours, theirs);
    prop_assert_eq!(tally.sums().map(|(_, sums)| sums.difference).sum::<Decimal>(), difference);
    prop_assert!(tally.sums().all(|(_, sums)| sums.difference == sums.theirs - sums.ours));
    Ok(())
}

#[test]
fn a_key_that_thousands_share_is_paired_one_to_one() {
    let same = |number: i64, mut event: OurEvent| {
        event.click = Some("{clickid}".into());
        event.told.accepted_at += SignedDuration::from_secs(number);
        event.told.delivered_at = Some(event.told.accepted_at);
        event
    };
    let ours: Vec<_> = (0..1_500).map(|number| same(number, event(&format!("dep-{number:04}")))).collect();
    let rows = ours.iter().chain(&ours).chain(&ours).map(|event| Theirs {
        transaction: None,
        click: event.click.clone(),
        at: Some(event.told.accepted_at),
        ..row(0, "any")
    });
    let (findings, _) = found(ours.clone(), rows.collect(), 64 << 10);
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let rest = findings.len() - count(Verdict::Matched) - count(Verdict::Duplicate);
    assert_eq!((count(Verdict::Matched), count(Verdict::Duplicate), rest), (1_500, 3_000, 0));
}

#[test]
fn the_median_is_exact_over_many_runs() {
    let event = |number: i64| {
        let mut event = event(&format!("dep-{number}"));
        event.told.delivered_at =
            Some(event.told.accepted_at + SignedDuration::from_micros((number * 7_919) % 1_000 * 2));
        event
    };
    assert_eq!(found((0..1_000).map(event).collect(), vec![], 400).1, Some(999), "between 998 and 1000");
    assert_eq!(found((0..1).map(event).collect(), vec![], 400).1, Some(0));
    assert_eq!(found(vec![], vec![], 400).1, None);
}

/// What is asked, with files in a directory.
fn asked(directory: &std::path::Path) -> ReconcileArgs {
    #[derive(Debug, clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: ReconcileArgs,
    }
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (csv, html, missing) = (file("all.csv"), file("page.html"), file("missing.ndjson"));
    let fixed = ["reconcile", "--affiliate", "acme", "--report", "their.csv", "--map", "transaction_id=tx"];
    let typed = fixed.into_iter().chain(["--csv", &csv, "--html", &html, "--missing", &missing]);
    <Typed as clap::Parser>::parse_from(typed).args
}

#[test]
fn files_appear_only_when_all_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (output, _captured) = Output::captured(Form::People, Person::Absent);
    let context = Context { globals: Globals::default(), output };
    let (findings, _) = found(vec![event("dep-1")], vec![], 400);
    let half = || {
        let files = Files::begin(&context, &asked(directory.path())).unwrap();
        let mut results = Results::begin(files, period());
        results.take(&context, &findings[0], Line::of(&findings[0])).unwrap();
        results
    };
    let names = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let begun = half();
    assert!(names().iter().all(|name| name.ends_with(".partial")), "{:?}", names());
    drop(begun);
    assert_eq!(names().len(), 0, "of a run that failed nothing is left to be sent again");
    half().finish("page").unwrap();
    assert_eq!(names().into_iter().collect::<Vec<_>>(), ["all.csv", "missing.ndjson", "page.html"]);
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(text("missing.ndjson").contains("dlv_dep-1") && text("all.csv").contains("dep-1"));
    assert_eq!(text("page.html"), "page");
}

#[test]
fn in_a_spreadsheet_no_text_of_others_is_a_formula() {
    let (findings, _) = found(vec![], vec![Theirs { click: Some("=HYPERLINK(1)".into()), ..row(2, "-1") }], 400);
    let line = Line::of(&findings[0]).for_spreadsheet();
    assert_eq!((line.click_id.as_deref(), line.transaction_id.as_deref()), (Some("'=HYPERLINK(1)"), Some("'-1")));
}
