//! Takes events in: from JSON to a durable event with its deliveries.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::dispatcher::Routing;
use crate::domain::dictionary::Dictionary;
use crate::domain::event::{Event, Fault, Rules};
use crate::domain::id::AffiliateId;
use crate::domain::plan;
use crate::ops::clock::SharedClock;
use crate::outbox::{AcceptRequest, Ingested, Outbox, OutboxError, PlannedDelivery};

/// Events checked before others have their turn.
const PARSED_AT_ONCE: usize = 16;

/// What ingest takes from the configuration; replaced whole at a reload.
#[derive(Debug, Clone)]
pub struct IntakeRules {
    /// The types that exist.
    pub dictionary: Arc<Dictionary>,
    /// Whether events of unknown affiliates are kept unrouted.
    pub accept_unknown_affiliates: bool,
    /// Who is told of what.
    pub routing: Arc<Routing>,
}

/// Who hands events in, and for whom he may.
#[derive(Debug, Clone)]
pub struct Producer {
    /// His name.
    pub name: String,
    /// The affiliates that he may hand in events for; `None` for all.
    pub affiliates: Option<std::collections::BTreeSet<AffiliateId>>,
}

/// What became of one event.
#[derive(Debug)]
pub enum Answer {
    /// It was looked at by the outbox.
    Ingested(Ingested),
    /// It is not a valid event.
    Invalid(Vec<Fault>),
    /// The outbox failed on it; it is not stored.
    Failed(OutboxError),
}

/// Takes events in.
#[derive(Debug, Clone)]
pub struct Intake {
    outbox: Outbox,
    clock: SharedClock,
}

impl Intake {
    /// An intake in front of an outbox.
    pub fn new(outbox: Outbox, clock: SharedClock) -> Self {
        Self { outbox, clock }
    }

    /// Checks and stores events, each by itself; answers in their order once all that is stored is durable.
    ///
    /// What is `held` is given back once that is so, also where the caller does not wait for it.
    ///
    /// # Errors
    /// When the outbox takes none of them: it is overloaded, full or has stopped.
    pub async fn ingest(
        &self,
        events: impl IntoIterator<Item = Result<Value, Fault>>,
        producer: &Producer,
        rules: &IntakeRules,
        held: Vec<OwnedSemaphorePermit>,
    ) -> Result<Vec<Answer>, OutboxError> {
        let mut requests = Vec::new();
        let mut answers = Vec::new();
        for (number, json) in events.into_iter().enumerate() {
            if number % PARSED_AT_ONCE == PARSED_AT_ONCE - 1 {
                // A large batch takes a while to check: others have their turn in between.
                tokio::task::yield_now().await;
            }
            match json.map_err(|fault| vec![fault]).and_then(|json| self.request(&json, producer, rules)) {
                Ok(request) => {
                    requests.push(request);
                    answers.push(None);
                }
                Err(faults) => answers.push(Some(Answer::Invalid(faults))),
            }
        }
        let stored = if requests.is_empty() { Vec::new() } else { self.outbox.accept_holding(requests, held).await? };
        let mut stored = stored.into_iter().map(|result| match result {
            Ok(ingested) => Answer::Ingested(ingested),
            Err(error) => Answer::Failed(error),
        });
        let lost = || Answer::Failed(OutboxError::Stopped("it gave no answer".into()));
        Ok(answers.into_iter().map(|answer| answer.or_else(|| stored.next()).unwrap_or_else(lost)).collect())
    }

    fn request(&self, json: &Value, producer: &Producer, rules: &IntakeRules) -> Result<AcceptRequest, Vec<Fault>> {
        let affiliates = &rules.routing.affiliates;
        // An affiliate that the producer is not for is as unknown to him as one that is not there.
        let knows_affiliate = |id: &AffiliateId| {
            producer.affiliates.as_ref().is_none_or(|allowed| allowed.contains(id))
                && (rules.accept_unknown_affiliates || affiliates.contains_key(id))
        };
        let now = self.clock.now();
        let event =
            Event::parse(json, Rules { dictionary: &rules.dictionary, knows_affiliate: &knows_affiliate, now })?;
        let plan = planned(&event, rules);
        let occurred_at_given = json.get("occurred_at").is_some_and(|at| !at.is_null());
        let click_dedupe = rules.dictionary.rule(&event.kind).and_then(|rule| rule.click_dedupe);
        Ok(AcceptRequest { event, occurred_at_given, click_dedupe, plan, source: producer.name.clone() })
    }
}

/// The deliveries that an event leads to under the given rules.
pub fn planned(event: &Event, rules: &IntakeRules) -> Vec<PlannedDelivery> {
    plan::plan(event, &rules.routing.affiliates)
        .iter()
        .map(|postback| PlannedDelivery {
            postback: postback.reference(),
            lane: postback.lane.clone(),
            order: postback.order,
        })
        .collect()
}
