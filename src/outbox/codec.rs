//! How a record is written: a version byte, the record in postcard, and a checksum over both and the key.
//!
//! A record that does not check out is reported with its key, never skipped and never guessed at.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::model::OutboxError;
use crate::planted::{Bug, planted};

/// The version of records written today. A reader of later versions must still read this one.
pub(crate) const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Bytes of an event, or of an attempt with a short answer.
const USUAL_RECORD_BYTES: usize = 1_024;
/// Longest record: keeps every page of the engine small enough to be stored in one piece.
pub(crate) const MAX_RECORD_BYTES: usize = 24 * 1024;

pub(crate) fn encode<T: Serialize>(key: &[u8], record: &T) -> Result<Vec<u8>, OutboxError> {
    let mut bytes = postcard::to_extend(record, begun()).map_err(|error| OutboxError::Encode(error.to_string()))?;
    close(key, &mut bytes);
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(OutboxError::Encode(format!("it has {} bytes, at most {MAX_RECORD_BYTES} fit", bytes.len())));
    }
    Ok(bytes)
}

/// The beginning of a record, with room for most of them.
fn begun() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_RECORD_BYTES);
    bytes.push(VERSION);
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, OutboxError> {
    let corrupt = |why: &str| corrupt(key, why);
    let split = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or_else(|| corrupt("the record is too short"))?;
    let (body, found) = bytes.split_at(split);
    if checksum(key, body) != found && !planted(Bug::ChecksumIgnored) {
        return Err(corrupt("the checksum does not match"));
    }
    match body.split_first() {
        Some((&VERSION, record)) => postcard::from_bytes(record).map_err(|error| corrupt(&error.to_string())),
        Some((version, _)) => {
            Err(corrupt(&format!("record version {version} is unknown to this version of postbackd")))
        }
        None => Err(corrupt("the record is empty")),
    }
}

/// What is said of a record, or its key, that cannot be right.
pub(crate) fn corrupt(key: &[u8], why: &str) -> OutboxError {
    OutboxError::Corrupt { key: key.escape_ascii().to_string(), why: why.into() }
}

/// Bytes that check out as a record, whatever they hold.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn seal(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(content);
    close(key, &mut bytes);
    bytes
}

fn close(key: &[u8], bytes: &mut Vec<u8>) {
    let checksum = checksum(key, bytes);
    bytes.extend_from_slice(&checksum);
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_any_damage_is_noticed() {
        let written = encode(b"k", &("text".to_owned(), 7_u32)).unwrap();
        assert_eq!(decode::<(String, u32)>(b"k", &written).unwrap(), ("text".to_owned(), 7));
        for index in 0..written.len() {
            let mut damaged = written.clone();
            damaged[index] ^= 0x10;
            assert!(
                matches!(decode::<(String, u32)>(b"k", &damaged), Err(OutboxError::Corrupt { .. })),
                "byte {index}"
            );
        }
        assert!(decode::<(String, u32)>(b"l", &written).is_err(), "a record under another key");
        assert!(decode::<(String, u32)>(b"k", &written[..3]).is_err());
    }
}
