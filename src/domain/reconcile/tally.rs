//! The counts, sums and rates of a reconciliation, taken finding by finding.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::verdict::{Finding, Period, Verdict, is_owed};
use crate::domain::event::Status;
use crate::domain::money::{Amount, Currency};

/// Decimals of a rate: hundredths of a percent.
const RATE_DECIMALS: u32 = 4;

/// What counts of each side in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sums {
    /// Ours that they should have.
    pub ours: Decimal,
    /// Theirs, duplicates and what we do not know among them.
    pub theirs: Decimal,
    /// Theirs less ours.
    pub difference: Decimal,
}

/// What was found, counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<Verdict, u64>,
    /// Ours that something is said of.
    ours: u64,
    /// Of these the ones that were accepted outside of the period, belong to its neighbour, and have a row in this one.
    accepted_outside: u64,
    /// Ours that they should have.
    owed: u64,
    /// Of these the ones that they have.
    found: u64,
    /// Their rows that something is said of.
    theirs: u64,
    sums: BTreeMap<String, Sums>,
    /// Whether a sum grew too large to be kept.
    overflow: bool,
}

impl Tally {
    /// Counts a finding: of a pair both sides, wherever they lie.
    pub fn add(&mut self, finding: &Finding, period: &Period) {
        *self.counts.entry(finding.verdict).or_default() += 1;
        if let Some(ours) = &finding.ours {
            self.ours += 1;
            self.accepted_outside += u64::from(!period.holds_ours(ours));
            if is_owed(ours) {
                self.owed += 1;
                self.found += u64::from(finding.theirs.is_some());
                self.sum(ours.currency, ours.amount, |sums| &mut sums.ours);
            }
        }
        if let Some(theirs) = &finding.theirs {
            self.theirs += 1;
            // A row without a status that agrees with what we rejected counts for neither.
            let ours = finding.ours.as_ref().map(|ours| ours.status);
            let void = ours == Some(Status::Rejected) && !finding.says(Verdict::StatusDiffers);
            if theirs.status != Some(Status::Rejected) && !void {
                let beside = finding.ours.as_ref().and_then(|ours| ours.currency);
                self.sum(theirs.currency.or(beside), theirs.amount, |sums| &mut sums.theirs);
            }
        }
    }

    fn sum(&mut self, currency: Option<Currency>, amount: Option<Amount>, side: impl Fn(&mut Sums) -> &mut Decimal) {
        let Some(amount) = amount else { return };
        let sums = self.sums.entry(currency.map_or("", Currency::code).to_owned()).or_default();
        let side = side(sums);
        match side.checked_add(amount.decimal()) {
            Some(sum) => *side = sum,
            None => self.overflow = true,
        }
    }

    /// How often a verdict was given.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.counts.get(&verdict).copied().unwrap_or_default()
    }

    /// Ours of the period, and those of its neighbours that have a row in it; what we rejected only where they list it.
    pub fn ours(&self) -> u64 {
        self.ours
    }

    /// Of ours those that were accepted outside of the period, and belong to its neighbour.
    pub fn accepted_outside(&self) -> u64 {
        self.accepted_outside
    }

    /// Their rows of the period, and those outside that are ours of the period.
    pub fn theirs(&self) -> u64 {
        self.theirs
    }

    /// Whether both sides agree in everything but time.
    pub fn is_clean(&self) -> bool {
        Verdict::ALL.into_iter().all(|verdict| verdict.agrees() || self.count(verdict) == 0)
    }

    /// Of ours that they should have the share that they have, whatever it differs in.
    pub fn completion(&self) -> Option<Decimal> {
        rate(self.found, self.owed)
    }

    /// Of everything that either side has, each once, the share in which both do not agree.
    pub fn discrepancy(&self) -> Option<Decimal> {
        let all: u64 =
            self.counts.iter().filter(|(verdict, _)| **verdict != Verdict::Duplicate).map(|(_, count)| count).sum();
        let agreed: u64 = self.counts.iter().filter(|(verdict, _)| verdict.agrees()).map(|(_, count)| count).sum();
        rate(all - agreed, all)
    }

    /// Of their rows the share that repeats another.
    pub fn duplicates(&self) -> Option<Decimal> {
        rate(self.count(Verdict::Duplicate), self.theirs)
    }

    /// What counts of each side, by currency; the empty one is of amounts that name none.
    pub fn sums(&self) -> impl Iterator<Item = (&str, Sums)> {
        self.sums.iter().map(|(code, sums)| {
            let difference = sums.theirs.checked_sub(sums.ours).unwrap_or_default();
            (code.as_str(), Sums { difference, ..*sums })
        })
    }

    /// Whether a sum grew too large, so that it is not whole.
    pub fn has_overflowed(&self) -> bool {
        self.overflow
    }
}

