//! The counters of a store against a recount.

use std::collections::BTreeSet;

use super::Walk;
use crate::domain::delivery::StateKind;
use crate::outbox::model::PostbackNo;
use crate::outbox::{ahead, keys, tally};

impl Walk<'_> {
    /// Compares what the store keeps count of with what was counted.
    pub(super) fn compare(&mut self) {
        if self.seen.pairs > 0 && !self.kept.has_format {
            self.damage(&keys::meta("format"), "is missing");
        }
        for (id, remaining) in std::mem::take(&mut self.bulks) {
            let left = self.counted.targets.get(&id).copied().unwrap_or_default();
            if let Some(remaining) = remaining.filter(|remaining| *remaining != left) {
                self.damage(&keys::bulk(id), format!("{id} says that {remaining} targets are left, there are {left}"));
            }
        }
        let counted = self.counted.stored.take().unwrap_or_default().record_bytes;
        // A store from before there were tallies has none until it is opened by this version.
        let kept = self.kept.stored.take().map(|stored| stored.record_bytes);
        match kept {
            Some(kept) if kept == counted => {}
            None if self.kept.tallies.is_empty() => {}
            None => self.damage(&keys::meta(tally::STORED), "is missing or damaged, though there are tallies"),
            Some(kept) => {
                let what = format!("says that records have {kept} bytes, they have {counted}");
                self.damage(&keys::meta(tally::STORED), what);
            }
        }
        if self.seen.unreadable > 0 {
            return;
        }
        let unrouted = self.counted.unrouted.take().unwrap_or_default();
        match self.kept.unrouted {
            Some(kept) if kept == unrouted => {}
            None if self.seen.events == 0 => {}
            None => self.damage(&keys::meta("totals"), "is missing or damaged, though there are events"),
            Some(kept) => {
                let what = format!("says that {kept} events are unrouted, there are {unrouted}");
                self.damage(&keys::meta("totals"), what);
            }
        }
        self.compare_postbacks(kept.is_some());
    }

    fn compare_postbacks(&mut self, tallied: bool) {
        let mut ahead = BTreeSet::new();
        for (number, counts, tally) in std::mem::take(&mut self.kept.ahead) {
            self.kept.counts.insert(number, counts);
            self.kept.tallies.insert(number, tally);
            ahead.insert(number);
        }
        // Where it stands what is said, and not where it would stand otherwise.
        let key =
            |number, own: fn(PostbackNo) -> Vec<u8>| if ahead.contains(&number) { ahead::key() } else { own(number) };
        for number in self.names.keys().copied().collect::<Vec<_>>() {
            let kept = self.kept.counts.get(&number).copied().unwrap_or_default();
            let counted = self.counted.counts.get(&number).copied().unwrap_or_default();
            for kind in StateKind::ALL.into_iter().filter(|kind| kept.of(*kind) != counted.of(*kind)) {
                let (says, are) = (kept.of(kind), counted.of(kind));
                self.damage(
                    &key(number, keys::counts),
                    format!("says that {says} deliveries are {}, there are {are}", kind.name()),
                );
            }
            let kept = self.kept.tallies.remove(&number).unwrap_or_default();
            let counted = self.counted.tallies.remove(&number).unwrap_or_default();
            if tallied && !kept.agrees_with(&counted) {
                self.damage(&key(number, keys::tally), "differs from a recount of dead letters and money");
            }
        }
    }
}
