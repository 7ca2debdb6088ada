//! What everybody outside the daemon knows: who was promised what, what was sent, what was ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::cast::{Cast, STEADY};
use super::trace::Trace;
use crate::domain::id::{AffiliateId, BulkId, DeliveryId, EventId, PostbackRef};
use crate::domain::outcome::{Health, Outcome};

/// Longest from a decision of the dispatcher to the wire: the sync of its event or the commit of an intent, on a slow disk.
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// One request that left the daemon.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) delivery: DeliveryId,
    pub(super) postback: PostbackRef,
    pub(super) number: u32,
    pub(super) digest: [u8; 32],
    /// In which life of the daemon.
    pub(super) life: u32,
    pub(super) begun: Duration,
    /// What the daemon was told; `None` while it waits, and for ever where it died meanwhile.
    pub(super) came_to: Option<CameTo>,
    /// What the daemon says that is on record.
    pub(super) noted: Option<Outcome>,
}

/// What an exchange came to for the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CameTo {
    /// The receiver said that it has it.
    Taken,
    /// The receiver will never take it, or is gone.
    Refused,
    /// An answer which says that it can be tried again.
    Failed,
    /// Nothing was sent.
    Unsent,
    /// Bytes were sent and nobody knows.
    Lost,
}

/// An event that the daemon has acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledged {
    pub(super) deliveries: Vec<DeliveryId>,
}

/// An order about one delivery.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) id: DeliveryId,
    pub(super) reason: String,
    pub(super) acknowledged: bool,
}

/// How an affiliate's breaker must stand, seen from outside.
#[derive(Debug, Default)]
pub(super) struct BreakerWatch {
    pub(super) failures: u32,
    pub(super) opened: Option<Duration>,
    /// Whether nobody outside can tell when it lets something through.
    unclear: bool,
}

#[derive(Debug)]
pub(super) struct Books {
    pub(super) trace: Trace,
    pub(super) now: Duration,
    pub(super) violations: Vec<String>,
    pub(super) life: u32,
    pub(super) cast: Cast,
    /// The configuration before the last reload, and when that was.
    pub(super) replaced: Option<(Cast, Duration)>,
    pub(super) sent: Vec<Sent>,
    pub(super) of_delivery: BTreeMap<DeliveryId, Vec<usize>>,
    pub(super) flying: BTreeSet<usize>,
    pub(super) acknowledged: BTreeMap<EventId, Acknowledged>,
    /// Deliveries to the steady affiliate that were not sent yet, since when they could be.
    pub(super) steady: BTreeMap<DeliveryId, Duration>,
    own_steady: BTreeSet<DeliveryId>,
    pub(super) paused: BTreeMap<PostbackRef, Duration>,
    pub(super) resumed: BTreeMap<PostbackRef, Duration>,
    pub(super) breakers: BTreeMap<AffiliateId, BreakerWatch>,
    /// When each affiliate was sent something, since its pace last began anew.
    pub(super) paces: BTreeMap<AffiliateId, Vec<Duration>>,
    /// When an affiliate was last without a rate, of those that have one by now or had one since.
    unpaced: BTreeMap<AffiliateId, Duration>,
    pub(super) orders: Vec<Ordered>,
    pub(super) bulks: BTreeSet<BulkId>,
}

impl Books {
    pub(super) fn new(cast: Cast, trace: Trace) -> Self {
        Self {
            trace,
            now: Duration::ZERO,
            violations: Vec::new(),
            life: 0,
            cast,
            replaced: None,
            sent: Vec::new(),
            of_delivery: BTreeMap::new(),
            flying: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            steady: BTreeMap::new(),
            own_steady: BTreeSet::new(),
            paused: BTreeMap::new(),
            resumed: BTreeMap::new(),
            breakers: BTreeMap::new(),
            paces: BTreeMap::new(),
            unpaced: BTreeMap::new(),
            orders: Vec::new(),
            bulks: BTreeSet::new(),
        }
    }

    /// Notes that something happened.
    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    /// Notes that a promise was broken.
    pub(super) fn broken(&mut self, promise: impl fmt::Display) {
        self.note(format_args!("BROKEN {promise}"));
        self.violations.push(promise.to_string());
    }

