//! Hands libFuzzer's inputs to the target `ingest_csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("ingest_csv", input));
