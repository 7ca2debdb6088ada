//! Whose turn it is: which delivery goes out next, and when there is one.
//!
//! Pure: times come in as arguments, what to do comes out as a [`Step`]. The affiliate with the fewest slots
//! taken goes first, and among equals the one that has used the least slot time: a receiver that holds its
//! slots for fifteen seconds pays for them. Each affiliate is bounded by its concurrency, rate and breaker;
//! some slots are kept for affiliates below their fair share, and retries leave a part to first sends.

#[cfg(test)]
mod fairness;
mod pace;
mod queue;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::breaker::Breaker;
use super::window::{ReadFrom, Window};
use crate::domain::affiliate::Limits;
use crate::domain::id::{AffiliateId, DeliveryId};
use crate::domain::outcome::Health;
use crate::domain::retry::after;
use crate::outbox::{Due, PostbackNo, SendClass};
use crate::planted::{Bug, planted};
use queue::{Outgoing, Queue};
use turns::{Number, Place, Standing, Turns};

/// Part of the slots, in percent, that retries may take; at least one.
const RETRY_PERCENT: usize = 75;
/// Part of all slots, in percent, that at most stay free for affiliates that may come and want their fair share.
const RESERVE_PERCENT: usize = 25;
/// When a schedule is read again that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// When a schedule is read again of which a delivery could not be attempted: somebody else had it in hand.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    /// Most deliveries held in memory for one postback and class.
    window: usize,
    numbers: HashMap<AffiliateId, Number>,
    queues: Vec<Queue>,
    postbacks: HashMap<PostbackNo, Outgoing>,
    turns: Turns,
    in_flight: HashMap<DeliveryId, Flight>,
    retries_in_flight: usize,
    unfilled: BTreeSet<(PostbackNo, SendClass)>,
    unreadable: Postponed,
    doubtful: Postponed,
    /// The time when it was last asked what to do.
    asked: Timestamp,
}

#[derive(Debug)]
struct Flight {
    due: Due,
    charged: Duration,
    /// Scheduled again while still in flight: goes back to its window when the flight ends.
    again: Option<Due>,
}

/// Reads of the disk that are put off, all to the same time.
#[derive(Debug, Default)]
struct Postponed {
    reads: BTreeSet<(PostbackNo, SendClass)>,
    at: Option<Timestamp>,
}

impl Scheduler {
    /// A scheduler with so many slots, which holds so many deliveries in memory for one postback and class.
    pub fn new(slots: usize, window: usize) -> Self {
        Self {
            slots: slots.max(1),
            window,
            numbers: HashMap::new(),
            queues: Vec::new(),
            postbacks: HashMap::new(),
            turns: Turns::default(),
            in_flight: HashMap::new(),
            retries_in_flight: 0,
            unfilled: BTreeSet::new(),
            unreadable: Postponed::default(),
            doubtful: Postponed::default(),
            asked: Timestamp::MIN,
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
            self.route(route, &limits);
        }
        for queue in &mut self.queues {
            queue.limit(limits(&queue.name), now);
        }
        self.refresh_all(now);
    }

    /// Takes over some postbacks, which are new or whose pauses changed, and leaves alone all others.
    pub fn learn(&mut self, routes: &[Route], limits: impl Fn(&AffiliateId) -> Limits, now: Timestamp) {
        let affiliates: BTreeSet<Number> = routes.iter().map(|route| self.route(route, &limits)).collect();
        for affiliate in affiliates {
            self.refresh(affiliate, now);
        }
    }

    /// Takes over one postback; returns its affiliate, whose place in the order of turns may have changed by it.
    fn route(&mut self, route: &Route, limits: impl Fn(&AffiliateId) -> Limits) -> Number {
        let number = self.number(&route.affiliate, limits);
        if let Some(queue) = self.queues.get_mut(number.0) {
            queue.postbacks.insert(route.postback);
        }
        let window = self.window;
        let outgoing = self.postbacks.entry(route.postback).or_insert_with(|| {
            self.unfilled.extend(SendClass::ALL.map(|class| (route.postback, class)));
            let windows = [Window::bounded(window), Window::bounded(window)];
            Outgoing { affiliate: number, paused: route.paused, windows }
        });
        outgoing.paused = route.paused && !planted(Bug::PauseIgnored);
        number
    }

