//! Brings both sides together key by key, each sorted on disk, and says what is found: by transaction id first, what has
//! none by its click.
//!
//! Memory holds one slice of one key at a time. Where a key has more than a slice on either side (a click id that is the
//! same everywhere), it is paired slice by slice in the order of time.

use std::cmp::Ordering;
use std::io;

use serde::{Deserialize, Serialize};

use super::sorted::{Merge, Record, Room, Sorter};
use crate::domain::reconcile::{
    By, Finding, OurEvent, Ours, Outside, Paired, Period, Rules, Theirs, fold, is_owed, judge, pair,
};

/// Most conversions or rows of one key that are paired at once.
const SLICE: usize = 1_000;
/// Most events of one transaction that are taken together.
const LONGEST_GROUP: usize = 10_000;
/// Bytes that a record takes beside its texts, about.
const RECORD_BYTES: usize = 600;

/// Both sides, to be brought together.
pub(super) struct Sides {
    room: Room,
    events: Sorter<OurEvent>,
    theirs: Sorter<Keyed<Theirs>>,
    by_click: Sorter<Keyed<Theirs>>,
    unnamed: u64,
    /// How long each of ours took until it had arrived, in microseconds.
    times: Sorter<u64>,
}

/// A record under the key that it is matched by.
#[derive(Debug, Serialize, Deserialize)]
struct Keyed<T> {
    key: String,
    of: T,
}

/// What has a place within its key.
trait Placed {
    /// Its time, and its place among those of the same time.
    fn place(&self) -> (i64, &str, u64);

    /// Bytes of its texts.
    fn texts(&self) -> usize;
}

impl Placed for Ours {
    fn place(&self) -> (i64, &str, u64) {
        (self.accepted_at.as_microsecond(), &self.event_id, 0)
    }

    fn texts(&self) -> usize {
        let told = |told: &crate::domain::reconcile::Told| {
            told.delivery_id.len() + told.answer.as_ref().map_or(0, String::len)
        };
        self.transaction.len() + self.click.as_ref().map_or(0, String::len) + told(&self.told) + told(self.last_word())
    }
}

impl Placed for Theirs {
    fn place(&self) -> (i64, &str, u64) {
        (self.at.map_or(0, jiff::Timestamp::as_microsecond), "", self.line)
    }

    fn texts(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        text(&self.transaction) + text(&self.click) + text(&self.kind)
    }
}

impl<T: Placed + Serialize + serde::de::DeserializeOwned> Record for Keyed<T> {
    fn order(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.of.place().cmp(&other.of.place()))
    }

    fn weight(&self) -> usize {
        RECORD_BYTES + self.key.len() + self.of.texts()
    }
}

impl Record for OurEvent {
    fn order(&self, other: &Self) -> Ordering {
        self.group().cmp(other.group()).then_with(|| self.event_id.cmp(&other.event_id))
    }

    fn weight(&self) -> usize {
        RECORD_BYTES + self.transaction.len() + self.event_id.len() + self.told.delivery_id.len()
    }
}

impl Sides {
    /// Nothing on either side yet.
    pub(super) fn new(room: &Room) -> Self {
        Self {
            room: room.clone(),
            events: Sorter::new(room),
            theirs: Sorter::new(room),
            by_click: Sorter::new(room),
            unnamed: 0,
            times: Sorter::new(room),
        }
    }

    /// Takes one of our events.
    pub(super) fn ours(&mut self, event: OurEvent) -> io::Result<()> {
        self.events.push(event)
    }

    /// Takes a row of theirs. One with a transaction id is only ever matched by it.
    pub(super) fn theirs(&mut self, row: Theirs) -> io::Result<()> {
        match (row.transaction.clone(), row.click.clone()) {
            (Some(key), _) => self.theirs.push(Keyed { key, of: row }),
            (None, Some(key)) => self.by_click.push(Keyed { key, of: row }),
            (None, None) => {
                self.unnamed += 1;
                Ok(())
            }
        }
    }

    /// How many of our events there are.
    pub(super) fn events(&self) -> u64 {
        self.events.count()
    }

    /// Begins to bring them together.
    pub(super) fn join(self, rules: Rules, period: Period) -> io::Result<Join> {
        debug_assert_eq!(self.unnamed, 0, "a row that nothing names is no row");
        let Self { room, events, theirs, by_click, mut times, .. } = self;
        let clicks = by_click.count() > 0;
        let ours = conversions(&room, events.finish()?, &period, &mut times)?;
        Ok(Join {
            transactions: Some(Pass::of(ours.finish()?, theirs.finish()?, By::Transaction)?),
            left: clicks.then(|| Sorter::new(&room)),
            clicks: clicks.then(|| by_click.finish()).transpose()?,
            click_pass: None,
            rules,
            period,
            outside: Outside::default(),
            times: Some(times),
        })
    }
}

