//! Looking at the outbox: what people and programs are shown of events, deliveries and attempts.
//!
//! Reads only, and works the same inside the daemon and on the store of one that is down. What is shown is
//! what is stored: secrets were masked before they were written.

mod filter;
mod list;
mod stats;
mod views;

pub use filter::{DeliveryFilter, Direction, InvalidFilter};
pub use list::{ListError, Page, list, matching, show};
pub use stats::{AffiliateStats, PostbackStats, Stats, TotalStats, stats};
pub use views::{AttemptView, DeliveryDetail, DeliverySummary, HistoryEntryView, LastAttempt, PauseView, TimingsView};
