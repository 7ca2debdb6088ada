//! Random stories against a naive model of the rules.
//!
//! Each seed is a story: events are accepted, sent again and again, reversed, restated, repeated, ordered about, and the
//! process dies between any two steps, with or without the last group on disk. After every step each delivery of the
//! store stands as in the model. `POSTBACKD_TEST_SEQUENCES` sets how many stories are told, `POSTBACKD_TEST_SEED` tells
//! one of them with every step printed.

mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

use self::naive::{At, Conversion, Model, Ordered, Taken, Target};
use super::claims::Claims;
use super::engine::Engine;
use super::known::Known;
use super::lease::Lease;
use super::model::{AcceptRequest, Ingested, Order, OrderRequest, OutboxError, PlannedDelivery, Settlement};
use super::read::{Reader, SharedMirror};
use super::writer::Writer;
use super::{MemoryEngine, opening};
use crate::domain::delivery::{Conclusion, DeadReason, DeliveredHow, Delivery, HoldReason, State};
use crate::domain::event::{Event, Status};
use crate::domain::id::{DeliveryId, EventId, PostbackRef, TransactionId};
use crate::domain::money::{Amount, Currency};
use crate::domain::outcome::Outcome;
use crate::domain::postback::{OrderPolicy, OriginalDead, OriginalUnknown, OriginalUnsettled};
use crate::fixtures::{self, now};
use crate::ops::environment;

const STEPS: usize = 24;
const DEFAULT_SEQUENCES: u64 = 1_500;

/// Splitmix64: enough for stories, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn small(&mut self, sides: u8) -> u8 {
        u8::try_from(self.roll(u64::from(sides))).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        (!from.is_empty()).then(|| &from[usize::try_from(self.roll(from.len() as u64)).unwrap()])
    }
}

/// The store under the story: the writer and its engine, without threads.
struct Store<'e> {
    engine: &'e std::sync::Arc<MemoryEngine>,
    writer: Writer<'e>,
    reader: Reader,
    claims: Claims,
    leases: BTreeMap<DeliveryId, Lease>,
}

impl<'e> Store<'e> {
    /// What opening does: mirrors, the last event, and what was interrupted.
    fn open(engine: &'e std::sync::Arc<MemoryEngine>, now: Timestamp) -> Self {
        let mirror = SharedMirror::default();
        let claims = Claims::default();
        *mirror.write().unwrap() = opening::load_mirror(&**engine).unwrap();
        let last = opening::last_event(&**engine).unwrap();
        opening::recover(&**engine, &mirror, &claims, last, now).unwrap();
        let known = std::sync::Arc::new(Known::beside(&**engine));
        known.read(&**engine);
        let writer = Writer::new(&**engine, mirror.clone(), claims.clone(), known, last);
        let reader = Reader::new(std::sync::Arc::clone(engine) as _, mirror);
        Self { engine, writer, reader, claims, leases: BTreeMap::new() }
    }

    /// Runs one request as a group of its own; returns `None` where the process dies before it is on disk.
    fn run<T>(&mut self, dies: bool, run: impl FnOnce(&mut Writer<'e>) -> Result<T, OutboxError>) -> Option<T> {
        let result = self.writer.attempt(run).unwrap();
        let (batch, effects) = self.writer.finish().unwrap();
        if dies {
            return None;
        }
        self.engine.apply(batch).unwrap();
        self.writer.applied();
        drop(effects);
        Some(result)
    }
}

struct Story<'e> {
    seed: u64,
    dice: Dice,
    store: Store<'e>,
    model: Model,
    targets: Vec<Target>,
    ids: Vec<EventId>,
    told: bool,
}

