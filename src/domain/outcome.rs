//! What an answer, or its absence, means: the response rules, the defaults behind them, and what follows.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::delivery::{Conclusion, DeadReason, DeliveredHow, Delivery, HoldReason};
use super::retry::{self, RetryPolicy};

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// The receiver already had it.
    Duplicate,
    /// The receiver will never take it.
    Rejected,
    /// The receiver, or our configuration of it, is wrong.
    Misconfigured,
    /// The receiver asks us to wait.
    Throttled,
    /// The receiver is gone for good.
    Gone,
    /// The receiver failed.
    Retry,
    /// Nothing could be sent.
    Unreachable,
    /// Something was sent, and no answer came.
    Ambiguous,
    /// The egress policy forbids the address.
    Blocked,
    /// The template could not be rendered for the event.
    Unrenderable,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 11] = [
        Self::Delivered,
        Self::Duplicate,
        Self::Rejected,
        Self::Misconfigured,
        Self::Throttled,
        Self::Gone,
        Self::Retry,
        Self::Unreachable,
        Self::Ambiguous,
        Self::Blocked,
        Self::Unrenderable,
    ];

    /// The outcome's name for programs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
            Self::Throttled => "throttled",
            Self::Gone => "gone",
            Self::Retry => "retry",
            Self::Unreachable => "unreachable",
            Self::Ambiguous => "ambiguous",
            Self::Blocked => "blocked",
            Self::Unrenderable => "unrenderable",
        }
    }

    /// Whether the outcome speaks for the receiver's health.
    pub fn health(self) -> Health {
        match self {
            Self::Delivered | Self::Duplicate | Self::Rejected | Self::Gone => Health::Good,
            Self::Retry | Self::Unreachable | Self::Ambiguous => Health::Bad,
            Self::Misconfigured | Self::Throttled | Self::Blocked | Self::Unrenderable => Health::Unknown,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an outcome says of the receiver's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers with sense.
    Good,
    /// It fails.
    Bad,
    /// Nothing either way.
    Unknown,
}

/// What came back, as far as it matters for the verdict.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The media type, as the receiver named it.
    pub content_type: Option<&'a str>,
    /// The wait that the receiver asks for.
    pub retry_after: Option<Duration>,
    /// The body, up to the cap.
    pub body: &'a [u8],
    /// Whether the body was longer than the cap.
    pub over_cap: bool,
}

/// Why no whole answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The egress policy forbids the address.
    Blocked,
    /// The template could not be rendered.
    Unrenderable,
    /// Name resolution, connection or its deadline failed: nothing was sent.
    Unreachable,
    /// This machine could not open a connection (no descriptors, ports or memory left): nothing was sent.
    Local,
    /// The TLS handshake failed: no request was sent.
    Tls,
    /// This machine trusts no certificate at all, so that no handshake can succeed: no request was sent.
    OwnTls,
    /// A timeout or a broken connection after bytes were sent.
    Lost,
}

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
    /// The body is JSON and has this value at this pointer.
    pub json: Option<JsonCondition>,
}

/// A value that a JSON body must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonCondition {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// The value; `None` asks only that there is one other than null.
    pub equals: Option<Value>,
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

/// An outcome with what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What the attempt came to.
    pub outcome: Outcome,
    /// The rule that decided: `rule 2 (…)` for a configured one, `default: …` otherwise.
    pub rule: String,
    /// The wait that the receiver asks for.
    pub retry_after: Option<Duration>,
    /// Whether this machine failed, and the attempt says nothing of the receiver.
    pub local: bool,
}

impl Judgement {
    /// What the attempt says of the receiver's health.
    pub fn health(&self) -> Health {
        if self.local { Health::Unknown } else { self.outcome.health() }
    }
}

