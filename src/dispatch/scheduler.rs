//! Whose turn it is: which delivery goes out next, and when there is one.
//!
//! Pure: times come in as arguments, what to do comes out as a [`Step`]. Fairness between affiliates is
//! weighed by the slot time they take: the affiliate that has used the least goes first, so a receiver that
//! holds its slots for fifteen seconds pays for them. Each affiliate is bounded by its concurrency, rate and
//! breaker; retries leave a part of the slots to first sends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use jiff::Timestamp;

use super::breaker::Breaker;
use super::window::{WINDOW, Window};
use crate::domain::affiliate::Limits;
use crate::domain::id::{AffiliateId, DeliveryId};
use crate::domain::outcome::Health;
use crate::domain::retry::after;
use crate::outbox::{Due, PostbackNo, SendClass};

/// Part of the slots, in percent, that retries may take.
const RETRY_PERCENT: u32 = 75;
/// Part of all slots, in percent, that stay free for affiliates below their fair share.
const RESERVE_PERCENT: usize = 25;
/// Slot time assumed for an affiliate of which nothing is known.
const FIRST_ESTIMATE: Duration = Duration::from_millis(50);
/// Longest that one "not now" stops a whole affiliate; its own delivery may have to wait longer.
const MAX_SLOWDOWN: Duration = Duration::from_secs(300);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Attempt this delivery.
    Start(Due),
    /// Read more of a schedule from disk, behind a delivery.
    Fill {
        /// The postback.
        postback: PostbackNo,
        /// First sends or retries.
        class: SendClass,
        /// Behind which delivery.
        after: Option<Due>,
    },
    /// Nothing, until then or until something happens.
    Wait(Option<Timestamp>),
}

/// What an attempt came to, as far as turns are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What it says of the receiver.
    pub health: Health,
    /// The wait that the receiver asks of us, where it does.
    pub slow_down: Option<Duration>,
    /// How long the slot was taken.
    pub took: Duration,
}

/// A postback as the scheduler knows it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its number.
    pub postback: PostbackNo,
    /// Its affiliate.
    pub affiliate: AffiliateId,
    /// Whether its deliveries stay where they are.
    pub paused: bool,
}

/// Decides about turns.
#[derive(Debug)]
pub struct Scheduler {
    slots: usize,
    affiliates: BTreeMap<AffiliateId, Queue>,
    postbacks: HashMap<PostbackNo, Outgoing>,
    ready: BTreeSet<(Duration, AffiliateId)>,
    asleep: BTreeSet<(Timestamp, AffiliateId)>,
    in_flight: HashMap<DeliveryId, Flight>,
    retries_in_flight: usize,
    unfilled: BTreeSet<(PostbackNo, SendClass)>,
    /// Slot time of whoever went last: an affiliate that was idle starts here, not at what it once saved.
    floor: Duration,
}

#[derive(Debug)]
struct Outgoing {
    affiliate: AffiliateId,
    paused: bool,
    windows: [Window; 2],
}

#[derive(Debug)]
struct Queue {
    limits: Limits,
    used: Duration,
    estimate: Duration,
    in_flight: u32,
    retries_in_flight: u32,
    postbacks: BTreeSet<PostbackNo>,
    breaker: Breaker,
    not_before: Timestamp,
    next_by_rate: Timestamp,
    last_was_retry: bool,
    place: Place,
}

/// Where an affiliate stands in the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Ready(Duration),
    Asleep(Timestamp),
}

#[derive(Debug)]
struct Flight {
    due: Due,
    charged: Duration,
    /// Scheduled again while still in flight: goes back to its window when the flight ends.
    again: Option<Due>,
}

