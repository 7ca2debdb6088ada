//! Response rules: conditions on an answer, and what it then means.

use std::fmt;

use regex::bytes::Regex;

use super::Outcome;
use super::body::{self, Answer, JsonCondition, XmlCondition};

/// One response rule of a postback: the first whose conditions all hold decides.
#[derive(Debug, Clone)]
pub struct ResponseRule {
    /// What must hold of the response; all of it.
    pub when: Conditions,
    /// What the response then means.
    pub then: Verdict,
}

/// Conditions on a response. An absent one holds.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Ranges of status codes, one of which must hold the status.
    pub status: Vec<StatusRange>,
    /// The media type starts with this, without regard to case.
    pub content_type: Option<String>,
    /// The body holds this text.
    pub body_contains: Option<String>,
    /// The body matches this pattern.
    pub body_matches: Option<Regex>,
    /// The body is JSON, and each of these holds of it.
    pub json: Vec<JsonCondition>,
    /// The body is XML, and each of these holds of it.
    pub xml: Vec<XmlCondition>,
}

/// Status codes from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// First code.
    pub first: u16,
    /// Last code.
    pub last: u16,
}

impl StatusRange {
    /// Reads `200`, `2xx` or `400-404`; several are separated by commas.
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        text.split(',').map(|part| Self::parse(part.trim())).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| text.len() == 3 && (100..=599).contains(code));
        if let Some((first, last)) = text.split_once('-') {
            return Some(Self { first: code(first)?, last: code(last)? }).filter(|range| range.first <= range.last);
        }
        if let Some(class) = text.strip_suffix("xx") {
            let first = code(&format!("{class}00"))?;
            return Some(Self { first, last: first + 99 });
        }
        code(text).map(|code| Self { first: code, last: code })
    }

    fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// What a rule can say of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// See [`Outcome::Delivered`].
    Delivered,
    /// See [`Outcome::Duplicate`].
    Duplicate,
    /// See [`Outcome::Rejected`].
    Rejected,
    /// See [`Outcome::Misconfigured`].
    Misconfigured,
    /// See [`Outcome::Throttled`].
    Throttled,
    /// See [`Outcome::Gone`].
    Gone,
    /// See [`Outcome::Retry`].
    Retry,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Duplicate,
        Self::Rejected,
        Self::Misconfigured,
        Self::Throttled,
        Self::Gone,
        Self::Retry,
    ];

    /// The outcome it stands for.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Delivered => Outcome::Delivered,
            Self::Duplicate => Outcome::Duplicate,
            Self::Rejected => Outcome::Rejected,
            Self::Misconfigured => Outcome::Misconfigured,
            Self::Throttled => Outcome::Throttled,
            Self::Gone => Outcome::Gone,
            Self::Retry => Outcome::Retry,
        }
    }
}

impl ResponseRule {
    /// Whether an HTML page is not what the rule expects of an answer with this status: it asks for another content
    /// type, for JSON or XML that the page is not, or for a text of success that the page does not hold.
    pub(super) fn expects_no_page(&self, answer: &Answer<'_>) -> bool {
        let Conditions { status, content_type, body_contains, body_matches, json, xml } = &self.when;
        let succeeds = matches!(self.then, Verdict::Delivered | Verdict::Duplicate);
        let asks_text = body_contains.is_some() || body_matches.is_some();
        let another_type = content_type.as_ref().is_some_and(|kind| !body::is_html(kind));
        holds_status(status, answer.response.status)
            && (another_type
                || (!json.is_empty() && answer.json().is_none())
                || (!xml.is_empty() && answer.xml().is_none())
                || (succeeds && asks_text && answer.is_markup()))
    }
}

fn holds_status(ranges: &[StatusRange], status: u16) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.holds(status))
}

