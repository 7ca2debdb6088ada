//! An outbox whose commit threads are two tasks of the runtime, so that a simulation decides how long they take.
//!
//! The tasks do what the threads do, group by group; only who waits for whom is said in other words.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::commit::{Builder, Group, MAX_PENDING_GROUPS, Request, Shared, make_durable};
use super::engine::Engine;
use super::handle::{Options, Outbox};
use super::model::OutboxError;
use crate::domain::id::EventId;

/// How long the parts of a commit take.
pub(crate) trait Pace: Send + Sync + 'static {
    /// How long it takes until the requests of a group are carried out.
    fn gathering(&self) -> Duration;
    /// How long it takes until they can be seen.
    fn applying(&self) -> Duration;
    /// Notes that what was applied so far begins to be made durable; how long that takes.
    fn syncing(&self) -> Duration;
}

/// Opens an outbox on the runtime's own thread.
pub(crate) fn open(engine: Arc<dyn Engine>, options: Options, pace: Arc<dyn Pace>) -> Result<Outbox, OutboxError> {
    let start = move |shared: &Shared, requests, last| {
        shared.known.read(&*shared.engine);
        let (groups, pending) = mpsc::channel(MAX_PENDING_GROUPS);
        tokio::spawn(build(shared.clone(), requests, groups, last, Arc::clone(&pace)));
        tokio::spawn(sync(shared.clone(), pending, pace));
        Ok(Vec::new())
    };
    Outbox::open_run_by(start, engine, options)
}

async fn build(
    shared: Shared,
    mut requests: mpsc::Receiver<Request>,
    groups: mpsc::Sender<Group>,
    last: EventId,
    pace: Arc<dyn Pace>,
) {
    let mut builder = Builder::new(&shared, last);
    loop {
        let first = match builder.unfinished.take() {
            Some(unfinished) => Some(unfinished),
            None => requests.recv().await,
        };
        let Some(first) = first else { return };
        tokio::time::sleep(pace.gathering()).await;
        let gathered = builder.gather(first, &mut requests);
        let stopping = gathered.stopping;
        tokio::time::sleep(pace.applying()).await;
        if let Some(mut group) = builder.apply(gathered) {
            let (new, pauses) = group.take_new();
            if groups.send(group).await.is_err() {
                return;
            }
            shared.arrivals.push(new, pauses);
        }
        if stopping {
            return;
        }
    }
}

async fn sync(shared: Shared, mut groups: mpsc::Receiver<Group>, pace: Arc<dyn Pace>) {
    while let Some(first) = groups.recv().await {
        let mut pending = vec![first];
        while let Ok(group) = groups.try_recv() {
            pending.push(group);
        }
        tokio::time::sleep(pace.syncing()).await;
        make_durable(&shared, pending);
    }
}