fn random_targets(dice: &mut Dice) -> Vec<Target> {
    let mut target = |affiliate| Target {
        affiliate,
        lane: dice.chance(30).then(|| dice.small(2)),
        policy: OrderPolicy {
            original_unsettled: *dice
                .pick(&[OriginalUnsettled::Hold, OriginalUnsettled::CancelBoth, OriginalUnsettled::SendBoth])
                .unwrap(),
            original_dead: if dice.chance(70) { OriginalDead::Hold } else { OriginalDead::Send },
            original_unknown: if dice.chance(70) { OriginalUnknown::Hold } else { OriginalUnknown::Send },
            latest_only: dice.chance(30),
        },
        kinds: (0..4).filter(|_| dice.chance(80)).collect::<BTreeSet<u8>>(),
        dedupes: dice.chance(60),
    };
    vec![target(0), target(0), target(1)]
}

fn transaction(number: u8) -> TransactionId {
    TransactionId::parse(format!("t{number}")).unwrap()
}

fn event(conversion: &Conversion) -> Event {
    let status = Status::ALL[usize::from(conversion.status)];
    let kind = format!("kind{}", conversion.kind);
    Event {
        currency: conversion.amount.map(|_| Currency::parse("EUR").unwrap()),
        payout: conversion.amount.map(|amount| Amount::parse(&format!("{amount}.00")).unwrap()),
        reverses: conversion.reverses.map(transaction),
        ..fixtures::event(transaction(conversion.transaction).as_str(), &kind, status)
    }
}

impl<'e> Story<'e> {
    fn new(seed: u64, engine: &'e std::sync::Arc<MemoryEngine>, told: bool) -> Self {
        let mut dice = Dice(seed);
        let targets = random_targets(&mut dice);
        let model = Model::new(targets.clone(), now());
        Self { seed, dice, store: Store::open(engine, now()), model, targets, ids: Vec::new(), told }
    }

    fn tell(&self, step: impl FnOnce() -> String) {
        if self.told {
            std::io::stderr().write_all(format!("seed {}: {}\n", self.seed, step()).as_bytes()).unwrap();
        }
    }

    fn id(&self, (event, place): At) -> DeliveryId {
        DeliveryId { event: self.ids[event], ordinal: u16::try_from(place).unwrap() }
    }

    fn plan(&self, kind: u8) -> Vec<PlannedDelivery> {
        let wanting = self.targets.iter().enumerate().filter(|(_, target)| target.kinds.contains(&kind));
        wanting
            .map(|(number, target)| PlannedDelivery {
                postback: PostbackRef {
                    affiliate: format!("affiliate{}", target.affiliate).parse().unwrap(),
                    postback: format!("postback{number}").parse().unwrap(),
                },
                lane: target.lane.map(|lane| format!("lane{lane}").parse().unwrap()),
                order: target.policy,
            })
            .collect()
    }

    fn step(&mut self) {
        let dies = self.dice.chance(4);
        match self.dice.roll(100) {
            0..35 => self.accept(dies),
            35..60 => self.begin(dies),
            60..85 => self.settle(dies),
            85..97 => self.order(dies),
            _ => self.crash(),
        }
    }

    fn accept(&mut self, dies: bool) {
        let conversion = Conversion {
            transaction: self.dice.small(4),
            kind: self.dice.small(4),
            status: self.dice.small(3),
            reverses: self.dice.chance(40).then(|| self.dice.small(4)),
            amount: self.dice.chance(40).then(|| 1 + self.dice.small(2)),
        };
        self.tell(|| format!("accept {conversion:?}"));
        let (event, plan) = (event(&conversion), self.plan(conversion.kind));
        let request =
            AcceptRequest { event, occurred_at_given: true, click_dedupe: None, plan, source: "story".into() };
        let Some(answer) = self.store.run(dies, |writer| writer.accept(request.clone(), now())) else {
            return self.crash();
        };
        let expected = self.model.accept(&conversion);
        match (&answer, &expected) {
            (Ingested::Accepted(accepted), Taken::New(_)) => self.ids.push(accepted.event_id),
            (Ingested::Duplicate(accepted), Taken::Duplicate(first)) if accepted.event_id == self.ids[*first] => {}
            (Ingested::Conflict(conflict), Taken::Conflict(first)) if conflict.event_id == self.ids[*first] => {}
            _ => panic!("seed {}: the store says {answer:?}, the model {expected:?}", self.seed),
        }
    }

