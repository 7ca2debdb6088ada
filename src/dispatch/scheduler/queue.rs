//! One affiliate: what it may send, and when.
//!
//! Its concurrency, rate, breaker and the waits that its receiver asks for; knows nothing of other affiliates.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::Ended;
use super::pace::Pace;
use super::turns::{Number, Rank, Standing};
use crate::dispatch::breaker::Breaker;
use crate::dispatch::window::Window;
use crate::domain::affiliate::Limits;
use crate::domain::id::{AffiliateId, DeliveryId};
use crate::domain::outcome::Health;
use crate::domain::retry::after;
use crate::outbox::{Due, PostbackNo, SendClass};
use crate::planted::{Bug, planted};

/// Part of an affiliate's slots, in percent, that retries may take; at least one.
const RETRY_PERCENT: u64 = 75;
/// Slot time assumed for an affiliate of which nothing is known.
const FIRST_ESTIMATE: Duration = Duration::from_millis(50);
/// Longest that one "not now" stops a whole affiliate; its own delivery may have to wait longer.
const MAX_SLOWDOWN: Duration = Duration::from_mins(5);

/// The scheduled deliveries of one postback.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) affiliate: Number,
    pub(super) paused: bool,
    pub(super) windows: [Window; 2],
}

impl Outgoing {
    pub(super) fn window(&mut self, class: SendClass) -> &mut Window {
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

/// An affiliate.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: AffiliateId,
    pub(super) postbacks: BTreeSet<PostbackNo>,
    pub(super) in_flight: u32,
    pub(super) breaker: Breaker,
    /// Slot time taken so far; what is in flight counts with an estimate.
    pub(super) used: Duration,
    pub(super) standing: Standing,
    limits: Limits,
    estimate: Duration,
    retries_in_flight: u32,
    /// The send that the breaker waits for.
    probe: Option<DeliveryId>,
    not_before: Timestamp,
    pace: Pace,
    last_was_retry: bool,
}

impl Queue {
    pub(super) fn new(name: AffiliateId, limits: Limits) -> Self {
        Self {
            name,
            postbacks: BTreeSet::new(),
            in_flight: 0,
            breaker: Breaker::default(),
            used: Duration::ZERO,
            standing: Standing::NOWHERE,
            limits,
            estimate: FIRST_ESTIMATE,
            retries_in_flight: 0,
            probe: None,
            not_before: Timestamp::MIN,
            pace: Pace::new(),
            last_was_retry: false,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        Rank { in_flight: self.in_flight, used: self.used }
    }

    /// Takes over limits; waits that they do not account for end.
    pub(super) fn limit(&mut self, limits: Limits, now: Timestamp) {
        self.limits = limits;
        self.bound_waits(now);
    }

    /// Cuts every wait to the longest that can begin now: the limits changed, or the clock was set back.
    pub(super) fn bound_waits(&mut self, now: Timestamp) {
        self.not_before = self.not_before.min(after(now, MAX_SLOWDOWN));
        self.pace.bound(self.limits.rate, now);
        self.breaker = self.limits.breaker.map(|policy| self.breaker.bounded(policy, now)).unwrap_or_default();
    }

    /// Slots that may be taken now: one for a probe while the breaker is not closed.
    fn slots(&self) -> u32 {
        let most = if planted(Bug::ConcurrencyIgnored) { u32::MAX } else { self.limits.concurrency.max(1) };
        match self.breaker {
            Breaker::Closed { .. } => most,
            Breaker::Open { .. } => most.min(self.in_flight + 1),
            Breaker::HalfOpen { .. } => 0,
        }
    }

    fn retry_allowed(&self) -> bool {
        let most = u64::from(self.limits.concurrency) * RETRY_PERCENT / 100;
        u64::from(self.retries_in_flight) < most.max(1)
    }

    /// When the affiliate may send next, and what; `None` while it has nothing to send or no slot.
    pub(super) fn ready_at(
        &self,
        postbacks: &HashMap<PostbackNo, Outgoing>,
        now: Timestamp,
    ) -> Option<(Timestamp, SendClass)> {
        if self.in_flight >= self.slots() {
            return None;
        }
        let due = |(due, _): (Due, PostbackNo)| (due_at(&due, now), due.class);
        let (earliest, class) = self.candidates(postbacks, true).map(due).min_by_key(|(at, class)| (*class, *at))?;
        let opens = match self.breaker {
            Breaker::Open { until, .. } => until,
            Breaker::Closed { .. } | Breaker::HalfOpen { .. } => now,
        };
        let at = [opens, self.not_before, self.pace.next()].into_iter().fold(earliest, Timestamp::max);
        Some((at, class))
    }

    fn candidates<'p>(
        &'p self,
        postbacks: &'p HashMap<PostbackNo, Outgoing>,
        retries: bool,
    ) -> impl Iterator<Item = (Due, PostbackNo)> + 'p {
        let retries = retries && self.retry_allowed();
        let classes = SendClass::ALL.into_iter().filter(move |class| *class == SendClass::First || retries);
        let open = self.postbacks.iter().filter_map(|number| Some((*number, postbacks.get(number)?)));
        open.filter(|(_, outgoing)| !outgoing.paused).flat_map(move |(number, outgoing)| {
            classes.clone().filter_map(move |class| Some((*outgoing.first_due(class)?, number)))
        })
    }

