//! A world in which the scheduler is tried out: a clock, a disk and receivers, all made up, none of them real.
//!
//! Discrete events on a virtual clock. At every start the promises are checked that must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::pace::RATE_SLACK;
use super::{Ended, Route, Scheduler, Step};
use crate::dispatch::breaker::Breaker;
use crate::domain::affiliate::Limits;
use crate::domain::id::{AffiliateId, DeliveryId, EventId};
use crate::domain::outcome::Health;
use crate::domain::retry::after;
use crate::outbox::{Due, PostbackNo, SendClass};

pub(super) const UNLIMITED: Limits = Limits { concurrency: 8, rate: None, breaker: None };

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Numbers that look random, the same ones for the same seed.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(super) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// How a receiver behaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mood {
    Works,
    Fails,
    /// Any of the others, anew for each request.
    Fickle,
    Throttles(Duration),
}

/// An affiliate and its receiver.
#[derive(Debug)]
pub(super) struct Partner {
    pub(super) limits: Limits,
    pub(super) mood: Mood,
    pub(super) service: Duration,
    pub(super) retry_after: Duration,
    pub(super) in_flight: u32,
    pub(super) retries_in_flight: u32,
    pub(super) delivered: u64,
    pub(super) last_delivered: Timestamp,
    /// How long each first send waited for its start.
    pub(super) waits: Vec<Duration>,
    pub(super) slot_time: Duration,
    probe: Option<DeliveryId>,
    quiet_until: Timestamp,
    starts: Vec<Timestamp>,
}

enum Happening {
    Planned { postback: PostbackNo, count: u64 },
    Answered(DeliveryId),
    Reported(DeliveryId, Option<Ended>),
    Reading(PostbackNo, SendClass, Option<Due>),
    Read(PostbackNo, SendClass, Option<(Vec<Due>, bool)>),
    Unclaimed(DeliveryId),
    Disturbance,
}

pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) partners: Vec<Partner>,
    /// The postback's partner, and whether it is paused.
    pub(super) postbacks: BTreeMap<PostbackNo, (usize, bool)>,
    pub(super) slots: usize,
    pub(super) random: Random,
    /// True time; the scheduler sees it with `clock_error`.
    pub(super) time: Timestamp,
    pub(super) clock_error: SignedDuration,
    pub(super) disturb: Option<fn(&mut World)>,
    pub(super) planned: u64,
    pub(super) settled: u64,
    pub(super) calls: u64,
    pub(super) unreliable: bool,
    window: usize,
    disk: BTreeMap<(PostbackNo, SendClass), BTreeSet<Due>>,
    scheduled: HashMap<DeliveryId, Due>,
    held: BTreeMap<DeliveryId, Due>,
    claimed: HashSet<DeliveryId>,
    flights: HashMap<DeliveryId, (Due, Timestamp)>,
    retries_in_flight: usize,
    arrivals: Vec<Due>,
    arrivals_missed: bool,
    happenings: BTreeMap<(Timestamp, u64), Happening>,
    sequence: u64,
}

fn name(partner: usize) -> AffiliateId {
    AffiliateId::parse(format!("p{partner}")).unwrap()
}

