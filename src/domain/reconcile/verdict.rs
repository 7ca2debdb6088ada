//! What is said of each row of theirs and each conversion of ours.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::conversion::{Ours, Role};
use super::pairing::{Paired, Theirs, same_amount};
use crate::domain::event::Status;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both have it, and agree.
    Matched,
    /// We have it, they do not.
    MissingThere,
    /// They have it, we do not.
    UnknownToUs,
    /// Both have it, in different currencies.
    CurrencyDiffers,
    /// Both have it, at different amounts.
    AmountDiffers,
    /// Both have it, but it counts for one only, or not yet.
    StatusDiffers,
    /// They have it more often than we.
    Duplicate,
    /// Both have it and agree, but it took long.
    Late,
}

/// When two that were paired agree.
#[derive(Debug, Clone)]
pub struct Rules {
    /// By how much amounts may differ.
    pub tolerance: Decimal,
    /// How long it may take until it is posted, and until they have it.
    pub late: SignedDuration,
    /// Whether their report has amounts.
    pub amounts: bool,
    /// Whether their report has statuses. One that has none lists what counts.
    pub statuses: bool,
}

/// The time that is reconciled. What lies within a margin outside of it can match, and is not missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub since: Timestamp,
    /// The first moment behind it.
    pub until: Timestamp,
}

/// How many of ours that they should have lie just outside of a period and have no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Outside {
    /// Accepted before it.
    pub before: u64,
    /// Accepted behind it.
    pub behind: u64,
}

/// What is said of a row, a conversion, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is said.
    pub verdict: Verdict,
    /// What else could be said.
    pub also: Vec<Verdict>,
    /// Our conversion.
    pub ours: Option<Ours>,
    /// Their row.
    pub theirs: Option<Theirs>,
}

impl Verdict {
    /// Every verdict, in the order in which they are told.
    pub const ALL: [Self; 8] = [
        Self::Matched,
        Self::MissingThere,
        Self::UnknownToUs,
        Self::CurrencyDiffers,
        Self::AmountDiffers,
        Self::StatusDiffers,
        Self::Duplicate,
        Self::Late,
    ];

    /// The verdict as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::MissingThere => "missing_there",
            Self::UnknownToUs => "unknown_to_us",
            Self::CurrencyDiffers => "currency_differs",
            Self::AmountDiffers => "amount_differs",
            Self::StatusDiffers => "status_differs",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
        }
    }

    /// Whether both sides have the same: somebody who is late still agrees.
    pub fn agrees(self) -> bool {
        matches!(self, Self::Matched | Self::Late)
    }
}

impl Finding {
    /// Whether that is said, be it beside something else.
    pub fn says(&self, verdict: Verdict) -> bool {
        self.verdict == verdict || self.also.contains(&verdict)
    }
}

impl Period {
    /// Whether a moment lies in it.
    pub fn holds(&self, at: Timestamp) -> bool {
        at >= self.since && at < self.until
    }

    /// Whether one of ours belongs to it: by its acceptance alone, which nothing that is sent later moves, so that each is
    /// owed in one period and in no other.
    pub fn holds_ours(&self, ours: &Ours) -> bool {
        self.holds(ours.accepted_at)
    }

    /// Whether a row of theirs belongs to it; one without a time does.
    pub fn holds_theirs(&self, theirs: &Theirs) -> bool {
        theirs.at.is_none_or(|at| self.holds(at))
    }
}

impl Outside {
    /// Counts what was accepted at a time, where that lies outside.
    pub fn count(&mut self, period: &Period, accepted_at: Timestamp) {
        self.before += u64::from(accepted_at < period.since);
        self.behind += u64::from(accepted_at >= period.until);
    }

    /// Counts what was paired with no row.
    pub fn count_unpaired(&mut self, period: &Period, ours: &[Ours]) {
        for ours in ours.iter().filter(|ours| is_owed(ours) && !ours.taken) {
            self.count(period, ours.accepted_at);
        }
    }
}

