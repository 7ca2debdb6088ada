//! What the API makes of a body, for fuzzing.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use super::body;
use super::ingest::parse_item;
use crate::domain::event::Fault;

/// Most items of a batch; more than fit an input that is worth its time, and few enough to be passed.
const MOST: usize = 64;

/// The items of a batch; `None` where it is refused as a whole.
pub(crate) fn cut(input: &[u8], ndjson: bool) -> Option<Vec<Result<Value, Fault>>> {
    let mut headers = HeaderMap::new();
    if ndjson {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    }
    let items = body::items(input, &headers, MOST).ok()?;
    assert!(items.len() <= MOST, "{} items", items.len());
    let mut rest = input;
    for item in &items {
        let at = rest.windows(item.len().max(1)).position(|window| window == *item);
        assert!(at.is_some(), "an item that was not written: {}", item.escape_ascii());
        rest = rest.get(at.unwrap_or_default() + item.len()..).unwrap_or_default();
    }
    let parsed: Vec<_> = items.into_iter().map(parse_item).collect();
    if !ndjson && let Ok(whole) = serde_json::from_slice::<Vec<Value>>(input) {
        let parts: Vec<_> = parsed.iter().flatten().collect();
        assert_eq!(parts, whole.iter().collect::<Vec<_>>(), "the parts, and the whole");
    }
    Some(parsed)
}
