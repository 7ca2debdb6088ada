//! A story: a random schedule of what can happen to a daemon, and its end, in which the world calms down.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::cast::{OWNERS, STEADY};
use super::daemon::{self, Daemon};
use super::dice::Dice;
use super::promises;
use super::world::World;
use crate::dispatch::BulkRequest;
use crate::domain::id::{BulkId, DeliveryId, PostbackRef};
use crate::domain::timestamp::to_micros;
use crate::inspect::DeliveryFilter;
use crate::ops::clock::Clock as _;
use crate::outbox::{BulkState, Order, Pause, Verb};

/// How a life of the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The power was cut, or its disk failed it.
    Crash,
    /// The story is told.
    Told,
    /// A promise was broken.
    Broken,
}

pub(super) struct Story {
    pub(super) world: Arc<World>,
    pub(super) dice: Dice,
    pub(super) steps: u64,
    /// Whether old events are deleted.
    pub(super) retires: bool,
    handed_in: Vec<Value>,
    given: u64,
}

impl Story {
    pub(super) fn new(seed: u64, told: bool) -> Self {
        let mut dice = Dice::new(seed, 0);
        let (steps, retires) = (dice.between(20, 36), dice.chance(15));
        Self { world: World::new(seed, told), dice, steps, retires, handed_in: Vec::new(), given: 0 }
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.world.with_books(|books| books.note(what));
    }

    pub(super) fn is_broken(&self) -> bool {
        self.world.with_books(|books| !books.violations.is_empty())
    }

    /// One life of the daemon.
    pub(super) async fn live(&mut self) -> Ending {
        self.world.clock.begin_life();
        self.world.with_books(super::books::Books::begin_life);
        let daemon = Daemon::start(&self.world, self.retires);
        let ending = self.go_on(&daemon).await;
        self.world.clock.end_life();
        ending
    }

    async fn go_on(&mut self, daemon: &Daemon) -> Ending {
        while self.steps > 0 {
            self.steps -= 1;
            if self.step(daemon) {
                return Ending::Crash;
            }
            let pause = self.pause();
            tokio::time::sleep(pause).await;
            promises::check_moment(&self.world, daemon.has_failed());
            if self.is_broken() {
                return Ending::Broken;
            }
            if daemon.has_failed() {
                self.note(format_args!("the outbox has failed"));
                return Ending::Crash;
            }
        }
        super::ending::calm_down(self, daemon).await
    }

    fn pause(&mut self) -> Duration {
        match self.dice.roll(100) {
            0..45 => Duration::from_millis(self.dice.roll(30)),
            45..85 => Duration::from_millis(self.dice.roll(1_000)),
            _ => Duration::from_millis(self.dice.roll(8_000)),
        }
    }

    /// One thing happens; whether it is a crash.
    fn step(&mut self, daemon: &Daemon) -> bool {
        match self.dice.roll(100) {
            0..34 => self.events(daemon),
            34..50 => self.mood(),
            50..64 => self.order(daemon),
            64..70 => self.bulk(daemon),
            70..75 => self.change_bulk(daemon),
            75..82 => self.pause_postback(daemon),
            82..88 => self.reload(daemon),
            88..92 => self.set_clock(),
            92..96 => self.disturb_disk(),
            _ => {
                self.note(format_args!("crash"));
                return true;
            }
        }
        false
    }

    /// Events are handed in: new ones or, since nobody answered or for no reason, some of before.
    fn events(&mut self, daemon: &Daemon) {
        let count = self.dice.between(1, 5);
        let events: Vec<Value> = (0..count)
            .map(|_| match self.dice.chance(20).then(|| self.dice.pick(&self.handed_in).cloned()).flatten() {
                Some(again) => again,
                None => self.event(),
            })
            .collect();
        for event in &events {
            self.note(format_args!("handed in: {event}"));
        }
        self.handed_in.extend(events.iter().cloned());
        daemon.hand_in(events);
    }

    fn event(&mut self) -> Value {
        let owner = *self.dice.pick(&OWNERS).unwrap();
        let number = self.handed_in.len();
        if owner == STEADY {
            let transaction = format!("s{number}-{}", self.dice.roll(1_000_000));
            return json!({ "transaction_id": transaction, "type": "lead", "affiliate_id": owner, "click_id": "c-1" });
        }
        // Seldom an affiliate that nobody configured: kept unrouted, unless a global one wants it.
        let transaction = format!("t{}", self.dice.roll(8));
        let status = *self.dice.pick(&["pending", "approved", "rejected"]).unwrap();
        let (kind, reverses) = match self.dice.roll(100) {
            0..35 => ("lead", Value::Null),
            35..65 => ("ftd", Value::Null),
            _ => ("undo", Value::from(format!("t{}", self.dice.roll(8)))),
        };
        let transaction = if kind == "undo" { format!("u{}", self.dice.roll(6)) } else { transaction };
        json!({
            "transaction_id": transaction, "type": kind, "affiliate_id": owner, "click_id": "c-1",
            "status": status, "reverses": reverses,
        })
    }