/// Our events, taken together as conversions and sorted by their own transactions.
fn conversions(
    room: &Room,
    events: Merge<OurEvent>,
    period: &Period,
    times: &mut Sorter<u64>,
) -> io::Result<Sorter<Keyed<Ours>>> {
    let mut sorted = Sorter::new(room);
    let mut group: Vec<OurEvent> = Vec::new();
    let mut settle = |group: &mut Vec<OurEvent>| -> io::Result<()> {
        for ours in fold(std::mem::take(group)) {
            if is_owed(&ours)
                && period.holds_ours(&ours)
                && let Some(at) = ours.delivered_at
            {
                let micros = at.duration_since(ours.accepted_at).as_micros();
                times.push(u64::try_from(micros).unwrap_or_default())?;
            }
            sorted.push(Keyed { key: ours.transaction.clone(), of: ours })?;
        }
        Ok(())
    };
    for event in events {
        let event = event?;
        let another = group.first().is_some_and(|first| first.group() != event.group());
        if another || group.len() == LONGEST_GROUP {
            settle(&mut group)?;
        }
        group.push(event);
    }
    settle(&mut group)?;
    Ok(sorted)
}

/// One side of a pass, whose next record can be looked at.
struct Side<T> {
    merge: Merge<Keyed<T>>,
    head: Option<Keyed<T>>,
}

impl<T: Placed + Serialize + serde::de::DeserializeOwned> Side<T> {
    fn of(mut merge: Merge<Keyed<T>>) -> io::Result<Self> {
        let head = merge.next().transpose()?;
        Ok(Self { merge, head })
    }

    fn key(&self) -> Option<&str> {
        self.head.as_ref().map(|head| head.key.as_str())
    }

    /// The next slice of a key.
    fn slice(&mut self, key: &str) -> io::Result<Vec<T>> {
        let mut slice = Vec::new();
        while slice.len() < SLICE && self.key() == Some(key) {
            let next = self.merge.next().transpose()?;
            slice.extend(std::mem::replace(&mut self.head, next).map(|head| head.of));
        }
        Ok(slice)
    }
}

/// Both sides, walked through by one key.
struct Pass {
    ours: Side<Ours>,
    theirs: Side<Theirs>,
    by: By,
    /// The key of the slice before, and whether we have anything under it.
    before: Option<(String, bool)>,
}

impl Pass {
    fn of(ours: Merge<Keyed<Ours>>, theirs: Merge<Keyed<Theirs>>, by: By) -> io::Result<Self> {
        Ok(Self { ours: Side::of(ours)?, theirs: Side::of(theirs)?, by, before: None })
    }

    fn next(&mut self) -> io::Result<Option<Paired>> {
        let keys = [self.ours.key(), self.theirs.key()];
        let Some(key) = keys.into_iter().flatten().min().map(ToOwned::to_owned) else { return Ok(None) };
        let (ours, theirs) = (self.ours.slice(&key)?, self.theirs.slice(&key)?);
        let known = self.before.as_ref().is_some_and(|(before, known)| *before == key && *known);
        self.before = Some((key, known || !ours.is_empty()));
        Ok(Some(pair(ours, theirs, self.by, known)))
    }
}

/// What is found, slice by slice.
pub(super) struct Join {
    transactions: Option<Pass>,
    /// Ours for the second pass, where they have rows without a transaction id.
    left: Option<Sorter<Keyed<Ours>>>,
    clicks: Option<Merge<Keyed<Theirs>>>,
    click_pass: Option<Pass>,
    rules: Rules,
    period: Period,
    outside: Outside,
    times: Option<Sorter<u64>>,
}

impl Join {
    /// What is found next; `None` when all is found.
    ///
    /// # Errors
    /// When a run cannot be written or read.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<Finding>>> {
        if let Some(pass) = &mut self.transactions {
            if let Some(mut paired) = pass.next()? {
                if let Some(left) = &mut self.left {
                    let taken = paired.pairs.iter().map(|(ours, _)| Ours { taken: true, ..ours.clone() });
                    for ours in taken.chain(std::mem::take(&mut paired.ours)) {
                        // Under an empty click stands what has none; no row of theirs has that key.
                        left.push(Keyed { key: ours.click.clone().unwrap_or_default(), of: ours })?;
                    }
                }
                return Ok(Some(self.judged(paired)));
            }
            self.transactions = None;
            if let (Some(left), Some(clicks)) = (self.left.take(), self.clicks.take()) {
                self.click_pass = Some(Pass::of(left.finish()?, clicks, By::Click)?);
            }
        }
        let Some(pass) = &mut self.click_pass else { return Ok(None) };
        let paired = pass.next()?;
        Ok(paired.map(|paired| self.judged(paired)))
    }

    fn judged(&mut self, paired: Paired) -> Vec<Finding> {
        self.outside.count_unpaired(&self.period, &paired.ours);
        judge(paired, &self.rules, &self.period)
    }

    /// Ours that lie just outside of the period and have no row, once all is found.
    pub(super) fn outside(&self) -> Outside {
        self.outside
    }

    /// The median of the times that ours took to arrive, in microseconds: exact, from sorted runs.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub(super) fn median(&mut self) -> io::Result<Option<u64>> {
        let Some(times) = self.times.take() else { return Ok(None) };
        let count = times.count();
        let middle = usize::try_from(count.saturating_sub(1) / 2).map_err(io::Error::other)?;
        let mut behind = times.finish()?.skip(middle);
        let Some(low) = behind.next().transpose()? else { return Ok(None) };
        let high = if count % 2 == 0 { behind.next().transpose()?.unwrap_or(low) } else { low };
        Ok(Some(u64::midpoint(low, high)))
    }
}