    /// The delivery that has been due longest; never two retries in a row while a first send is due.
    pub(super) fn choose(
        &self,
        postbacks: &HashMap<PostbackNo, Outgoing>,
        now: Timestamp,
        retries: bool,
    ) -> Option<(Due, PostbackNo)> {
        let due = || self.candidates(postbacks, retries).filter(|(due, _)| due_at(due, now) <= now);
        let first = || due().filter(|(due, _)| due.class == SendClass::First).min();
        if self.last_was_retry { first().or_else(|| due().min()) } else { due().min() }
    }

    /// Notes that a send goes out; returns the slot time it is charged with until it ends.
    pub(super) fn started(&mut self, due: &Due, now: Timestamp) -> Duration {
        self.in_flight += 1;
        self.retries_in_flight += u32::from(due.class == SendClass::Retry);
        self.last_was_retry = due.class == SendClass::Retry;
        self.breaker = self.breaker.sent(now);
        if matches!(self.breaker, Breaker::HalfOpen { .. }) {
            self.probe = Some(due.id);
        }
        if let Some(rate) = self.limits.rate {
            self.pace.begun(due.id, rate, now);
        }
        self.used += self.estimate;
        self.estimate
    }

    /// Notes that a send is over; `ended` is absent where nothing was attempted.
    pub(super) fn ended(&mut self, due: &Due, charged: Duration, ended: Option<Ended>, now: Timestamp) {
        self.in_flight -= 1;
        self.retries_in_flight -= u32::from(due.class == SendClass::Retry);
        self.used = self.used.saturating_sub(charged);
        let is_probe = self.probe.take_if(|probe| *probe == due.id).is_some();
        let health = ended.map_or(Health::Unknown, |ended| ended.health);
        if let Some(Ended { slow_down, took, .. }) = ended {
            self.used += took;
            self.estimate = (self.estimate * 7 + took) / 8;
            if let Some(wait) = slow_down {
                self.not_before = self.not_before.max(after(now, wait.min(MAX_SLOWDOWN)));
            }
        }
        if let Some(rate) = self.limits.rate {
            self.pace.ended(due.id, ended.is_some(), rate);
        }
        // While a probe is out, what was sent before it can only bring good news.
        let awaits_probe = matches!(self.breaker, Breaker::HalfOpen { .. });
        if is_probe || !awaits_probe || health == Health::Good {
            let judged = self.limits.breaker.map(|policy| self.breaker.ended(health, policy, now));
            self.breaker = judged.unwrap_or_default();
        }
    }
}

/// When a delivery may go out. A first send may at once, whatever the clock was when it was scheduled: a clock
/// that is set back does not hold it up.
fn due_at(due: &Due, now: Timestamp) -> Timestamp {
    match due.class {
        SendClass::First => now,
        SendClass::Retry => due.at,
    }
}
