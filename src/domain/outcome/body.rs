//! What an answer's body says: JSON by pointer, XML by tag.
//!
//! Both are read at most once an answer, and only where a rule asks. A body that is not JSON or not XML meets no
//! condition on either, not even that something is absent: a login page is no proof that there is no error.

use std::cell::OnceCell;
use std::fmt;

use rust_decimal::Decimal;
use serde_json::Value;

use super::Response;
use super::xml::{self, Element};

/// What must hold of a value in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation<T> {
    /// It is there; in JSON, and is not null.
    Present,
    /// It is not there; in JSON, or is null.
    Absent,
    /// It is one of these.
    OneOf(Vec<T>),
    /// It is there, and is another.
    Not(T),
}

/// A condition on a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonCondition {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// What must hold of the value there.
    pub expected: Expectation<Value>,
}

/// A condition on an XML body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlCondition {
    /// The tag's name; without a prefix, it is found under every prefix.
    pub tag: String,
    /// What must hold of the text in it, without spaces around it. With several such tags, of one of them.
    pub expected: Expectation<String>,
}

/// A response with its body read as the rules ask for it.
pub(super) struct Answer<'a> {
    pub(super) response: &'a Response<'a>,
    json: OnceCell<Option<Value>>,
    xml: OnceCell<Option<Vec<Element>>>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(response: &'a Response<'a>) -> Self {
        Self { response, json: OnceCell::new(), xml: OnceCell::new() }
    }

    /// The body as JSON, if it is.
    pub(super) fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(self.response.body).ok()).as_ref()
    }

    /// The elements of the body as XML, if it is.
    pub(super) fn xml(&self) -> Option<&[Element]> {
        self.xml.get_or_init(|| xml::elements(self.response.body)).as_deref()
    }

    /// Whether it is called an HTML page, or is one that is not called anything.
    pub(super) fn is_page(&self) -> bool {
        match self.response.content_type {
            Some(kind) => is_html(kind),
            None => {
                let start = self.response.body.trim_ascii_start();
                [&b"<!doctype html"[..], b"<html"]
                    .iter()
                    .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
            }
        }
    }

    /// Whether the body begins as HTML or XML does.
    pub(super) fn is_markup(&self) -> bool {
        self.response.body.trim_ascii_start().starts_with(b"<")
    }
}

/// Whether a content type is that of a page.
pub(super) fn is_html(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|html| essence.eq_ignore_ascii_case(html))
}

impl<T: PartialEq> Expectation<T> {
    /// Whether it holds of every value of which the other holds.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, Self::Present | Self::OneOf(_) | Self::Not(_)) | (Self::Absent, Self::Absent) => true,
            (Self::OneOf(own), Self::OneOf(others)) => others.iter().all(|other| own.contains(other)),
            (Self::Not(own), Self::Not(other)) => own == other,
            (Self::Not(own), Self::OneOf(others)) => !others.contains(own),
            (Self::Present | Self::OneOf(_) | Self::Not(_), Self::Absent)
            | (Self::Absent, Self::Present | Self::OneOf(_) | Self::Not(_))
            | (Self::OneOf(_), Self::Present | Self::Not(_))
            | (Self::Not(_), Self::Present) => false,
        }
    }
}

impl JsonCondition {
    /// Whether it holds of every body of which the other holds.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // Numbers are the same however they are written, which a comparison of JSON does not know.
        let written = matches!((&self.expected, &other.expected), (Expectation::Not(_), Expectation::OneOf(_)));
        self.pointer == other.pointer && !written && self.expected.covers(&other.expected)
    }

    pub(super) fn holds(&self, answer: &Answer<'_>) -> bool {
        let Some(document) = answer.json() else { return false };
        let found = document.pointer(&self.pointer).filter(|value| !value.is_null());
        match (&self.expected, found) {
            (Expectation::Absent, found) => found.is_none(),
            (_, None) => false,
            (Expectation::Present, Some(_)) => true,
            (Expectation::OneOf(values), Some(found)) => values.iter().any(|value| same(value, found)),
            (Expectation::Not(value), Some(found)) => !same(value, found),
        }
    }
}

/// Whether two values are the same; numbers by what they count, not by how they are written.
fn same(expected: &Value, found: &Value) -> bool {
    let decimal = |number: &serde_json::Number| {
        let text = number.to_string();
        text.parse::<Decimal>().or_else(|_| Decimal::from_scientific(&text)).ok()
    };
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => a == b || decimal(a).is_some_and(|a| Some(a) == decimal(b)),
        (a, b) => a == b,
    }
}

