//! Reading bodies within their bounds, and cutting batches into items.
//!
//! A body is paid for before it is read: as a whole where its length is announced, else chunk by chunk. Items
//! of a batch are found without being parsed, and no more of them than a batch may have. Knows no event.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::admission::Admitted;
use super::problem::Problem;

/// Longest a producer may take to send a body.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Longest that the body of a refused request is read on.
const DISCARD_DEADLINE: Duration = Duration::from_secs(2);

/// Reads a whole body of at most `limit` bytes, with room taken for each of them.
///
/// # Errors
/// When it is too large, too slow, breaks off, or when there is no room for it.
pub(super) async fn read(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    admitted: &mut Admitted,
) -> Result<Bytes, Problem> {
    let announced = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let mut stream = body.into_data_stream();
    let read = tokio::time::timeout(BODY_DEADLINE, gather(&mut stream, announced, limit, admitted)).await;
    let slow = |_| Err(Problem::malformed(format!("the body did not arrive within {BODY_DEADLINE:?}")));
    let read = read.unwrap_or_else(slow);
    if read.is_err() && !headers.contains_key(EXPECT) {
        discard(stream).await;
    }
    read
}

async fn gather(
    stream: &mut BodyDataStream,
    announced: Option<usize>,
    limit: usize,
    admitted: &mut Admitted,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large(format!("the body is larger than {limit} bytes"));
    if let Some(length) = announced {
        if length > limit {
            return Err(too_large());
        }
        admitted.take(length)?;
    }
    let mut read = BytesMut::with_capacity(announced.unwrap_or_default());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::malformed("the body broke off"))?;
        if chunk.len() > limit.saturating_sub(read.len()) {
            return Err(too_large());
        }
        if announced.is_none() {
            admitted.take(chunk.len())?;
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.freeze())
}

/// Reads on for a moment and keeps nothing: a connection that is closed with unread bytes takes the answer with it.
///
/// Whoever expects to be told before he sends the body is answered at once instead.
async fn discard(mut stream: BodyDataStream) {
    let all = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(DISCARD_DEADLINE, all).await;
}

/// The items of a batch as they were written, at most `most`.
///
/// # Errors
/// When the batch has more of them, or its array is not JSON.
pub(super) fn items<'b>(body: &'b [u8], headers: &HeaderMap, most: usize) -> Result<Vec<&'b [u8]>, Problem> {
    let items = if is_ndjson(headers) { lines(body, most) } else { elements(body, most)? };
    if items.len() > most {
        return Err(Problem::too_large(format!("more than {most} events, the most a batch may have; send several")));
    }
    Ok(items)
}

/// The problem of a body that is not JSON.
pub(super) fn not_json(error: &serde_json::Error) -> Problem {
    Problem::malformed(format!("the body is not JSON: {error}"))
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    matches!(kind, "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-lines")
}

/// Lines that are not blank, one more than `most` where there are more.
fn lines(body: &[u8], most: usize) -> Vec<&[u8]> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.take(most.saturating_add(1)).collect()
}

/// Elements of an array, one more than `most` where there are more; what is behind them is not looked at.
fn elements(body: &[u8], most: usize) -> Result<Vec<&[u8]>, Problem> {
    let mut elements = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_seq(Elements { elements: &mut elements, most });
    match read.and_then(|()| json.end()) {
        // The array was left where it had too many.
        _ if elements.len() > most => Ok(elements),
        Ok(()) => Ok(elements),
        Err(error) if error.is_data() => Err(Problem::malformed(error.to_string())),
        Err(error) => Err(not_json(&error)),
    }
}

struct Elements<'v, 'b> {
    elements: &'v mut Vec<&'b [u8]>,
    most: usize,
}

impl<'b> Visitor<'b> for Elements<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch: a JSON array of events, or NDJSON with Content-Type: application/x-ndjson")
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut array: A) -> Result<(), A::Error> {
        while self.elements.len() < self.most {
            match array.next_element::<&'b RawValue>()? {
                Some(element) => self.elements.push(element.get().as_bytes()),
                None => return Ok(()),
            }
        }
        if array.next_element::<IgnoredAny>()?.is_some() {
            self.elements.push(&[]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str, most: usize) -> Result<Vec<String>, u16> {
        let items = items(body.as_bytes(), &HeaderMap::new(), most).map_err(|problem| problem.status)?;
        Ok(items.into_iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect())
    }

    #[test]
    fn an_array_is_cut_into_what_was_written() {
        assert_eq!(found(r#"[ {"a": 1.10}, 2 ,"x"]"#, 3).unwrap(), [r#"{"a": 1.10}"#, "2", "\"x\""]);
        assert_eq!(found("[]", 3).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_array_is_refused_as_such() {
        for body in ["", "{", "{}", "[1,", "[1 2]", "[1] 2", "[1,]", "nil"] {
            assert_eq!(found(body, 3), Err(400), "{body}");
        }
    }

    #[test]
    fn nothing_behind_the_last_item_that_may_be_is_looked_at() {
        assert_eq!(found("[1,2,3,4", 3), Err(413), "the end of the array was never looked for");
        assert_eq!(found("[1,2,3]", 3).unwrap().len(), 3);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-ndjson".parse().unwrap());
        assert_eq!(items(b"1\n\n2\n \n3\n", &headers, 3).unwrap(), [&b"1"[..], b"2", b"3"]);
        assert_eq!(items(b"1\n2\n3\n4\n", &headers, 3).map_err(|problem| problem.status), Err(413));
    }
}
