//! The one source of randomness: jitter and nonces.

/// A number from 0 (inclusive) to 1 (exclusive).
#[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
pub fn unit() -> f64 {
    rand::random()
}

/// 128 random bits in hex, for nonces.
#[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
pub fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}