impl Scheduler {
    /// A scheduler with so many slots.
    pub fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            affiliates: BTreeMap::new(),
            postbacks: HashMap::new(),
            ready: BTreeSet::new(),
            asleep: BTreeSet::new(),
            in_flight: HashMap::new(),
            retries_in_flight: 0,
            unfilled: BTreeSet::new(),
            floor: Duration::ZERO,
        }
    }

    /// Takes over limits and pauses of all postbacks. New ones are read from disk; what is known stays.
    pub fn configure(
        &mut self,
        slots: usize,
        routes: &[Route],
        limits: impl Fn(&AffiliateId) -> Limits,
        now: Timestamp,
    ) {
        self.slots = slots.max(1);
        for route in routes {
            let queue =
                self.affiliates.entry(route.affiliate.clone()).or_insert_with(|| Queue::new(limits(&route.affiliate)));
            queue.postbacks.insert(route.postback);
            let outgoing = self.postbacks.entry(route.postback).or_insert_with(|| {
                self.unfilled.extend(SendClass::ALL.map(|class| (route.postback, class)));
                let windows = [Window::bounded(WINDOW), Window::bounded(WINDOW)];
                Outgoing { affiliate: route.affiliate.clone(), paused: route.paused, windows }
            });
            outgoing.paused = route.paused;
        }
        let names: Vec<AffiliateId> = self.affiliates.keys().cloned().collect();
        for name in names {
            if let Some(queue) = self.affiliates.get_mut(&name) {
                queue.limits = limits(&name);
            }
            self.refresh(&name, now);
        }
    }

    /// Whether a postback is known.
    pub fn knows(&self, postback: PostbackNo) -> bool {
        self.postbacks.contains_key(&postback)
    }

    /// Takes in a newly scheduled delivery.
    pub fn arrived(&mut self, due: Due, now: Timestamp) {
        if let Some(flight) = self.in_flight.get_mut(&due.id) {
            flight.again = Some(due);
            return;
        }
        let Some(outgoing) = self.postbacks.get_mut(&due.postback) else { return };
        outgoing.window(due.class).arrived(due);
        let affiliate = outgoing.affiliate.clone();
        self.refresh(&affiliate, now);
    }

    /// Notes that arrivals were left out.
    pub fn incomplete(&mut self) {
        for (number, outgoing) in &mut self.postbacks {
            for class in SendClass::ALL {
                outgoing.window(class).incomplete();
                self.unfilled.insert((*number, class));
            }
        }
    }

    /// Takes in what was read from disk.
    pub fn filled(&mut self, postback: PostbackNo, class: SendClass, due: Vec<Due>, complete: bool, now: Timestamp) {
        let Some(outgoing) = self.postbacks.get_mut(&postback) else { return };
        let in_flight = &self.in_flight;
        outgoing.window(class).filled(due, complete, |due| in_flight.contains_key(&due.id));
        self.unfilled.insert((postback, class));
        let affiliate = outgoing.affiliate.clone();
        self.refresh(&affiliate, now);
    }

    /// Notes that a read of the disk failed.
    pub fn filling_failed(&mut self, postback: PostbackNo, class: SendClass) {
        if let Some(outgoing) = self.postbacks.get_mut(&postback) {
            outgoing.window(class).filling_failed();
            self.unfilled.insert((postback, class));
        }
    }

    /// What to do next.
    pub fn next(&mut self, now: Timestamp) -> Step {
        while let Some((postback, class)) = self.unfilled.pop_first() {
            let outgoing = self.postbacks.get_mut(&postback);
            if let Some(after) = outgoing.and_then(|outgoing| outgoing.window(class).wants_filling()) {
                return Step::Fill { postback, class, after };
            }
        }
        while let Some((at, name)) = self.asleep.first().filter(|(at, _)| *at <= now).cloned() {
            self.asleep.remove(&(at, name.clone()));
            if let Some(queue) = self.affiliates.get_mut(&name) {
                queue.place = Place::Nowhere;
            }
            self.refresh(&name, now);
        }
        if self.in_flight.len() < self.slots {
            let mut turn = self.ready.first().cloned();
            while let Some(place) = turn {
                if let Some(due) = self.start(&place.1, now) {
                    return Step::Start(due);
                }
                // It may not go now; the next one may.
                turn = self.ready.range((Bound::Excluded(place), Bound::Unbounded)).next().cloned();
            }
        }
        Step::Wait(self.asleep.first().map(|(at, _)| *at))
    }

    fn start(&mut self, name: &AffiliateId, now: Timestamp) -> Option<Due> {
        let free = self.slots - self.in_flight.len();
        let active =
            self.affiliates.values().filter(|queue| queue.in_flight > 0 || queue.place != Place::Nowhere).count();
        let queue = self.affiliates.get_mut(name)?;
        let share = (self.slots / active.max(1)).max(1);
        if usize::try_from(queue.in_flight).unwrap_or(usize::MAX) >= share && free * 100 <= self.slots * RESERVE_PERCENT
        {
            return None;
        }
        let percent = usize::try_from(RETRY_PERCENT).unwrap_or(100);
        let retries_free = self.retries_in_flight * 100 < (self.slots * percent).max(100);
        let (_, postback, class) = queue.choose(&self.postbacks, now, retries_free)?;
        let due = self.postbacks.get_mut(&postback)?.window(class).pop()?;
        self.unfilled.insert((postback, class));
        queue.started(class, now);
        let charged = queue.estimate;
        queue.used += charged;
        self.floor = self.floor.max(queue.used.saturating_sub(charged));
        self.retries_in_flight += usize::from(class == SendClass::Retry);
        self.in_flight.insert(due.id, Flight { due, charged, again: None });
        self.refresh(name, now);
        Some(due)
    }

    /// Takes in the end of an attempt. `ended` is absent where nothing was attempted.
    pub fn ended(&mut self, id: DeliveryId, ended: Option<Ended>, now: Timestamp) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        let class = flight.due.class;
        self.retries_in_flight -= usize::from(class == SendClass::Retry);
        let Some(outgoing) = self.postbacks.get_mut(&flight.due.postback) else { return };
        if let Some(again) = flight.again {
            outgoing.window(again.class).arrived(again);
        }
        let name = outgoing.affiliate.clone();
        if let Some(queue) = self.affiliates.get_mut(&name) {
            queue.ended(class, flight.charged, ended, now);
        }
        self.refresh(&name, now);
    }

    /// Attempts in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Attempts in flight and breaker of each affiliate.
    pub fn affiliates(&self) -> impl Iterator<Item = (&AffiliateId, u32, Breaker)> {
        self.affiliates.iter().map(|(name, queue)| (name, queue.in_flight, queue.breaker))
    }

    /// Puts an affiliate where it belongs: ready, asleep until a time, or nowhere.
    fn refresh(&mut self, name: &AffiliateId, now: Timestamp) {
        let Some(queue) = self.affiliates.get_mut(name) else { return };
        match queue.place {
            Place::Nowhere => {}
            Place::Ready(used) => drop(self.ready.remove(&(used, name.clone()))),
            Place::Asleep(at) => drop(self.asleep.remove(&(at, name.clone()))),
        }
        let idle = queue.place == Place::Nowhere && queue.in_flight == 0;
        queue.place = match queue.ready_at(&self.postbacks, now) {
            None => Place::Nowhere,
            Some(at) if at > now => Place::Asleep(at),
            Some(_) => {
                if idle {
                    queue.used = queue.used.max(self.floor);
                }
                Place::Ready(queue.used)
            }
        };
        match queue.place {
            Place::Nowhere => {}
            Place::Ready(used) => drop(self.ready.insert((used, name.clone()))),
            Place::Asleep(at) => drop(self.asleep.insert((at, name.clone()))),
        }
    }
}

