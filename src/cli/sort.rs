//! `--sort`: lists in another order than that of acceptance.
//!
//! The store has no index of such orders: all that meets the filter is fetched first, up to a bound.

use std::cmp::{Ordering, Reverse};

use clap::{Args, ValueEnum};
use rust_decimal::Decimal;

use super::exit::{Exit, Failure};
use super::list::{Pages, Walk};
use crate::inspect::{DeliverySummary, Page};

/// Most deliveries that are sorted.
pub(super) const MAX_SORTED: usize = 10_000;

/// By what deliveries are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SortKey {
    /// When the event was accepted
    Accepted,
    /// When the delivery last changed
    Changed,
    /// When it goes out next; what is not scheduled comes last
    Due,
    /// How often it was sent
    Attempts,
    /// What the affiliate is paid, by currency and amount; what has none comes last
    Payout,
    /// The affiliate that is told
    Affiliate,
}

/// In which order to list.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct SortArgs {
    /// Sort all that meets the filter, 10000 deliveries at most, and list the first of it
    #[arg(long, value_name = "BY", conflicts_with_all = ["cursor", "oldest"])]
    sort: Option<SortKey>,

    /// Sort the largest or latest to the top
    #[arg(long, requires = "sort")]
    desc: bool,
}

impl SortArgs {
    /// By what to sort, where that is asked for.
    pub(super) fn key(self) -> Option<SortKey> {
        self.sort
    }

    /// All that a walk comes by, sorted.
    ///
    /// # Errors
    /// When that is more than is sorted.
    pub(super) async fn collect(
        self,
        mut walk: Walk<impl Pages<Item = DeliverySummary>>,
    ) -> Result<Vec<DeliverySummary>, Failure> {
        let mut all = Vec::new();
        while let Some(page) = walk.next().await? {
            all.extend(page);
            if all.len() > MAX_SORTED {
                let why = format!("more than {MAX_SORTED} deliveries meet the filter");
                let next = "narrow it with --since, --affiliate, --state or the like, or leave out --sort";
                return Err(Failure::new(Exit::Error, "sorting deliveries", why, next));
            }
        }
        if let Some(key) = self.sort {
            all.sort_by(|one, other| compare(key, self.desc, one, other));
        }
        Ok(all)
    }
}

/// The order of two deliveries; what has no value comes last both ways.
fn compare(key: SortKey, desc: bool, one: &DeliverySummary, other: &DeliverySummary) -> Ordering {
    fn turned<T: Ord>(desc: bool, one: Option<T>, other: Option<T>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) if desc => Reverse(one).cmp(&Reverse(other)),
            (Some(one), Some(other)) => one.cmp(&other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }
    match key {
        SortKey::Accepted => turned(desc, Some(one.accepted_at), Some(other.accepted_at)),
        SortKey::Changed => turned(desc, Some(one.changed_at), Some(other.changed_at)),
        SortKey::Due => turned(desc, one.due, other.due),
        SortKey::Attempts => turned(desc, Some(one.attempts), Some(other.attempts)),
        SortKey::Payout => turned(desc, payout(one), payout(other)),
        SortKey::Affiliate => turned(desc, Some(&one.affiliate), Some(&other.affiliate)),
    }
}

fn payout(delivery: &DeliverySummary) -> Option<(Option<&str>, Decimal)> {
    let amount = delivery.payout.as_ref()?.parse().ok()?;
    Some((delivery.currency.as_deref(), amount))
}

/// What was sorted, in pages.
pub(super) struct Sorted(pub(super) Vec<DeliverySummary>);

impl Pages for Sorted {
    type Item = DeliverySummary;

    async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Page<DeliverySummary>, Failure> {
        let start: usize = cursor.and_then(|text| text.parse().ok()).unwrap_or(0);
        let items: Vec<_> = self.0.iter().skip(start).take(limit).cloned().collect();
        let end = start + items.len();
        Ok(Page { items, next_cursor: (end < self.0.len()).then(|| end.to_string()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures;

    fn deliveries() -> Vec<DeliverySummary> {
        let row = |id: &str, affiliate: &str, payout: Option<&str>, currency: &str, attempts, due: Option<&str>| {
            let mut delivery = fixtures::delivery(id);
            (delivery.affiliate, delivery.attempts) = (affiliate.into(), attempts);
            (delivery.payout, delivery.currency) = (payout.map(Into::into), Some(currency.into()));
            delivery.due = due.map(|due| due.parse().unwrap());
            delivery
        };
        vec![
            row("1", "b", Some("9.50"), "EUR", 2, None),
            row("2", "a", Some("120"), "EUR", 1, Some("2026-11-20T12:00:00Z")),
            row("3", "c", None, "EUR", 3, Some("2026-11-20T11:00:00Z")),
            row("4", "a", Some("1"), "USD", 1, None),
        ]
    }

    #[tokio::test]
    async fn deliveries_are_sorted_as_asked_and_what_has_no_value_comes_last() {
        let table = [
            (SortKey::Payout, false, "1243"),
            (SortKey::Payout, true, "4213"),
            (SortKey::Attempts, true, "3124"),
            (SortKey::Due, false, "3214"),
            (SortKey::Due, true, "2314"),
            (SortKey::Affiliate, false, "2413"),
            (SortKey::Accepted, true, "1234"),
        ];
        for (key, desc, expected) in table {
            let walk = Walk::over(Sorted(deliveries()), usize::MAX);
            let sorted = SortArgs { sort: Some(key), desc }.collect(walk).await.unwrap();
            let ids: String = sorted.iter().map(|delivery| delivery.delivery_id.as_str()).collect();
            assert_eq!(ids, expected, "{key:?}, {desc}");
        }
    }

    #[tokio::test]
    async fn more_than_the_bound_is_not_sorted_and_the_way_out_is_told() {
        let sort = SortArgs { sort: Some(SortKey::Due), desc: false };
        let many = |count| Walk::over(Sorted(vec![fixtures::delivery("1"); count]), usize::MAX);
        assert_eq!(sort.collect(many(MAX_SORTED)).await.unwrap().len(), MAX_SORTED);
        let refused = sort.collect(many(MAX_SORTED + 1)).await.unwrap_err();
        assert!(refused.exit() == Exit::Error && refused.to_string().contains("--since"), "{refused}");
    }
}
