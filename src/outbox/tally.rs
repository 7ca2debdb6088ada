//! What the store keeps count of beside the states: dead letters by reason, and the money that is under way or lost.
//!
//! A tally is written in the batch that changes what it counts, so that a look at it costs the same with ten dead letters
//! as with a million. A store from before there were tallies is counted once, when it is opened.

use std::collections::BTreeMap;
use std::ops::Bound;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::engine::Engine;
use super::model::{OutboxError, PostbackNo};
use super::view::View;
use super::{ahead, codec, keys};
use crate::domain::delivery::{DeadReason, State, StateKind};
use crate::domain::event::Event;
use crate::domain::money::{Amount, Currency};

/// What is counted of a postback's deliveries that are open or dead.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    dead: BTreeMap<DeadReason, u64>,
    money: Vec<Money>,
}

/// The payouts that deliveries carry, in one currency: an event that two postbacks tell counts in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// The currency.
    pub currency: Currency,
    /// Of deliveries that are not settled.
    pub waiting: Amount,
    /// Of dead letters.
    pub dead: Amount,
    /// Whether both sums are exact: amounts of very different size can add up to more digits than are kept.
    pub exact: bool,
}

/// What a delivery tells the affiliate it is paid.
pub(crate) type Payout = Option<(Currency, Amount)>;

/// The payout of an event.
pub(crate) fn payout(event: &Event) -> Payout {
    event.currency.zip(event.payout)
}

impl Tally {
    /// Dead letters by reason.
    pub fn dead(&self) -> &BTreeMap<DeadReason, u64> {
        &self.dead
    }

    /// Money by currency, those that are in use.
    pub fn money(&self) -> &[Money] {
        &self.money
    }

    /// The tallies of two postbacks together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (reason, count) in &other.dead {
            *self.dead.entry(*reason).or_default() += count;
        }
        for money in &other.money {
            self.book(money.currency, money.waiting.decimal(), money.dead.decimal());
            if let Some(own) = self.money.iter_mut().find(|own| own.currency == money.currency) {
                own.exact &= money.exact;
            }
        }
        self
    }

    /// Whether a recount agrees: money that could not be kept exactly depends on the order in which it was added up.
    pub(super) fn agrees_with(&self, recount: &Self) -> bool {
        let exact = self.money.iter().chain(&recount.money).all(|money| money.exact);
        self.dead == recount.dead && (!exact || self.money == recount.money)
    }

    /// Counts a delivery that came into being, changed its state, or went.
    pub(crate) fn moved(&mut self, payout: Payout, from: Option<&State>, to: Option<&State>) {
        for (state, sign) in [(from, -1), (to, 1)] {
            let Some(state) = state else { continue };
            if let State::Dead { reason } = state {
                self.count(*reason, sign);
            }
            let Some((currency, amount)) = payout else { continue };
            let amount = amount.decimal() * Decimal::from(sign);
            match state.kind() {
                StateKind::Scheduled | StateKind::Waiting | StateKind::InFlight | StateKind::Held => {
                    self.book(currency, amount, Decimal::ZERO);
                }
                StateKind::Dead => self.book(currency, Decimal::ZERO, amount),
                StateKind::Delivered | StateKind::Cancelled | StateKind::Superseded => {}
            }
        }
    }

    fn count(&mut self, reason: DeadReason, sign: i64) {
        let count = self.dead.entry(reason).or_default();
        *count = count.saturating_add_signed(sign);
        if *count == 0 {
            self.dead.remove(&reason);
        }
    }

    fn book(&mut self, currency: Currency, waiting: Decimal, dead: Decimal) {
        let place = self.money.binary_search_by_key(&currency.code(), |money| money.currency.code());
        let at = place.unwrap_or_else(|at| {
            let none = Amount::from(Decimal::ZERO);
            self.money.insert(at, Money { currency, waiting: none, dead: none, exact: true });
            at
        });
        let Some(money) = self.money.get_mut(at) else { return };
        for (sum, amount) in [(&mut money.waiting, waiting), (&mut money.dead, dead)] {
            let (new, exact) = add(sum.decimal(), amount);
            *sum = new.into();
            money.exact &= exact;
        }
        if money.exact && money.waiting.decimal().is_zero() && money.dead.decimal().is_zero() {
            self.money.remove(at);
        }
    }
}

/// A sum, and whether nothing of it was lost.
fn add(sum: Decimal, amount: Decimal) -> (Decimal, bool) {
    match sum.checked_add(amount) {
        Some(new) => (new, new.checked_sub(sum) == Some(amount) && new.checked_sub(amount) == Some(sum)),
        None => (sum, false),
    }
}

