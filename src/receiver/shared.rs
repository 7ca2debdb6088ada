//! What all connections of a receiver share, and how it changes while they run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Notify, broadcast};

use super::key::LedgerKey;
use super::ledger::{Ledger, Seen};
use super::playbook::Playbook;
use super::script::Script;
use super::snapshot::LedgerSnapshot;
use super::verify::Verify;

/// How many requests a watcher may lag behind before it misses some.
const WATCHED: usize = 4_096;

/// The script in use and the ledger in use; an exchange keeps those it began with.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) playbook: Arc<Playbook>,
    pub(super) ledger: Arc<Ledger>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) key: LedgerKey,
    pub(super) verify: Option<Verify>,
    pub(super) watchers: broadcast::Sender<Seen>,
    record_bodies: bool,
    script: RwLock<Script>,
    state: RwLock<Arc<State>>,
    changed: Notify,
    waiting: AtomicUsize,
}

impl Shared {
    /// Begins with a fresh ledger.
    pub(super) fn new(script: Script, key: LedgerKey, verify: Option<Verify>, record_bodies: bool) -> Self {
        let state =
            State { playbook: Arc::new(Playbook::of(script.clone())), ledger: Arc::new(Ledger::new(record_bodies)) };
        Self {
            key,
            verify,
            watchers: broadcast::channel(WATCHED).0,
            record_bodies,
            script: RwLock::new(script),
            state: RwLock::new(Arc::new(state)),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The script and ledger in use.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins another script; the ledger stays.
    pub(super) fn set_script(&self, script: Script) {
        let playbook = Arc::new(Playbook::of(script.clone()));
        *self.script.write().unwrap_or_else(PoisonError::into_inner) = script;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(State { playbook, ledger: Arc::clone(&state.ledger) });
    }

    /// Begins the same script and an empty ledger.
    pub(super) fn start_over(&self) {
        let script = self.script.read().unwrap_or_else(PoisonError::into_inner).clone();
        let ledger = Arc::new(Ledger::new(self.record_bodies));
        let state = State { playbook: Arc::new(Playbook::of(script)), ledger };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// Wakes those who wait for the ledger to change.
    pub(super) fn signal(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Returns once the ledger satisfies `done`.
    pub(super) async fn until(&self, done: impl Fn(&LedgerSnapshot) -> bool) -> LedgerSnapshot {
        let _waiting = Waiting::among(&self.waiting);
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let snapshot = self.state().ledger.snapshot();
            if done(&snapshot) {
                return snapshot;
            }
            changed.await;
        }
    }
}

/// Counts one who waits, for as long as it lives.
struct Waiting<'c>(&'c AtomicUsize);

impl<'c> Waiting<'c> {
    fn among(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
