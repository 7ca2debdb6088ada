//! Their conversions against ours: how their report is read, which of their rows is which of our conversions, and what
//! is said of each.
//!
//! Pure: knows no file, no sorting on disk and no daemon. Whoever calls brings together what shares a key.

pub mod amount;
mod clue;
mod conversion;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod moment;
mod pairing;
mod tally;
mod verdict;
mod vocabulary;

pub use clue::{Clue, Clues, Seen, Undecided};
pub use conversion::{OurEvent, Ours, Role, Told, fold};
pub use pairing::{By, Paired, Theirs, pair};
pub use tally::{Sums, Tally};
pub use verdict::{Finding, Outside, Period, Rules, Verdict, is_owed, judge, lateness};
pub use vocabulary::{Statuses, Types};
