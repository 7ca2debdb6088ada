//! Reads of the store: on threads that may block, and only so many at a time.
//!
//! Lists can look at many records, and the threads on which they wait for the disk are the runtime's, which
//! others need too. Who finds all places taken waits a moment and is then told to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::problem::{Kind, Problem};
use crate::outbox::OutboxError;

/// Reads that run at once.
const MAX_READS: usize = 16;
/// Scrapes of metrics that run at once; each holds a text of all affiliates.
const MAX_SCRAPES: usize = 2;
/// Longest that a read waits for a place.
const WAIT: Duration = Duration::from_secs(3);
/// Seconds after which a refused reader is told to come back.
const RETRY_AFTER: u64 = 2;

/// Places for reads of the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reads {
    places: Arc<Semaphore>,
    wait: Duration,
}

impl Default for Reads {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_READS)), wait: WAIT }
    }
}

impl Reads {
    /// Places for scrapes of metrics: whoever watches must not have to wait behind those who look.
    pub fn for_scrapes() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_SCRAPES)), wait: WAIT }
    }

    /// Runs a read where it may block; it keeps its place to its end, also when nobody waits for it any more.
    ///
    /// # Errors
    /// When no place becomes free in time, and what the read itself says.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = tokio::time::timeout(self.wait, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = "as many lists and look-ups are under way as may be; try again shortly";
            Problem::new(Kind::TooManyReads, detail).after(RETRY_AFTER)
        })?;
        let held = move || {
            let _place = place;
            read()
        };
        let failed = |error: tokio::task::JoinError| OutboxError::Stopped(error.to_string());
        tokio::task::spawn_blocking(held).await.map_err(failed)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_read_keeps_its_place_until_it_ends_and_the_next_is_told_to_come_back() {
        let reads = Reads { places: Arc::new(Semaphore::new(1)), wait: Duration::from_millis(20) };
        let (started, running) = tokio::sync::oneshot::channel();
        let (end, ended) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let reads = reads.clone();
            async move {
                let read = move || {
                    started.send(()).unwrap();
                    let _ = ended.recv();
                    Ok(())
                };
                reads.run(read).await
            }
        });
        running.await.unwrap();
        first.abort();
        let _ = first.await;
        let refused = reads.run(|| Ok(())).await.unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (503, Some(RETRY_AFTER)));
        drop(end);
        let patient = Reads { wait: Duration::from_secs(30), ..reads };
        assert_eq!(patient.run(|| Ok(7)).await.unwrap(), 7);
    }
}