impl World {
    pub(super) fn new(slots: usize, window: usize, seed: u64) -> Self {
        Self {
            scheduler: Scheduler::new(slots, window),
            partners: Vec::new(),
            postbacks: BTreeMap::new(),
            slots,
            random: Random(seed),
            time: Timestamp::from_second(1_800_000_000).unwrap(),
            clock_error: SignedDuration::ZERO,
            disturb: None,
            planned: 0,
            settled: 0,
            calls: 0,
            unreliable: false,
            window,
            disk: BTreeMap::new(),
            scheduled: HashMap::new(),
            held: BTreeMap::new(),
            claimed: HashSet::new(),
            flights: HashMap::new(),
            retries_in_flight: 0,
            arrivals: Vec::new(),
            arrivals_missed: false,
            happenings: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Adds an affiliate with one postback.
    pub(super) fn partner(&mut self, limits: Limits, service: Duration) -> PostbackNo {
        self.partners.push(Partner {
            limits,
            mood: Mood::Works,
            service,
            retry_after: secs(5),
            in_flight: 0,
            retries_in_flight: 0,
            delivered: 0,
            last_delivered: self.time,
            waits: Vec::new(),
            slot_time: Duration::ZERO,
            probe: None,
            quiet_until: Timestamp::MIN,
            starts: Vec::new(),
        });
        self.postback()
    }

    /// Adds a postback to the affiliate added last.
    pub(super) fn postback(&mut self) -> PostbackNo {
        let postback = PostbackNo::try_from(self.postbacks.len()).unwrap();
        self.postbacks.insert(postback, (self.partners.len() - 1, false));
        postback
    }

    pub(super) fn clock(&self) -> Timestamp {
        self.time.checked_add(self.clock_error).unwrap()
    }

    /// Hands limits and pauses to the scheduler.
    pub(super) fn configure(&mut self) {
        let routes: Vec<Route> = self.postbacks.keys().map(|postback| self.route(*postback)).collect();
        let (limits, now) = (self.limits(), self.clock());
        self.scheduler.configure(self.slots, &routes, |affiliate| limits[affiliate], now);
        self.partners.iter_mut().for_each(|partner| partner.starts.clear());
    }

    /// Hands one postback to the scheduler: it is new, or its pause changed.
    pub(super) fn learn(&mut self, postback: PostbackNo) {
        let (route, limits, now) = (self.route(postback), self.limits(), self.clock());
        self.scheduler.learn(&[route], |affiliate| limits[affiliate], now);
    }

    fn route(&self, postback: PostbackNo) -> Route {
        let (partner, paused) = self.postbacks[&postback];
        Route { postback, affiliate: name(partner), paused }
    }

    fn limits(&self) -> HashMap<AffiliateId, Limits> {
        self.partners.iter().enumerate().map(|(number, partner)| (name(number), partner.limits)).collect()
    }

    fn happen(&mut self, wait: Duration, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((after(self.time, wait), self.sequence), happening);
    }

    /// Plans deliveries after a while.
    pub(super) fn plan_in(&mut self, wait: Duration, postback: PostbackNo, count: u64) {
        self.happen(wait, Happening::Planned { postback, count });
    }

    /// Lets the world be disturbed after a while.
    pub(super) fn disturb_in(&mut self, wait: Duration) {
        self.happen(wait, Happening::Disturbance);
    }

    /// Plans deliveries: on disk, and known to the scheduler unless that missed it.
    pub(super) fn plan(&mut self, postback: PostbackNo, class: SendClass, count: u64) {
        for _ in 0..count {
            self.planned += 1;
            let id = DeliveryId { event: EventId::from_u64(self.planned), ordinal: 0 };
            self.schedule(Due { at: self.clock(), id, postback, class });
        }
    }

    fn schedule(&mut self, due: Due) {
        self.disk.entry((due.postback, due.class)).or_default().insert(due);
        assert_eq!(self.scheduled.insert(due.id, due), None);
        if (self.unreliable && self.random.one_in(200)) || self.arrivals.len() > 65_536 {
            self.arrivals_missed = true;
        } else {
            self.arrivals.push(due);
        }
    }

    fn unschedule(&mut self, id: DeliveryId) -> Due {
        let due = self.scheduled.remove(&id).unwrap();
        assert!(self.disk.get_mut(&(due.postback, due.class)).unwrap().remove(&due));
        due
    }

    /// Some scheduled delivery that nobody has in hand.
    pub(super) fn some_delivery(&mut self) -> Option<DeliveryId> {
        let id = DeliveryId { event: EventId::from_u64(self.random.below(self.planned.max(1))), ordinal: 0 };
        Some(id).filter(|id| self.scheduled.contains_key(id) && !self.claimed.contains(id))
    }

    /// An operator's hand on a delivery that in the end leaves it as it is.
    pub(super) fn touch(&mut self, id: DeliveryId, wait: Duration) {
        self.claimed.insert(id);
        self.happen(wait, Happening::Unclaimed(id));
    }

    pub(super) fn cancel(&mut self, id: DeliveryId) {
        self.unschedule(id);
        self.settled += 1;
    }

    pub(super) fn hold(&mut self, id: DeliveryId) {
        let due = self.unschedule(id);
        self.held.insert(id, due);
    }

    pub(super) fn release_all(&mut self) {
        for due in std::mem::take(&mut self.held).into_values() {
            self.schedule(Due { at: self.clock(), ..due });
        }
    }

    /// Lets the world run for so long, or until nothing is left to happen.
    pub(super) fn run(&mut self, most: Duration) {
        let end = after(self.time, most);
        loop {
            let wake = self.dispatch().map(|at| at.checked_sub(self.clock_error).unwrap().max(self.time));
            let next = self.happenings.first_key_value().map(|((at, _), _)| *at);
            let Some(time) = [wake, next].into_iter().flatten().min() else { return };
            if time > end {
                self.time = end;
                return;
            }
            assert!(wake.is_none_or(|wake| wake > self.time) || next == Some(self.time), "it waits for what is past");
            self.time = time;
            if next == Some(time) {
                let ((_, _), happening) = self.happenings.pop_first().unwrap();
                self.carry_out(happening);
            }
        }
    }

    fn dispatch(&mut self) -> Option<Timestamp> {
        if std::mem::take(&mut self.arrivals_missed) {
            self.scheduler.incomplete();
        }
        let now = self.clock();
        for due in std::mem::take(&mut self.arrivals) {
            self.scheduler.arrived(due, now);
        }
        loop {
            self.calls += 1;
            match self.scheduler.next(now) {
                Step::Start(due) => self.start(due),
                Step::Fill { postback, class, after } => {
                    let wait = ms(self.random.below(3));
                    self.happen(wait, Happening::Reading(postback, class, after));
                }
                Step::Wait(until) => return until,
            }
        }
    }

    fn carry_out(&mut self, happening: Happening) {
        match happening {
            Happening::Planned { postback, count } => self.plan(postback, SendClass::First, count),
            Happening::Answered(id) => self.answered(id),
            Happening::Reported(id, ended) => {
                let now = self.clock();
                // What was durable before the report may be known before it, or after.
                if self.random.one_in(2) {
                    for due in std::mem::take(&mut self.arrivals) {
                        self.scheduler.arrived(due, now);
                    }
                }
                self.scheduler.ended(id, ended, now);
                self.reported(id, ended);
                self.check_windows();
            }
            Happening::Reading(postback, class, after) => {
                let disk = self.disk.entry((postback, class)).or_default();
                let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let mut rest = disk.range((from, std::ops::Bound::Unbounded)).copied();
                let found: Vec<Due> = rest.by_ref().take(self.window).collect();
                let complete = rest.next().is_none();
                let failed = self.unreliable && self.random.one_in(20);
                let wait = ms(self.random.below(4));
                self.happen(wait, Happening::Read(postback, class, (!failed).then_some((found, complete))));
            }
            Happening::Read(postback, class, Some((found, complete))) => {
                let now = self.clock();
                self.scheduler.filled(postback, class, found, complete, now);
                self.check_windows();
            }
            Happening::Read(postback, class, None) => self.scheduler.filling_failed(postback, class),
            Happening::Unclaimed(id) => drop(self.claimed.remove(&id)),
            Happening::Disturbance => {
                if let Some(disturb) = self.disturb {
                    disturb(self);
                }
            }
        }
    }

    fn reported(&mut self, id: DeliveryId, ended: Option<Ended>) {
        let (due, _) = self.flights.remove(&id).unwrap();
        let number = self.postbacks[&due.postback].0;
        let partner = &mut self.partners[number];
        let is_retry = due.class == SendClass::Retry;
        partner.in_flight -= 1;
        partner.retries_in_flight -= u32::from(is_retry);
        self.retries_in_flight -= usize::from(is_retry);
        let is_closed = matches!(self.scheduler.queues[number].breaker, Breaker::Closed { .. });
        partner.probe = partner.probe.filter(|probe| *probe != id && !is_closed);
        if let Some(wait) = ended.and_then(|ended| ended.slow_down) {
            partner.quiet_until = partner.quiet_until.max(after(self.time, wait.min(secs(300))));
        }
    }

    fn check_windows(&mut self) {
        for outgoing in self.scheduler.postbacks.values().filter(|_| self.calls.is_multiple_of(64)) {
            assert!(outgoing.windows.iter().all(|window| window.len() <= self.window), "a window is over its bound");
        }
    }

    /// Checks every promise that a start could break, and sends.
    fn start(&mut self, due: Due) {
        let (number, paused) = self.postbacks[&due.postback];
        let (time, clock) = (self.time, self.clock());
        let breaker = self.scheduler.queues[number].breaker;
        let partner = &mut self.partners[number];
        assert!(!paused, "a paused postback sends");
        assert!(!self.flights.contains_key(&due.id), "{} is in two flights at once", due.id);
        let is_retry = due.class == SendClass::Retry;
        assert!(!is_retry || due.at <= clock, "{} goes out before it is due", due.id);
        let attempted = self.scheduled.get(&due.id) == Some(&due) && !self.claimed.contains(&due.id);
        assert!(time >= partner.quiet_until, "the receiver asked to be left alone");
        self.flights.insert(due.id, (due, time));
        partner.in_flight += 1;
        partner.retries_in_flight += u32::from(is_retry);
        self.retries_in_flight += usize::from(is_retry);
        assert!(self.flights.len() <= self.slots, "more in flight than slots");
        assert!(partner.in_flight <= partner.limits.concurrency, "more in flight than the affiliate's concurrency");
        if is_retry {
            assert!(self.retries_in_flight <= (self.slots * 3 / 4).max(1), "retries take more than their part");
            let part = (partner.limits.concurrency * 3 / 4).max(1);
            assert!(partner.retries_in_flight <= part, "retries take more than their part of the affiliate's slots");
        }
        // The scheduler has noted the start already: half open is what a probe makes of an open breaker.
        match breaker {
            Breaker::Closed { .. } => {}
            Breaker::Open { .. } => panic!("the breaker is open"),
            Breaker::HalfOpen { .. } => {
                assert_eq!(partner.probe.replace(due.id), None, "two probes at once");
            }
        }
        if !attempted {
            // That there is nothing to attempt may be known only once something is written down: on a slow disk, late.
            let longest = if self.unreliable && self.random.one_in(4) { 2_000 } else { 2 };
            let wait = ms(self.random.below(longest));
            return self.happen(wait, Happening::Reported(due.id, None));
        }
        self.claimed.insert(due.id);
        if due.class == SendClass::First {
            partner.waits.push(clock.duration_since(due.at).try_into().unwrap_or_default());
        }
        if let Some(rate) = partner.limits.rate {
            partner.starts.push(time);
            for (begun, start) in partner.starts.iter().rev().take(500).enumerate() {
                let span = Duration::try_from(time.duration_since(*start)).unwrap() + RATE_SLACK;
                let most = span.as_nanos() / rate.interval().as_nanos() + 1;
                assert!((begun as u128) < most, "{} sends in {span:?} are over the rate", begun + 1);
            }
        }
        let service = partner.service;
        self.happen(service, Happening::Answered(due.id));
    }

    fn answered(&mut self, id: DeliveryId) {
        let (due, begun) = self.flights[&id];
        let (time, clock) = (self.time, self.clock());
        let partner = &mut self.partners[self.postbacks[&due.postback].0];
        let took = Duration::try_from(time.duration_since(begun)).unwrap();
        partner.slot_time += took;
        let mood = match partner.mood {
            Mood::Fickle => match self.random.below(4) {
                0 => Mood::Works,
                1 => Mood::Throttles(secs(self.random.below(20))),
                _ => Mood::Fails,
            },
            mood => mood,
        };
        let again = |wait: Duration| Due { at: after(clock, wait), class: SendClass::Retry, ..due };
        let (health, slow_down, again) = match mood {
            Mood::Works => (Health::Good, None, None),
            Mood::Fails | Mood::Fickle => (Health::Bad, None, Some(again(partner.retry_after))),
            Mood::Throttles(wait) => (Health::Unknown, Some(wait), Some(again(wait))),
        };
        if again.is_none() {
            partner.delivered += 1;
            partner.last_delivered = time;
            self.settled += 1;
        }
        self.unschedule(id);
        self.claimed.remove(&id);
        if let Some(again) = again {
            self.schedule(again);
        }
        let wait = ms(self.random.below(2));
        self.happen(wait, Happening::Reported(id, Some(Ended { health, slow_down, took })));
    }
}
