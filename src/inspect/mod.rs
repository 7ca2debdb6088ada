//! Looking at the outbox: what people and programs are shown of events, deliveries and attempts.
//!
//! Reads only, and works the same inside the daemon and on the store of one that is down. What is shown is
//! what is stored: secrets were masked before they were written.

mod affiliates;
mod cursor;
mod decision;
mod export;
mod filter;
mod list;
mod stats;
mod trace;
mod unrouted;
mod views;

pub use affiliates::{AffiliateView, PostbackSettings, PostbackView, affiliates};
pub use decision::{Choice, Decision};
pub use export::{
    By, Cell, Column, ExportKind, ExportPage, Kind, MAX_ROWS as MAX_EXPORTED_ROWS, MarkView, UnlikeColumn,
    check_export, columns, export_marks, export_page, line,
};
pub use filter::{DeliveryFilter, Direction, InvalidFilter};
pub use list::{ListError, Onlooker, Page, list, matching, show};
pub use stats::{AffiliateStats, LatelyStats, PostbackStats, Stats, TotalStats, stats};
pub use trace::{KeyKind, LeftOut, Trace, TraceEntry, TraceStep, TracedEvent, trace};
pub use unrouted::{UnroutedEvent, UnroutedFilter, unrouted};
pub use views::{AttemptView, DeliveryDetail, DeliverySummary, HistoryEntryView, LastAttempt, PauseView, TimingsView};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trace_tests;
