//! Events as they were found, gathered into batches.

use std::io;
use std::num::NonZeroUsize;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;
use tokio::sync::mpsc;

use super::format::FoundEvents;
use super::lines::MAX_ITEM_BYTES;

/// Bytes of events behind which a batch is full.
const FULL_BYTES: usize = 1 << 20;
/// Characters kept of what is no event.
const MALFORMED_CHARACTERS: usize = 1_000;

/// Most events in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize(pub(super) NonZeroUsize);

/// Something found where an event should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A JSON object.
    Event(Item),
    /// Something else.
    Malformed(Malformed),
}

/// An event as written, not yet judged by the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The line on which it begins.
    pub(super) line: u64,
    /// Its JSON, exactly as written.
    pub(super) text: String,
    /// The transactions it speaks of: events that share one stay in order.
    pub(super) transactions: Vec<String>,
    /// Bytes of the file that it takes.
    pub(super) bytes: u64,
}

/// What cannot be an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The line on which it begins.
    pub(super) line: u64,
    /// Its beginning.
    pub(super) text: String,
    /// Why it is none.
    pub(super) why: String,
    /// Bytes of the file that it takes.
    pub(super) bytes: u64,
}

/// Events to be handed over together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The events in order.
    pub(super) items: Vec<Item>,
    /// What was found between them.
    pub(super) malformed: Vec<Malformed>,
}

impl Found {
    /// Judges a piece of text.
    pub(super) fn json(line: u64, text: Vec<u8>, bytes: u64) -> Self {
        let malformed = |text: &[u8], why: String| {
            let text = String::from_utf8_lossy(text).chars().take(MALFORMED_CHARACTERS).collect();
            Self::Malformed(Malformed { line, text, why, bytes })
        };
        if text.len() > MAX_ITEM_BYTES {
            return malformed(&text, format!("it is longer than {MAX_ITEM_BYTES} bytes"));
        }
        let text = match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return malformed(error.as_bytes(), "it is not UTF-8".into()),
        };
        match serde_json::from_str::<Value>(&text) {
            Err(error) => malformed(text.as_bytes(), format!("it is not JSON: {error}")),
            Ok(value) if !value.is_object() => malformed(text.as_bytes(), "it is JSON, but no object".into()),
            Ok(value) => Self::Event(Item { line, transactions: transactions(&value), text, bytes }),
        }
    }
}

fn transactions(event: &Value) -> Vec<String> {
    let fields = ["transaction_id", "reverses"].into_iter().filter_map(|field| event.get(field)?.as_str());
    fields.map(str::to_owned).collect()
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.malformed.is_empty()
    }
}

/// The body of a request that hands over these events.
pub(super) fn body(items: &[Item]) -> Bytes {
    let mut body = BytesMut::with_capacity(items.iter().map(|item| item.text.len() + 1).sum::<usize>() + 2);
    let mut divider = b'[';
    for item in items {
        body.put_u8(divider);
        body.put_slice(item.text.as_bytes());
        divider = b',';
    }
    body.put_u8(b']');
    body.freeze()
}

/// Reads all events in batches, until they end, fail, or nobody wants them any more.
pub(super) fn read(found: FoundEvents, size: BatchSize, to: &mpsc::Sender<io::Result<Batch>>) {
    let mut batch = Batch::default();
    let mut bytes = 0;
    for event in found {
        match event {
            Ok(Found::Event(item)) => {
                bytes += item.text.len();
                batch.items.push(item);
            }
            Ok(Found::Malformed(malformed)) => batch.malformed.push(malformed),
            Err(error) => {
                // What was read before is handed over still.
                let _ = to.blocking_send(Ok(batch)).and_then(|()| to.blocking_send(Err(error)));
                return;
            }
        }
        if batch.items.len().max(batch.malformed.len()) >= size.0.get() || bytes >= FULL_BYTES {
            bytes = 0;
            if to.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
        }
    }
    if !batch.is_empty() {
        let _ = to.blocking_send(Ok(batch));
    }
}