/// What is said of what was paired; nothing of what lies outside the period on both sides.
pub fn judge(paired: Paired, rules: &Rules, period: &Period) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (ours, theirs) in paired.pairs {
        if period.holds_ours(&ours) || period.holds_theirs(&theirs) {
            let mut differences = compare(&ours, &theirs, rules).into_iter();
            let verdict = differences.next().unwrap_or(Verdict::Matched);
            findings.push(Finding { verdict, also: differences.collect(), ours: Some(ours), theirs: Some(theirs) });
        }
    }
    let missed = |ours: &Ours| is_owed(ours) && !ours.taken && period.holds_ours(ours);
    findings.extend(paired.ours.into_iter().filter(missed).map(|ours| Finding {
        verdict: Verdict::MissingThere,
        also: Vec::new(),
        ours: Some(ours),
        theirs: None,
    }));
    let rows = [(Verdict::Duplicate, paired.duplicates), (Verdict::UnknownToUs, paired.unknown)];
    for (verdict, theirs) in rows {
        let inside = theirs.into_iter().filter(|theirs| period.holds_theirs(theirs));
        findings.extend(inside.map(|theirs| Finding { verdict, also: Vec::new(), ours: None, theirs: Some(theirs) }));
    }
    findings
}

/// Whether they should have it: what we rejected in the end they need not list.
pub fn is_owed(ours: &Ours) -> bool {
    ours.role == Role::Told && ours.status != Status::Rejected
}

/// In what two that are the same differ, the most telling first.
fn compare(ours: &Ours, theirs: &Theirs, rules: &Rules) -> Vec<Verdict> {
    // A reversal stands in reports in too many ways to be held against them.
    if ours.role == Role::Reversal {
        return Vec::new();
    }
    let mut differences = Vec::new();
    let their_status =
        theirs.status.or((!rules.statuses && ours.status == Status::Rejected).then_some(Status::Approved));
    let status_differs = their_status.is_some_and(|status| status != ours.status);
    let void = ours.status == Status::Rejected && !status_differs;
    if matches!((ours.currency, theirs.currency), (Some(our), Some(their)) if our != their) {
        differences.push(Verdict::CurrencyDiffers);
    } else if rules.amounts && !void && amount_differs(ours, theirs, rules) {
        differences.push(Verdict::AmountDiffers);
    }
    if status_differs {
        differences.push(Verdict::StatusDiffers);
    }
    if lateness(ours, Some(theirs)) > rules.late {
        differences.push(Verdict::Late);
    }
    differences
}

/// An amount that one side does not name is nothing.
fn amount_differs(ours: &Ours, theirs: &Theirs, rules: &Rules) -> bool {
    let nothing = crate::domain::money::Amount::from(Decimal::ZERO);
    !same_amount(ours.amount.unwrap_or(nothing), theirs.amount.unwrap_or(nothing), rules.tolerance)
}

