//! `postbackd` hands an operator's conversions to affiliates' postback URLs: durably, in order, exactly
//! as often as needed, with every attempt on record.
//!
//! The modules in reading order; `ARCHITECTURE.md` tells how they fit together.

pub mod domain;

pub mod outbox;

pub mod transport;

pub mod dispatch;

pub mod inspect;

pub mod config;

pub mod api;

pub mod ops;

pub mod app;

pub mod receiver;

pub mod demo;

pub mod bench;

pub mod cli;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

mod planted;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod simulation;
