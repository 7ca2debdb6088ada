//! Sends batches, several at once, without letting events of one transaction overtake each other.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

use super::batch::Batch;
use super::settle::{Courier, Settled};
use super::tally::Tally;
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};

/// Why not everything was sent.
#[derive(Debug)]
pub(super) enum Stop {
    /// The input cannot be read further.
    Unreadable(io::Error),
    /// The daemon could not be handed more.
    Failed(Failure),
}

/// Batches in flight with the transactions they speak of.
struct Flights {
    tasks: JoinSet<Settled>,
    transactions: HashMap<Id, HashSet<String>>,
    most: usize,
}

impl Flights {
    fn has_room_for(&self, batch: &Batch) -> bool {
        let busy = |transaction| self.transactions.values().any(|flying| flying.contains(transaction));
        self.tasks.len() < self.most && !batch.items.iter().flat_map(|item| &item.transactions).any(busy)
    }

    fn start(&mut self, courier: Courier, batch: Batch) {
        let transactions = batch.items.iter().flat_map(|item| item.transactions.iter().cloned()).collect();
        let task = self.tasks.spawn(async move { courier.deliver(batch.items).await });
        self.transactions.insert(task.id(), transactions);
    }

    /// The next batch that is done; never returns while there is none in flight.
    async fn landed(&mut self) -> Result<Settled, JoinError> {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, settled))) => {
                self.transactions.remove(&id);
                Ok(settled)
            }
            Some(Err(error)) => Err(error),
        }
    }
}

/// Sends all batches; says why when it could not.
///
/// # Errors
/// When what was rejected cannot be written down.
pub(super) async fn send(
    client: Client,
    mut batches: mpsc::Receiver<io::Result<Batch>>,
    most: usize,
    retry_for: Duration,
    tally: &mut Tally<'_>,
) -> Result<Option<Stop>, Failure> {
    let courier = Courier::new(client, retry_for);
    let mut flights = Flights { tasks: JoinSet::new(), transactions: HashMap::new(), most };
    let mut next: Option<Batch> = None;
    let mut ended = false;
    let mut stop = None;
    while stop.is_none() && !(ended && next.is_none() && flights.tasks.is_empty()) {
        if let Some(batch) = next.take_if(|batch| flights.has_room_for(batch)) {
            flights.start(courier.clone(), batch);
            continue;
        }
        tokio::select! {
            settled = flights.landed() => stop = land(settled, tally)?,
            read = batches.recv(), if next.is_none() && !ended => match read {
                None => ended = true,
                Some(Err(error)) => stop = Some(Stop::Unreadable(error)),
                Some(Ok(mut batch)) => {
                    tally.malformed(std::mem::take(&mut batch.malformed))?;
                    next = Some(batch).filter(|batch| !batch.items.is_empty());
                }
            },
        }
    }
    // Whatever stopped us, what is in flight is waited for: it may be durable already. What was read behind
    // it lies on later lines, and these are told to be handed in again.
    while !flights.tasks.is_empty() {
        let settled = flights.landed().await;
        stop = stop.or(land(settled, tally)?);
    }
    tally.unsent(next.into_iter().flat_map(|batch| batch.items).collect());
    Ok(stop)
}

fn land(settled: Result<Settled, JoinError>, tally: &mut Tally<'_>) -> Result<Option<Stop>, Failure> {
    match settled {
        Ok(settled) => {
            tally.answered(settled.answered)?;
            tally.unsent(settled.unsent);
            Ok(settled.failure.map(Stop::Failed))
        }
        Err(error) => Ok(Some(Stop::Failed(Failure::new(Exit::Error, "handing events over", error, "report this")))),
    }
}
