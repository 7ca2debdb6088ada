//! Bulk orders: naming their targets, crossing them out, changing their state.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::Writer;
use crate::domain::id::BulkId;
use crate::outbox::bulk::{BulkChanged, BulkRecord, BulkState, BulkStep, Stepped, Target};
use crate::outbox::model::{OrderRefused, OutboxError};
use crate::outbox::{codec, keys};
use crate::planted::{Bug, planted};

impl Writer<'_> {
    /// Begins to write a bulk order down; its targets follow.
    pub(crate) fn give(&mut self, record: BulkRecord, now: Timestamp) -> Result<BulkId, OutboxError> {
        let micros = u64::try_from(now.as_microsecond()).unwrap_or(0);
        let last = {
            let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
            let known = mirror.bulks.keys().next_back().copied();
            known.into_iter().chain(self.bulks.keys().next_back().copied()).max()
        };
        let next = last.map_or(Some(0), |id| id.as_u64().checked_add(1));
        let next = next.ok_or_else(|| codec::corrupt(&keys::space(keys::BULKS), "no id is left for an order"))?;
        let id = BulkId::from_u64(micros.max(next));
        self.set_bulk(id, record)?;
        Ok(id)
    }

    /// Writes down targets of an order that is being named.
    pub(crate) fn name_targets(&mut self, id: BulkId, targets: &[Target]) -> Result<(), OutboxError> {
        if let Some(mut record) = self.bulk(id).filter(|record| record.state == BulkState::Naming) {
            for target in targets {
                self.write(keys::target(id, target.stored()), Some(Vec::new()));
            }
            record.matched += targets.len() as u64;
            self.set_bulk(id, record)?;
        }
        Ok(())
    }

    /// Lets an order run whose targets are all written down.
    pub(crate) fn begin_bulk(&mut self, id: BulkId) -> Result<(), OutboxError> {
        if let Some(mut record) = self.bulk(id).filter(|record| record.state == BulkState::Naming) {
            record.state = BulkState::Running;
            self.set_bulk(id, record)?;
        }
        Ok(())
    }

    /// Changes the state of an order.
    pub(crate) fn change_bulk(
        &mut self,
        id: BulkId,
        state: BulkState,
        by: &str,
        now: Timestamp,
    ) -> Result<BulkChanged, OutboxError> {
        // One that is being named is nobody's to change yet.
        let known = self.bulk(id).filter(|record| record.state != BulkState::Naming);
        let Some(mut record) = known else { return Ok(BulkChanged::NotFound) };
        if !record.state.is_open() {
            return Ok(BulkChanged::Ended(record.state));
        }
        record.state = state;
        record.changed_at = now;
        by.clone_into(&mut record.changed_by);
        self.set_bulk(id, record.clone())?;
        Ok(BulkChanged::Changed(id, Box::new(record)))
    }

    /// Carries an order out for one target, and crosses that out, in one go.
    pub(crate) fn step(&mut self, id: BulkId, step: &BulkStep, now: Timestamp) -> Result<Stepped, OutboxError> {
        let target = step.target();
        let key = keys::target(id, target.stored());
        let running = self.bulk(id).filter(|record| record.state == BulkState::Running);
        let (Some(mut record), Some(_)) = (running, self.view().get(&key)?) else { return Ok(Stepped::Over) };
        let refused = match step {
            BulkStep::Order(order) => match self.order(order)? {
                Ok(_) => None,
                Err(OrderRefused::InFlight(_)) => return Ok(Stepped::Busy),
                Err(refused) => Some(refused.to_string()),
            },
            BulkStep::Plan(event, planned) => {
                let planned = self.plan_unrouted(*event, planned, now)?;
                planned.is_none().then(|| "it is no longer unrouted, or no postback wants it".to_owned())
            }
            BulkStep::Refuse(_, why) => Some(why.clone()),
        };
        match refused {
            None => record.done += 1,
            Some(why) => record.refuse(target, &why),
        }
        if !planted(Bug::StepRepeated) {
            self.write(key, None);
        }
        self.set_bulk(id, record)?;
        Ok(Stepped::Done)
    }

    /// Forgets an order with what was not done of it: some targets at a time, the order itself last.
    pub(crate) fn forget_bulk(&mut self, id: BulkId, most: usize) -> Result<(), OutboxError> {
        let prefix = keys::targets(id);
        let pairs = self.engine.scan(std::ops::Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
        let some = pairs.take(most).map(|pair| Ok(pair?.0)).collect::<Result<Vec<_>, OutboxError>>()?;
        let all = some.len() < most;
        for key in some {
            self.write(key, None);
        }
        if all {
            self.write(keys::bulk(id), None);
            self.mirror.write().unwrap_or_else(PoisonError::into_inner).bulks.remove(&id);
        }
        Ok(())
    }

    fn bulk(&self, id: BulkId) -> Option<BulkRecord> {
        let mirror = || self.mirror.read().unwrap_or_else(PoisonError::into_inner).bulks.get(&id).cloned();
        self.bulks.get(&id).cloned().or_else(mirror)
    }

    fn set_bulk(&mut self, id: BulkId, record: BulkRecord) -> Result<(), OutboxError> {
        self.put(keys::bulk(id), &record)?;
        let previous = self.bulks.insert(id, record);
        self.undo_bulks.push((id, previous));
        Ok(())
    }
}
