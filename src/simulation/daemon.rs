//! One life of the daemon: outbox, dispatcher, intake, bulk orders and retention as they are, over a made-up world.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cast::Cast;
use super::network::Network;
use super::world::World;
use crate::dispatch::{
    self, Answer, AttemptNote, AttemptObserver, BulkOrders, BulkRequest, Intake, IntakeRules, Producer, Routing,
};
use crate::domain::id::{EventId, PostbackRef};
use crate::domain::outcome::{Health, Outcome};
use crate::domain::retention::{Exported, Pressure, RetentionPolicy, SizeLimits};
use crate::ops::clock::SharedClock;
use crate::outbox::unthreaded::Pace;
use crate::outbox::{Engine, Ingested, Options, Order, OrderRequest, Outbox, Pause, retention, unthreaded};

/// Most deliveries held in memory: few, so that most are read from the disk again.
const WINDOW: usize = 3;
/// What is kept where a story is about retention.
const SHORT: Duration = Duration::from_secs(45);
const LONG: Duration = Duration::from_hours(24 * 90);

/// A daemon that lives.
pub(super) struct Daemon {
    pub(super) world: Arc<World>,
    pub(super) outbox: Outbox,
    pub(super) bulk: BulkOrders,
    intake: Intake,
    routing: watch::Sender<Arc<Routing>>,
    rules: watch::Sender<Arc<IntakeRules>>,
}

fn configured(world: &Arc<World>) -> (Arc<Routing>, Arc<IntakeRules>) {
    let cast = world.with_books(|books| books.cast.clone());
    let wire = Arc::new(Network(Arc::clone(world)));
    let routing =
        Arc::new(Routing { affiliates: cast.affiliates.values().cloned().collect(), slots: cast.slots, wire });
    let dictionary = Cast::dictionary();
    let rules = IntakeRules { dictionary, accept_unknown_affiliates: true, routing: Arc::clone(&routing) };
    (routing, Arc::new(rules))
}

impl Daemon {
    /// Starts a daemon on the runtime that calls this.
    pub(super) fn start(world: &Arc<World>, retires: bool) -> Self {
        let clock: SharedClock = Arc::clone(&world.clock) as _;
        let engine = Arc::clone(&world.disk) as Arc<dyn Engine>;
        let options = Options { clock: Arc::clone(&clock), keep_free: None, observer: None };
        let outbox = unthreaded::open(engine, options, Arc::clone(&world.disk) as Arc<dyn Pace>).unwrap();
        let (routing, rules) = configured(world);
        let (routing, rules) = (watch::Sender::new(routing), watch::Sender::new(rules));
        // Nobody stops it: it dies.
        let stop = CancellationToken::new();
        let observers = vec![Arc::new(Onlooker(Arc::clone(world))) as Arc<dyn AttemptObserver>];
        let parts = dispatch::Parts {
            outbox: outbox.clone(),
            clock: Arc::clone(&clock),
            routing: routing.subscribe(),
            stop: stop.clone(),
            observers,
            window: WINDOW,
        };
        let _ = dispatch::start(parts);
        let bulk = BulkOrders::start(outbox.clone(), Arc::clone(&clock), rules.subscribe(), stop.clone());
        let kept = if retires { SHORT } else { LONG };
        let policy = RetentionPolicy {
            delivered: kept,
            dead: kept,
            exported: Exported::NotAsked,
            sizes: SizeLimits::default(),
            pressure: Pressure::default(),
        };
        tokio::spawn(retention::run(outbox.clone(), Arc::clone(&clock), move || policy, stop));
        let intake = Intake::new(outbox.clone(), clock);
        Self { world: Arc::clone(world), outbox, bulk, intake, routing, rules }
    }

    /// Whether its outbox has failed, so that it has to end.
    pub(super) fn has_failed(&self) -> bool {
        self.outbox.check_ready().is_err()
    }

    /// Takes over the configuration that the books name.
    pub(super) fn reload(&self) {
        let (routing, rules) = configured(&self.world);
        self.routing.send_replace(routing);
        self.rules.send_replace(rules);
    }

    /// Hands events in; a task waits for the answer, and dies with the daemon.
    pub(super) fn hand_in(&self, events: Vec<Value>) {
        let (world, intake) = (Arc::clone(&self.world), self.intake.clone());
        let rules = self.rules.borrow().clone();
        tokio::spawn(async move {
            let producer = Producer { name: "backend".into(), affiliates: None };
            let handed_in = events.clone().into_iter().map(Ok);
            match intake.ingest(handed_in, &producer, &rules, Vec::new()).await {
                Ok(answers) => events.iter().zip(answers).for_each(|(event, answer)| answered(&world, event, answer)),
                Err(error) => world.with_books(|books| books.note(format_args!("events not taken: {error}"))),
            }
        });
    }