impl XmlCondition {
    /// Whether it holds of every body of which the other holds.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.tag == other.tag && self.expected.covers(&other.expected)
    }

    pub(super) fn holds(&self, answer: &Answer<'_>) -> bool {
        let Some(elements) = answer.xml() else { return false };
        let mut found = elements.iter().filter(|element| element.is_named(&self.tag));
        match &self.expected {
            Expectation::Absent => found.next().is_none(),
            Expectation::Present => found.next().is_some(),
            Expectation::OneOf(texts) => found.any(|element| texts.iter().any(|text| element.text.trim() == text)),
            Expectation::Not(text) => found.any(|element| element.text.trim() != text),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Expectation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("is there"),
            Self::Absent => f.write_str("is absent"),
            Self::Not(value) => write!(f, "is not {value}"),
            Self::OneOf(values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                write!(f, "is {}", values.join(" or "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn response(body: &str) -> Response<'_> {
        Response { status: 200, content_type: None, retry_after: None, body: body.as_bytes(), over_cap: false }
    }

    #[test]
    fn json_is_looked_up_by_pointer() {
        use Expectation::{Absent, Not, OneOf, Present};
        let meta = r#"{"error":{"code":4,"message":"busy","sub":null}}"#;
        let table = [
            (meta, "/error", Present, true),
            (meta, "/error", Absent, false),
            (meta, "/error/sub", Present, false),
            (meta, "/error/sub", Absent, true),
            (meta, "/error/code", OneOf(vec![json!(17), json!(4)]), true),
            (meta, "/error/code", OneOf(vec![json!("4")]), false),
            (meta, "/error/code", Not(json!(0)), true),
            (meta, "/error/code", Not(json!(4)), false),
            (meta, "/code", Not(json!(4)), false),
            (r#"{"code":4.0}"#, "/code", OneOf(vec![json!(4)]), true),
            (r#"{"code":4e0}"#, "/code", OneOf(vec![json!(4)]), true),
            ("[{}]", "/0", OneOf(vec![json!({})]), true),
            ("\"OK\"", "", OneOf(vec![json!("OK")]), true),
            ("{}", "/error", Absent, true),
            ("", "/error", Absent, false),
            ("<html></html>", "/error", Absent, false),
            ("{} trailing", "/error", Absent, false),
        ];
        for (body, pointer, expected, holds) in table {
            let condition = JsonCondition { pointer: pointer.into(), expected };
            assert_eq!(condition.holds(&Answer::new(&response(body))), holds, "{body} {condition:?}");
        }
    }

    #[test]
    fn xml_is_looked_up_by_tag() {
        use Expectation::{Absent, Not, OneOf, Present};
        let one = |text: &str| OneOf(vec![text.to_owned()]);
        let answer = "<response><good>2</good>\n<bad> 0 </bad></response>";
        let table = [
            (answer, "bad", one("0"), true),
            (answer, "bad", Not("0".into()), false),
            (answer, "bad", Present, true),
            (answer, "BAD", Present, false),
            (answer, "error", Absent, true),
            (answer, "error", Present, false),
            ("<good>2</good><bad>3</bad>", "bad", Not("0".into()), true),
            ("<r><bad>0</bad><bad>3</bad></r>", "bad", Not("0".into()), true),
            ("<r><bad>0</bad><bad>3</bad></r>", "bad", one("0"), true),
            ("<s:r xmlns:s='x'><s:bad>1</s:bad></s:r>", "bad", one("1"), true),
            ("<s:r xmlns:s='x'><s:bad>1</s:bad></s:r>", "s:bad", one("1"), true),
            ("<s:r xmlns:s='x'><s:bad>1</s:bad></s:r>", "t:bad", Present, false),
            ("<error/>", "error", Present, true),
            ("<error/>", "error", one(""), true),
            ("", "error", Absent, false),
            ("{}", "error", Absent, false),
            ("<html><body>please log in</body></html>", "error", Absent, false),
        ];
        for (body, tag, expected, holds) in table {
            let condition = XmlCondition { tag: tag.into(), expected };
            assert_eq!(condition.holds(&Answer::new(&response(body))), holds, "{body} {condition:?}");
        }
    }
}
