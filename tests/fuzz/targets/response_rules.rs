//! Hands libFuzzer's inputs to the target `response_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("response_rules", input));
