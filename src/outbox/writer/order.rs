//! What operators order about one delivery, and pauses.

use jiff::Timestamp;

use super::{Placed, Writer};
use crate::domain::delivery::{CancelReason, Change, Delivery, Destination, HoldReason};
use crate::domain::id::{DeliveryId, PostbackRef};
use crate::domain::order::{Gate, Group};
use crate::domain::record::{Cause, HistoryEntry, OrderRecord};
use crate::outbox::keys;
use crate::outbox::model::{Order, OrderRefused, OrderRequest, OutboxError, Pause, PostbackNo};
use crate::outbox::tally;

impl Writer<'_> {
    /// Carries out an operator's order about one delivery.
    pub(crate) fn order(&mut self, request: &OrderRequest) -> Result<Result<Delivery, OrderRefused>, OutboxError> {
        let (id, at) = (request.id, request.at);
        let unknown = Ok(Err(OrderRefused::NotFound(id)));
        let Some(record) = self.view().event(id.event)? else { return unknown };
        let Some((next, before)) = self.view().standing(id, &record)? else { return unknown };
        let Some((postback, key)) = self.group_of(id, &record) else { return unknown };
        if !self.claim_all(&[id]) {
            return Ok(Err(OrderRefused::InFlight(id)));
        }
        let change = match request.order {
            Order::Replay { force } => {
                let group = self.whole_group(&key)?;
                if let Some(by) = group.as_ref().and_then(|group| group.overtaken_by(id)).filter(|_| !force) {
                    return Ok(Err(OrderRefused::Overtaken { id, by }));
                }
                Change::Replay { to: destination(id, group.as_ref(), at), force }
            }
            Order::Release => Change::Release(destination(id, self.whole_group(&key)?.as_ref(), at)),
            Order::Cancel => Change::Cancel(CancelReason::Operator),
            Order::Hold => Change::Hold(HoldReason::Operator),
            Order::ConfirmDelivered => Change::ConfirmDelivered,
            Order::Discard => Change::Cancel(CancelReason::Discarded),
        };
        let after = match before.apply(change) {
            Ok(after) => after,
            Err(illegal) => return Ok(Err(illegal.into())),
        };
        let payout = tally::payout(&record.event);
        self.place(&Placed { id, postback, group: &key, payout, before: Some(&before), after: &after });
        let OrderRequest { order, by, reason, bulk, .. } = request.clone();
        let order = OrderRecord { order: order.kind(), by, reason, bulk };
        self.put(keys::history(id, next), &HistoryEntry { at, cause: Cause::Ordered(order), delivery: after.clone() })?;
        self.follow(&key, at)?;
        // What follows may concern the delivery itself.
        let (_, stands) = self.view().standing(id, &record)?.unwrap_or((next, after));
        Ok(Ok(stands))
    }

    /// Holds a scheduled delivery whose postback is no longer configured.
    pub(crate) fn hold_unconfigured(&mut self, id: DeliveryId, now: Timestamp) -> Result<(), OutboxError> {
        if self.change(id, Change::Hold(HoldReason::Unconfigured), Cause::HeldByRule, now)?.is_some()
            && let Some(record) = self.view().event(id.event)?
            && let Some((_, key)) = self.group_of(id, &record)
        {
            self.follow(&key, now)?;
        }
        Ok(())
    }

    /// Pauses a postback, or resumes it.
    pub(super) fn pause(&mut self, postback: PostbackNo, pause: Option<Pause>) -> Result<(), OutboxError> {
        match &pause {
            Some(pause) => self.put(keys::pause(postback), pause)?,
            None => self.write(keys::pause(postback), None),
        }
        self.pauses.insert(postback, pause);
        Ok(())
    }

    /// Pauses or resumes a postback by its name.
    pub(crate) fn pause_named(&mut self, postback: &PostbackRef, pause: Option<Pause>) -> Result<(), OutboxError> {
        let number = self.number(postback)?;
        self.pause(number, pause)
    }
}

/// Where a delivery goes that an operator wants out: behind earlier ones, but over a dead or unknown original, and over
/// what nobody can read.
fn destination(id: DeliveryId, group: Option<&Group>, now: Timestamp) -> Destination {
    match group.map(|group| group.gate(id)) {
        Some(Gate::Wait | Gate::CancelBoth(_)) => Destination::Wait,
        Some(Gate::Open | Gate::Hold(_)) | None => Destination::Schedule { due: now },
    }
}
