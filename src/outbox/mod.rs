//! The durable store of events, deliveries and attempts.
//!
//! [`Outbox`] is the handle everybody uses. All writes go through one commit thread, which gathers what
//! waits into one atomic batch; a second thread makes batches durable and only then answers. Reads go to
//! the engine directly and never wait for either.
//!
//! Knows nothing of HTTP, of templates or of when to send; decisions about states come from the domain.

mod ahead;
mod arrivals;
mod backup;
mod bulk;
mod claims;
mod codec;
mod commit;
mod durable;
mod engine;
mod engines;
mod fjall;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handle;
mod keys;
mod known;
mod lease;
mod lookup;
mod memory;
mod migrate;
mod model;
mod opening;
mod place;
mod read;
mod recent;
pub mod retention;
mod room;
mod sled;
mod soon;
mod tally;
mod verify;
mod view;
mod writer;

pub use arrivals::{Arrivals, Due, SendClass};
pub use backup::{
    BackupCheck, BackupError, RestoreError, RestoreObserver, Restored, TakeError, Taken, restore, take_at_rest,
};
pub use bulk::{BulkChanged, BulkRecord, BulkState, BulkStep, MAX_REFUSALS, Refusal, Stepped, Target, Verb};
pub use commit::{CommitObserver, Window};
pub use engine::{Batch, Engine, EngineError, Pair, Pairs};
pub use engines::{engine_of, open_engine, store_file, store_name, unfinished_migration};
pub use fjall::FjallEngine;
pub use handle::{Options, Outbox};
pub use lease::{Begun, Lease};
pub use lookup::{Found, From as LookFrom};
pub use memory::MemoryEngine;
pub use migrate::{Copying, MigrateError, MigrateObserver, Migration, Move};
pub use model::{
    AcceptRequest, Accepted, Conflict, Counts, DeliveryView, EventRecord, Flag, HistoryView, Ingested, Order,
    OrderRefused, OrderRequest, OutboxError, Pause, PlanEntry, PlannedDelivery, PostbackNo, Settlement, Totals,
};
pub use place::{RESTORING, lock_directory};
pub use read::{Reader, Scan, Walk};
pub use room::{Room, free_bytes};
pub use sled::{SledEngine, torn_snapshots};
pub use tally::{Money, Tally};
pub use verify::{Damage, Verified, VerifyObserver, verify};

#[cfg(test)]
mod contract;
#[cfg(test)]
mod model_check;
#[cfg(test)]
pub(crate) mod onlooker;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod stopped_tests;
#[cfg(test)]
pub(crate) mod unthreaded;
