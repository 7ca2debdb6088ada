//! Which delivery may go out when others of its order group are not settled.
//!
//! An order group is everything that one affiliate is told about one transaction and about what reverses it.
//! Within a lane of it, deliveries of a later event wait for those of earlier events. A reversal waits for its
//! original in every lane. One that was handed in before its original steps back behind it, unless it has gone
//! out already. Whoever waits waits for what has a place before it, so that nobody can wait for each other.
//!
//! Knows nothing of how a group is stored. [`Group::gate`] decides for one delivery, [`Group::follow`] finds out
//! what a change in the group leads to.

mod follow;
mod sequence;
#[cfg(test)]
mod tests;

pub use follow::Consequence;

use self::sequence::Places;
use super::delivery::{CancelReason, Delivery, HoldReason, State, StateKind};
use super::event::Event;
use super::id::{DeliveryId, EventId, EventType, LaneName, TransactionId};
use super::money::Amount;
use super::postback::{OrderPolicy, OriginalDead, OriginalUnknown, OriginalUnsettled};
use crate::planted::{Bug, planted};

/// The events of an order group, in the order of their acceptance, each with its deliveries to the affiliate.
#[derive(Debug, Clone, Default)]
pub struct Group {
    events: Vec<Told>,
    /// The places of the events, in the same order.
    places: Vec<Places>,
}

/// One event of an order group.
#[derive(Debug, Clone)]
pub struct Told {
    /// Which event.
    pub id: EventId,
    /// What order has to know of it.
    pub facts: Facts,
    /// Its deliveries to the group's affiliate; none where it was not told of the event.
    pub members: Vec<Member>,
}

/// What order has to know of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its transaction.
    pub transaction: TransactionId,
    /// Its type.
    pub kind: EventType,
    /// The transaction that it reverses.
    pub reverses: Option<TransactionId>,
    /// What the affiliate is paid.
    pub payout: Option<Amount>,
    /// What the operator took.
    pub revenue: Option<Amount>,
}

impl Facts {
    /// The facts of an event.
    pub fn of(event: &Event) -> Self {
        Self {
            transaction: event.transaction_id.clone(),
            kind: event.kind.clone(),
            reverses: event.reverses.clone(),
            payout: event.payout,
            revenue: event.revenue,
        }
    }

    /// Whether an event of `self` undoes one of `other`. Those that undo the same transaction do not undo each
    /// other, also where they carry its name themselves.
    fn undoes(&self, other: &Self) -> bool {
        self.reverses.as_ref().is_some_and(|reversed| *reversed == other.transaction) && self.reverses != other.reverses
    }

    /// Whether another status of the same conversion is told.
    fn restates(&self, other: &Self) -> bool {
        self.transaction == other.transaction && self.kind == other.kind
    }

    /// Whether all of the original is undone: no amount, or the amounts of the original with either sign.
    fn undoes_all_of(&self, original: &Self) -> bool {
        let whole = |part: Option<Amount>, of: Option<Amount>| match (part, of) {
            (Some(part), Some(of)) => part.decimal().abs() >= of.decimal().abs(),
            (None, _) | (_, None) => true,
        };
        whole(self.payout, original.payout) && whole(self.revenue, original.revenue)
    }
}

/// One delivery of an order group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which delivery.
    pub id: DeliveryId,
    /// Its lane.
    pub lane: Option<LaneName>,
    /// The postback that it is for, by any number that tells postbacks apart.
    pub postback: u32,
    /// What its postback asked for when it was planned.
    pub policy: OrderPolicy,
    /// How it stands.
    pub delivery: Delivery,
}

impl Member {
    fn is_unsettled(&self) -> bool {
        !self.delivery.state.kind().is_settled()
    }

    fn was_never_attempted(&self) -> bool {
        let at_rest = matches!(self.delivery.state, State::Scheduled { .. } | State::Waiting | State::Held { .. });
        self.delivery.made == 0 && at_rest
    }

    /// Whether a change in the group may let it go.
    fn is_waiting(&self) -> bool {
        self.delivery.state == State::Waiting || self.delivery.is_held_for_its_original()
    }

    /// Whether it has not gone out, and cannot now, so that it may step back behind an original that came late.
    fn may_step_back(&self) -> bool {
        self.is_waiting() || (self.delivery.made == 0 && self.is(StateKind::Held))
    }

