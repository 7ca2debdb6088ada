//! Headers of a request: which names they may have, and how their values are compiled.

use super::super::template::encode::{self, Place};
use super::super::template::{Syntax, Template};
use super::{MAX_HEADERS, OnEmpty, RequestFault, body};

/// Headers that belong to the connection, not to the template.
const RESERVED_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeaderTemplate {
    /// In lower case, as it is sent.
    pub(super) name: String,
    pub(super) value: Template,
    pub(super) on_empty: Option<OnEmpty>,
}

/// The headers with those that every request carries: said here, so that they are on record, too.
pub(super) fn with_usual(given: &[(String, String)]) -> Vec<(String, String)> {
    let usual = [("accept", "*/*"), ("user-agent", concat!("postbackd/", env!("CARGO_PKG_VERSION")))];
    let missing =
        usual.into_iter().filter(|(name, _)| !given.iter().any(|(found, _)| found.eq_ignore_ascii_case(name)));
    given.iter().cloned().chain(missing.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

pub(super) fn compile_headers(
    source: &[(String, String)],
    syntax: &Syntax,
    faults: &mut Vec<RequestFault>,
) -> Vec<HeaderTemplate> {
    if source.len() > MAX_HEADERS {
        faults.push(RequestFault::new("headers", format!("has {} headers, at most {MAX_HEADERS}", source.len())));
    }
    let mut headers: Vec<HeaderTemplate> = Vec::new();
    for (name, text) in source {
        let key = format!("headers.{name}");
        if let Some(problem) = header_name_problem(name) {
            faults.push(RequestFault::new(&key, problem));
        }
        let lower = name.to_ascii_lowercase();
        if headers.iter().any(|header| header.name == lower) {
            faults.push(RequestFault::new(&key, "is there twice"));
        }
        let Some(value) = body::compile(&key, text, syntax, faults) else { continue };
        if text.chars().any(char::is_control) {
            faults.push(RequestFault::new(&key, "holds a control character, which a header must not carry"));
        }
        faults.extend(body::other_style(&key, &value, syntax.delimiters));
        let in_header = |text: &str| {
            let mut out = String::new();
            // What cannot be written has been reported above.
            let _ = encode::push(text, Place::Header, false, &mut out);
            out
        };
        headers.push(HeaderTemplate { name: lower, value: value.with_literals(in_header), on_empty: None });
    }
    headers
}

/// What is wrong with a header's name; RFC 9110, section 5.1.
pub(crate) fn header_name_problem(name: &str) -> Option<&'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
        return Some("is not a header's name: letters, digits and \"-\"");
    }
    RESERVED_HEADERS
        .contains(&name.to_ascii_lowercase().as_str())
        .then_some("belongs to the connection and is set when the request is sent; remove it")
}