impl Conditions {
    /// Whether these hold of every response of which the others hold, as far as it can be told without a response.
    pub fn cover(&self, others: &Self) -> bool {
        let statuses = |wanted: &StatusRange| {
            (wanted.first..=wanted.last).all(|status| self.status.iter().any(|range| range.holds(status)))
        };
        let narrower = |prefix: &String, other: &String| {
            other.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let implied = |own: &Option<String>, other: &Option<String>, implies: &dyn Fn(&String, &String) -> bool| {
            own.as_ref().is_none_or(|own| other.as_ref().is_some_and(|other| implies(own, other)))
        };
        let pattern = |pattern: &Option<Regex>| pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
        (self.status.is_empty() || (!others.status.is_empty() && others.status.iter().all(statuses)))
            && implied(&self.content_type, &others.content_type, &narrower)
            && implied(&self.body_contains, &others.body_contains, &|own, other| other.contains(own.as_str()))
            && implied(&pattern(&self.body_matches), &pattern(&others.body_matches), &|own, other| own == other)
            && self.json.iter().all(|own| others.json.iter().any(|other| own.covers(other)))
            && self.xml.iter().all(|own| others.xml.iter().any(|other| own.covers(other)))
    }

    /// Whether they hold of every response.
    pub fn is_any(&self) -> bool {
        self.cover(&Self::default())
    }

    pub(super) fn hold(&self, answer: &Answer<'_>) -> bool {
        let response = answer.response;
        let contains = |needle: &str| {
            let needle = needle.as_bytes();
            needle.is_empty() || response.body.windows(needle.len()).any(|window| window == needle)
        };
        let typed = |prefix: &String| {
            let found = response.content_type.unwrap_or_default();
            found.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        holds_status(&self.status, response.status)
            && self.content_type.as_ref().is_none_or(typed)
            && self.body_contains.as_deref().is_none_or(contains)
            && self.body_matches.as_ref().is_none_or(|pattern| pattern.is_match(response.body))
            && self.json.iter().all(|json| json.holds(answer))
            && self.xml.iter().all(|xml| xml.holds(answer))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.status.is_empty() {
            let ranges = self.status.iter().map(|range| {
                if range.first == range.last {
                    range.first.to_string()
                } else {
                    format!("{}-{}", range.first, range.last)
                }
            });
            parts.push(format!("status {}", ranges.collect::<Vec<_>>().join(",")));
        }
        parts.extend(self.content_type.iter().map(|kind| format!("content type {kind}")));
        parts.extend(self.body_contains.iter().map(|text| format!("body contains {text:?}")));
        parts.extend(self.body_matches.iter().map(|pattern| format!("body matches {:?}", pattern.as_str())));
        parts.extend(self.json.iter().map(|json| format!("json {} {}", json.pointer, json.expected)));
        parts.extend(self.xml.iter().map(|xml| format!("xml <{}> {}", xml.tag, xml.expected)));
        if parts.is_empty() { f.write_str("any response") } else { f.write_str(&parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Expectation;
    use super::*;

    #[test]
    fn a_rule_covers_those_that_ask_for_the_same_and_more() {
        let status = |text| Conditions { status: StatusRange::parse_list(text).unwrap(), ..Conditions::default() };
        let text = |text: &str| Conditions { body_contains: Some(text.into()), ..status("200") };
        let json = |pointer: &str, expected| Conditions {
            json: vec![JsonCondition { pointer: pointer.into(), expected }],
            ..Conditions::default()
        };
        let is = |values: &[u8]| Expectation::OneOf(values.iter().map(|value| serde_json::json!(value)).collect());
        let pattern = |text| Conditions { body_matches: Some(Regex::new(text).unwrap()), ..Conditions::default() };
        let covered = [
            (Conditions::default(), text("x")),
            (status("2xx"), status("200,204")),
            (status("200-204,205-299"), status("2xx")),
            (status("2xx"), text("x")),
            (text("dup"), text("duplicate")),
            (json("/a", Expectation::Present), json("/a", is(&[1]))),
            (json("/a", is(&[1, 2])), json("/a", is(&[2]))),
            (pattern("a+"), pattern("a+")),
        ];
        for (wide, narrow) in covered {
            assert!(wide.cover(&narrow), "{wide} covers {narrow}");
        }
        let not_covered = [
            (text("x"), Conditions::default()),
            (status("200"), status("2xx")),
            (status("200"), Conditions::default()),
            (text("duplicate"), text("dup")),
            (text("x"), status("200")),
            (json("/a", is(&[1])), json("/a", Expectation::Present)),
            (json("/a", Expectation::Absent), json("/a", Expectation::Present)),
            (json("/a", Expectation::Present), json("/b", Expectation::Present)),
            (json("/a", Expectation::Present), json("/a", Expectation::Absent)),
            (pattern("a+"), pattern("a")),
        ];
        for (wide, narrow) in not_covered {
            assert!(!wide.cover(&narrow), "{wide} does not cover {narrow}");
        }
        assert!(Conditions::default().is_any() && !status("2xx").is_any());
    }

    #[test]
    fn status_ranges_read_and_refuse() {
        let range = |first, last| Some(vec![StatusRange { first, last }]);
        assert_eq!(StatusRange::parse_list("2xx"), range(200, 299));
        assert_eq!(StatusRange::parse_list("400-404"), range(400, 404));
        assert_eq!(StatusRange::parse_list("200, 204").unwrap().len(), 2);
        for text in ["", "20", "9xx", "404-400", "2xx-3xx", "200;201"] {
            assert_eq!(StatusRange::parse_list(text), None, "{text:?}");
        }
    }
}
