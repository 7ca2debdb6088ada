//! What a change in an order group leads to: who is let go, who has to wait on, who is cancelled.

use jiff::Timestamp;

use super::{Gate, Group};
use crate::domain::delivery::{CancelReason, Change, State};
use crate::domain::id::DeliveryId;
use crate::domain::record::Cause;

/// One change that follows from another in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// The delivery.
    pub id: DeliveryId,
    /// Its change.
    pub change: Change,
    /// Why.
    pub cause: Cause,
}

impl Group {
    /// Carries out in the group all that follows from how it stands, until nothing more does, and lists it in order.
    ///
    /// `claim` is asked before originals are cancelled: they can only be where none of them is being sent.
    pub fn follow(&mut self, now: Timestamp, claim: &mut dyn FnMut(&[DeliveryId]) -> bool) -> Vec<Consequence> {
        let mut followed = Vec::new();
        // Each round settles or lets go of a delivery at least; the bound only guards against a fault of ours.
        for _ in 0..=self.members().count() {
            let before = followed.len();
            let waiting: Vec<DeliveryId> = self.members().filter(|m| m.is_waiting()).map(|m| m.id).collect();
            for id in waiting {
                let changes = self.changes(id, now, claim);
                for consequence in changes {
                    self.carry_out(consequence, &mut followed);
                }
            }
            if followed.len() == before {
                break;
            }
        }
        followed
    }

    fn changes(
        &self,
        id: DeliveryId,
        now: Timestamp,
        claim: &mut dyn FnMut(&[DeliveryId]) -> bool,
    ) -> Vec<Consequence> {
        let Some(member) = self.member(id).filter(|member| member.is_waiting()) else { return Vec::new() };
        let held = member.delivery.is_held_for_its_original();
        let one = |change, cause| vec![Consequence { id, change, cause }];
        match self.gate(id) {
            Gate::Open => one(Change::Free { due: now }, Cause::Freed),
            Gate::Wait if held => one(Change::Queue, Cause::Queued),
            Gate::Hold(reason) if member.delivery.state != (State::Held { reason }) => {
                one(Change::Hold(reason), Cause::HeldByRule)
            }
            Gate::CancelBoth(originals) if claim(&originals) => cancellations(&originals, id),
            Gate::Wait | Gate::Hold(_) | Gate::CancelBoth(_) => Vec::new(),
        }
    }

    fn carry_out(&mut self, consequence: Consequence, followed: &mut Vec<Consequence>) {
        let after = self.member(consequence.id).map(|member| member.delivery.apply(consequence.change));
        if let Some(Ok(after)) = after {
            self.set(consequence.id, after);
            followed.push(consequence);
        }
    }
}

/// What is to be cancelled where a reversal and its unsent originals are not sent.
fn cancellations(originals: &[DeliveryId], reversal: DeliveryId) -> Vec<Consequence> {
    let change = Change::Cancel(CancelReason::ReversedUnsent);
    let cause = Cause::Reversed { by: reversal.event };
    originals.iter().chain([&reversal]).map(|id| Consequence { id: *id, change, cause: cause.clone() }).collect()
}
