//! What tells one transaction from another in the ledger.
//!
//! Reads it out of a request; refuses to know what is counted under it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::wire::Request;

/// Where the key of a request stands: alternatives, each made of parts.
///
/// Written as `txid` or `query:txid`, `header:webhook-id`, `json:/transaction_id` (or `/transaction_id`).
/// Commas divide alternatives, of which the first complete one counts; `+` joins parts, so that
/// `header:webhook-id,affiliate+txid` takes the header or, without one, both parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerKey(Vec<Vec<Source>>);

/// One place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Query(String),
    Header(String),
    Json(String),
}

/// Why a text is no ledger key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a ledger key such as txid, header:webhook-id or json:/transaction_id")]
pub struct LedgerKeyError(String);

/// A key's fingerprint: what the ledger stores of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyHash(pub(super) [u8; 16]);

impl KeyHash {
    /// The fingerprint of a key.
    pub(super) fn of(key: &str) -> Self {
        Self::salted(&[], key)
    }

    /// The fingerprint of a key under a seed.
    pub(super) fn salted(salt: &[u8], key: &str) -> Self {
        let digest = Sha256::new().chain_update(salt).chain_update(key).finalize();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    /// Which of so many shards holds what is known about the key.
    pub(super) fn shard(self, shards: usize) -> usize {
        self.0.last().map_or(0, |byte| usize::from(*byte) % shards.max(1))
    }

    /// The first eight bytes as a number.
    pub(super) fn number(self) -> u64 {
        self.0.first_chunk().copied().map_or(0, u64::from_be_bytes)
    }
}

impl LedgerKey {
    /// The key of a request; `None` when it carries none, or an empty one.
    pub(super) fn of(&self, request: &Request) -> Option<String> {
        let mut document = None;
        self.0.iter().find_map(|parts| {
            let mut key = String::new();
            for (at, part) in parts.iter().enumerate() {
                let value = match part {
                    Source::Query(name) => request.parameter(name)?,
                    Source::Header(name) => request.field(name)?.to_owned(),
                    Source::Json(pointer) => {
                        let document = document.get_or_insert_with(|| serde_json::from_slice(&request.body));
                        text_of(document.as_ref().ok()?, pointer)?
                    }
                };
                if value.is_empty() {
                    return None;
                }
                if at > 0 {
                    key.push('+');
                }
                key.push_str(&value);
            }
            Some(key)
        })
    }
}

fn text_of(document: &serde_json::Value, pointer: &str) -> Option<String> {
    match document.pointer(pointer)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    }
}

impl Default for LedgerKey {
    /// The header `webhook-id`, else the query parameter `txid`.
    fn default() -> Self {
        Self(vec![vec![Source::Header("webhook-id".to_owned())], vec![Source::Query("txid".to_owned())]])
    }
}

impl FromStr for LedgerKey {
    type Err = LedgerKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let source = |part: &str| {
            let (kind, name) = match part.split_once(':') {
                _ if part.starts_with('/') => ("json", part),
                Some((kind, name)) => (kind, name),
                None => ("query", part),
            };
            match kind {
                _ if name.is_empty() => Err(LedgerKeyError(text.to_owned())),
                "query" => Ok(Source::Query(name.to_owned())),
                "header" => Ok(Source::Header(name.to_owned())),
                "json" if name.starts_with('/') => Ok(Source::Json(name.to_owned())),
                _ => Err(LedgerKeyError(text.to_owned())),
            }
        };
        let parts = |alternative: &str| alternative.split('+').map(|part| source(part.trim())).collect();
        text.split(',').map(parts).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for LedgerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, parts) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            for (at, part) in parts.iter().enumerate() {
                f.write_str(if at > 0 { "+" } else { "" })?;
                match part {
                    Source::Query(name) => write!(f, "query:{name}")?,
                    Source::Header(name) => write!(f, "header:{name}")?,
                    Source::Json(pointer) => write!(f, "json:{pointer}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_a_wrong_one_is_refused() {
        for text in ["query:txid", "header:webhook-id,query:txid", "query:a+query:b", "json:/data/id"] {
            assert_eq!(text.parse::<LedgerKey>().unwrap().to_string(), text);
        }
        assert_eq!("txid".parse::<LedgerKey>().unwrap().to_string(), "query:txid");
        assert_eq!("/id".parse::<LedgerKey>().unwrap().to_string(), "json:/id");
        for wrong in ["", "a,", "cookie:x", "json:id", "a+", "header:"] {
            assert_eq!(wrong.parse::<LedgerKey>(), Err(LedgerKeyError(wrong.to_owned())), "{wrong}");
        }
    }
}
