//! What a daemon needs around its work: clock, randomness, environment, logs.

pub mod clock;
pub mod descriptors;
pub mod environment;
pub mod random;
pub mod systemd;
pub mod telemetry;
