//! Fuzz targets: each takes any bytes, and panics where something that the program promises does not hold of them.
//!
//! `tests/fuzz` hands them what libFuzzer makes up; the test `replay` hands them every input that is kept in
//! `tests/fuzz/corpus`, with the compiler and the tests that everybody runs. A target that needs what its module keeps to
//! itself lies in that module, in a file `fuzzing.rs`.
//!
//! No target sleeps, opens a connection or asks for the time: the same bytes do the same in every run.

mod ingest;
mod pieces;
#[cfg(test)]
mod replay;
mod retry_after;
mod shipped;

pub(crate) use pieces::Pieces;
pub(crate) use shipped::{now, shipped};

/// A target.
#[derive(Debug, Clone, Copy)]
struct Target {
    /// Its name, which is that of its folder in the corpus.
    name: &'static str,
    run: fn(&[u8]),
}

/// All targets.
const TARGETS: [Target; 10] = [
    Target { name: "ingest_json", run: ingest::json },
    Target { name: "ingest_ndjson", run: ingest::ndjson },
    Target { name: "ingest_csv", run: ingest::csv },
    Target { name: "template", run: crate::domain::request::fuzzing::template },
    Target { name: "url", run: crate::domain::request::fuzzing::url },
    Target { name: "retry_after", run: retry_after::retry_after },
    Target { name: "response_rules", run: crate::config::fuzzing::response_rules },
    Target { name: "record_decoding", run: crate::outbox::fuzzing::record_decoding },
    Target { name: "configuration", run: crate::config::fuzzing::configuration },
    Target { name: "cli_filters", run: crate::cli::fuzzing::cli_filters },
];

/// Hands an input to a target.
///
/// # Panics
/// When a promise does not hold, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(input);
}