/// How long it took until we had posted it, or until they say they had it, whichever is longer.
///
/// A date alone says nothing of that, and a time before ours is no delay.
pub fn lateness(ours: &Ours, theirs: Option<&Theirs>) -> SignedDuration {
    let posted = ours.delivered_at.map(|at| at.duration_since(ours.accepted_at));
    let theirs = theirs.filter(|theirs| !theirs.day_only).and_then(|theirs| theirs.at);
    let had = theirs.map(|at| at.duration_since(ours.accepted_at));
    posted.max(had).unwrap_or(SignedDuration::ZERO).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{event, period, row, rules};
    use super::super::{By, OurEvent, fold, pair};
    use super::*;
    use crate::domain::money::{Amount, Currency};

    fn said(events: Vec<OurEvent>, rows: Vec<Theirs>, rules: &Rules) -> Vec<(Verdict, Vec<Verdict>)> {
        let paired = pair(fold(events), rows, By::Transaction, false);
        judge(paired, rules, &period()).into_iter().map(|finding| (finding.verdict, finding.also)).collect()
    }

    fn one(row: Theirs, rules: &Rules) -> Verdict {
        let found = said(vec![event("dep-1")], vec![row], rules);
        assert_eq!(found.len(), 1);
        found[0].0
    }

    fn amount(text: &str) -> Amount {
        Amount::parse(text).unwrap()
    }

    #[test]
    fn a_pair_agrees_or_says_in_what_it_differs() {
        let rules = rules();
        let with = |change: &dyn Fn(&mut Theirs)| {
            let mut row = row(2, "dep-1");
            change(&mut row);
            row
        };
        assert_eq!(one(row(2, "dep-1"), &rules), Verdict::Matched);
        assert_eq!(
            one(with(&|row| row.amount = Some(amount("120"))), &rules),
            Verdict::Matched,
            "the scale is no difference"
        );
        assert_eq!(one(with(&|row| row.amount = Some(amount("119.99"))), &rules), Verdict::AmountDiffers);
        assert_eq!(one(with(&|row| row.amount = None), &rules), Verdict::AmountDiffers);
        assert_eq!(
            one(with(&|row| row.currency = Some(Currency::parse("USD").unwrap())), &rules),
            Verdict::CurrencyDiffers
        );
        assert_eq!(one(with(&|row| row.status = Some(Status::Pending)), &rules), Verdict::StatusDiffers);
        let later =
            |hours: i64| move |row: &mut Theirs| row.at = row.at.map(|at| at + SignedDuration::from_hours(hours));
        assert_eq!(one(with(&later(2)), &rules), Verdict::Late);
        assert_eq!(one(with(&later(-2)), &rules), Verdict::Matched, "earlier is not late");
        assert_eq!(one(with(&|row| (later(9)(row), row.day_only = true).1), &rules), Verdict::Matched);
    }

    #[test]
    fn tolerance_is_for_rounding() {
        let rules = Rules { tolerance: Decimal::new(1, 2), ..rules() };
        assert_eq!(one(Theirs { amount: Some(amount("119.99")), ..row(2, "dep-1") }, &rules), Verdict::Matched);
        assert_eq!(one(Theirs { amount: Some(amount("119.98")), ..row(2, "dep-1") }, &rules), Verdict::AmountDiffers);
    }

    #[test]
    fn all_differences_are_kept_and_the_first_is_the_verdict() {
        let row = Theirs { amount: Some(amount("1")), status: Some(Status::Rejected), ..row(2, "dep-1") };
        assert_eq!(
            said(vec![event("dep-1")], vec![row], &rules()),
            [(Verdict::AmountDiffers, vec![Verdict::StatusDiffers])]
        );
    }

    #[test]
    fn what_we_rejected_they_need_not_have_but_must_not_count() {
        let rejected = || vec![event("dep-1"), OurEvent { status: Status::Rejected, ..event("dep-1") }];
        assert_eq!(said(rejected(), vec![], &rules()), []);
        let listed = |status| vec![Theirs { status, ..row(2, "dep-1") }];
        let verdict = |status, rules: &Rules| said(rejected(), listed(status), rules)[0].0;
        assert_eq!(verdict(Some(Status::Approved), &rules()), Verdict::StatusDiffers);
        assert_eq!(verdict(Some(Status::Rejected), &rules()), Verdict::Matched);
        let without = Rules { statuses: false, ..rules() };
        assert_eq!(verdict(None, &without), Verdict::StatusDiffers, "a report without statuses lists what counts");
    }

    #[test]
    fn at_the_edge_of_the_period_nothing_is_missed_but_everything_can_match() {
        let accepted = |at: Timestamp, delivered: Timestamp| {
            let mut event = event("dep-1");
            (event.told.accepted_at, event.told.delivered_at) = (at, Some(delivered));
            vec![event]
        };
        let Period { since, until } = period();
        let hour = SignedDuration::from_hours(1);
        let at = |at| vec![Theirs { at: Some(at), ..row(2, "dep-1") }];
        let rules = Rules { late: hour * 24, ..rules() };
        assert_eq!(said(accepted(since - hour, since - hour), vec![], &rules), []);
        let missing = [(Verdict::MissingThere, vec![])];
        assert_eq!(said(accepted(until - hour, until + hour), vec![], &rules), missing, "it arrived behind the end");
        assert_eq!(said(accepted(since - hour, since + hour), vec![], &rules), [], "the period before owes it");
        assert_eq!(said(vec![], at(until), &rules), []);
        let matched = [(Verdict::Matched, vec![])];
        assert_eq!(said(accepted(since - hour, since - hour), at(since), &rules), matched);
        assert_eq!(said(accepted(until - hour, until - hour), at(until + hour), &rules), matched);
        assert_eq!(said(accepted(until, until), at(until + hour), &rules), [], "both lie outside");
    }
}
