//! Which tests have to notice which bug.

/// A test program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// The unit tests.
    Lib,
    /// The integration tests.
    It,
    /// What breaks the world below the daemon.
    Survival,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lib => "lib",
            Self::It => "it",
            Self::Survival => "survival",
        }
    }
}

/// A bug, and the tests that notice it, as they are asked for on the command line.
type Row = (&'static str, Program, &'static [&'static str]);

/// Every bug of `src/planted.rs`.
pub(crate) const CATALOGUE: &[Row] = &[
    ("acknowledge-before-sync", Program::Lib, &["outbox::room_tests"]),
    ("sent-before-durable", Program::Lib, &["simulation::every_promise"]),
    ("flush-alone", Program::Survival, &["power", "--cuts", "10", "--events", "1500"]),
    ("mark-forgotten", Program::Survival, &["device", "--cuts", "6", "--events", "900"]),
    ("failed-sync-forgiven", Program::Survival, &["faults", "--eio", "4", "--enospc", "0"]),
    ("failed-sync-acknowledged", Program::Lib, &["outbox::stopped_tests"]),
    ("two-batches", Program::Lib, &["simulation::every_promise"]),
    ("settle-before-sending", Program::It, &["delivery::an_event_becomes_one_request"]),
    ("lost-successor", Program::Lib, &["outbox::contract::ordering::on_memory"]),
    ("stale-lease-settles", Program::Lib, &["outbox::contract::sending::on_memory"]),
    ("reversal-overtakes", Program::Lib, &["domain::order"]),
    ("permit-leak", Program::Lib, &["dispatch::scheduler"]),
    ("refill-skips", Program::Lib, &["outbox::contract::looking::on_memory"]),
    ("concurrency-ignored", Program::Lib, &["dispatch::scheduler"]),
    ("pause-ignored", Program::Lib, &["dispatch::scheduler"]),
    ("duplicate-accepted", Program::Lib, &["outbox::contract::accepting::on_memory"]),
    ("counts-behind", Program::Lib, &["outbox::contract::retiring::on_memory"]),
    ("soon-forgotten", Program::Lib, &["outbox::contract::looking::on_memory"]),
    ("open-retired", Program::Lib, &["outbox::contract::retiring::on_memory"]),
    ("no-intent", Program::It, &["crash::an_attempt_interrupted"]),
    ("step-repeated", Program::Lib, &["outbox::contract::bulk::on_memory"]),
    ("checksum-ignored", Program::Lib, &["outbox::codec"]),
    ("egress-open", Program::Lib, &["transport::egress"]),
    ("echo-unmasked", Program::Lib, &["domain::concealed"]),
    ("retry-after-hastens", Program::Lib, &["domain::outcome"]),
    ("fresh-keys", Program::It, &["delivery::a_used_up_schedule"]),
    ("body-uncapped", Program::Lib, &["transport::"]),
    ("backup-torn", Program::Lib, &["outbox::contract::backing_up::on_memory"]),
];
