//! What is done when a store is opened: its format is checked, what is kept in memory is read, and what the process left
//! behind that had it open before is put in order.

use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;

use super::bulk::BulkState;
use super::claims::Claims;
use super::engine::{Batch, Engine};
use super::known::Known;
use super::model::{OutboxError, PostbackNo};
use super::read::{Mirror, SharedMirror};
use super::tally::{self, Stored};
use super::writer::Writer;
use super::{ahead, codec, keys};
use crate::domain::id::{BulkId, EventId};

/// The format of keys that this version writes. With the first one nothing was ahead of the counts, with the second all that is
/// scheduled had keys.
const FORMAT: u32 = 3;
/// The formats that it reads.
const KNOWN_FORMATS: RangeInclusive<u32> = 1..=FORMAT;

pub(super) fn check_format(engine: &dyn Engine) -> Result<(), OutboxError> {
    let key = keys::meta("format");
    match engine.get(&key)? {
        Some(bytes) => match codec::decode::<u32>(&key, &bytes)? {
            found if KNOWN_FORMATS.contains(&found) => Ok(()),
            found => Err(OutboxError::Format { found, known: FORMAT }),
        },
        None => {
            let stored = keys::meta(tally::STORED);
            let values = (codec::encode(&key, &FORMAT)?, codec::encode(&stored, &Stored::default())?);
            engine.apply(Batch { writes: vec![(key, Some(values.0)), (stored, Some(values.1))] })?;
            Ok(engine.sync()?)
        }
    }
}

pub(super) fn load_mirror(engine: &dyn Engine) -> Result<Mirror, OutboxError> {
    let mut mirror = Mirror::default();
    let pairs = |space| {
        let prefix = keys::space(space);
        engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix))
    };
    for pair in pairs(keys::POSTBACKS) {
        let (key, bytes) = pair?;
        let number: PostbackNo = codec::decode(&key, &bytes)?;
        if let Some(name) = keys::parse_postback(&key) {
            mirror.names.insert(number, name.clone());
            mirror.numbers.insert(name, number);
        }
    }
    for pair in pairs(keys::COUNTS) {
        let (key, bytes) = pair?;
        if let Some(number) = keys::parse_number(&key) {
            mirror.counts.insert(number, codec::decode(&key, &bytes)?);
        }
    }
    for pair in pairs(keys::PAUSES) {
        let (key, bytes) = pair?;
        if let Some(number) = keys::parse_number(&key) {
            mirror.pauses.insert(number, codec::decode(&key, &bytes)?);
        }
    }
    for pair in pairs(keys::FLAGS) {
        let (key, bytes) = pair?;
        if let Some(number) = keys::parse_number(&key) {
            mirror.flags.insert(number, codec::decode(&key, &bytes)?);
        }
    }
    for pair in pairs(keys::BULKS) {
        let (key, bytes) = pair?;
        if let Some(id) = keys::parse_bulk(&key) {
            mirror.bulks.insert(id, codec::decode(&key, &bytes)?);
        }
    }
    for pair in pairs(keys::MARKS) {
        let (key, bytes) = pair?;
        if let Some(consumer) = keys::parse_mark(&key) {
            mirror.marks.insert(consumer, codec::decode(&key, &bytes)?);
        }
    }
    let key = keys::meta("totals");
    if let Some(bytes) = engine.get(&key)? {
        mirror.totals = codec::decode(&key, &bytes)?;
    }
    (mirror.tallies, mirror.stored) = tally::load(engine)?;
    let (counted, soon) = ahead::load(engine)?;
    mirror.soon = soon;
    for (number, counts, tally) in counted {
        mirror.counts.insert(number, counts);
        mirror.tallies.insert(number, tally);
        mirror.ahead.insert(number);
    }
    Ok(mirror)
}

pub(super) fn last_event(engine: &dyn Engine) -> Result<EventId, OutboxError> {
    let prefix = keys::space(keys::EVENTS);
    let last = engine.scan_back(Bound::Included(prefix.clone()), keys::prefix_end(&prefix)).next().transpose()?;
    Ok(last.and_then(|(key, _)| keys::parse_event(&key)).unwrap_or(EventId::MIN))
}

/// What brings a store up to date: the format, what is ahead, and the tallies of a store from before there were any.
fn update(engine: &dyn Engine, mirror: &SharedMirror) -> Result<Batch, OutboxError> {
    let mut mirror = mirror.write().unwrap_or_else(PoisonError::into_inner);
    let mut soon = std::mem::take(&mut mirror.soon);
    let mut writes = ahead::caught_up(&mut mirror, &mut soon)?;
    let format = keys::meta("format");
    let value = codec::encode(&format, &FORMAT)?;
    if engine.get(&format)?.as_ref() != Some(&value) {
        writes.push((format, Some(value)));
    }
    let stored = keys::meta(tally::STORED);
    if engine.get(&stored)?.is_some() {
        return Ok(Batch { writes });
    }
    // Groups write only those that they change.
    for (number, tally) in &mirror.tallies {
        let key = keys::tally(*number);
        let value = codec::encode(&key, tally)?;
        writes.push((key, Some(value)));
    }
    let value = codec::encode(&stored, &mirror.stored)?;
    writes.push((stored, Some(value)));
    Ok(Batch { writes })
}

/// Holds what was being sent, when the daemon died, to receivers that do not recognise duplicates, and forgets bulk
/// orders that were never answered for.
pub(super) fn recover(
    engine: &dyn Engine,
    mirror: &SharedMirror,
    claims: &Claims,
    last: EventId,
    now: Timestamp,
) -> Result<(), OutboxError> {
    let batch = update(engine, mirror)?;
    if !batch.writes.is_empty() {
        engine.apply(batch)?;
        engine.sync()?;
    }
    let prefix = keys::space(keys::INTENTS);
    let intents = engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
    let intents = intents.collect::<Result<Vec<_>, _>>()?;
    let unnamed: Vec<BulkId> = {
        let mirror = mirror.read().unwrap_or_else(PoisonError::into_inner);
        mirror.bulks.iter().filter(|(_, record)| record.state == BulkState::Naming).map(|(id, _)| *id).collect()
    };
    if intents.is_empty() && unnamed.is_empty() {
        return Ok(());
    }
    let mut writer = Writer::new(engine, mirror.clone(), claims.clone(), Arc::new(Known::beside(engine)), last);
    for (key, _) in intents {
        if let Some(id) = keys::parse_last_delivery(&key) {
            writer.interrupt(id, now)?;
        }
    }
    unnamed.into_iter().try_for_each(|id| writer.forget_bulk(id, usize::MAX))?;
    let (batch, _) = writer.finish()?;
    engine.apply(batch)?;
    writer.applied();
    Ok(engine.sync()?)
}