impl Conditions {
    fn hold(&self, response: &Response<'_>) -> bool {
        let contains = |needle: &str| {
            let needle = needle.as_bytes();
            needle.is_empty() || response.body.windows(needle.len()).any(|window| window == needle)
        };
        let typed = |prefix: &String| {
            let found = response.content_type.unwrap_or_default();
            found.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        (self.status.is_empty() || self.status.iter().any(|range| range.holds(response.status)))
            && self.content_type.as_ref().is_none_or(typed)
            && self.body_contains.as_deref().is_none_or(contains)
            && self.body_matches.as_ref().is_none_or(|pattern| pattern.is_match(response.body))
            && self.json.as_ref().is_none_or(|json| json.holds(response.body))
    }
}

impl JsonCondition {
    fn holds(&self, body: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<Value>(body) else { return false };
        match (document.pointer(&self.pointer), &self.equals) {
            (None | Some(Value::Null), None) | (None, Some(_)) => false,
            (Some(_), None) => true,
            (Some(found), Some(expected)) => found == expected,
        }
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
        parts.extend(self.json.iter().map(|json| match &json.equals {
            Some(value) => format!("json {} is {value}", json.pointer),
            None => format!("json has {}", json.pointer),
        }));
        if parts.is_empty() { f.write_str("any response") } else { f.write_str(&parts.join(", ")) }
    }
}

/// Judges a response by a postback's rules, then by the defaults.
pub fn judge(response: &Response<'_>, rules: &[ResponseRule], receiver_dedupes: bool) -> Judgement {
    let retry_after = response.retry_after;
    if let Some((index, rule)) = rules.iter().enumerate().find(|(_, rule)| rule.when.hold(response)) {
        let named = format!("rule {} ({})", index + 1, rule.when);
        return Judgement { outcome: rule.then.outcome(), rule: named, retry_after, local: false };
    }
    let (outcome, rule) = match response.status {
        _ if response.over_cap && receiver_dedupes => (Outcome::Retry, "default: body over the cap"),
        _ if response.over_cap => (Outcome::Ambiguous, "default: body over the cap"),
        200..=299 => (Outcome::Delivered, "default: 2xx"),
        429 => (Outcome::Throttled, "default: 429"),
        503 if retry_after.is_some() => (Outcome::Throttled, "default: 503 with Retry-After"),
        410 => (Outcome::Gone, "default: 410"),
        300..=399 => (Outcome::Retry, "default: redirects are not followed"),
        _ => (Outcome::Retry, "default: not 2xx"),
    };
    Judgement { outcome, rule: rule.into(), retry_after, local: false }
}

/// Judges the absence of a whole answer.
pub fn judge_failure(failure: Failure) -> Judgement {
    let (outcome, rule) = match failure {
        Failure::Blocked => (Outcome::Blocked, "default: egress policy"),
        Failure::Unrenderable => (Outcome::Unrenderable, "default: template not rendered"),
        Failure::Unreachable => (Outcome::Unreachable, "default: nothing sent"),
        Failure::Local => (Outcome::Unreachable, "default: nothing sent, local fault"),
        Failure::Tls => (Outcome::Retry, "default: TLS handshake"),
        Failure::OwnTls => (Outcome::Misconfigured, "default: this machine trusts no certificate"),
        Failure::Lost => (Outcome::Ambiguous, "default: no answer after bytes were sent"),
    };
    Judgement { outcome, rule: rule.into(), retry_after: None, local: failure == Failure::Local }
}

/// What follows from a judgement for the delivery that was in flight.
pub fn conclude(
    judgement: &Judgement,
    delivery: &Delivery,
    policy: &RetryPolicy,
    receiver_dedupes: bool,
    now: Timestamp,
    random: f64,
) -> Conclusion {
    let next_step = || {
        let asked = judgement.retry_after.unwrap_or_default();
        match policy.delay(delivery.spent + 1, random) {
            Some(delay) => Conclusion::Again { due: retry::after(now, delay.max(asked)), spends: true },
            None => Conclusion::Dead(DeadReason::Exhausted),
        }
    };
    if judgement.local {
        let unspent = delivery.made.saturating_sub(delivery.spent);
        return match retry::local_delay(unspent, random) {
            Some(delay) => Conclusion::Again { due: retry::after(now, delay), spends: false },
            None => next_step(),
        };
    }
    match judgement.outcome {
        Outcome::Delivered => Conclusion::Delivered(DeliveredHow::Accepted),
        Outcome::Duplicate => Conclusion::Delivered(DeliveredHow::Duplicate),
        Outcome::Rejected => Conclusion::Dead(DeadReason::Rejected),
        Outcome::Misconfigured => Conclusion::Dead(DeadReason::Misconfigured),
        Outcome::Blocked => Conclusion::Dead(DeadReason::Blocked),
        Outcome::Unrenderable => Conclusion::Dead(DeadReason::Unrenderable),
        Outcome::Gone => Conclusion::Held(HoldReason::Gone),
        Outcome::Ambiguous if !receiver_dedupes => Conclusion::Held(HoldReason::Ambiguous),
        Outcome::Retry | Outcome::Unreachable | Outcome::Ambiguous => next_step(),
        Outcome::Throttled => {
            let wait = judgement.retry_after.unwrap_or_else(|| policy.throttled_delay(delivery.made + 1, random));
            let wait = wait.max(retry::LEAST_THROTTLED);
            Conclusion::Again { due: retry::after(now, wait), spends: false }
        }
    }
}

#[cfg(test)]
mod tests;