    fn number(&mut self, affiliate: &AffiliateId, limits: impl Fn(&AffiliateId) -> Limits) -> Number {
        if let Some(number) = self.numbers.get(affiliate) {
            return *number;
        }
        let number = Number(self.queues.len());
        self.queues.push(Queue::new(affiliate.clone(), limits(affiliate)));
        self.numbers.insert(affiliate.clone(), number);
        number
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
        let affiliate = outgoing.affiliate;
        self.refresh(affiliate, now);
    }

    /// Notes that arrivals were left out.
    pub fn incomplete(&mut self) {
        let reads: Vec<_> =
            self.postbacks.keys().flat_map(|number| SendClass::ALL.map(|class| (*number, class))).collect();
        self.read_anew(reads);
    }

    fn read_anew(&mut self, reads: impl IntoIterator<Item = (PostbackNo, SendClass)>) {
        for (postback, class) in reads {
            if let Some(outgoing) = self.postbacks.get_mut(&postback) {
                outgoing.window(class).incomplete();
                self.unfilled.insert((postback, class));
            }
        }
    }

    /// Takes in what was read from disk.
    pub fn filled(&mut self, postback: PostbackNo, class: SendClass, due: Vec<Due>, complete: bool, now: Timestamp) {
        let Some(outgoing) = self.postbacks.get_mut(&postback) else { return };
        let in_flight = &self.in_flight;
        outgoing.window(class).filled(due, complete, |due| in_flight.contains_key(&due.id));
        self.unfilled.insert((postback, class));
        let affiliate = outgoing.affiliate;
        self.refresh(affiliate, now);
    }

    /// Notes that a read of the disk failed.
    pub fn filling_failed(&mut self, postback: PostbackNo, class: SendClass) {
        if let Some(outgoing) = self.postbacks.get_mut(&postback) {
            outgoing.window(class).filling_failed();
            self.unreadable.put((postback, class), after(self.asked, READ_AGAIN));
        }
    }

    /// What to do next.
    pub fn next(&mut self, now: Timestamp) -> Step {
        self.notice(now);
        while let Some((postback, class)) = self.unfilled.pop_first() {
            let outgoing = self.postbacks.get_mut(&postback);
            if let Some(ReadFrom(after)) = outgoing.and_then(|outgoing| outgoing.window(class).wants_filling()) {
                return Step::Fill { postback, class, after };
            }
        }
        while let Some(number) = self.turns.awake(now) {
            self.refresh(number, now);
        }
        while let Some(number) = self.turn() {
            if let Some(due) = self.start(number, now) {
                return Step::Start(due);
            }
        }
        Step::Wait([self.turns.wakes_at(), self.unreadable.at, self.doubtful.at].into_iter().flatten().min())
    }

    /// Notices what time it is, also when that is earlier than before.
    fn notice(&mut self, now: Timestamp) {
        if now < self.asked {
            for queue in &mut self.queues {
                queue.bound_waits(now);
            }
            self.refresh_all(now);
            self.unreadable.bring_forward(after(now, READ_AGAIN));
            self.doubtful.bring_forward(after(now, LOOK_AGAIN));
        }
        self.asked = now;
        self.unfilled.append(&mut self.unreadable.take(now));
        let doubtful = self.doubtful.take(now);
        self.read_anew(doubtful);
    }

    fn retries_allowed(&self) -> bool {
        self.retries_in_flight < (self.slots * RETRY_PERCENT / 100).max(1)
    }

    /// Whose turn it is.
    fn turn(&self) -> Option<Number> {
        let free = self.slots.checked_sub(self.in_flight.len()).filter(|free| *free > 0)?;
        let (rank, number) = self.turns.next(self.retries_allowed())?;
        // Nobody who waits has fewer slots: when this one may not, nobody may.
        let has = usize::try_from(rank.in_flight).unwrap_or(usize::MAX);
        self.slots_for_one(free).is_none_or(|most| has < most).then_some(number)
    }

    /// Slots that one affiliate may have while so many are free; `None` while there are enough for everybody.
    ///
    /// Some are kept for affiliates that do not want any yet. Where receivers hang, those that come one after
    /// the other get smaller and smaller parts of what is kept, so that there is a slot for whoever comes last.
    fn slots_for_one(&self, free: usize) -> Option<usize> {
        let share = (self.slots / self.queues.len().max(1)).max(1);
        let others = self.queues.len() - self.turns.ready();
        let kept = (self.slots * RESERVE_PERCENT / 100).min(others * share);
        (free <= kept).then(|| (share * free / kept).max(1))
    }

