//! Taking a backup, of a store in use or at rest; and looking at one that passes by.

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Duration;

use jiff::Timestamp;

use super::frame::{Frame, FrameParser, FrameWriter};
use super::tap::{Tapped, tap};
use super::{BackupError, Tap, Ticket};
use crate::ops::clock::{SharedClock, monotonic};
use crate::outbox::engine::{Engine, EngineError};
use crate::outbox::model::OutboxError;

/// Most pairs, and about the most bytes, in one frame.
const PAIRS_AT_ONCE: usize = 2_048;
const BYTES_AT_ONCE: usize = 256 << 10;
/// How long a walk may take: what is written behind where it is, it comes to as well, and whoever reads it slowly might
/// never come to the end.
const LONGEST: Duration = Duration::from_hours(6);

/// What a backup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When it began.
    pub begun: Timestamp,
    /// When the store stood as in the backup.
    pub stood: Timestamp,
    /// Pairs that were found.
    pub pairs: u64,
    /// Writes meanwhile.
    pub writes: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The outbox failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Somebody else is taking one.
    #[error("a backup is being taken already; one at a time")]
    Busy,
    /// Whoever reads it is too slow for what is written meanwhile.
    #[error("what is written meanwhile comes faster than the backup is read; read it faster, or at a calmer hour")]
    TooSlow,
    /// Whoever reads it has gone.
    #[error("nobody reads the backup any more")]
    Gone,
}

impl From<EngineError> for TakeError {
    fn from(error: EngineError) -> Self {
        Self::Outbox(error.into())
    }
}

/// Takes a backup of a store that nobody writes to. `sink` is given its bytes in order, and says whether to go on.
///
/// # Errors
/// When the store cannot be read, or the sink has gone.
pub fn take_at_rest(
    engine: &dyn Engine,
    clock: &SharedClock,
    sink: &mut dyn FnMut(Vec<u8>) -> bool,
) -> Result<Taken, TakeError> {
    let mut taking = Taking::begin(clock, sink)?;
    taking.walk(engine, None)?;
    taking.end(clock.now())
}

/// Takes a backup of a store in use. `open` has the commit thread begin to tell of its batches, and says whether it does;
/// `close` has it end, and says when that was: from then on, nothing is in the backup.
pub(in crate::outbox) fn take_in_use(
    engine: &dyn Engine,
    clock: &SharedClock,
    open: impl FnOnce(Tap) -> Result<bool, OutboxError>,
    close: impl FnOnce(Ticket) -> Result<Timestamp, OutboxError>,
    sink: &mut dyn FnMut(Vec<u8>) -> bool,
) -> Result<Taken, TakeError> {
    let (tap, tapped) = tap();
    let ticket = tap.ticket();
    if !open(tap)? {
        return Err(TakeError::Busy);
    }
    let walked = Taking::begin(clock, sink).and_then(|mut taking| {
        taking.walk(engine, Some(&tapped))?;
        Ok(taking)
    });
    // Also behind a failure, so that nothing is copied for nobody.
    let stood = close(ticket)?;
    let mut taking = walked?;
    taking.hear(&tapped)?;
    taking.end(stood)
}

/// A backup that is being taken.
struct Taking<'s> {
    frames: FrameWriter,
    sink: &'s mut dyn FnMut(Vec<u8>) -> bool,
    taken: Taken,
}

impl<'s> Taking<'s> {
    fn begin(clock: &SharedClock, sink: &'s mut dyn FnMut(Vec<u8>) -> bool) -> Result<Self, TakeError> {
        let (frames, line) = FrameWriter::begin();
        let begun = clock.now();
        let mut taking = Self { frames, sink, taken: Taken { begun, stood: begun, pairs: 0, writes: 0, bytes: 0 } };
        taking.send(line)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        taking.frame(&Frame::Begin { begun_us: begun.as_microsecond(), version })?;
        Ok(taking)
    }

    fn send(&mut self, bytes: Vec<u8>) -> Result<(), TakeError> {
        self.taken.bytes += bytes.len() as u64;
        if (self.sink)(bytes) { Ok(()) } else { Err(TakeError::Gone) }
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), TakeError> {
        let bytes = self.frames.write(frame).map_err(|error| OutboxError::Encode(error.to_string()))?;
        self.send(bytes)
    }

    fn walk(&mut self, engine: &dyn Engine, tapped: Option<&Tapped>) -> Result<(), TakeError> {
        let (mut from, begun) = (Bound::Unbounded, monotonic());
        loop {
            let (mut pairs, mut bytes, mut full) = (Vec::new(), 0, false);
            for pair in engine.scan(from, Bound::Unbounded) {
                let (key, value) = pair?;
                bytes += key.len() + value.len();
                pairs.push((key, value));
                full = pairs.len() == PAIRS_AT_ONCE || bytes >= BYTES_AT_ONCE;
                if full {
                    break;
                }
            }
            let last = pairs.last().map(|(key, _)| key.clone());
            self.taken.pairs += pairs.len() as u64;
            self.frame(&Frame::Pairs(pairs))?;
            let Some(last) = last.filter(|_| full) else { return Ok(()) };
            from = Bound::Excluded(last);
            if let Some(tapped) = tapped {
                self.hear(tapped)?;
                if tapped.is_unplugged() || monotonic().duration_since(begun) > LONGEST {
                    return Err(TakeError::TooSlow);
                }
            }
        }
    }

    fn hear(&mut self, tapped: &Tapped) -> Result<(), TakeError> {
        while let Some(batch) = tapped.heard() {
            let mut writes = VecDeque::from(batch.writes);
            while !writes.is_empty() {
                let (mut some, mut bytes) = (Vec::new(), 0);
                while bytes < BYTES_AT_ONCE
                    && let Some((key, value)) = writes.pop_front()
                {
                    bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                    some.push((key, value));
                }
                self.taken.writes += some.len() as u64;
                self.frame(&Frame::Writes(some))?;
            }
        }
        if tapped.has_missed() { Err(TakeError::TooSlow) } else { Ok(()) }
    }

    fn end(mut self, stood: Timestamp) -> Result<Taken, TakeError> {
        self.taken.stood = stood;
        let Taken { stood, pairs, writes, .. } = self.taken;
        self.frame(&Frame::End { stood_us: stood.as_microsecond(), pairs, writes })?;
        Ok(self.taken)
    }
}

/// Looks at a backup as it passes by, on its way into a file: only a whole one is worth keeping.
#[derive(Debug, Default)]
pub struct BackupCheck {
    parser: FrameParser,
    taken: Option<Taken>,
    begun: Timestamp,
}

impl BackupCheck {
    /// Looks at the bytes that come next.
    ///
    /// # Errors
    /// When they are no part of a backup.
    pub fn look(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.parser.push(bytes);
        while let Some(frame) = self.parser.next()? {
            let at = |micros| Timestamp::from_microsecond(micros).unwrap_or_default();
            match frame {
                Frame::Begin { begun_us, .. } => self.begun = at(begun_us),
                Frame::End { stood_us, pairs, writes } => {
                    let (begun, stood) = (self.begun, at(stood_us));
                    self.taken = Some(Taken { begun, stood, pairs, writes, bytes: self.parser.place() });
                }
                Frame::Pairs(_) | Frame::Writes(_) => {}
            }
        }
        Ok(())
    }

    /// What it came to, where it is whole.
    ///
    /// # Errors
    /// When it is not.
    pub fn finish(self) -> Result<Taken, BackupError> {
        let torn = BackupError::Torn { at: self.parser.place() };
        if self.parser.is_empty() { self.taken.ok_or(torn) } else { Err(torn) }
    }
}