    fn any_delivery(&mut self, which: impl Fn(&Model, At) -> bool) -> Option<At> {
        let model = &self.model;
        let all: Vec<At> = model.deliveries().map(|(at, _)| at).filter(|at| which(model, *at)).collect();
        self.dice.pick(&all).copied()
    }

    fn begin(&mut self, dies: bool) {
        let Some(at) = self.any_delivery(|_, _| true) else { return };
        let id = self.id(at);
        self.tell(|| format!("begin {at:?}"));
        let claim = self.store.claims.claim(id);
        let lease = claim.and_then(|claim| Lease::take(&self.store.reader, id, claim).unwrap());
        if let Some(mut lease) = lease {
            if !self.targets[self.model.target(at)].dedupes {
                let Some(noted) = self.store.run(dies, |writer| writer.intend(id, now())) else {
                    return self.crash();
                };
                assert!(noted, "seed {}: an intent of {at:?} was left over", self.seed);
                lease.set_intent(true);
            }
            self.store.leases.insert(id, lease);
            assert!(self.model.begin(at), "seed {}: {at:?} must not be sent now", self.seed);
        } else {
            assert!(!self.model.begin(at), "seed {}: {at:?} may be sent now", self.seed);
        }
    }

    fn settle(&mut self, dies: bool) {
        let Some(at) = self.any_delivery(Model::is_sending) else { return };
        let conclusion = match self.dice.roll(10) {
            0..4 => Conclusion::Delivered(DeliveredHow::Accepted),
            4..6 => Conclusion::Dead(DeadReason::Exhausted),
            6 => Conclusion::Held(HoldReason::Ambiguous),
            _ => Conclusion::Again { due: now() + Duration::from_mins(1), spends: self.dice.chance(50) },
        };
        self.tell(|| format!("settle {at:?} {conclusion:?}"));
        let lease = self.store.leases.remove(&self.id(at)).unwrap();
        let attempt = fixtures::attempt(lease.before().made + 1, Outcome::Retry);
        let settlement = Settlement { lease, attempt, conclusion, at: now(), pause: None };
        match self.store.run(dies, |writer| writer.settle(settlement)) {
            Some(_) => self.model.settle(at, conclusion),
            None => self.crash(),
        }
    }

    fn order(&mut self, dies: bool) {
        let Some(at) = self.any_delivery(|_, _| true) else { return };
        let (order, expected) = match self.dice.roll(8) {
            0..3 => {
                let force = self.dice.chance(50);
                (Order::Replay { force }, Ordered::Replay { force })
            }
            3 => (Order::Cancel, Ordered::Cancel),
            4 => (Order::Hold, Ordered::Hold),
            5..7 => (Order::Release, Ordered::Release),
            _ => (Order::ConfirmDelivered, Ordered::Confirm),
        };
        self.tell(|| format!("order {at:?} {order:?}"));
        let request =
            OrderRequest { id: self.id(at), order, by: "ops".into(), reason: "story".into(), at: now(), bulk: None };
        let Some(answer) = self.store.run(dies, |writer| writer.order(&request)) else { return self.crash() };
        let done = self.model.order(at, expected);
        assert_eq!(answer.is_ok(), done, "seed {}: {order:?} of {at:?}: {answer:?}", self.seed);
    }

    fn crash(&mut self) {
        self.tell(|| "crash".into());
        let engine = self.store.engine;
        self.store = Store::open(engine, now());
        self.model.crash();
    }