    /// Starts what an affiliate sends next; `None` when that is in flight already or there is nothing.
    fn start(&mut self, number: Number, now: Timestamp) -> Option<Due> {
        let retries = self.retries_allowed();
        let queue = self.queues.get_mut(number.0)?;
        let Some((due, postback)) = queue.choose(&self.postbacks, now, retries) else {
            debug_assert!(false, "{} is ready and has nothing to send", queue.name);
            self.turns.leave(number, std::mem::replace(&mut queue.standing, Standing::NOWHERE));
            return None;
        };
        if let Some(outgoing) = self.postbacks.get_mut(&postback) {
            outgoing.window(due.class).pop();
        }
        self.unfilled.insert((postback, due.class));
        let fresh = match self.in_flight.get_mut(&due.id) {
            None => {
                let charged = queue.started(&due, now);
                self.retries_in_flight += usize::from(due.class == SendClass::Retry);
                self.in_flight.insert(due.id, Flight { due, charged, again: None });
                true
            }
            Some(flight) => {
                // Scheduled twice, as by an operator's hold and release. One of the two entries is out of date, and
                // it may be the one in flight: this one has its turn behind it.
                if flight.due != due {
                    flight.again.get_or_insert(due);
                }
                false
            }
        };
        self.refresh(number, now);
        fresh.then_some(due)
    }

    /// Takes in the end of an attempt. `ended` is absent where nothing was attempted.
    pub fn ended(&mut self, id: DeliveryId, ended: Option<Ended>, now: Timestamp) {
        if planted(Bug::PermitLeak) && ended.is_some_and(|ended| ended.health == Health::Bad) {
            return;
        }
        let Some(Flight { due, charged, again }) = self.in_flight.remove(&id) else { return };
        self.retries_in_flight -= usize::from(due.class == SendClass::Retry);
        let Some(outgoing) = self.postbacks.get_mut(&due.postback) else { return };
        outgoing.window(due.class).sent(due);
        if let Some(again) = again {
            outgoing.window(again.class).arrived(again);
        } else if ended.is_none() {
            // It is settled, or somebody has it in hand who may yet leave it scheduled: the disk knows.
            for class in SendClass::ALL {
                self.doubtful.put((due.postback, class), after(now, LOOK_AGAIN));
            }
        }
        let number = outgoing.affiliate;
        if let Some(queue) = self.queues.get_mut(number.0) {
            queue.ended(&due, charged, ended, now);
        }
        self.refresh(number, now);
    }

    /// Attempts in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Attempts in flight and breaker of each affiliate.
    pub fn affiliates(&self) -> impl Iterator<Item = (&AffiliateId, u32, Breaker)> {
        self.queues.iter().map(|queue| (&queue.name, queue.in_flight, queue.breaker))
    }

    fn refresh_all(&mut self, now: Timestamp) {
        for number in 0..self.queues.len() {
            self.refresh(Number(number), now);
        }
    }

    /// Puts an affiliate where it belongs: ready, asleep until a time, or nowhere.
    fn refresh(&mut self, number: Number, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(number.0) else { return };
        self.turns.leave(number, queue.standing);
        let ready_at = queue.ready_at(&self.postbacks, now);
        let is_active = queue.in_flight > 0 || ready_at.is_some_and(|(at, _)| at <= now);
        if is_active {
            queue.used = self.turns.fair(queue.used);
        }
        let place = match ready_at {
            None => Place::Nowhere,
            Some((at, _)) if at > now => Place::Asleep(at),
            Some((_, class)) => Place::Ready(class, queue.rank()),
        };
        queue.standing = Standing { place, active: is_active.then_some(queue.used) };
        self.turns.enter(number, queue.standing);
    }
}

impl Postponed {
    fn put(&mut self, read: (PostbackNo, SendClass), at: Timestamp) {
        self.reads.insert(read);
        self.at.get_or_insert(at);
    }

    fn bring_forward(&mut self, latest: Timestamp) {
        self.at = self.at.map(|at| at.min(latest));
    }

    fn take(&mut self, now: Timestamp) -> BTreeSet<(PostbackNo, SendClass)> {
        match self.at {
            Some(at) if at <= now => std::mem::take(self).reads,
            Some(_) | None => BTreeSet::new(),
        }
    }
}
