//! Integration tests: the real binary, real sockets, a real disk.
//!
//! Every test starts a daemon of its own in a directory of its own, with receivers that answer by script.
//! Nothing is mocked, and nothing sleeps: a test waits for what it is about, with a bound.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking, and measures with the real clock"
)]

mod harness;

mod affiliates;
mod backup;
mod bench;
mod canaries;
mod commands;
mod configuration;
mod crash;
mod decisions;
mod delivery;
mod doctor;
mod egress;
mod export;
mod hostile;
mod incidents;
mod ingest;
mod limits;
mod lists;
mod logging;
mod metrics;
mod migrate;
mod openapi;
mod operators;
mod order;
mod page;
mod reconcile;
mod scopes;
mod signing;
mod systemd;
mod tail;
mod tls;
mod trace;
#[cfg(feature = "otel")]
mod traces;
mod wire;