    fn any_postback(&mut self) -> PostbackRef {
        let mut all = self.world.with_books(|books| books.cast.postbacks());
        all.retain(|postback| postback.affiliate.as_str() != STEADY);
        self.dice.pick(&all).unwrap().clone()
    }

    fn mood(&mut self) {
        let postback = self.any_postback();
        let mood = self.world.receivers().change(&postback, &mut self.dice);
        self.note(format_args!("{postback} is now {mood:?}"));
    }

    /// A delivery that somebody was told of, to anybody but the steady affiliate.
    fn any_delivery(&mut self) -> Option<DeliveryId> {
        let all: Vec<DeliveryId> = self.world.with_books(|books| {
            let deliveries = books.acknowledged.values().flat_map(|event| &event.deliveries);
            deliveries.filter(|id| !books.is_steady(**id)).copied().collect()
        });
        self.dice.pick(&all).copied()
    }

    fn order(&mut self, daemon: &Daemon) {
        let Some(id) = self.any_delivery() else { return };
        let order = match self.dice.roll(10) {
            0..4 => Order::Replay { force: self.dice.chance(50) },
            4 => Order::Cancel,
            5 => Order::Hold,
            6..8 => Order::Release,
            8 => Order::ConfirmDelivered,
            _ => Order::Discard,
        };
        let (request, number) = daemon::order(&self.world, id, order);
        daemon.order(request, number);
    }

    fn bulk(&mut self, daemon: &Daemon) {
        let verb = match self.dice.roll(8) {
            0..3 => Verb::Replay { force: self.dice.chance(50) },
            3 => Verb::Cancel,
            4 => Verb::Hold,
            5 => Verb::Release,
            6 => Verb::Discard,
            _ => Verb::Plan,
        };
        let affiliate = *self.dice.pick(&["acme", "bolt", "house"]).unwrap();
        let rate = self.dice.chance(40).then(|| "2/s".to_owned());
        self.given += 1;
        let request = BulkRequest {
            verb,
            filter: DeliveryFilter { affiliate: Some(affiliate.into()), ..DeliveryFilter::default() },
            limit: None,
            rate: rate.and_then(|text| Some((text.clone(), crate::config::parse_rate(&text)?))),
            reason: format!("bulk-{}", self.given),
            by: "ops".into(),
        };
        self.note(format_args!("bulk-{}: {} {affiliate}", self.given, verb.name()));
        daemon.give(request);
    }

    fn change_bulk(&mut self, daemon: &Daemon) {
        let all: Vec<BulkId> = self.world.with_books(|books| books.bulks.iter().copied().collect());
        let Some(id) = self.dice.pick(&all).copied() else { return };
        let state =
            *self.dice.pick(&[BulkState::Paused, BulkState::Running, BulkState::Running, BulkState::Stopped]).unwrap();
        self.note(format_args!("{id} is to be {state:?}"));
        let bulk = daemon.bulk.clone();
        tokio::spawn(async move { bulk.change(id, state, "ops").await });
    }

    fn pause_postback(&mut self, daemon: &Daemon) {
        let postback = self.any_postback();
        let at = to_micros(self.world.clock.now());
        let pause = self.dice.chance(50).then(|| Pause { at, by: "ops".into(), reason: "story".into() });
        self.note(format_args!("{postback} is to be paused: {}", pause.is_some()));
        daemon.pause(postback, pause);
    }

    fn reload(&mut self, daemon: &Daemon) {
        self.world.with_books(|books| {
            let what = books.configure(|cast| cast.change(&mut self.dice));
            books.note(format_args!("reload: {what}"));
        });
        daemon.reload();
    }

    fn set_clock(&mut self) {
        let seconds = i64::try_from(self.dice.roll(60)).unwrap();
        let back = self.dice.chance(50);
        let seconds = if self.dice.chance(10) && !back { 3_600 } else { seconds };
        let by = SignedDuration::from_secs(if back { -seconds } else { seconds });
        self.world.clock.set(by);
        self.world.with_books(|books| {
            books.forget_paces();
            books.note(format_args!("the clock is set by {by:#}"));
        });
    }

    fn disturb_disk(&mut self) {
        match self.dice.roll(4) {
            0 => {
                self.note(format_args!("syncs fail from now on"));
                self.world.disk.set_failing(true);
            }
            1 | 2 => {
                self.note(format_args!("the disk is slow"));
                self.world.disk.set_slow(true);
            }
            _ => {
                self.note(format_args!("the disk is quick"));
                self.world.disk.set_slow(false);
            }
        }
    }
}
