//! Looks into the outbox itself while the daemon is down.
//!
//! Never makes a store where there is none, and opens one only as its owner: what the engine writes when
//! it opens must stay readable for the daemon.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::exit::{Exit, Failure, with_causes};
use super::show::EventDetail;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::plan::Affiliates;
use crate::inspect::{
    self, AffiliateView, DeliveryDetail, DeliveryFilter, DeliverySummary, Direction, ExportKind, ExportPage, ListError,
    MAX_EXPORTED_ROWS, MarkView, Onlooker, Page, Stats, Trace, UnroutedEvent, UnroutedFilter,
};
use crate::ops::clock::{Clock, SystemClock};
use crate::outbox::{
    self, Engine, EngineError, Outbox, OutboxError, Reader, engine_of, store_file, unfinished_migration,
};

/// Memory for the store's pages while we look.
const CACHE_BYTES: u64 = 64 << 20;

/// The outbox of a daemon that is down.
pub(super) struct Store {
    reader: Reader,
}

impl Store {
    /// Opens the outbox in a directory; `None` when there is none.
    ///
    /// # Errors
    /// When it is somebody else's, in use, or cannot be read.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let Some(engine) = open_engine(path)? else { return Ok(None) };
        let reader = Outbox::open_reader(engine).map_err(|error| broken(&error))?;
        Ok(Some(Self { reader }))
    }

    /// A page of deliveries.
    pub(super) fn list(
        &self,
        filter: &DeliveryFilter,
        direction: Direction,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeliverySummary>, Failure> {
        inspect::list(&self.reader, filter, direction, cursor, limit, &Onlooker::OFFLINE).map_err(unlisted)
    }

    /// A page of unrouted events.
    pub(super) fn unrouted(
        &self,
        filter: &UnroutedFilter,
        direction: Direction,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<UnroutedEvent>, Failure> {
        inspect::unrouted(&self.reader, filter, direction, cursor, limit).map_err(unlisted)
    }

    /// A page of an export.
    pub(super) fn export(
        &self,
        kind: ExportKind,
        filter: &DeliveryFilter,
        cursor: Option<&str>,
    ) -> Result<ExportPage, Failure> {
        let onlooker = Onlooker::OFFLINE;
        inspect::export_page(&self.reader, kind, filter, cursor, MAX_EXPORTED_ROWS, &onlooker).map_err(unlisted)
    }

    /// How far each consumer of exports has come.
    pub(super) fn export_marks(&self) -> Vec<MarkView> {
        inspect::export_marks(&self.reader)
    }

    /// A delivery in detail.
    pub(super) fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetail>, Failure> {
        inspect::show(&self.reader, id, false).map_err(|error| broken(&error))
    }

    /// An event with its deliveries.
    pub(super) fn event(&self, id: EventId) -> Result<Option<EventDetail>, Failure> {
        let Some(record) = self.reader.event(id).map_err(|error| broken(&error))? else { return Ok(None) };
        let mut deliveries = Vec::with_capacity(record.plan.len());
        for ordinal in 0..u16::try_from(record.plan.len()).unwrap_or(u16::MAX) {
            let found = self.reader.delivery_of(DeliveryId { event: id, ordinal }, &record);
            let found = found.map_err(|error| broken(&error))?;
            deliveries.extend(found.map(|view| DeliverySummary::new(&view, &record, false)));
        }
        Ok(Some(EventDetail {
            event_id: id.to_string(),
            event: record.event.to_json(),
            source: record.source,
            accepted_at: record.accepted_at,
            deliveries,
        }))
    }

    /// A timeline.
    pub(super) fn trace(&self, key: &str, requests: bool) -> Result<Option<Trace>, Failure> {
        inspect::trace(&self.reader, key, requests, &Onlooker::OFFLINE).map_err(|error| broken(&error))
    }

    /// Every affiliate, as the configuration and the store know it.
    pub(super) fn affiliates(&self, configured: &Affiliates) -> Result<Vec<AffiliateView>, Failure> {
        Ok(inspect::affiliates(&self.stats()?, configured))
    }

    /// The state of everything.
    pub(super) fn stats(&self) -> Result<Stats, Failure> {
        inspect::stats(&self.reader, SystemClock.now()).map_err(|error| broken(&error))
    }
}

/// Opens the engine of an outbox in a directory; `None` when there is none.
///
/// # Errors
/// When it is somebody else's, in use, or cannot be read.
pub(super) fn open_engine(path: &Path) -> Result<Option<Arc<dyn Engine>>, Failure> {
    let what = || format!("opening the outbox {}", path.display());
    let unseen = |error: std::io::Error| {
        Failure::new(Exit::Auth, what(), error, "run as the daemon's user: sudo -u postbackd postbackd …")
    };
    if let Some(to) = unfinished_migration(path).map_err(unseen)? {
        let why = format!("a migration to {} was begun there and not finished", to.name());
        let next = format!("finish it: postbackd outbox migrate --to {}", to.name());
        return Err(Failure::new(Exit::Refused, what(), why, next));
    }
    let Some(kind) = engine_of(path).map_err(unseen)? else { return Ok(None) };
    let found = std::fs::metadata(path.join(store_file(kind))).map_err(unseen)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(
            Exit::Auth,
            what(),
            "it belongs to another user, and opening it would leave files that the daemon cannot read",
            format!("run as its owner: sudo -u '#{}' postbackd …", found.uid()),
        ));
    }
    outbox::open_engine(kind, path, CACHE_BYTES).map(Some).map_err(|error| {
        let exit = if matches!(error, EngineError::InUse { .. }) { Exit::Unreachable } else { Exit::Error };
        let next = match exit {
            Exit::Unreachable => "a daemon has it open but does not answer here: check [api] socket, or use --url",
            _ => "start the daemon and look at its log",
        };
        Failure::new(exit, what(), with_causes(&error), next)
    })
}

fn unlisted(error: ListError) -> Failure {
    match error {
        ListError::Filter(invalid) => Failure::new(Exit::Usage, "the filter", invalid, "postbackd list --help"),
        ListError::Outbox(error) => broken(&error),
    }
}

fn broken(error: &OutboxError) -> Failure {
    let next = "start the daemon and look at its log; a backup can be restored while it is down";
    Failure::new(Exit::Error, "reading the outbox", with_causes(error), next)
}
