//! Wakes whoever waits for a write that has failed.
//!
//! sled writes with threads of its own. Where such a write fails, sled notes the error, but on one of its two paths it wakes
//! nobody: a flush that was waiting for that write waits for ever, and the daemon neither acknowledges nor ends. Another
//! flush finds the error at once, and wakes the others.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often it is asked whether a write has failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Watches over a store until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    /// Ends the watch with itself.
    _end: Sender<()>,
}

impl Watch {
    /// Watches over a store that was opened with a configuration.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn over(db: &Arc<::sled::Db>, config: ::sled::Config) -> std::io::Result<Self> {
        let (end, ended) = channel();
        let db: Weak<::sled::Db> = Arc::downgrade(db);
        std::thread::Builder::new().name("outbox-watch".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PAUSE) {
                if config.global_error().is_err()
                    && let Some(db) = db.upgrade()
                {
                    // What it says is what whoever waits is told.
                    let _ = db.flush();
                }
            }
        })?;
        Ok(Self { _end: end })
    }
}
