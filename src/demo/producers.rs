//! The casino's backends: hand events in over HTTP, several at once, some of them twice, some broken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::DemoError;
use super::day::{Day, Dice};
use crate::transport::api_client;

/// Backends at work at once.
const PRODUCERS: usize = 4;
/// Events of a batch.
const BATCH: usize = 50;
/// How long a producer waits that is told to come back: less than the second that it is told, so that the day's rush goes on.
const NOT_NOW: Duration = Duration::from_millis(200);
/// Part of the requests, in percent, that are handed in twice, as after a lost answer.
const TWICE: u64 = 2;
/// Part of the stories, in percent, that come with a broken event.
const BROKEN: u64 = 3;

/// What was handed in, by answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handed {
    /// Answered as new.
    pub accepted: u64,
    /// Answered as known.
    pub duplicates: u64,
    /// Answered as not valid.
    pub refused: u64,
    /// Broken events that were handed in.
    pub broken: u64,
    /// Events handed in a second time.
    pub again: u64,
}

#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    again: AtomicU64,
}

/// Producers at work.
pub(crate) struct Handing {
    tally: Arc<Tally>,
    tasks: Vec<JoinHandle<Result<(), String>>>,
}

impl Handing {
    pub(crate) fn so_far(&self) -> Handed {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Handed {
            accepted: read(&self.tally.accepted),
            duplicates: read(&self.tally.duplicates),
            refused: read(&self.tally.refused),
            broken: read(&self.tally.broken),
            again: read(&self.tally.again),
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }

    pub(crate) async fn finish(mut self) -> Result<Handed, DemoError> {
        for task in std::mem::take(&mut self.tasks) {
            let result = task.await.map_err(|error| DemoError::Producer(error.to_string()))?;
            result.map_err(DemoError::Producer)?;
        }
        Ok(self.so_far())
    }
}

/// Deals the day's stories out to the producers and lets them begin.
pub(crate) fn start(address: SocketAddr, token: &str, day: &Day, seed: u64) -> Result<Handing, DemoError> {
    let failed = |error: &dyn std::error::Error| DemoError::Producer(error.to_string());
    let client = api_client().map_err(|error| failed(&error))?.build().map_err(|error| failed(&error))?;
    let tally = Arc::new(Tally::default());
    let mut shares: Vec<Vec<Vec<Value>>> = vec![Vec::new(); PRODUCERS];
    for (share, story) in (0..PRODUCERS).cycle().zip(&day.stories) {
        if let Some(share) = shares.get_mut(share) {
            share.push(story.clone());
        }
    }
    let tasks = (0_u64..).zip(shares).map(|(number, stories)| {
        let producer = Producer {
            client: client.clone(),
            url: format!("http://{address}/v1/events"),
            token: token.to_owned(),
            tally: Arc::clone(&tally),
            dice: Dice::new(seed ^ number),
        };
        tokio::spawn(producer.run(stories, number % 2 == 0))
    });
    Ok(Handing { tasks: tasks.collect(), tally })
}

struct Producer {
    client: reqwest::Client,
    url: String,
    token: String,
    tally: Arc<Tally>,
    dice: Dice,
}

impl Producer {
    async fn run(mut self, stories: Vec<Vec<Value>>, in_batches: bool) -> Result<(), String> {
        let mut batch = Vec::new();
        for mut story in stories {
            if self.dice.percent(BROKEN) {
                story.push(json!({ "type": "ftd", "affiliate_id": "nobody", "payout": "12,34" }));
                self.tally.broken.fetch_add(1, Ordering::Relaxed);
            }
            if in_batches {
                batch.extend(story);
                if batch.len() >= BATCH {
                    self.hand_in_batch(std::mem::take(&mut batch)).await?;
                }
            } else {
                for event in story {
                    self.hand_in_one(&event).await?;
                }
            }
        }
        if batch.is_empty() { Ok(()) } else { self.hand_in_batch(batch).await }
    }

    async fn hand_in_one(&mut self, event: &Value) -> Result<(), String> {
        let twice = self.dice.percent(TWICE) && event.get("transaction_id").is_some();
        for round in 0..=u64::from(twice) {
            self.tally.again.fetch_add(round, Ordering::Relaxed);
            let (status, _) = self.post("", event).await?;
            self.count(status)?;
        }
        Ok(())
    }

    async fn hand_in_batch(&mut self, events: Vec<Value>) -> Result<(), String> {
        let valid = events.iter().filter(|event| event.get("transaction_id").is_some()).count() as u64;
        let twice = self.dice.percent(TWICE);
        let events = Value::Array(events);
        for round in 0..=u64::from(twice) {
            if round == 1 {
                let broken = events.as_array().map_or(0, |all| all.len() as u64 - valid);
                self.tally.again.fetch_add(valid, Ordering::Relaxed);
                self.tally.broken.fetch_add(broken, Ordering::Relaxed);
            }
            let (status, answer) = self.post("/batch", &events).await?;
            if status != 200 {
                return Err(format!("a batch was answered {status}: {answer}"));
            }
            for result in answer.get("results").and_then(Value::as_array).into_iter().flatten() {
                self.count(result.get("status").and_then(Value::as_u64).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn count(&self, status: u64) -> Result<(), String> {
        let counter = match status {
            202 => &self.tally.accepted,
            200 => &self.tally.duplicates,
            422 => &self.tally.refused,
            other => return Err(format!("an event was answered {other}")),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Posts until it is taken: "not now" is waited out, as a backend does.
    async fn post(&self, path: &str, body: &Value) -> Result<(u64, Value), String> {
        loop {
            let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
            let request = request.header("content-type", "application/json").body(body.to_string());
            let response = request.send().await.map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            let answer = response.bytes().await.map_err(|error| error.to_string())?;
            if matches!(status, 429 | 503) {
                tokio::time::sleep(NOT_NOW).await;
                continue;
            }
            let answer = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
            return Ok((u64::from(status), answer));
        }
    }
}
