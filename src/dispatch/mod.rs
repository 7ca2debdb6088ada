//! Takes events in and sends deliveries out.
//!
//! Pure decisions (whose turn it is, whether a breaker is open, what is held in memory) stand beside the
//! tasks that carry them out. Knows the outbox and the transport by their interfaces only.

mod attempt;
mod breaker;
mod bulk;
mod dispatcher;
#[cfg(feature = "planted")]
mod early;
mod errand;
mod feed;
mod intake;
mod rehearsal;
mod scheduler;
mod seen;
mod window;

pub use attempt::{AttemptNote, AttemptObserver};
pub use breaker::Breaker;
pub use bulk::{BulkError, BulkOrders, BulkRequest, BulkView, MAX_DELIVERIES, Named};
pub use dispatcher::{AffiliateStatus, Dispatch, Parts, Routing, start};
pub use errand::Errand;
pub use feed::{Begin, Feed, Heard, KEPT, KEPT_OWN, Listener, Told};
pub use intake::{Answer, Intake, IntakeRules, Producer, planned};
pub use rehearsal::{Rehearsal, rehearse};
pub use scheduler::{Ended, Route, Scheduler, Step};
pub use seen::{AttemptFilter, SeenAttempt};
pub use window::WINDOW;
