//! Sends one prepared request and reports what came of it.
//!
//! Knows nothing of events, retries or verdicts. No redirects, no ambient proxy, no decompression; every
//! deadline and every size is bounded; no connection to an address that the egress policy forbids.

mod bounded;
mod client;
mod connector;
mod egress;
mod failure;
mod gate;
mod origins;
mod phases;
mod resolver;
mod tls;
mod wire;

pub use client::{Exchange, Received, SendFailure, Transport, TransportError, TransportOptions, api_client};
pub use egress::{EgressPolicy, Forbidden};
pub use tls::{Trust, trust};
pub use wire::{Sending, SharedWire, Wire};

#[cfg(test)]
mod tests;
