//! Hands libFuzzer's inputs to the target `configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("configuration", input));
