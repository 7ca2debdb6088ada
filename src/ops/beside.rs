//! The one place where work is taken off the runtime's threads.

use tokio::task::JoinError;

/// Runs what may take long without waiting for anything else, such as a walk over the disk, beside the runtime.
///
/// Where randomness is seeded it runs at once: which thread is faster must not decide anything then.
///
/// # Errors
/// When it panics, or the runtime is going down.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(test)]
    if super::random::seeded::is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