impl Outgoing {
    fn window(&mut self, class: SendClass) -> &mut Window {
        let [first, retry] = &mut self.windows;
        match class {
            SendClass::First => first,
            SendClass::Retry => retry,
        }
    }

    fn first_due(&self, class: SendClass) -> Option<&Due> {
        let [first, retry] = &self.windows;
        match class {
            SendClass::First => first.first(),
            SendClass::Retry => retry.first(),
        }
    }
}

impl Queue {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            used: Duration::ZERO,
            estimate: FIRST_ESTIMATE,
            in_flight: 0,
            retries_in_flight: 0,
            postbacks: BTreeSet::new(),
            breaker: Breaker::default(),
            not_before: Timestamp::MIN,
            next_by_rate: Timestamp::MIN,
            last_was_retry: false,
            place: Place::Nowhere,
        }
    }

    /// Slots that may be taken now: one for a probe while the breaker is not closed.
    fn slots(&self) -> u32 {
        match self.breaker {
            Breaker::Closed { .. } => self.limits.concurrency,
            Breaker::Open { .. } => self.in_flight + 1,
            Breaker::HalfOpen { .. } => 0,
        }
    }

    fn retry_allowed(&self) -> bool {
        self.retries_in_flight * 100 < (self.limits.concurrency * RETRY_PERCENT).max(100)
    }

    /// When the affiliate may send next; `None` while it has nothing to send or no slot.
    fn ready_at(&self, postbacks: &HashMap<PostbackNo, Outgoing>, now: Timestamp) -> Option<Timestamp> {
        if self.in_flight >= self.slots() {
            return None;
        }
        let earliest = self.candidates(postbacks, true).map(|(due, ..)| due.at).min()?;
        let opens = match self.breaker {
            Breaker::Open { until, .. } => until,
            Breaker::Closed { .. } | Breaker::HalfOpen { .. } => now,
        };
        Some([earliest, opens, self.not_before, self.next_by_rate].into_iter().max().unwrap_or(now))
    }

    fn candidates<'p>(
        &'p self,
        postbacks: &'p HashMap<PostbackNo, Outgoing>,
        retries: bool,
    ) -> impl Iterator<Item = (Due, PostbackNo, SendClass)> + 'p {
        let retries = retries && self.retry_allowed();
        let classes = SendClass::ALL.into_iter().filter(move |class| *class == SendClass::First || retries);
        let open = self.postbacks.iter().filter_map(|number| Some((*number, postbacks.get(number)?)));
        open.filter(|(_, outgoing)| !outgoing.paused).flat_map(move |(number, outgoing)| {
            classes.clone().filter_map(move |class| Some((*outgoing.first_due(class)?, number, class)))
        })
    }

    /// The delivery that has been due longest; never two retries in a row while a first send is due.
    fn choose(
        &self,
        postbacks: &HashMap<PostbackNo, Outgoing>,
        now: Timestamp,
        retries: bool,
    ) -> Option<(Due, PostbackNo, SendClass)> {
        let due = || self.candidates(postbacks, retries).filter(|(due, ..)| due.at <= now);
        let first = || due().filter(|(.., class)| *class == SendClass::First).min();
        if self.last_was_retry { first().or_else(|| due().min()) } else { due().min() }
    }

    fn started(&mut self, class: SendClass, now: Timestamp) {
        self.in_flight += 1;
        self.retries_in_flight += u32::from(class == SendClass::Retry);
        self.last_was_retry = class == SendClass::Retry;
        self.breaker = self.breaker.sent(now);
        if let Some(rate) = self.limits.rate {
            // An even pace; up to a tenth of a second's worth may be caught up after a delay of ours.
            let slack = Duration::from_millis(100);
            let earliest = now.checked_sub(slack).unwrap_or(now);
            self.next_by_rate = after(self.next_by_rate.max(earliest), rate.interval());
        }
    }

    fn ended(&mut self, class: SendClass, charged: Duration, ended: Option<Ended>, now: Timestamp) {
        self.in_flight -= 1;
        self.retries_in_flight -= u32::from(class == SendClass::Retry);
        self.used = self.used.saturating_sub(charged);
        let Some(Ended { health, slow_down, took }) = ended else {
            if let Some(policy) = self.limits.breaker {
                self.breaker = match self.breaker {
                    Breaker::HalfOpen { .. } => self.breaker.ended(Health::Unknown, policy, now),
                    Breaker::Closed { .. } | Breaker::Open { .. } => self.breaker,
                };
            }
            return;
        };
        self.used += took;
        self.estimate = (self.estimate * 7 + took) / 8;
        if let Some(wait) = slow_down {
            self.not_before = self.not_before.max(after(now, wait.min(MAX_SLOWDOWN)));
        }
        self.breaker = match self.limits.breaker {
            Some(policy) => self.breaker.ended(health, policy, now),
            None => Breaker::default(),
        };
    }
}
