//! Which of their rows is which of our conversions, among those that share a transaction id or a click.
//!
//! One to one: what is left over of theirs beside a conversion of ours is a duplicate, else unknown to us.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::conversion::{Ours, Role};
use crate::domain::event::Status;
use crate::domain::money::{Amount, Currency};

/// One row of their report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Theirs {
    /// The line it begins on.
    pub line: u64,
    /// Our transaction id, as they kept it.
    pub transaction: Option<String>,
    /// The click.
    pub click: Option<String>,
    /// What they pay for, or are paid.
    pub amount: Option<Amount>,
    /// In which currency.
    pub currency: Option<Currency>,
    /// Their status, in our words.
    pub status: Option<Status>,
    /// Their type or goal, in our words.
    pub kind: Option<String>,
    /// When they say it happened.
    pub at: Option<Timestamp>,
    /// Whether that is a date alone.
    pub day_only: bool,
}

/// What rows are matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The transaction id; a type that differs does not part them.
    Transaction,
    /// The click; types that differ part them.
    Click,
}

/// What became of the rows and conversions that share a key.
#[derive(Debug, Default)]
pub struct Paired {
    /// Those that are the same.
    pub pairs: Vec<(Ours, Theirs)>,
    /// Ours that they do not have.
    pub ours: Vec<Ours>,
    /// Theirs beyond the one that each of ours can have.
    pub duplicates: Vec<Theirs>,
    /// Theirs that we do not have.
    pub unknown: Vec<Theirs>,
}

/// How unlike two are; the least unlike are paired first.
type Unlikeness = (bool, Role, u8, i64, u8);

/// Pairs what shares a key; `known` says whether ours of the same key were paired before.
pub fn pair(ours: Vec<Ours>, theirs: Vec<Theirs>, by: By, known: bool) -> Paired {
    let mut candidates: Vec<(Unlikeness, usize, usize)> = Vec::new();
    for (o, our) in ours.iter().enumerate().filter(|(_, our)| !our.taken) {
        for (t, their) in theirs.iter().enumerate() {
            candidates.extend(unlikeness(our, their, by).map(|unlike| (unlike, t, o)));
        }
    }
    candidates.sort_unstable();
    let mut ours: Vec<Option<Ours>> = ours.into_iter().map(Some).collect();
    let mut theirs: Vec<Option<Theirs>> = theirs.into_iter().map(Some).collect();
    let mut paired = Paired::default();
    for (_, t, o) in candidates {
        let (Some(our), Some(their)) = (ours.get_mut(o), theirs.get_mut(t)) else { continue };
        if our.is_some() && their.is_some() {
            paired.pairs.extend(our.take().zip(their.take()));
        }
    }
    paired.ours = ours.into_iter().flatten().collect();
    for their in theirs.into_iter().flatten() {
        let with = paired.pairs.iter().map(|(our, _)| our).chain(&paired.ours);
        let listed = known || with.into_iter().any(|our| unlikeness(our, &their, by).is_some());
        if listed { paired.duplicates.push(their) } else { paired.unknown.push(their) }
    }
    paired
}

/// How unlike two of the same key are; `None` where they cannot be the same.
fn unlikeness(our: &Ours, their: &Theirs, by: By) -> Option<Unlikeness> {
    let other_type = their.kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case(&our.kind));
    let apart = their.at.map_or(0, |at| at.as_microsecond().abs_diff(our.accepted_at.as_microsecond()).cast_signed());
    let disagreements = u8::from(their.amount.is_some_and(|amount| our.amount != Some(amount)))
        + u8::from(their.currency.is_some_and(|currency| our.currency != Some(currency)))
        + u8::from(their.status.is_some_and(|status| our.status != status));
    match by {
        By::Transaction => Some((other_type, our.role, disagreements, apart, 0)),
        By::Click if other_type => None,
        By::Click => Some((false, our.role, 0, apart, disagreements)),
    }
}

/// Whether two amounts are the same within a tolerance.
pub(super) fn same_amount(ours: Amount, theirs: Amount, tolerance: Decimal) -> bool {
    ours.decimal().checked_sub(theirs.decimal()).is_some_and(|difference| difference.abs() <= tolerance)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{event, row};
    use super::super::{OurEvent, fold};
    use super::*;

    fn ours(kind: &str, minute: i64) -> Ours {
        let mut event = OurEvent { kind: kind.into(), ..event("dep-1") };
        event.told.accepted_at = Timestamp::from_second(minute * 60).unwrap();
        fold(vec![event]).remove(0)
    }

    fn theirs(line: u64, kind: Option<&str>, minute: i64) -> Theirs {
        let at = Some(Timestamp::from_second(minute * 60).unwrap());
        Theirs { line, kind: kind.map(Into::into), at, ..row(line, "dep-1") }
    }

    fn lines(paired: &Paired) -> (Vec<(String, u64)>, Vec<u64>, Vec<u64>) {
        let pairs = paired.pairs.iter().map(|(our, their)| (our.kind.clone(), their.line)).collect();
        let left = |theirs: &[Theirs]| theirs.iter().map(|their| their.line).collect();
        (pairs, left(&paired.duplicates), left(&paired.unknown))
    }

    #[test]
    fn of_several_conversions_of_one_click_the_nearest_in_time_is_meant() {
        let deposits = vec![ours("deposit", 10), ours("deposit", 20), ours("registration", 29)];
        let rows = vec![theirs(2, Some("deposit"), 21), theirs(3, Some("deposit"), 11), theirs(4, Some("deposit"), 30)];
        let paired = pair(deposits, rows, By::Click, false);
        let minutes: Vec<_> =
            paired.pairs.iter().map(|(our, their)| (our.accepted_at.as_second() / 60, their.line)).collect();
        assert_eq!(minutes, [(20, 2), (10, 3)]);
        assert_eq!(lines(&paired).1, [4]);
        assert_eq!(paired.ours.len(), 1, "a click's registration is no deposit");
    }

    #[test]
    fn one_transaction_has_one_row_and_the_one_that_agrees_is_meant() {
        let wrong = Theirs { amount: Some(Amount::parse("1").unwrap()), ..theirs(2, None, 10) };
        let paired = pair(vec![ours("ftd", 10)], vec![wrong, theirs(3, None, 50)], By::Transaction, false);
        assert_eq!(lines(&paired), (vec![("ftd".into(), 3)], vec![2], vec![]));
    }

    #[test]
    fn the_type_tells_apart_what_shares_a_transaction() {
        let both = vec![ours("registration", 10), ours("ftd", 10)];
        let paired =
            pair(both, vec![theirs(2, Some("FTD"), 10), theirs(3, Some("signup"), 10)], By::Transaction, false);
        assert_eq!(lines(&paired), (vec![("ftd".into(), 2), ("registration".into(), 3)], vec![], vec![]));
    }

    #[test]
    fn a_row_without_a_conversion_of_its_kind_is_unknown() {
        let paired = pair(vec![ours("ftd", 10)], vec![theirs(2, Some("deposit"), 10)], By::Click, false);
        assert_eq!(lines(&paired), (vec![], vec![], vec![2]));
        let taken = Ours { taken: true, ..ours("ftd", 10) };
        assert_eq!(lines(&pair(vec![taken], vec![theirs(2, None, 10)], By::Click, false)), (vec![], vec![2], vec![]));
    }
}
