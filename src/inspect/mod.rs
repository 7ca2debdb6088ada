//! Looking at the outbox: what people and programs are shown of events, deliveries and attempts.
//!
//! Reads only, and works the same inside the daemon and on the store of one that is down. What is shown is
//! what is stored: secrets were masked before they were written.

mod affiliates;
mod cursor;
mod decision;
mod filter;
mod list;
mod stats;
mod trace;
mod unrouted;
mod views;

pub use affiliates::{AffiliateView, PostbackSettings, PostbackView, affiliates};
pub use decision::{Choice, Decision};
pub use filter::{DeliveryFilter, Direction, InvalidFilter};
pub use list::{ListError, Onlooker, Page, list, matching, show};
pub use stats::{AffiliateStats, PostbackStats, Stats, TotalStats, stats};
pub use trace::{KeyKind, LeftOut, Trace, TraceEntry, TraceStep, TracedEvent, trace};
pub use unrouted::{UnroutedEvent, UnroutedFilter, unrouted};
pub use views::{AttemptView, DeliveryDetail, DeliverySummary, HistoryEntryView, LastAttempt, PauseView, TimingsView};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trace_tests;
