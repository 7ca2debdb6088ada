//! Lints: what may be sent but is most likely a mistake.

use std::collections::BTreeSet;

use super::parameter::Parameter;
use super::url::UrlTemplate;
use super::{BodySource, RequestFault, RequestSource};
use crate::domain::template::Template;

/// Fewest characters of a literal that is taken for a secret.
const MIN_SECRET_LENGTH: usize = 16;
/// Fewest bits of information per character of a literal that is taken for a secret.
const MIN_SECRET_ENTROPY: f64 = 3.0;

/// Parts of parameter names behind which secrets stand.
const SECRET_NAMES: [&str; 8] = ["token", "key", "secret", "pass", "pwd", "auth", "secure", "signature"];

/// Finds what is most likely a mistake.
pub(super) fn find(source: &RequestSource, url: &UrlTemplate) -> Vec<RequestFault> {
    let mut lints = Vec::new();
    if url.origin.as_str().starts_with("http://") {
        lints.push(RequestFault::new("url", "is plain http: anybody on the way can read and change it; use https"));
    }
    let in_query = url.templates().skip(1).flat_map(Template::literals);
    if in_query.into_iter().any(|text| text.contains('?')) {
        lints.push(RequestFault::new("url", "holds a second \"?\"; parameters behind the first are joined with \"&\""));
    }
    for name in url.parameters.iter().filter(|parameter| holds_secret(parameter)).map(|parameter| &parameter.name) {
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

/// Whether a parameter's name speaks of a secret, and its literal value looks like one.
fn holds_secret(parameter: &Parameter) -> bool {
    let name = parameter.name.to_ascii_lowercase();
    let value = parameter.value.iter().filter(|value| value.is_literal());
    SECRET_NAMES.iter().any(|part| name.contains(part)) && value.flat_map(Template::literals).any(looks_like_secret)
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
