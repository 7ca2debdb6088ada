//! Hands libFuzzer's inputs to the target `record_decoding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postbackd::fuzzing::run("record_decoding", input));