    /// Whether the affiliate was not told of it and will not be, by mishap or by a person.
    fn is_lost(&self) -> bool {
        match self.delivery.state {
            State::Dead { .. } => true,
            State::Cancelled { reason } => matches!(reason, CancelReason::Operator | CancelReason::Discarded),
            _ => false,
        }
    }

    /// Whether it was sent, or may be at any moment.
    fn is_out(&self) -> bool {
        match self.delivery.state {
            State::Delivered { .. } | State::Scheduled { .. } | State::InFlight { .. } => true,
            State::Held { .. } => self.delivery.made > 0,
            State::Waiting | State::Dead { .. } | State::Cancelled { .. } | State::Superseded { .. } => false,
        }
    }

    fn is(&self, kind: StateKind) -> bool {
        self.delivery.state.kind() == kind
    }
}

/// What a delivery has to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may go out.
    Open,
    /// It waits behind others.
    Wait,
    /// It waits for a person, or for its original to change.
    Hold(HoldReason),
    /// Neither it nor these originals, which were never attempted, are sent.
    CancelBoth(Vec<DeliveryId>),
}

const UNSENT: State = State::Cancelled { reason: CancelReason::ReversedUnsent };

impl Group {
    /// A group of some events.
    pub fn new(mut events: Vec<Told>) -> Self {
        events.sort_by_key(|event| event.id);
        let places = sequence::places(&events);
        Self { events, places }
    }

    /// Adds an event.
    pub fn add(&mut self, event: Told) {
        let place = self.events.partition_point(|other| other.id < event.id);
        self.events.insert(place, event);
        self.places = sequence::places(&self.events);
    }

