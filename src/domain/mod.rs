//! What a conversion, a postback and a delivery are, and every decision taken about them.
//!
//! Pure: knows no socket, store, clock, random source or environment. Time, randomness and
//! configuration come in as arguments, so that each decision can be tested and replayed exactly.

pub mod affiliate;
pub mod concealed;
pub mod delivery;
pub mod dictionary;
pub mod engine_kind;
pub mod event;
pub mod export_mark;
pub mod id;
pub mod money;
pub mod nearest;
pub mod order;
pub mod outcome;
pub mod personal_data;
pub mod plan;
pub mod postback;
pub mod reconcile;
pub mod record;
pub mod request;
pub mod retention;
pub mod retry;
pub mod sample;
pub mod signature;
pub mod template;
pub mod timestamp;
