//! All that outlives a life of the daemon: clock, disk, receivers, books.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::books::Books;
use super::cast::Cast;
use super::clock::StoryClock;
use super::dice::Dice;
use super::disk::Disk;
use super::network::Receivers;
use super::trace::Trace;

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Arc<StoryClock>,
    pub(super) disk: Arc<Disk>,
    books: Mutex<Books>,
    receivers: Mutex<Receivers>,
}

impl World {
    pub(super) fn new(seed: u64, told: bool) -> Arc<Self> {
        let cast = Cast::new(&mut Dice::new(seed, 1));
        Arc::new(Self {
            clock: Arc::new(StoryClock::new()),
            disk: Arc::new(Disk::new(Dice::new(seed, 2))),
            books: Mutex::new(Books::new(cast, Trace::new(told))),
            receivers: Mutex::new(Receivers::new(Dice::new(seed, 3))),
        })
    }

    /// Reads and writes the books as they are at this moment.
    pub(super) fn with_books<T>(&self, write: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.now = self.clock.elapsed();
        write(&mut books)
    }

    pub(super) fn receivers(&self) -> MutexGuard<'_, Receivers> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
