//! Takes events in and sends deliveries out.
//!
//! Pure decisions (whose turn it is, whether a breaker is open, what is held in memory) stand beside the
//! tasks that carry them out. Knows the outbox and the transport by their interfaces only.

mod attempt;
mod breaker;
mod dispatcher;
mod intake;
mod replay;
mod scheduler;
mod window;

pub use attempt::{AttemptNote, AttemptObserver};
pub use breaker::Breaker;
pub use dispatcher::{AffiliateStatus, Dispatch, Parts, Routing, start};
pub use intake::{Answer, Intake, IntakeRules, Producer, planned};
pub use replay::{MAX_DELIVERIES, Refusal, ReplayRequest, ReplayState, ReplayView, Replays, Targets};
pub use scheduler::{Ended, Route, Scheduler, Step};
