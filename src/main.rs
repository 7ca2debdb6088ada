//! The `postbackd` binary.

fn main() {}