/// A share of a whole; `None` of nothing.
fn rate(part: u64, whole: u64) -> Option<Decimal> {
    let share = Decimal::from(part).checked_div(Decimal::from(whole))?;
    Some(share.round_dp_with_strategy(RATE_DECIMALS, RoundingStrategy::MidpointNearestEven).normalize())
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ours", &self.ours)?;
        map.serialize_entry("ours_accepted_outside", &self.accepted_outside)?;
        map.serialize_entry("theirs", &self.theirs)?;
        for verdict in Verdict::ALL {
            map.serialize_entry(verdict.name(), &self.count(verdict))?;
        }
        map.serialize_entry("completion_rate", &self.completion())?;
        map.serialize_entry("discrepancy_rate", &self.discrepancy())?;
        map.serialize_entry("duplicate_rate", &self.duplicates())?;
        let sums: BTreeMap<&str, Sums> = self.sums().collect();
        map.serialize_entry("sums", &sums)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{event, period, row, rules};
    use super::super::{By, Theirs, fold, judge, pair};
    use super::*;

    #[test]
    fn rates_and_sums_are_of_what_counts() {
        let mut tally = Tally::default();
        let mut add = |ours: Option<&str>, rows: Vec<Theirs>| {
            let ours = ours.map(|transaction| fold(vec![event(transaction)])).unwrap_or_default();
            for finding in judge(pair(ours, rows, By::Transaction, false), &rules(), &period()) {
                tally.add(&finding, &period());
            }
        };
        for number in 0..6 {
            let transaction = format!("dep-{number}");
            add(Some(&transaction), vec![row(number, &transaction)]);
        }
        add(Some("dep-7"), vec![]);
        add(Some("dep-8"), vec![Theirs { amount: Some(Amount::parse("20.00").unwrap()), ..row(8, "dep-8") }]);
        add(Some("dep-9"), vec![row(9, "dep-9"), row(10, "dep-9")]);
        add(None, vec![row(11, "dep-10")]);
        assert_eq!((tally.ours(), tally.theirs(), tally.count(Verdict::Matched)), (9, 10, 7));
        let rate = |text: &str| Some(text.parse::<Decimal>().unwrap());
        assert_eq!(tally.completion(), rate("0.8889"));
        assert_eq!(tally.discrepancy(), rate("0.3"), "three of ten: missing, amount, unknown");
        assert_eq!(tally.duplicates(), rate("0.1"));
        let sums: Vec<_> = tally
            .sums()
            .map(|(code, sums)| format!("{code} {} {} {}", sums.ours, sums.theirs, sums.difference))
            .collect();
        assert_eq!(sums, ["EUR 1080.00 1100.00 20.00"]);
        assert!(!tally.is_clean());
    }

    #[test]
    fn of_nothing_there_is_no_rate() {
        let tally = Tally::default();
        assert_eq!((tally.completion(), tally.discrepancy(), tally.duplicates()), (None, None, None));
        assert!(tally.is_clean());
    }
}
