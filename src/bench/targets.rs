//! What is aimed at, by engine.

use super::figure::Target;
use crate::domain::engine_kind::EngineKind;

/// Deliveries pending up to which speed and start are promised.
const USUAL_BACKLOG: usize = 2_000_000;
/// Deliveries pending up to which memory is.
const LARGE_BACKLOG: usize = 10_000_000;
const MIB: f64 = 1_048_576.0;

/// The targets of an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Targets(pub(super) EngineKind);

impl Targets {
    fn of(self, sled: f64, fjall: f64) -> f64 {
        match self.0 {
            EngineKind::Sled => sled,
            EngineKind::Fjall => fjall,
        }
    }

    /// One client's accept by an append with its sync.
    pub(super) fn accept_alone(self) -> Target {
        Target::AtMost(self.of(4.0, 3.0))
    }

    /// Accepts of single events by those of a server that stores nothing.
    pub(super) fn accept_singles(self) -> Target {
        Target::AtLeast(self.of(0.5, 0.7))
    }

    /// Accepts in batches by those through the port.
    pub(super) fn accept_batches(self) -> Target {
        Target::AtLeast(self.of(0.8, 0.7))
    }

    /// Full cycles by those of a bare loop over the engine.
    pub(super) fn cycles(self) -> Target {
        Target::AtLeast(self.of(0.9, 0.9))
    }

    /// The whole way by a bare loop of requests, for events handed in alone or in batches.
    pub(super) fn whole_way(self, batch: usize) -> Target {
        Target::AtLeast(if batch == 1 { self.of(0.25, 0.4) } else { self.of(0.33, 0.5) })
    }

    /// From acceptance to the first byte by a bare round trip; `None` where nothing is aimed at.
    pub(super) fn first_byte(self, per_mille: usize) -> Option<Target> {
        match per_mille {
            500 => Some(Target::AtMost(self.of(6.0, 5.0))),
            990 => Some(Target::AtMost(self.of(20.0, 15.0))),
            _ => None,
        }
    }

    /// Healthy affiliates beside those that hang, by themselves alone.
    pub(super) fn isolation(self) -> Target {
        Target::AtMost(self.of(1.1, 1.1))
    }

    /// Bytes of memory with so many pending.
    pub(super) fn memory(self, pending: usize) -> Option<Target> {
        let usual = self.of(1_024.0, 400.0) * MIB;
        match pending {
            ..=USUAL_BACKLOG => Some(Target::AtMost(usual)),
            ..=LARGE_BACKLOG if self.0 == EngineKind::Fjall => Some(Target::AtMost(600.0 * MIB)),
            _ => None,
        }
    }

    /// Throughput with so many pending, by that of an empty store.
    pub(super) fn speed(self, pending: usize) -> Option<Target> {
        (pending <= USUAL_BACKLOG).then_some(Target::AtLeast(self.of(0.8, 0.8)))
    }

    /// Seconds until it is ready with so many pending.
    pub(super) fn start(self, pending: usize) -> Option<Target> {
        (pending <= USUAL_BACKLOG).then_some(Target::AtMost(self.of(20.0, 5.0)))
    }

    /// Processor time of a daemon that has nothing to do, in microseconds a second.
    pub(super) fn idle(self) -> Target {
        Target::AtMost(self.of(2_000.0, 2_000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aimed_at_for_backlogs_that_it_is_promised_for() {
        let memory = |engine, pending| Targets(engine).memory(pending);
        assert_eq!(memory(EngineKind::Sled, 2_000_000), Some(Target::AtMost(1_073_741_824.0)));
        assert_eq!(memory(EngineKind::Sled, 10_000_000), None);
        assert_eq!(memory(EngineKind::Fjall, 10_000_000), Some(Target::AtMost(629_145_600.0)));
        assert_eq!(memory(EngineKind::Fjall, 10_000_001), None);
        assert_eq!(Targets(EngineKind::Fjall).first_byte(999), None);
    }
}