    /// Every delivery of the group.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.events.iter().flat_map(|event| &event.members)
    }

    /// Whether there is a delivery that others may let go.
    pub fn has_waiting(&self) -> bool {
        self.members().any(Member::is_waiting)
    }

    /// How a delivery stands.
    pub fn member(&self, id: DeliveryId) -> Option<&Member> {
        self.event(id.event)?.members.iter().find(|member| member.id == id)
    }

    /// Notes how a delivery stands now.
    pub fn set(&mut self, id: DeliveryId, delivery: Delivery) {
        let event = self.events.iter_mut().find(|event| event.id == id.event);
        if let Some(member) = event.and_then(|event| event.members.iter_mut().find(|member| member.id == id)) {
            member.delivery = delivery;
        }
    }

    /// Decides for one delivery of the group, however it stands itself. It waits for whatever the affiliate is told
    /// before it, but only what its own postback was told, or was not, decides whether there is anything to reverse.
    pub fn gate(&self, id: DeliveryId) -> Gate {
        let Some((event, member)) = self.find(id) else { return Gate::Open };
        if planted(Bug::ReversalOvertakes) && event.facts.reverses.is_some() {
            return Gate::Open;
        }
        let place = self.place(event, member);
        let originals = self.originals(event, place);
        let own = || originals.iter().flat_map(|event| &event.members).filter(|m| m.postback == member.postback);
        let policy = member.policy;
        if policy.original_unsettled == OriginalUnsettled::CancelBoth
            && let Some(unsent) = unsent_originals(event, &originals, member.postback)
        {
            return Gate::CancelBoth(unsent);
        }
        let unsettled_original = originals.iter().any(|original| original.members.iter().any(Member::is_unsettled));
        if unsettled_original || self.has_to_wait(event, member, place) {
            return Gate::Wait;
        }
        if event.facts.reverses.is_none() {
            return Gate::Open;
        }
        if originals.is_empty() && policy.original_unknown == OriginalUnknown::Hold {
            return Gate::Hold(HoldReason::OriginalUnknown);
        }
        let sends_anyway =
            policy.original_dead == OriginalDead::Send || policy.original_unsettled == OriginalUnsettled::SendBoth;
        let failed = own().any(Member::is_lost) && !own().any(|m| m.is(StateKind::Delivered));
        if failed && !sends_anyway { Gate::Hold(HoldReason::OriginalDead) } else { Gate::Open }
    }

    /// The earlier deliveries that this one makes pointless where only the latest status counts: those of the same
    /// postback that tell of the same conversion and have not gone out.
    pub fn made_pointless_by(&self, id: DeliveryId) -> Vec<DeliveryId> {
        let Some((event, member)) = self.find(id).filter(|(_, member)| member.policy.latest_only) else {
            return Vec::new();
        };
        let earlier = self.events.iter().filter(|other| other.id < event.id && event.facts.restates(&other.facts));
        let same = earlier.flat_map(|other| &other.members).filter(|other| other.postback == member.postback);
        same.filter(|other| matches!(other.delivery.state, State::Scheduled { .. } | State::Waiting))
            .map(|other| other.id)
            .collect()
    }

    /// The later event that makes a delivery pointless which has to be tried again.
    pub fn newer_than(&self, id: DeliveryId) -> Option<EventId> {
        let (event, member) = self.find(id)?;
        let later = self.events.iter().filter(|other| other.id > event.id && other.facts.restates(&event.facts));
        later
            .rev()
            .find(|other| {
                other
                    .members
                    .iter()
                    .any(|m| m.postback == member.postback && m.policy.latest_only && !m.is(StateKind::Cancelled))
            })
            .map(|other| other.id)
    }

    /// A later delivery that has arrived, or is on its way, and that sending this one would undo at the receiver.
    pub fn overtaken_by(&self, id: DeliveryId) -> Option<DeliveryId> {
        let (event, member) = self.find(id)?;
        let undone = |other: &&Told| other.facts.restates(&event.facts) || other.facts.undoes(&event.facts);
        let later = self.events.iter().filter(|other| other.id > event.id).filter(undone);
        let out = |m: &&Member| m.postback == member.postback && m.is_out();
        later.flat_map(|other| &other.members).find(out).map(|other| other.id)
    }

    fn event(&self, id: EventId) -> Option<&Told> {
        self.events.binary_search_by_key(&id, |event| event.id).ok().and_then(|index| self.events.get(index))
    }

    fn find(&self, id: DeliveryId) -> Option<(&Told, &Member)> {
        let event = self.event(id.event)?;
        Some((event, event.members.iter().find(|member| member.id == id)?))
    }

    fn places_of(&self, event: &Told) -> Places {
        let index = self.events.binary_search_by_key(&event.id, |event| event.id).unwrap_or(usize::MAX);
        self.places.get(index).copied().unwrap_or_default()
    }

    /// A delivery's place among all: where its event belongs or, once it has gone out, where it was accepted.
    fn place(&self, event: &Told, member: &Member) -> usize {
        let places = self.places_of(event);
        if member.may_step_back() { places.told } else { places.accepted }
    }

    /// The events that one undoes and that have a place before it.
    fn originals(&self, event: &Told, place: usize) -> Vec<&Told> {
        if event.facts.reverses.is_none() {
            return Vec::new();
        }
        let before = |other: &&Told| other.id != event.id && self.places_of(other).told < place;
        self.events.iter().filter(|other| event.facts.undoes(&other.facts)).filter(before).collect()
    }

    fn has_to_wait(&self, event: &Told, member: &Member, place: usize) -> bool {
        self.events.iter().filter(|other| other.id != event.id).any(|other| {
            let in_lane = |m: &&Member| m.lane == member.lane && m.is_unsettled();
            other.members.iter().filter(in_lane).any(|m| self.place(other, m) < place)
        })
    }
}

/// The deliveries to cancel so that a postback is told of neither, where nothing was told yet.
fn unsent_originals(event: &Told, originals: &[&Told], postback: u32) -> Option<Vec<DeliveryId>> {
    let own = || originals.iter().flat_map(|event| &event.members).filter(|member| member.postback == postback);
    own().next()?;
    if own().all(|member| member.delivery.state == UNSENT) {
        return Some(Vec::new());
    }
    let latest = originals.iter().rev().find(|event| event.members.iter().any(|m| m.postback == postback))?;
    let open: Vec<&Member> = own().filter(|member| member.is_unsettled()).collect();
    let untold = own().all(|member| member.delivery.made == 0) && open.iter().all(|m| m.was_never_attempted());
    (!open.is_empty() && untold && event.facts.undoes_all_of(&latest.facts))
        .then(|| open.iter().map(|member| member.id).collect())
}
