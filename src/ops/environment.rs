//! The one place that reads environment variables.

/// The value of a variable; `None` when it is unset, empty or not UTF-8.
#[allow(clippy::disallowed_methods, reason = "the sanctioned place")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
