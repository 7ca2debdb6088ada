//! Marks of exports: how far each consumer has come.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::Writer;
use crate::domain::export_mark::{self, ExportMark, MarkRefused, MarkRequest};
use crate::outbox::keys;
use crate::outbox::model::OutboxError;

impl Writer<'_> {
    /// Sets a consumer's mark, where the domain allows it.
    pub(crate) fn mark_exported(
        &mut self,
        request: MarkRequest,
        now: Timestamp,
    ) -> Result<Result<ExportMark, MarkRefused>, OutboxError> {
        let consumer = request.consumer.clone();
        let (before, consumers) = {
            let mirror = self.mirror.read().unwrap_or_else(PoisonError::into_inner);
            let new = self.marks.keys().filter(|name| !mirror.marks.contains_key(name)).count();
            (mirror.marks.get(&consumer).cloned(), mirror.marks.len() + new)
        };
        let last = self.marks.get(&consumer).cloned().or(before);
        let mark = match export_mark::set(request, last.as_ref(), consumers, now) {
            Ok(mark) => mark,
            Err(refused) => return Ok(Err(refused)),
        };
        // What can fail comes first: a mark that is not written down must not be seen.
        self.put(keys::mark(&consumer), &mark)?;
        self.marks.insert(consumer, mark.clone());
        Ok(Ok(mark))
    }
}
