//! The rules of deduplication, order and reversal, told as plainly as possible: every answer is worked out anew from the
//! list of all events.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::delivery::{CancelReason, Change, Conclusion, Delivery, Destination, HoldReason, State};
use crate::domain::id::EventId;
use crate::domain::postback::{OrderPolicy, OriginalDead, OriginalUnknown, OriginalUnsettled};

/// An event as the model sees it: small numbers instead of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversion {
    pub(super) transaction: u8,
    pub(super) kind: u8,
    pub(super) status: u8,
    pub(super) reverses: Option<u8>,
    pub(super) amount: Option<u8>,
}

/// A postback of the story.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) affiliate: u8,
    pub(super) lane: Option<u8>,
    pub(super) policy: OrderPolicy,
    pub(super) kinds: BTreeSet<u8>,
    pub(super) dedupes: bool,
}

#[derive(Debug, Clone)]
struct Event {
    conversion: Conversion,
    /// By number of the target.
    deliveries: Vec<(usize, Delivery)>,
}

/// Which delivery: the number of the event and the place in its plan.
pub(super) type At = (usize, usize);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    New(usize),
    Duplicate(usize),
    Conflict(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ordered {
    Replay { force: bool },
    Cancel,
    Hold,
    Release,
    Confirm,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    targets: Vec<Target>,
    events: Vec<Event>,
    /// Being sent at this moment; `true` where that is on disk.
    sending: Vec<(At, bool)>,
    now: Timestamp,
}

enum Decision {
    Go,
    Wait,
    Hold(HoldReason),
    CancelWith(Vec<At>),
}

impl Model {
    pub(super) fn new(targets: Vec<Target>, now: Timestamp) -> Self {
        Self { targets, events: Vec::new(), sending: Vec::new(), now }
    }

    pub(super) fn deliveries(&self) -> impl Iterator<Item = (At, &Delivery)> {
        let events = self.events.iter().enumerate();
        events.flat_map(|(event, told)| told.deliveries.iter().enumerate().map(move |(n, (_, d))| ((event, n), d)))
    }

    pub(super) fn is_sending(&self, at: At) -> bool {
        self.sending.iter().any(|(other, _)| *other == at)
    }

    pub(super) fn target(&self, at: At) -> usize {
        self.events[at.0].deliveries[at.1].0
    }

    fn delivery(&self, at: At) -> &Delivery {
        &self.events[at.0].deliveries[at.1].1
    }

    fn apply(&mut self, at: At, change: Change) -> bool {
        match self.delivery(at).apply(change) {
            Ok(after) => {
                self.events[at.0].deliveries[at.1].1 = after;
                true
            }
            Err(_) => false,
        }
    }

    // ---- what happens ----------------------------------------------------------------------------

    pub(super) fn accept(&mut self, conversion: &Conversion) -> Taken {
        let same = |event: &Event| {
            let c = &event.conversion;
            (c.transaction, c.kind, c.status) == (conversion.transaction, conversion.kind, conversion.status)
        };
        if let Some(first) = self.events.iter().position(same) {
            let alike = self.events[first].conversion == *conversion;
            return if alike { Taken::Duplicate(first) } else { Taken::Conflict(first) };
        }
        let number = self.events.len();
        let waiting = Delivery { state: State::Waiting, made: 0, spent: 0 };
        let wanted = (0..self.targets.len()).filter(|n| self.targets[*n].kinds.contains(&conversion.kind));
        let deliveries = wanted.map(|target| (target, waiting.clone())).collect();
        self.events.push(Event { conversion: conversion.clone(), deliveries });
        for place in 0..self.events[number].deliveries.len() {
            self.plan((number, place));
        }
        self.follow(number, &[0, 1]);
        Taken::New(number)
    }

    fn plan(&mut self, at: At) {
        for older in self.pointless(at) {
            if !self.is_sending(older) {
                self.set(older, State::Superseded { by: marker(at.0) });
            }
        }
        let state = match self.decide(at) {
            Decision::Go => State::Scheduled { due: self.now },
            Decision::Hold(reason) => State::Held { reason },
            Decision::CancelWith(originals) if originals.iter().all(|o| !self.is_sending(*o)) => {
                self.cancel_unsent(&originals);
                UNSENT
            }
            Decision::Wait | Decision::CancelWith(_) => State::Waiting,
        };
        self.set(at, state);
    }

    pub(super) fn begin(&mut self, at: At) -> bool {
        let may = matches!(self.delivery(at).state, State::Scheduled { .. }) && !self.is_sending(at);
        if may {
            let noted = !self.targets[self.target(at)].dedupes;
            self.sending.push((at, noted));
        }
        may
    }

    pub(super) fn settle(&mut self, at: At, conclusion: Conclusion) {
        self.sending.retain(|(other, _)| *other != at);
        assert!(self.apply(at, Change::Start { at: self.now }) && self.apply(at, Change::Settle(conclusion)));
        let target = &self.targets[self.target(at)];
        let again = matches!(self.delivery(at).state, State::Scheduled { .. });
        if again
            && target.policy.latest_only
            && let Some(newer) = self.newer(at)
        {
            self.set(at, State::Superseded { by: marker(newer) });
        }
        if self.is_settled(at) {
            self.follow(at.0, &[self.targets[self.target(at)].affiliate]);
        }
    }

    /// What an operator orders; whether it was done.
    pub(super) fn order(&mut self, at: At, order: Ordered) -> bool {
        if self.is_sending(at) {
            return false;
        }
        let out = match self.decide(at) {
            Decision::Go | Decision::Hold(_) => Destination::Schedule { due: self.now },
            Decision::Wait | Decision::CancelWith(_) => Destination::Wait,
        };
        let change = match order {
            Ordered::Replay { force: false } if self.is_overtaken(at) => return false,
            Ordered::Replay { force } => Change::Replay { to: out, force },
            Ordered::Cancel => Change::Cancel(CancelReason::Operator),
            Ordered::Hold => Change::Hold(HoldReason::Operator),
            Ordered::Release => Change::Release(out),
            Ordered::Confirm => Change::ConfirmDelivered,
        };
        let done = self.apply(at, change);
        if done {
            self.follow(at.0, &[self.targets[self.target(at)].affiliate]);
        }
        done
    }

    pub(super) fn crash(&mut self) {
        for (at, noted) in std::mem::take(&mut self.sending) {
            if noted {
                assert!(self.apply(at, Change::Start { at: self.now }) && self.apply(at, Change::Interrupted));
            }
        }
    }

    // ---- the rules -------------------------------------------------------------------------------

    fn cancel_unsent(&mut self, originals: &[At]) {
        for original in originals {
            self.set(*original, UNSENT);
        }
    }

    fn set(&mut self, at: At, state: State) {
        self.events[at.0].deliveries[at.1].1.state = state;
    }

    fn is_settled(&self, at: At) -> bool {
        self.delivery(at).state.kind().is_settled()
    }

    fn all(&self) -> Vec<At> {
        self.deliveries().map(|(at, _)| at).collect()
    }

    /// Every event that is connected to one by names of transactions.
    fn connected(&self, event: usize) -> BTreeSet<usize> {
        let names = |event: usize| {
            let c = &self.events[event].conversion;
            [Some(c.transaction), c.reverses].into_iter().flatten().collect::<BTreeSet<u8>>()
        };
        let mut known = names(event);
        loop {
            let found: BTreeSet<usize> = (0..self.events.len()).filter(|e| !names(*e).is_disjoint(&known)).collect();
            let more: BTreeSet<u8> = found.iter().flat_map(|e| names(*e)).collect();
            if more == known {
                return found;
            }
            known = more;
        }
    }

    fn undoes(&self, event: usize, other: usize) -> bool {
        let (c, o) = (&self.events[event].conversion, &self.events[other].conversion);
        event != other && c.reverses == Some(o.transaction) && o.reverses != c.reverses
    }

    /// The sequence in which all events are told: each stands in it twice, as accepted and where it belongs.
    fn sequence(&self) -> Vec<(usize, bool)> {
        let mut sequence = Vec::new();
        let mut stepped_back = Vec::new();
        for event in 0..self.events.len() {
            sequence.push((event, false));
            let known = (0..event).any(|other| self.undoes(event, other) && sequence.contains(&(other, true)));
            let to_come = (0..self.events.len()).any(|other| self.undoes(event, other));
            if to_come && !known {
                stepped_back.push(event);
            } else {
                self.tell(event, &mut stepped_back, &mut sequence);
            }
        }
        sequence.extend(stepped_back.into_iter().map(|event| (event, true)));
        sequence
    }

    fn tell(&self, event: usize, stepped_back: &mut Vec<usize>, sequence: &mut Vec<(usize, bool)>) {
        sequence.push((event, true));
        let followers: Vec<usize> = stepped_back.iter().copied().filter(|other| self.undoes(*other, event)).collect();
        stepped_back.retain(|other| !followers.contains(other));
        for follower in followers {
            self.tell(follower, stepped_back, sequence);
        }
    }

    fn place(&self, at: At, sequence: &[(usize, bool)]) -> usize {
        let d = self.delivery(at);
        let may_step_back = match d.state {
            State::Waiting => true,
            State::Held { reason } => d.made == 0 || is_for_original(reason),
            _ => false,
        };
        sequence.iter().position(|slot| *slot == (at.0, may_step_back)).unwrap_or(usize::MAX)
    }

    /// Events that one reverses and that are told before it.
    fn reversed(&self, me: At, sequence: &[(usize, bool)]) -> Vec<usize> {
        let mine = self.place(me, sequence);
        let before = |other: usize| sequence.iter().position(|slot| *slot == (other, true)).is_some_and(|at| at < mine);
        (0..self.events.len()).filter(|other| self.undoes(me.0, *other) && before(*other)).collect()
    }

    fn must_wait_for(&self, me: At, other: At, reversed: &[usize], sequence: &[(usize, bool)]) -> bool {
        let (mine, theirs) = (&self.targets[self.target(me)], &self.targets[self.target(other)]);
        if self.is_settled(other) || me.0 == other.0 || mine.affiliate != theirs.affiliate {
            return false;
        }
        let earlier = || self.place(other, sequence) < self.place(me, sequence);
        reversed.contains(&other.0)
            || (mine.lane == theirs.lane && earlier() && self.connected(me.0).contains(&other.0))
    }

    fn own_originals(&self, me: At, reversed: &[usize]) -> Vec<At> {
        let own = |at: &At| reversed.contains(&at.0) && self.target(*at) == self.target(me);
        self.all().into_iter().filter(own).collect()
    }

    fn decide(&self, me: At) -> Decision {
        let policy = self.targets[self.target(me)].policy;
        let sequence = self.sequence();
        let reversed = self.reversed(me, &sequence);
        let own = self.own_originals(me, &reversed);
        if policy.original_unsettled == OriginalUnsettled::CancelBoth && !own.is_empty() {
            if own.iter().all(|at| self.delivery(*at).state == UNSENT) {
                return Decision::CancelWith(Vec::new());
            }
            let open: Vec<At> = own.iter().copied().filter(|at| !self.is_settled(*at)).collect();
            let told = own.iter().any(|at| self.delivery(*at).made > 0);
            let newest = own.iter().map(|at| at.0).max().unwrap_or_default();
            let amounts = (self.events[me.0].conversion.amount, self.events[newest].conversion.amount);
            let partly = matches!(amounts, (Some(part), Some(whole)) if part < whole);
            if !open.is_empty() && !told && !partly {
                return Decision::CancelWith(open);
            }
        }
        if self.all().into_iter().any(|other| self.must_wait_for(me, other, &reversed, &sequence)) {
            return Decision::Wait;
        }
        if self.events[me.0].conversion.reverses.is_none() {
            return Decision::Go;
        }
        if reversed.is_empty() && policy.original_unknown == OriginalUnknown::Hold {
            return Decision::Hold(HoldReason::OriginalUnknown);
        }
        let dead = own.iter().any(|at| match self.delivery(*at).state {
            State::Dead { .. } => true,
            State::Cancelled { reason } => reason != CancelReason::ReversedUnsent,
            _ => false,
        });
        let arrived = own.iter().any(|at| matches!(self.delivery(*at).state, State::Delivered { .. }));
        let anyway =
            policy.original_dead == OriginalDead::Send || policy.original_unsettled == OriginalUnsettled::SendBoth;
        if dead && !arrived && !anyway { Decision::Hold(HoldReason::OriginalDead) } else { Decision::Go }
    }

    fn restated(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.events[a].conversion, &self.events[b].conversion);
        (a.transaction, a.kind) == (b.transaction, b.kind)
    }

    fn pointless(&self, me: At) -> Vec<At> {
        let mine = self.target(me);
        if !self.targets[mine].policy.latest_only {
            return Vec::new();
        }
        let older = |at: &At| at.0 < me.0 && self.restated(at.0, me.0) && self.target(*at) == mine;
        let open = |at: &At| matches!(self.delivery(*at).state, State::Scheduled { .. } | State::Waiting);
        self.all().into_iter().filter(|at| older(at) && open(at)).collect()
    }

    fn newer(&self, me: At) -> Option<usize> {
        let cancelled = |at: &At| matches!(self.delivery(*at).state, State::Cancelled { .. });
        let newer =
            |at: &At| at.0 > me.0 && self.restated(at.0, me.0) && self.target(*at) == self.target(me) && !cancelled(at);
        self.all().into_iter().filter(newer).map(|at| at.0).max()
    }

    fn is_overtaken(&self, me: At) -> bool {
        self.all().into_iter().any(|at| {
            at.0 > me.0
                && self.target(at) == self.target(me)
                && (self.restated(at.0, me.0) || self.undoes(at.0, me.0))
                && match self.delivery(at).state {
                    State::Delivered { .. } | State::Scheduled { .. } => true,
                    State::Held { .. } => self.delivery(at).made > 0,
                    _ => false,
                }
        })
    }

    /// Lets go, in an event's groups of these affiliates, whoever need wait no longer, until nothing more follows.
    fn follow(&mut self, event: usize, affiliates: &[u8]) {
        let group = self.connected(event);
        loop {
            let mut changed = false;
            for at in self.all().into_iter().filter(|at| group.contains(&at.0)) {
                if affiliates.contains(&self.targets[self.target(at)].affiliate) {
                    changed |= self.reconsider(at);
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn reconsider(&mut self, at: At) -> bool {
        let state = self.delivery(at).state.clone();
        let held = matches!(state, State::Held { reason } if is_for_original(reason));
        if state != State::Waiting && !held {
            return false;
        }
        let next = match self.decide(at) {
            Decision::Go => State::Scheduled { due: self.now },
            Decision::Wait if held => State::Waiting,
            Decision::Hold(reason) if state != (State::Held { reason }) => State::Held { reason },
            Decision::CancelWith(originals) if originals.iter().all(|o| !self.is_sending(*o)) => {
                self.cancel_unsent(&originals);
                UNSENT
            }
            Decision::Wait | Decision::Hold(_) | Decision::CancelWith(_) => return false,
        };
        self.set(at, next);
        true
    }
}

/// The number of an event where the store has its id.
fn marker(event: usize) -> EventId {
    EventId::from_u64(event as u64)
}

const UNSENT: State = State::Cancelled { reason: CancelReason::ReversedUnsent };

fn is_for_original(reason: HoldReason) -> bool {
    matches!(reason, HoldReason::OriginalDead | HoldReason::OriginalUnknown)
}