    fn compare(&self) {
        self.store.reader.check_tallies();
        let mut counted = BTreeMap::new();
        for (at, delivery) in self.model.deliveries() {
            let view = self.store.reader.delivery(self.id(at)).unwrap().unwrap();
            *counted.entry(view.delivery.state.kind()).or_insert(0_u64) += 1;
            let ours = named(&self.ids, &view.delivery.state);
            let theirs = named(&[], &delivery.state);
            assert_eq!(
                (ours, view.delivery.made, view.delivery.spent),
                (theirs, delivery.made, delivery.spent),
                "seed {}: delivery {at:?}; the model stands on the right",
                self.seed
            );
        }
        let reader = &self.store.reader;
        let listed =
            reader.postbacks().into_iter().flat_map(|(number, _)| reader.scheduled(number, usize::MAX).unwrap());
        let scheduled = |delivery: &Delivery| matches!(delivery.state, State::Scheduled { .. });
        let expected = self.model.deliveries().filter(|(_, delivery)| scheduled(delivery)).map(|(at, _)| self.id(at));
        assert_eq!(listed.collect::<BTreeSet<_>>(), expected.collect(), "seed {}: scheduled", self.seed);
        for (kind, count) in counted {
            let kept: u64 = self.store.reader.counts().values().map(|counts| counts.of(kind)).sum();
            assert_eq!(kept, count, "seed {}: counted as {}", self.seed, kind.name());
        }
    }

    /// Sends everything that can go out until nothing can; then nobody may still be waiting for nobody.
    fn run_dry(&mut self) {
        loop {
            let open = self.any_delivery(Model::is_sending);
            if open.is_some() {
                self.settle_as(open, Conclusion::Delivered(DeliveredHow::Accepted));
                continue;
            }
            let scheduled: Vec<At> = self
                .model
                .deliveries()
                .filter(|(_, delivery)| matches!(delivery.state, State::Scheduled { .. }))
                .map(|(at, _)| at)
                .collect();
            let Some(next) = scheduled.first().copied() else { break };
            self.begin_at(next);
        }
        let stuck: Vec<At> = self
            .model
            .deliveries()
            .filter(|(_, delivery)| delivery.state == State::Waiting)
            .map(|(at, _)| at)
            .collect();
        let held = self.model.deliveries().any(|(_, delivery)| matches!(delivery.state, State::Held { .. }));
        assert!(stuck.is_empty() || held, "seed {}: {stuck:?} wait although nothing is open", self.seed);
        self.compare();
    }

    fn begin_at(&mut self, at: At) {
        let id = self.id(at);
        let claim = self.store.claims.claim(id).unwrap();
        let lease = Lease::take(&self.store.reader, id, claim).unwrap().unwrap();
        self.store.leases.insert(id, lease);
        assert!(self.model.begin(at));
    }

    fn settle_as(&mut self, at: Option<At>, conclusion: Conclusion) {
        let Some(at) = at else { return };
        let Some(lease) = self.store.leases.remove(&self.id(at)) else { return };
        let attempt = fixtures::attempt(lease.before().made + 1, Outcome::Delivered);
        self.tell(|| format!("settle {at:?} {conclusion:?}"));
        let settlement = Settlement { lease, attempt, conclusion, at: now(), pause: None };
        self.store.run(false, |writer| writer.settle(settlement));
        self.model.settle(at, conclusion);
        self.compare();
    }
}

/// A state in words, with events by their number in the story.
fn named(ids: &[EventId], state: &State) -> String {
    match state {
        State::Superseded { by } => {
            let number = ids.iter().position(|id| id == by).map_or(by.as_u64(), |number| number as u64);
            format!("superseded by {number}")
        }
        State::Scheduled { .. } => "scheduled".into(),
        other => format!("{other:?}"),
    }
}

fn tell(seed: u64, told: bool) {
    let engine = std::sync::Arc::new(MemoryEngine::default());
    let mut story = Story::new(seed, &engine, told);
    for _ in 0..STEPS {
        story.step();
        story.compare();
    }
    story.run_dry();
}

#[test]
fn random_stories_end_as_in_the_model() {
    let number = |name| environment::variable(name).and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("POSTBACKD_TEST_SEED") {
        return tell(seed, true);
    }
    let sequences = number("POSTBACKD_TEST_SEQUENCES").unwrap_or(DEFAULT_SEQUENCES);
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..sequences).step_by(2).for_each(|seed| tell(seed, false)));
        }
    });
}