    /// Gives an order about one delivery.
    pub(super) fn order(&self, request: OrderRequest, number: usize) {
        let (world, outbox) = (Arc::clone(&self.world), self.outbox.clone());
        tokio::spawn(async move {
            let Ok(answer) = outbox.order(request).await else { return };
            world.with_books(|books| {
                let order = &mut books.orders[number];
                order.acknowledged = answer.is_ok();
                let id = order.id;
                match answer {
                    Ok(delivery) => books.note(format_args!("order-{number}: {id} {}", delivery.state.kind().name())),
                    Err(refused) => books.note(format_args!("order-{number}: {refused}")),
                }
            });
        });
    }

    /// Pauses a postback, or resumes it.
    pub(super) fn pause(&self, postback: PostbackRef, pause: Option<Pause>) {
        let (world, outbox) = (Arc::clone(&self.world), self.outbox.clone());
        let asked = world.with_books(|books| {
            let now = books.now;
            if pause.is_none() {
                books.paused.remove(&postback);
                books.resumed.insert(postback.clone(), now);
            }
            now
        });
        tokio::spawn(async move {
            let pauses = pause.is_some();
            let answered = outbox.pause(postback.clone(), pause).await;
            world.with_books(|books| {
                books.note(format_args!("{postback} paused: {pauses}, {}", answered.is_ok()));
                let resumed = books.resumed.get(&postback).is_some_and(|at| *at >= asked);
                if pauses && answered.is_ok() && !resumed {
                    books.paused.insert(postback, books.now);
                }
            });
        });
    }

    /// Gives a bulk order.
    pub(super) fn give(&self, request: BulkRequest) {
        let (world, bulk) = (Arc::clone(&self.world), self.bulk.clone());
        tokio::spawn(async move {
            let named = bulk.name(&request).unwrap();
            let count = named.targets.len();
            let given = bulk.give(&request, named).await;
            world.with_books(|books| match given {
                Ok(view) => {
                    books.note(format_args!("{} names {count}", request.reason));
                    books.bulks.insert(view.order_id);
                }
                Err(error) => books.note(format_args!("{}: {error}", request.reason)),
            });
        });
    }
}

fn answered(world: &World, event: &Value, answer: Answer) {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let (transaction, own) = (text("transaction_id"), text("affiliate_id"));
    let ingested = match answer {
        Answer::Ingested(ingested) => ingested,
        Answer::Invalid(faults) => {
            return world.with_books(|books| books.broken(format_args!("{event} is refused: {faults:?}")));
        }
        Answer::Failed(error) => return world.with_books(|books| books.note(format_args!("not taken: {error}"))),
    };
    // Retention may delete an event between the decision that it is known already and the answer that says so.
    let durable = |id: EventId| {
        world.disk.has_retired(id) || world.disk.durable(|engine| crate::outbox::onlooker::event(engine, id)).is_some()
    };
    match ingested {
        Ingested::Accepted(accepted) | Ingested::Duplicate(accepted) => {
            let is_durable = durable(accepted.event_id);
            world.with_books(|books| {
                books.note(format_args!("acknowledged {} for {transaction}", accepted.event_id));
                if !is_durable {
                    books.broken(format_args!("{} is acknowledged and not durable", accepted.event_id));
                }
                if accepted.deliveries.is_empty() {
                    books.note(format_args!("{} is unrouted", accepted.event_id));
                }
                books.acknowledge(accepted.event_id, accepted.deliveries, &own);
            });
        }
        Ingested::Conflict(conflict) => {
            world.with_books(|books| books.note(format_args!("{transaction} conflicts with {}", conflict.event_id)));
        }
    }
}

/// Tells the books what the daemon says that is on record.
#[derive(Debug)]
struct Onlooker(Arc<World>);

impl AttemptObserver for Onlooker {
    fn attempted(&self, note: &Arc<AttemptNote>) {
        let local = note.rule.contains("local fault");
        let health = if local { Health::Unknown } else { note.outcome.health() };
        debug_assert!(note.outcome != Outcome::Blocked, "nothing is blocked in a story");
        self.0.with_books(|books| books.noted(note.id, note.number, note.outcome, health, &note.postback));
    }
}

/// An order of an operator about one delivery.
pub(super) fn order(world: &World, id: crate::domain::id::DeliveryId, order: Order) -> (OrderRequest, usize) {
    let at = crate::domain::timestamp::to_micros(crate::ops::clock::Clock::now(&*world.clock));
    world.with_books(|books| {
        let number = books.orders.len();
        let reason = format!("order-{number}");
        books.note(format_args!("{reason}: {} {id}", order.kind().name()));
        books.orders.push(super::books::Ordered { id, reason: reason.clone(), acknowledged: false });
        (OrderRequest { id, order, by: "ops".into(), reason, at, bulk: None }, number)
    })
}
