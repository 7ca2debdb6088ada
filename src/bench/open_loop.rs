//! Events at a steady rate, whether the last ones were answered or not, and how long each takes to its receiver.
//!
//! The clock of an event starts when it should be handed in: where clients or the daemon fall behind, that counts.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast, mpsc};
use tokio::task::JoinSet;

use super::client::Client;
use super::end_to_end::Bare;
use super::figure::Measured;
use super::server::{PATIENCE, Served};
use super::{BenchError, failed, sample};
use crate::ops::clock::monotonic;
use crate::receiver::Seen;

/// Connections that events are handed in over.
const CLIENTS: usize = 64;
/// How long everything has to be ready before the first event is due.
const LEAD: Duration = Duration::from_millis(20);

/// Events at a steady rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenLoop {
    /// Events a second.
    pub(super) rate: u32,
    /// Events in all.
    pub(super) events: usize,
    /// The affiliates that they are spread over.
    pub(super) affiliates: usize,
}

/// Has an event reach the receiver, one way or another.
trait Hand: Send + 'static {
    fn hand(&mut self, number: usize) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// Hands it in over a connection to the daemon.
struct ToDaemon {
    client: Client,
    affiliates: usize,
}

impl Hand for ToDaemon {
    async fn hand(&mut self, number: usize) -> Result<(), BenchError> {
        let event = sample::json(&sample::transaction(number), number, number % self.affiliates);
        self.client.hand_in(&[event]).await
    }
}

impl Hand for Bare {
    async fn hand(&mut self, number: usize) -> Result<(), BenchError> {
        self.one(number).await
    }
}

impl OpenLoop {
    /// Hands the events in; the times are those from when each was due to its first byte at the receiver.
    pub(super) async fn run(self, served: &Served) -> Result<Measured, BenchError> {
        let mut hands = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS.min(self.events) {
            hands.push(ToDaemon { client: Client::connect(served.address).await?, affiliates: self.affiliates });
        }
        self.by(hands, served).await
    }

    /// The same with bare requests to the receiver, which tells what the machine itself is late by.
    pub(super) async fn bare(self, bare: &Bare, served: &Served) -> Result<Measured, BenchError> {
        self.by(vec![bare.clone(); CLIENTS.min(self.events)], served).await
    }

    async fn by<H: Hand>(self, hands: Vec<H>, served: &Served) -> Result<Measured, BenchError> {
        let first = served.numbers(self.events);
        served.receiver.start_over();
        let began = monotonic();
        let ledger_began = began.checked_sub(served.receiver.ledger().elapsed).unwrap_or(began);
        let watching = tokio::spawn(watch(served.receiver.subscribe(), self.events));
        let (due, queue) = mpsc::unbounded_channel();
        let starts = began + LEAD;
        // A thread of its own: timers of the runtime are no finer than a millisecond.
        let pacing = std::thread::spawn(move || self.pace(first, starts, &due));
        let queue = Arc::new(Mutex::new(queue));
        let mut tasks = JoinSet::new();
        for hand in hands {
            tasks.spawn(hand_in(hand, Arc::clone(&queue)));
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(failed)??;
        }
        pacing.join().map_err(|_| failed("handing events in panicked"))?;
        let seen = tokio::time::timeout(PATIENCE, watching).await;
        let seen = seen.map_err(|_| failed("not everything was received"))?.map_err(failed)??;
        let mut times = Vec::with_capacity(self.events);
        for number in 0..self.events {
            let at = seen.get(&sample::transaction(first + number));
            let at = at.ok_or_else(|| failed(format!("event {number} was not received")))?;
            times.push((ledger_began + *at).saturating_duration_since(starts + self.offset(number)));
        }
        Ok(Measured { count: self.events, took: monotonic().duration_since(starts), times })
    }

    /// When an event is due.
    fn offset(self, number: usize) -> Duration {
        Duration::from_secs(number as u64) / self.rate
    }

    fn pace(self, first: usize, starts: Instant, due: &mpsc::UnboundedSender<usize>) {
        // The kernel lets a sleeper oversleep by 50 µs, which would count as ours.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        for number in 0..self.events {
            let at = starts + self.offset(number);
            let wait = at.saturating_duration_since(monotonic());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            // Nobody takes it where handing in has failed, which is told there.
            let _ = due.send(first + number);
        }
    }
}

async fn hand_in(mut hand: impl Hand, queue: Arc<Mutex<mpsc::UnboundedReceiver<usize>>>) -> Result<(), BenchError> {
    loop {
        let next = queue.lock().await.recv().await;
        let Some(number) = next else { return Ok(()) };
        hand.hand(number).await?;
    }
}

/// When each transaction was first seen, since the ledger's start.
async fn watch(
    mut requests: broadcast::Receiver<Seen>,
    events: usize,
) -> Result<HashMap<String, Duration>, BenchError> {
    let mut seen = HashMap::with_capacity(events);
    while seen.len() < events {
        match requests.recv().await {
            Ok(Seen { key: Some(key), offset, path_and_query, .. }) if path_and_query.starts_with("/fine") => {
                seen.entry(key).or_insert(offset);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => return Err(failed(format!("{missed} requests were not watched"))),
            Err(RecvError::Closed) => return Err(failed("the receiver has stopped")),
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_a_steady_rate_from_the_first_one_on() {
        let load = OpenLoop { rate: 5_000, events: 10, affiliates: 1 };
        let offsets = [0, 1, 5_000].map(|number| load.offset(number));
        assert_eq!(offsets, [Duration::ZERO, Duration::from_micros(200), Duration::from_secs(1)]);
    }
}
