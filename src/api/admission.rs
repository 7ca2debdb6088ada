//! What bodies may hold: each producer's requests, and the bytes of all bodies, paid for before they are read.
//!
//! Bytes are taken from the producer's own share first and then from what all have in common, so that one
//! producer cannot take everything from the others, and each is told which of the two has run out. What was
//! taken goes to the outbox with the events, and comes back once they are durable. Knows no body and no route.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Kind, Problem};
use crate::config::IngestSettings;

/// Requests of one producer that may be under way at once.
const MAX_REQUESTS: usize = 2_048;
/// Seconds after which a refused producer is told to come back: what is in the way is gone within a few syncs.
const RETRY_AFTER: u64 = 1;

/// Who may hold how much. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    common: Arc<Semaphore>,
    share: usize,
    producers: Arc<Mutex<HashMap<String, Producer>>>,
}

/// What one producer may hold.
#[derive(Debug, Clone)]
struct Producer {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A request of a producer with what it holds.
#[derive(Debug)]
pub(super) struct Admitted {
    name: String,
    share: usize,
    bytes: Arc<Semaphore>,
    common: Arc<Semaphore>,
    held: Vec<OwnedSemaphorePermit>,
}

impl Admission {
    /// An admission of ingest with the settings' budget; a later change of it needs a restart.
    pub fn new(settings: &IngestSettings) -> Self {
        Self::of(size(settings.max_buffered), size(settings.max_body))
    }

    /// An admission with a budget of bytes, from which one body takes so many at most.
    pub(super) fn of(total: usize, max_body: usize) -> Self {
        let share = (total / 2).max(max_body).min(total);
        Self { common: Arc::new(Semaphore::new(total)), share, producers: Arc::default() }
    }

    /// Most bytes that one body can be given: a larger one would be refused for ever.
    pub(super) fn largest(&self, max_body: u64) -> usize {
        size(max_body).min(self.share)
    }

    /// Lets a request of a producer in.
    ///
    /// # Errors
    /// When too many of his are under way.
    pub(super) fn enter(&self, producer: &str) -> Result<Admitted, Problem> {
        let Producer { requests, bytes } = self.producer(producer);
        let place = requests.try_acquire_owned().map_err(|_| {
            let detail = format!("{producer:?} has {MAX_REQUESTS} requests under way; wait for some of them");
            Problem::too_many(detail, RETRY_AFTER)
        })?;
        let (common, share) = (Arc::clone(&self.common), self.share);
        Ok(Admitted { name: producer.to_owned(), share, bytes, common, held: vec![place] })
    }

    /// Names come from the configuration, so there are few of them.
    fn producer(&self, name: &str) -> Producer {
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = producers.get(name) {
            return known.clone();
        }
        let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
        let producer = Producer { requests, bytes: Arc::new(Semaphore::new(self.share)) };
        producers.insert(name.to_owned(), producer.clone());
        producer
    }
}

/// A size as a number of permits, of which a semaphore has fewer than there are sizes.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

impl Admitted {
    /// Takes room for so many more bytes.
    ///
    /// # Errors
    /// When the producer's share, or what all have in common, has no room for them.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let own = Arc::clone(&self.bytes).try_acquire_many_owned(permits).map_err(|_| {
            let detail = format!(
                "{:?} has as much under way as it may, {} bytes of bodies; wait for some answers",
                self.name, self.share
            );
            Problem::too_many(detail, RETRY_AFTER)
        })?;
        let common = Arc::clone(&self.common).try_acquire_many_owned(permits).map_err(|_| {
            let detail = "all callers together have as much under way as is held in memory ([ingest] max_buffered)";
            Problem::new(Kind::Overloaded, detail).after(RETRY_AFTER)
        })?;
        self.hold(own);
        self.hold(common);
        Ok(())
    }

    /// Permits of one semaphore are kept as one, so that a body in many chunks holds no more than one in few.
    fn hold(&mut self, permit: OwnedSemaphorePermit) {
        match self.held.iter_mut().find(|held| Arc::ptr_eq(held.semaphore(), permit.semaphore())) {
            Some(held) => held.merge(permit),
            None => self.held.push(permit),
        }
    }

    /// All that it holds.
    pub(super) fn into_permits(self) -> Vec<OwnedSemaphorePermit> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UnknownAffiliate;

    fn admission(max_body: u64, max_buffered: u64) -> Admission {
        Admission::new(&IngestSettings {
            unknown_affiliate: UnknownAffiliate::Refuse,
            max_batch: 10,
            max_body,
            max_buffered,
        })
    }

    fn status(taken: Result<(), Problem>) -> u16 {
        taken.map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn a_producers_share_runs_out_before_what_all_have_in_common() {
        let admission = admission(10, 100);
        let mut first = admission.enter("a").unwrap();
        assert_eq!(status(first.take(50)), 200);
        assert_eq!(status(first.take(1)), 429, "half is his share");
        let mut other = admission.enter("b").unwrap();
        assert_eq!(status(other.take(40)), 200);
        assert_eq!(status(admission.enter("c").unwrap().take(11)), 503);
        assert_eq!(status(admission.enter("c").unwrap().take(10)), 200);
    }

    #[test]
    fn what_was_refused_holds_nothing_and_what_was_held_comes_back() {
        let admission = admission(60, 100);
        let mut first = admission.enter("a").unwrap();
        first.take(30).unwrap();
        first.take(30).unwrap();
        let permits = first.into_permits();
        assert_eq!(permits.len(), 3, "a place, his bytes, the common ones");
        let mut second = admission.enter("b").unwrap();
        assert_eq!(status(second.take(41)), 503);
        assert_eq!(status(second.take(40)), 200, "the refusal took nothing of his share");
        assert_eq!(admission.common.available_permits(), 0);
        drop((permits, second));
        assert_eq!(admission.common.available_permits(), 100);
    }

    #[test]
    fn the_largest_body_always_fits_into_the_empty_budget() {
        assert_eq!(admission(80, 100).largest(80), 80);
        assert_eq!(status(admission(80, 100).enter("a").unwrap().take(80)), 200);
        assert_eq!(admission(10, 100).largest(90), 50, "a limit that a reload raised beyond the budget");
    }
}
