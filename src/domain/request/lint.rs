//! Lints: what may be sent but is most likely a mistake.

use std::collections::BTreeSet;

use super::{BodySource, RequestFault, RequestSource};

/// Fewest characters of a literal that is taken for a secret.
const MIN_SECRET_LENGTH: usize = 16;
/// Fewest bits of information per character of a literal that is taken for a secret.
const MIN_SECRET_ENTROPY: f64 = 3.0;

/// Parts of parameter names behind which secrets stand.
const SECRET_NAMES: [&str; 8] = ["token", "key", "secret", "pass", "pwd", "auth", "secure", "signature"];

/// Finds what is most likely a mistake.
pub(super) fn find(source: &RequestSource) -> Vec<RequestFault> {
    let mut lints = Vec::new();
    let url = &source.url;
    if url.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://")) {
        lints.push(RequestFault::new("url", "is plain http: anybody on the way can read and change it; use https"));
    }
    if doubled_question_mark(url) {
        lints.push(RequestFault::new("url", "holds a second \"?\"; parameters behind the first are joined with \"&\""));
    }
    for name in literal_secrets(url) {
        let detail = format!(
            "parameter {name:?} seems to hold a secret; keep it out of the configuration and write {{secret.NAME}}"
        );
        lints.push(RequestFault::new("url", detail));
    }
    for (key, text) in texts(source) {
        if text.contains("REPLACE") {
            lints.push(RequestFault::new(&key, "still holds REPLACE; fill in what the partner gave you"));
        }
        if text.contains('¤') {
            let detail = "holds \"¤\": \"&curren\" of a parameter such as &currency was turned into it by a web page";
            lints.push(RequestFault::new(&key, detail));
        }
    }
    lints
}

/// Every text of a request, with its key.
fn texts(source: &RequestSource) -> Vec<(String, String)> {
    let mut texts = vec![("url".to_owned(), source.url.clone())];
    texts.extend(source.headers.iter().map(|(name, text)| (format!("headers.{name}"), text.clone())));
    match &source.body {
        BodySource::None => {}
        BodySource::Form(pairs) => {
            texts.extend(pairs.iter().map(|(name, text)| (format!("body.{name}"), format!("{name}={text}"))));
        }
        BodySource::Json(document) => texts.push(("body".into(), document.to_string())),
        BodySource::Text { text, .. } => texts.push(("body.text".into(), text.clone())),
    }
    texts
}

/// Whether a `?` stands behind the first one, outside of macros.
fn doubled_question_mark(url: &str) -> bool {
    url.split_once('?').is_some_and(|(_, query)| query.contains('?'))
}

/// Names of query parameters whose literal value looks like a secret.
fn literal_secrets(url: &str) -> BTreeSet<&str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, value)| {
            let lower = name.to_ascii_lowercase();
            SECRET_NAMES.iter().any(|part| lower.contains(part)) && looks_like_secret(value)
        })
        .map(|(name, _)| name)
        .collect()
}

/// Whether a text is long and irregular enough to have been drawn at random.
fn looks_like_secret(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+' | b'/'));
    text.len() >= MIN_SECRET_LENGTH
        && plain
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && entropy(text) >= MIN_SECRET_ENTROPY
}

/// Shannon's entropy in bits per byte; a measure of likeness, not of money.
fn entropy(text: &str) -> f64 {
    let total = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let distinct: BTreeSet<u8> = text.bytes().collect();
    let share = |byte: u8| {
        let count = text.bytes().filter(|b| *b == byte).count();
        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / total
    };
    -distinct.into_iter().map(share).map(|share| share * share.log2()).sum::<f64>()
}
