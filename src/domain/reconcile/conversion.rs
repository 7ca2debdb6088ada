//! Our side: the events of one transaction, taken together as what the affiliate should have in the end.
//!
//! `pending`, `approved` and `rejected` of one transaction are one conversion with the status of the last; a reversal takes
//! from the conversion that it names. Where an event has several deliveries, the one that came furthest stands for it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::delivery::StateKind;
use crate::domain::event::Status;
use crate::domain::money::{Amount, Currency};

/// How an affiliate was told of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The delivery.
    pub delivery_id: String,
    /// Where it stands.
    pub state: StateKind,
    /// Why it stands there.
    pub reason: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// When its event was accepted.
    pub accepted_at: Timestamp,
    /// When it arrived first; what is sent again later does not move it.
    pub delivered_at: Option<Timestamp>,
    /// What the last attempt came to.
    pub outcome: Option<String>,
    /// The status of the last response.
    pub http_status: Option<u16>,
    /// Why the last attempt had no whole answer, or by which rule its answer was judged.
    pub answer: Option<String>,
}

/// One of our events, as one affiliate was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OurEvent {
    /// The event; in the order of acceptance.
    pub event_id: String,
    /// Its transaction.
    pub transaction: String,
    /// The transaction that it reverses.
    pub reverses: Option<String>,
    /// Its click.
    pub click: Option<String>,
    /// Its type.
    pub kind: String,
    /// Its status.
    pub status: Status,
    /// What the affiliate is paid.
    pub amount: Option<Amount>,
    /// In which currency.
    pub currency: Option<Currency>,
    /// How the affiliate was told.
    pub told: Told,
}

/// What one of our conversions is to the affiliate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// He was told, or is still to be told.
    Told,
    /// It undoes another; he may list it, or only what it undid.
    Reversal,
    /// It was cancelled or overtaken before he was told.
    Untold,
}

/// One of our conversions as it stands behind its last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    /// Its first event.
    pub event_id: String,
    /// Its transaction.
    pub transaction: String,
    /// Its click.
    pub click: Option<String>,
    /// Its type.
    pub kind: String,
    /// Its status in the end.
    pub status: Status,
    /// What the affiliate is paid in the end.
    pub amount: Option<Amount>,
    /// In which currency.
    pub currency: Option<Currency>,
    /// What it is to the affiliate.
    pub role: Role,
    /// How he was told of its own last event.
    pub told: Told,
    /// How he was told what changed its status since, where another event did.
    pub changed: Option<Box<Told>>,
    /// When its first event was accepted.
    pub accepted_at: Timestamp,
    /// When the first of its events arrived.
    pub delivered_at: Option<Timestamp>,
    /// Whether one of their rows was found for it already.
    pub taken: bool,
}

impl Told {
    /// How far it came; what came further stands for an event with several deliveries.
    fn rank(&self) -> u8 {
        match self.state {
            StateKind::Delivered => 7,
            StateKind::InFlight => 6,
            StateKind::Scheduled => 5,
            StateKind::Waiting => 4,
            StateKind::Held => 3,
            StateKind::Dead => 2,
            StateKind::Superseded => 1,
            StateKind::Cancelled => 0,
        }
    }

    /// Whether he is not to be told. A discarded dead letter was to be told, and was not.
    fn is_withdrawn(&self) -> bool {
        match self.state {
            StateKind::Superseded => true,
            StateKind::Cancelled => self.reason.as_deref() != Some("discarded"),
            _ => false,
        }
    }
}

impl OurEvent {
    /// The transaction whose conversions it is about.
    pub fn group(&self) -> &str {
        self.reverses.as_deref().unwrap_or(&self.transaction)
    }

    /// Whether the affiliate should have it, as far as it can be told from this event alone.
    pub fn is_owed(&self) -> bool {
        self.reverses.is_none() && self.status != Status::Rejected && !self.told.is_withdrawn()
    }

    /// Takes another delivery of the same event into account.
    pub fn told_also(&mut self, told: Told) {
        if told.rank() > self.told.rank() {
            self.told = told;
        }
    }
}

impl Ours {
    fn of(event: OurEvent) -> Self {
        let reversal = event.reverses.is_some();
        let role = if reversal { Role::Reversal } else { Role::Untold };
        let mut ours = Self {
            event_id: event.event_id.clone(),
            transaction: event.transaction.clone(),
            click: event.click.clone(),
            kind: event.kind.clone(),
            status: if reversal { event.status } else { Status::Rejected },
            amount: None,
            currency: None,
            role,
            accepted_at: event.told.accepted_at,
            delivered_at: None,
            told: event.told.clone(),
            changed: None,
            taken: false,
        };
        ours.goes_on(event);
        ours
    }

    /// The next event of the same transaction and type.
    fn goes_on(&mut self, event: OurEvent) {
        self.delivered_at = self.delivered_at.or(event.told.delivered_at);
        if event.amount.is_some() {
            (self.amount, self.currency) = (event.amount, event.currency);
        }
        self.click = self.click.take().or(event.click);
        if !event.told.is_withdrawn() {
            self.status = event.status;
            self.told = event.told;
            if self.role == Role::Untold {
                self.role = Role::Told;
            }
        }
    }

    /// Another event takes it back, whole or in part.
    fn undone(&mut self, by: &OurEvent) {
        let part = match (self.amount, by.amount) {
            (Some(whole), Some(part)) if self.currency == by.currency => whole
                .decimal()
                .checked_sub(part.decimal().abs())
                .filter(|left| left.is_sign_positive() && !left.is_zero()),
            _ => None,
        };
        match part {
            Some(left) => self.amount = Some(Amount::from(left)),
            None => self.status = Status::Rejected,
        }
        if !by.told.is_withdrawn() {
            self.changed = Some(Box::new(by.told.clone()));
        }
    }

