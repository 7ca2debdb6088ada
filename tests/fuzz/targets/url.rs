//! Hands libFuzzer's inputs to the target `url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("url", input));
