//! Hands one batch over and stays with it until every event has an answer, or time is up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::batch::{Item, body};
use crate::cli::client::{Answer, Client, ClientError};
use crate::cli::exit::Failure;
use crate::cli::problem::Problem;
use crate::ops::clock::{Clock, SystemClock, monotonic};

/// The first wait where the daemon does not say.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait where the daemon does not say.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What is being done, for messages.
const WHAT: &str = "handing events over";
/// What to do after giving up.
const NEXT: &str = "repeat the command: what was accepted is recognised, the rest is taken";

/// Hands batches over. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Courier {
    client: Client,
    retry_for: Duration,
    /// Whether the daemon ever answered: one that never did is told at once.
    reached: Arc<AtomicBool>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It is durable.
    Accepted(Ids),
    /// It was there already.
    Duplicate(Ids),
    /// It is refused.
    Rejected(Box<Problem>),
}

/// The ids that an accepted event was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    /// The event.
    pub(super) event_id: String,
    /// Its deliveries.
    pub(super) deliveries: Vec<String>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Events with an answer.
    pub(super) answered: Vec<(Item, Verdict)>,
    /// Events without one.
    pub(super) unsent: Vec<Item>,
    /// Why there are events without an answer.
    pub(super) failure: Option<Failure>,
}

/// The answer to a batch.
#[derive(Debug, Deserialize)]
struct BatchAnswer {
    results: Vec<ItemResult>,
}

/// The answer to one event of a batch.
#[derive(Debug, Deserialize)]
struct ItemResult {
    status: u16,
    event_id: Option<String>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    deliveries: Vec<String>,
    problem: Option<Value>,
}

/// What to do about an answer.
enum Step {
    /// Go on; these events have to be handed over again.
    Next(Vec<Item>),
    /// Hand the same over again, after a while.
    Again(Vec<Item>, Option<Duration>, Failure),
    /// The batch as a whole was refused: find out which event it is.
    Halve(Vec<Item>),
    /// There is no use in going on.
    Stop(Vec<Item>, Failure),
}

impl Courier {
    /// A courier that tries for so long.
    pub(super) fn new(client: Client, retry_for: Duration) -> Self {
        Self { client, retry_for, reached: Arc::default() }
    }

    /// Hands a batch over.
    pub(super) async fn deliver(&self, items: Vec<Item>) -> Settled {
        let mut settled = Settled::default();
        let mut queue = VecDeque::from([items]);
        let began = monotonic();
        let mut patience = FIRST_WAIT;
        while let Some(items) = queue.pop_front().filter(|items| !items.is_empty()) {
            match self.step(items, &mut settled).await {
                Step::Next(again) if again.is_empty() => patience = FIRST_WAIT,
                Step::Next(again) => queue.push_front(again),
                Step::Halve(mut items) => {
                    let second = items.split_off(items.len() / 2);
                    queue.push_front(second);
                    queue.push_front(items);
                }
                Step::Again(items, told, failure) => {
                    let wait = told.unwrap_or(patience);
                    queue.push_front(items);
                    if began.elapsed() + wait > self.retry_for {
                        settled.failure = Some(failure);
                        break;
                    }
                    tokio::time::sleep(wait).await;
                    patience = (patience * 2).min(LONGEST_WAIT);
                }
                Step::Stop(items, failure) => {
                    queue.push_front(items);
                    settled.failure = Some(failure);
                    break;
                }
            }
        }
        settled.unsent.extend(queue.into_iter().flatten());
        settled
    }

    async fn step(&self, items: Vec<Item>, settled: &mut Settled) -> Step {
        let answer = self.client.exchange(Method::POST, &["v1", "events", "batch"], &[], Some(body(&items))).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error @ ClientError::Unreachable { .. }) if self.reached.load(Ordering::Relaxed) => {
                return Step::Again(items, None, error.into_failure(WHAT, NEXT));
            }
            Err(error) => return Step::Stop(items, error.into_failure(WHAT, NEXT)),
        };
        self.reached.store(true, Ordering::Relaxed);
        match answer.status.as_u16() {
            200 | 202 => self.take(items, &answer, settled),
            429 | 502..=504 | 507 => {
                Step::Again(items, retry_after(&answer), answer.problem().into_failure(WHAT, NEXT))
            }
            400 | 413 | 422 if items.len() > 1 => Step::Halve(items),
            400 | 413 | 422 => {
                let problem = Box::new(answer.problem());
                settled.answered.extend(items.into_iter().map(|item| (item, Verdict::Rejected(problem.clone()))));
                Step::Next(Vec::new())
            }
            _ => Step::Stop(items, answer.problem().into_failure(WHAT, NEXT)),
        }
    }

    /// Takes the answers to the events, one by one.
    fn take(&self, items: Vec<Item>, answer: &Answer, settled: &mut Settled) -> Step {
        let nonsense = |why: &dyn std::fmt::Display| self.client.nonsense(why).into_failure(WHAT, NEXT);
        let results = match serde_json::from_slice::<BatchAnswer>(&answer.body) {
            Ok(answer) if answer.results.len() == items.len() => answer.results,
            Ok(answer) => {
                let why = format!("{} results for {} events", answer.results.len(), items.len());
                return Step::Stop(items, nonsense(&why));
            }
            Err(error) => return Step::Stop(items, nonsense(&error)),
        };
        let mut busy = Vec::new();
        let mut last_problem = None;
        for (item, result) in items.into_iter().zip(results) {
            match (result.status, result.event_id) {
                (200..=299, Some(event_id)) => {
                    let ids = Ids { event_id, deliveries: result.deliveries };
                    let verdict = if result.duplicate { Verdict::Duplicate(ids) } else { Verdict::Accepted(ids) };
                    settled.answered.push((item, verdict));
                }
                // A 2xx without an id acknowledges nothing.
                (200..=299, None) | (429 | 502..=504 | 507, _) => {
                    last_problem = Some(Problem::of_document(result.status, result.problem.unwrap_or_default()));
                    busy.push(item);
                }
                (status, _) => {
                    let problem = Problem::of_document(status, result.problem.unwrap_or_default());
                    settled.answered.push((item, Verdict::Rejected(Box::new(problem))));
                }
            }
        }
        match last_problem {
            None => Step::Next(busy),
            Some(problem) => Step::Again(busy, retry_after(answer), problem.into_failure(WHAT, NEXT)),
        }
    }
}

/// How long the daemon asks to wait: seconds, or a date.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: Timestamp = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(SystemClock.now())).unwrap_or_default())
}
