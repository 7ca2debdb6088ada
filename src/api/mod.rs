//! The HTTP face: producers hand events in, operators look and order.
//!
//! The same routes stand on the TCP listener, where a bearer token says who asks, and on the Unix socket,
//! where the kernel does. Knows no file of the configuration and no engine of the outbox.

mod admission;
mod auth;
mod backup;
mod body;
mod document;
mod export;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod ingest;
mod listen;
mod log;
mod metrics;
mod openapi;
mod operate;
mod orders;
mod places;
mod problem;
mod query;
mod read;
mod reads;
mod server;
mod stall;
mod stream;
mod trace;

pub use admission::Admission;
pub use auth::{Access, Identity};
pub use document::room_for_orders;
pub use listen::{Listeners, ServeError, bind};
pub use openapi::document;
pub use problem::{Kind, Problem};
pub use reads::Reads;
pub use server::{Parts, ReloadReport, ReloadRequest, State, serve};
pub use stream::Streams;
