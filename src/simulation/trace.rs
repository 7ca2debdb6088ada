//! What happened, step by step: told to whoever replays a seed, and digested to see that a replay is exact.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::Duration;

/// The trace of a story.
#[derive(Debug)]
pub(super) struct Trace {
    told: bool,
    digest: u64,
    line: String,
}

impl Trace {
    pub(super) fn new(told: bool) -> Self {
        Self { told, digest: 0xcbf2_9ce4_8422_2325, line: String::new() }
    }

    /// Notes that something happened.
    pub(super) fn note(&mut self, at: Duration, what: fmt::Arguments<'_>) {
        self.line.clear();
        let _ = write!(self.line, "{:>9}.{:03} {what}", at.as_millis(), at.subsec_micros() % 1_000);
        for byte in self.line.bytes() {
            // FNV-1a: the lines are ours, nobody looks for collisions.
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.told {
            let _ = writeln!(std::io::stderr(), "{}", self.line);
        }
    }

    /// The digest of everything so far.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}
