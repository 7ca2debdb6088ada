//! Bugs that are planted on purpose, to show that the tests catch them.
//!
//! Only a build with the feature `planted` has them, and of these one at a time, named by `POSTBACKD_PLANTED`; in every
//! other build the question is answered while it is compiled. `tests/planted` asks for each of them in turn.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` is for tests: no program that is delivered may have bugs in it to be woken");

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident => $name:literal;)*) => {
        /// A bug that can be planted: each is one that such a program was, or could easily be, delivered with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "some are asked for in builds with them only"))]
        pub(crate) enum Bug {
            $($(#[$doc])* $bug,)*
        }

        #[cfg(feature = "planted")]
        impl Bug {
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$bug),)*
                    _ => None,
                }
            }
        }
    };
}

bugs! {
    /// Events are acknowledged before the disk has them.
    AcknowledgeBeforeSync => "acknowledge-before-sync";
    /// What has come in is sent before the disk has it.
    SentBeforeDurable => "sent-before-durable";
    /// sled's own flush is taken for durable.
    FlushAlone => "flush-alone";
    /// sled's file is taken for marked, so that each write were durable, and is not.
    MarkForgotten => "mark-forgotten";
    /// sled's engine shrugs a failed sync off.
    FailedSyncForgiven => "failed-sync-forgiven";
    /// What a failed sync was to make durable is acknowledged.
    FailedSyncAcknowledged => "failed-sync-acknowledged";
    /// What belongs together reaches the store in two parts.
    TwoBatches => "two-batches";
    /// A delivery is settled as delivered before anything was sent.
    SettleBeforeSending => "settle-before-sending";
    /// What waits behind a settled delivery is not let go.
    LostSuccessor => "lost-successor";
    /// A delivery in flight may be leased, and changed, by others; the older lease settles it all the same.
    StaleLeaseSettles => "stale-lease-settles";
    /// A reversal does not wait for its original.
    ReversalOvertakes => "reversal-overtakes";
    /// A slot is not given back where the receiver failed.
    PermitLeak => "permit-leak";
    /// A window that is filled again leaves out what comes next.
    RefillSkips => "refill-skips";
    /// An affiliate is sent more at once than it allows.
    ConcurrencyIgnored => "concurrency-ignored";
    /// A paused postback is sent to.
    PauseIgnored => "pause-ignored";
    /// The same event again is another event.
    DuplicateAccepted => "duplicate-accepted";
    /// Counters are not written with what they count.
    CountsBehind => "counts-behind";
    /// What is to be sent at once stands in memory only.
    SoonForgotten => "soon-forgotten";
    /// Retention takes what is not settled.
    OpenRetired => "open-retired";
    /// Nothing is written down before a send to a receiver that does not recognise duplicates.
    NoIntent => "no-intent";
    /// A step of a bulk order is not crossed out.
    StepRepeated => "step-repeated";
    /// A damaged record is taken as it is.
    ChecksumIgnored => "checksum-ignored";
    /// Private addresses are sent to.
    EgressOpen => "egress-open";
    /// Secrets that a receiver echoes are recorded.
    EchoUnmasked => "echo-unmasked";
    /// A receiver's `Retry-After` brings the next attempt forward.
    RetryAfterHastens => "retry-after-hastens";
    /// Every attempt has an idempotency key of its own.
    FreshKeys => "fresh-keys";
    /// A response body is read to its end, however long.
    BodyUncapped => "body-uncapped";
    /// A backup has what the walk found, and nothing that was written meanwhile.
    BackupTorn => "backup-torn";
}

/// Whether a bug is planted.
#[cfg(feature = "planted")]
pub(crate) fn planted(bug: Bug) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let read = || {
        let name = crate::ops::environment::variable("POSTBACKD_PLANTED").filter(|name| !name.is_empty())?;
        let bug = Bug::named(&name);
        assert!(bug.is_some(), "POSTBACKD_PLANTED={name} is none of the bugs in src/planted.rs");
        bug
    };
    *PLANTED.get_or_init(read) == Some(bug)
}

/// Whether a bug is planted: none is.
#[cfg(not(feature = "planted"))]
#[inline]
pub(crate) const fn planted(_bug: Bug) -> bool {
    false
}
