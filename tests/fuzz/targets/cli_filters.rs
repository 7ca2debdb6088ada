//! Hands libFuzzer's inputs to the target `cli_filters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("cli_filters", input));
