//! The one source of randomness: jitter and nonces.

/// A number from 0 (inclusive) to 1 (exclusive).
#[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
pub fn unit() -> f64 {
    #[cfg(test)]
    if let Some(number) = seeded::next() {
        return f64::from(u32::try_from(number >> 32).unwrap_or_default()) / 4_294_967_296.0;
    }
    rand::random()
}

/// 128 random bits in hex, for nonces.
#[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
pub fn nonce() -> String {
    #[cfg(test)]
    if let Some(number) = seeded::next() {
        return format!("{number:032x}");
    }
    format!("{:032x}", rand::random::<u128>())
}

/// Numbers that look random and are the same for the same seed, for everything that happens on one thread.
#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// While it lives, this thread's randomness follows from the seed.
    pub(crate) struct Seeded(());

    impl Drop for Seeded {
        fn drop(&mut self) {
            STATE.set(None);
        }
    }

    /// Lets this thread's randomness follow from a seed.
    pub(crate) fn with(seed: u64) -> Seeded {
        STATE.set(Some(seed));
        Seeded(())
    }

    /// Whether this thread's randomness follows from a seed.
    pub(crate) fn is_on() -> bool {
        STATE.get().is_some()
    }

    /// Splitmix64: enough for jitter, and the same everywhere.
    pub(crate) fn next() -> Option<u64> {
        let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(Some(state));
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ (z >> 31))
    }
}