/// What is counted of the whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Bytes of events and histories, before what the engine makes of them.
    pub(crate) record_bytes: u64,
}

/// The name under which [`Stored`] is kept; a store without it was written before there were tallies.
pub(crate) const STORED: &str = "stored";

/// The tallies of a store, as they were written or, where they never were, counted.
pub(crate) fn load(engine: &dyn Engine) -> Result<(BTreeMap<PostbackNo, Tally>, Stored), OutboxError> {
    let key = keys::meta(STORED);
    let Some(bytes) = engine.get(&key)? else { return count(engine) };
    let stored = codec::decode(&key, &bytes)?;
    let mut tallies = BTreeMap::new();
    for pair in all(engine, keys::TALLIES) {
        let (key, bytes) = pair?;
        if let Some(number) = keys::parse_number(&key) {
            tallies.insert(number, codec::decode(&key, &bytes)?);
        }
    }
    Ok((tallies, stored))
}

/// Counts anew what stands in a store.
pub(crate) fn count(engine: &dyn Engine) -> Result<(BTreeMap<PostbackNo, Tally>, Stored), OutboxError> {
    let mut stored = Stored::default();
    for space in [keys::EVENTS, keys::HISTORY] {
        for pair in all(engine, space) {
            let (key, value) = pair?;
            stored.record_bytes += (key.len() + value.len()) as u64;
        }
    }
    let view = View { engine, overlay: None };
    let mut tallies: BTreeMap<PostbackNo, Tally> = BTreeMap::new();
    let (_, soon) = ahead::load(engine)?;
    for space in [keys::SCHEDULED, keys::HELD, keys::DEAD, keys::WAITING] {
        let stored = all(engine, space).map(|pair| pair.map(|(key, _)| key));
        let without_key = soon.keys().filter(|_| space == keys::SCHEDULED).map(Ok);
        for key in stored.chain(without_key) {
            let Some(id) = keys::parse_last_delivery(&key?) else { continue };
            let record = match view.event(id.event) {
                Ok(Some(record)) => record,
                Ok(None) | Err(OutboxError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            let standing = match view.standing(id, &record) {
                Ok(Some((_, delivery))) => delivery,
                Ok(None) | Err(OutboxError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            // Those that are held for their original stand in two indices.
            if space == keys::WAITING && standing.state.kind() != StateKind::Waiting {
                continue;
            }
            if let Some(entry) = record.entry(id) {
                let tally = tallies.entry(entry.postback).or_default();
                tally.moved(payout(&record.event), None, Some(&standing.state));
            }
        }
    }
    Ok((tallies, stored))
}

fn all(engine: &dyn Engine, space: u8) -> super::engine::Pairs<'_> {
    let prefix = keys::space(space);
    engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn euros(text: &str) -> Payout {
        Currency::parse("EUR").ok().zip(Amount::parse(text).ok())
    }

    fn shown(tally: &Tally) -> Vec<(String, String, String, bool)> {
        let money = tally.money().iter();
        money.map(|m| (m.currency.to_string(), m.waiting.to_string(), m.dead.to_string(), m.exact)).collect()
    }

    #[test]
    fn money_goes_from_waiting_to_dead_and_out_again() {
        let (open, dead) = (State::Waiting, State::Dead { reason: DeadReason::Rejected });
        let mut tally = Tally::default();
        tally.moved(euros("0.10"), None, Some(&open));
        tally.moved(euros("120.20"), None, Some(&open));
        tally.moved(None, None, Some(&open));
        assert_eq!(shown(&tally), [("EUR".into(), "120.30".into(), "0".into(), true)]);
        tally.moved(euros("120.20"), Some(&open), Some(&dead));
        assert_eq!(shown(&tally), [("EUR".into(), "0.10".into(), "120.20".into(), true)]);
        assert_eq!(tally.dead(), &BTreeMap::from([(DeadReason::Rejected, 1)]));
        tally.moved(euros("120.20"), Some(&dead), None);
        tally.moved(euros("0.10"), Some(&open), None);
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn a_sum_that_cannot_be_kept_exactly_says_so() {
        for other in ["9999999999999999999999999999", "0.0000000000000000000000000001"] {
            let mut tally = Tally::default();
            tally.moved(euros("9999999999999999999999999999"), None, Some(&State::Waiting));
            for _ in 0..20 {
                tally.moved(euros(other), None, Some(&State::Waiting));
            }
            assert!(!tally.money()[0].exact, "{other}: {:?}", shown(&tally));
        }
    }
}
