//! Encodings: how a value is written so that it stays one value where it stands.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// Where in a request a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The path of the URL.
    Path,
    /// A key or value of the URL's query.
    Query,
    /// A key or value of a form.
    Form,
    /// The inside of a JSON string in a text that somebody wrote.
    Json,
    /// The inside of a string of a JSON document, which stays one whatever stands in it.
    JsonDocument,
    /// Text or an attribute of XML.
    Xml,
    /// The value of a header.
    Header,
    /// Text without rules: other bodies, and the message that is signed.
    Plain,
}

/// A value that cannot be written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unwritable;

/// All but the unreserved characters of RFC 3986.
pub(in crate::domain) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What must not stand raw in a URL's query: controls, space, and what a URL parser would rewrite or cut at.
const RAW_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\'')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What must not stand raw in a URL's path.
const RAW_PATH: &AsciiSet = &RAW_QUERY.add(b'?');

/// Appends a value in the encoding of its place.
///
/// `raw` leaves the place's own syntax to the value (`&` and `=` in a query, tags in XML), but never what would end
/// a URL or a header: control characters, spaces and non-ASCII characters stay encoded in URLs, and a header
/// takes no control character at all. In a JSON document it changes nothing.
pub(crate) fn push(text: &str, place: Place, raw: bool, out: &mut String) -> Result<(), Unwritable> {
    match (place, raw) {
        (Place::Path | Place::Query, false) => out.extend(utf8_percent_encode(text, RESERVED)),
        (Place::Path, true) => push_raw_url(text, RAW_PATH, out),
        (Place::Form, false) => out.extend(url::form_urlencoded::byte_serialize(text.as_bytes())),
        (Place::Query | Place::Form, true) => push_raw_url(text, RAW_QUERY, out),
        (Place::Json, false) | (Place::JsonDocument, _) => push_json(text, out),
        (Place::Xml, false) => push_xml(text, out)?,
        (Place::Header, _) => push_header(text, out)?,
        (Place::Json | Place::Xml, true) | (Place::Plain, _) => out.push_str(text),
    }
    Ok(())
}

/// Appends text that is already in the form of a URL, encoding what must not stand in one.
///
/// A `%` stays where two hexadecimal digits follow it.
fn push_raw_url(text: &str, set: &'static AsciiSet, out: &mut String) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend(utf8_percent_encode(before, set));
        out.push_str(if starts_with_hex_pair(after) { "%" } else { "%25" });
        rest = after;
    }
    out.extend(utf8_percent_encode(rest, set));
}

/// Whether a text goes on with two hexadecimal digits.
pub(crate) fn starts_with_hex_pair(text: &str) -> bool {
    text.as_bytes().get(..2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
}

/// Writes a literal of a URL's path or query so that a URL parser leaves it alone.
pub(crate) fn url_literal(text: &str, place: Place) -> String {
    let mut out = String::with_capacity(text.len());
    push_raw_url(text, if place == Place::Path { REWRITTEN_IN_PATH } else { REWRITTEN_IN_QUERY }, &mut out);
    out
}

/// What a URL parser would rewrite in a path; more is refused when a URL is compiled.
const REWRITTEN_IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'`');

/// What a URL parser would rewrite in a query.
const REWRITTEN_IN_QUERY: &AsciiSet = &REWRITTEN_IN_PATH.add(b'\'');

/// Appends the inside of a JSON string.
pub(crate) fn push_json(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

fn push_xml(text: &str, out: &mut String) -> Result<(), Unwritable> {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A parser would turn these into spaces where they stand in an attribute.
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // XML 1.0, section 2.2.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return Err(Unwritable),
            c => out.push(c),
        }
    }
    Ok(())
}

/// Non-ASCII characters are always encoded; nothing else needs to be.
const NON_ASCII: &AsciiSet = &AsciiSet::EMPTY;

/// Appends the value of a header: visible ASCII and spaces; other characters percent-encoded.
pub(crate) fn push_header(text: &str, out: &mut String) -> Result<(), Unwritable> {
    if text.chars().any(char::is_control) {
        return Err(Unwritable);
    }
    out.extend(utf8_percent_encode(text, NON_ASCII));
    Ok(())
}
