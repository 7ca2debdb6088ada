//! Hands libFuzzer's inputs to the target `retry_after`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("retry_after", input));
