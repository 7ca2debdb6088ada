//! What a daemon needs around its work: clock, randomness, environment, logs, metrics.

pub mod beside;
pub mod clock;
pub mod descriptors;
pub mod doctor;
pub mod environment;
pub mod memory;
pub mod metrics;
pub mod random;
pub mod systemd;
pub mod telemetry;
pub mod traces;