    fn has_amount_of(&self, event: &OurEvent) -> bool {
        let size = |amount: Option<Amount>| amount.map(|amount| amount.decimal().abs());
        size(self.amount) == size(event.amount)
    }

    /// The delivery that explains its status.
    pub fn last_word(&self) -> &Told {
        self.changed.as_deref().unwrap_or(&self.told)
    }
}

/// The conversions of one group of events, which are in the order of acceptance.
pub fn fold(events: Vec<OurEvent>) -> Vec<Ours> {
    let mut conversions: Vec<Ours> = Vec::new();
    for event in events {
        if let Some(original) = &event.reverses {
            let named: Vec<usize> =
                positions(&conversions, |ours| ours.transaction == *original && ours.role != Role::Reversal);
            let alike: Vec<usize> = positions(&conversions, |ours| ours.has_amount_of(&event));
            let narrow = named.len() > 1 && named.iter().any(|at| alike.contains(at));
            for at in named.into_iter().filter(|at| !narrow || alike.contains(at)) {
                if let Some(ours) = conversions.get_mut(at) {
                    ours.undone(&event);
                }
            }
        }
        let own = |ours: &&mut Ours| ours.transaction == event.transaction && ours.kind == event.kind;
        match conversions.iter_mut().find(own) {
            Some(ours) => ours.goes_on(event),
            None => conversions.push(Ours::of(event)),
        }
    }
    conversions
}

fn positions(conversions: &[Ours], wanted: impl Fn(&Ours) -> bool) -> Vec<usize> {
    conversions.iter().enumerate().filter(|(_, ours)| wanted(ours)).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::event;
    use super::*;

    fn only(events: Vec<OurEvent>) -> Ours {
        let mut ours = fold(events);
        ours.retain(|ours| ours.role != Role::Reversal);
        assert_eq!(ours.len(), 1);
        ours.remove(0)
    }

    fn reversal(transaction: &str, of: &str, amount: Option<&str>) -> OurEvent {
        let amount = amount.map(|text| Amount::parse(text).unwrap());
        OurEvent { reverses: Some(of.into()), kind: "ftd_reversed".into(), amount, ..event(transaction) }
    }

    #[test]
    fn the_last_status_counts() {
        let status = |status| OurEvent { status, ..event("dep-1") };
        let ours = only(vec![status(Status::Pending), status(Status::Approved), status(Status::Rejected)]);
        assert_eq!((ours.status, ours.role), (Status::Rejected, Role::Told));
    }

    #[test]
    fn a_reversal_takes_all_or_a_part() {
        assert_eq!(only(vec![event("dep-1"), reversal("r-1", "dep-1", None)]).status, Status::Rejected);
        assert_eq!(only(vec![event("dep-1"), reversal("r-1", "dep-1", Some("-120.00"))]).status, Status::Rejected);
        let partly =
            only(vec![event("dep-1"), reversal("r-1", "dep-1", Some("-30")), reversal("r-2", "dep-1", Some("40"))]);
        assert_eq!((partly.status, partly.amount), (Status::Approved, Some(Amount::parse("50.00").unwrap())));
        let whole =
            only(vec![event("dep-1"), reversal("r-1", "dep-1", Some("30")), reversal("r-2", "dep-1", Some("90"))]);
        assert_eq!(whole.status, Status::Rejected);
    }

    #[test]
    fn a_reversal_takes_the_conversion_of_its_amount_where_a_transaction_has_several() {
        let other = OurEvent { kind: "registration".into(), amount: None, ..event("dep-1") };
        let ours = fold(vec![other, event("dep-1"), reversal("r-1", "dep-1", Some("120"))]);
        let statuses: Vec<_> = ours.iter().map(|ours| (ours.kind.as_str(), ours.status)).collect();
        let rest = ("ftd_reversed", Status::Approved);
        assert_eq!(statuses, [("registration", Status::Approved), ("ftd", Status::Rejected), rest]);
    }

    #[test]
    fn the_delivery_that_was_to_tell_the_last_status_explains_it() {
        let ours = only(vec![event("dep-1"), reversal("r-1", "dep-1", None)]);
        assert_eq!((ours.last_word().delivery_id.as_str(), ours.told.delivery_id.as_str()), ("dlv_r-1", "dlv_dep-1"));
        let mut withdrawn = reversal("r-1", "dep-1", None);
        withdrawn.told.state = StateKind::Superseded;
        assert_eq!(only(vec![event("dep-1"), withdrawn]).last_word().delivery_id, "dlv_dep-1");
    }

    #[test]
    fn what_was_withdrawn_was_never_told_and_what_was_discarded_should_have_been() {
        let cancelled = |reason: &str| {
            let mut event = event("dep-1");
            (event.told.state, event.told.reason) = (StateKind::Cancelled, Some(reason.into()));
            only(vec![event])
        };
        let fraud = cancelled("operator");
        assert_eq!((fraud.role, fraud.status), (Role::Untold, Status::Rejected));
        let discarded = cancelled("discarded");
        assert_eq!((discarded.role, discarded.status), (Role::Told, Status::Approved));
    }

    #[test]
    fn the_delivery_that_came_furthest_stands_for_its_event() {
        let mut one = event("dep-1");
        let arrived = one.told.clone();
        one.told.state = StateKind::Dead;
        one.told_also(arrived.clone());
        assert_eq!(one.told, arrived);
        one.told_also(Told { state: StateKind::Held, ..arrived.clone() });
        assert_eq!(one.told, arrived);
    }
}