    /// A daemon begins to live: what lived in the memory of the one before is forgotten.
    pub(super) fn begin_life(&mut self) {
        self.life += 1;
        self.flying.clear();
        self.breakers.clear();
        self.paces.clear();
        self.unpaced.clear();
        self.replaced = None;
        let now = self.now;
        self.steady.values_mut().for_each(|since| *since = now);
        // Whether an order that was not answered has come through is not known; a pause that was answered has.
        self.trace.note(now, format_args!("life {} begins", self.life));
    }

    /// Changes the configuration that is read again.
    pub(super) fn configure<T>(&mut self, change: impl FnOnce(&mut Cast) -> T) -> T {
        for PostbackRef { affiliate, .. } in self.cast.postbacks() {
            if self.cast.limits(&affiliate).rate.is_none() {
                self.unpaced.insert(affiliate, self.now);
            }
        }
        self.replaced = Some((self.cast.clone(), self.now));
        let changed = change(&mut self.cast);
        self.forget_paces();
        changed
    }

    /// Whether what had its turn while an affiliate had no rate may still be on its way out.
    pub(super) fn just_paced(&self, affiliate: &AffiliateId) -> bool {
        self.unpaced.get(affiliate).is_some_and(|at| self.now.saturating_sub(*at) <= ON_ITS_WAY)
    }

    /// Whether what had its turn before the configuration was read again may still be on its way out.
    pub(super) fn just_reloaded(&self) -> bool {
        self.replaced.as_ref().is_some_and(|(_, at)| self.now.saturating_sub(*at) <= ON_ITS_WAY)
    }

    /// Begins paces and breakers anew: limits changed, or the clock was set.
    pub(super) fn forget_paces(&mut self) {
        self.paces.clear();
        for (affiliate, watch) in &mut self.breakers {
            if self.cast.limits(affiliate).breaker.is_none() {
                *watch = BreakerWatch::default();
            }
            watch.unclear |= watch.opened.take().is_some();
        }
    }

    /// An event was acknowledged.
    pub(super) fn acknowledge(&mut self, id: EventId, deliveries: Vec<DeliveryId>, own: &str) {
        let now = self.now;
        let first = deliveries.first().filter(|_| own == STEADY);
        self.own_steady.extend(first);
        if let Some(first) = first
            && !self.of_delivery.contains_key(first)
            && !self.acknowledged.contains_key(&id)
        {
            self.steady.insert(*first, now);
        }
        self.acknowledged.insert(id, Acknowledged { deliveries });
    }

    /// Whether a delivery is one to the steady affiliate about its own event.
    pub(super) fn is_steady(&self, id: DeliveryId) -> bool {
        self.own_steady.contains(&id)
    }

    /// The last request made of a delivery.
    pub(super) fn last_sent(&self, id: DeliveryId) -> Option<usize> {
        self.of_delivery.get(&id).and_then(|sent| sent.last().copied())
    }

    /// The daemon says that an attempt is on record.
    pub(super) fn noted(
        &mut self,
        id: DeliveryId,
        number: u32,
        outcome: Outcome,
        health: Health,
        postback: &PostbackRef,
    ) {
        self.note(format_args!("on record: {id} attempt {number} {outcome}"));
        let life = self.life;
        let sent = self.last_sent(id).and_then(|index| self.sent.get_mut(index));
        match sent.filter(|sent| sent.number == number && sent.life == life) {
            Some(sent) => sent.noted = Some(outcome),
            None if outcome == Outcome::Unrenderable => {}
            None => self.broken(format_args!("attempt {number} of {id} is on record, and was never made")),
        }
        if outcome == Outcome::Gone
            && self.resumed.get(postback).is_none_or(|at| self.now.saturating_sub(*at) >= ON_ITS_WAY)
        {
            self.paused.insert(postback.clone(), self.now);
        }
        self.watch_breaker(&postback.affiliate, health);
    }

    fn watch_breaker(&mut self, affiliate: &AffiliateId, health: Health) {
        let (now, policy) = (self.now, self.cast.limits(affiliate).breaker);
        let watch = self.breakers.entry(affiliate.clone()).or_default();
        match (health, policy) {
            (Health::Good, _) | (_, None) => *watch = BreakerWatch::default(),
            (Health::Bad, Some(policy)) if watch.opened.is_none() && !watch.unclear => {
                watch.failures += 1;
                watch.opened = (watch.failures >= policy.failures).then_some(now);
            }
            (Health::Bad | Health::Unknown, Some(_)) => {}
        }
    }
}
