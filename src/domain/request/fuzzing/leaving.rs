//! What holds of every request that leaves, whatever it was made of.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::domain::event::Event;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::request::{
    MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_URL_BYTES, PreparedRequest, RenderError, RequestTemplate, header_name_problem,
};
use crate::domain::template::{Scope, Secrets};
use crate::fuzzing::now;

/// A part of the secret that templates may name; it must stand in no record.
pub(super) const SECRET: &str = "s3cr3tpart";

/// The secrets that templates may name.
pub(super) fn secrets() -> Secrets {
    let value = || vec![SecretString::from(format!("{SECRET}/+ ü"))];
    Secrets::new(BTreeMap::from([("token".into(), value()), ("hmac".into(), value())]))
}

/// Makes the request of one attempt; made twice, it is the same.
pub(crate) fn sent(
    request: &RequestTemplate,
    event: &Event,
    original: Option<&Event>,
    secrets: &Secrets,
) -> Result<PreparedRequest, RenderError> {
    let event_id = EventId::from_u64(1_795_168_800_000_000);
    let delivery_id = DeliveryId { event: event_id, ordinal: 3 };
    let scope = Scope { event, event_id, delivery_id, attempt: 2, timestamp: now(), nonce: "n0nce", original, secrets };
    let rendered = request.render(&scope);
    assert_eq!(request.render(&scope), rendered, "rendered again");
    rendered
}

/// The request goes where its template says, and every parser takes it apart as it was put together.
pub(crate) fn leaves_whole(request: &PreparedRequest, origin: &str) {
    let PreparedRequest { method, url, headers, body, record, .. } = request;
    assert!(url.len() <= MAX_URL_BYTES && body.len() <= MAX_BODY_BYTES, "too large: {request:?}");
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{url}");
    assert!(url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/')), "{url} is not at {origin}");
    match (::url::Url::parse(url), ::url::Url::parse(origin)) {
        (Ok(parsed), Ok(origin)) => {
            assert_eq!(parsed.as_str(), url, "as a parser writes it");
            let place = |url: &::url::Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port());
            assert_eq!(place(&parsed), place(&origin), "{url}");
            assert!(parsed.username().is_empty() && parsed.password().is_none(), "{url}");
        }
        other => panic!("{url}: {other:?}"),
    }
    for (name, value) in headers {
        assert!(header_name_problem(name).is_none() && !name.bytes().any(|b| b.is_ascii_uppercase()), "{name}");
        assert!(value.len() <= MAX_HEADER_BYTES, "{name}: {} bytes", value.len());
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?}");
    }
    assert_eq!((&record.method, record.headers.len()), (method, headers.len()), "what is recorded");
}
