//! What an answer, or its absence, means: the response rules, the defaults behind them, and what follows.

mod body;
mod rule;
mod xml;

pub use body::{Expectation, JsonCondition, XmlCondition};
pub use rule::{Conditions, ResponseRule, StatusRange, Verdict};

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::delivery::{Conclusion, DeadReason, DeliveredHow, Delivery, HoldReason};
use super::retry::{self, RetryPolicy};
use super::template::RenderError;
use body::Answer;

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
    /// A secret that the request needs is missing, or not in its encoding.
    SecretUnusable,
    /// Name resolution, connection or its deadline failed: nothing was sent.
    Unreachable,
    /// The TLS handshake failed: no request was sent.
    Tls,
    /// A timeout or a broken connection after bytes were sent.
    Lost,
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
}

/// Judges a response by a postback's rules, then by the defaults.
pub fn judge(response: &Response<'_>, rules: &[ResponseRule], receiver_dedupes: bool) -> Judgement {
    let retry_after = response.retry_after;
    let answer = Answer::new(response);
    if let Some((index, rule)) = rules.iter().enumerate().find(|(_, rule)| rule.when.hold(&answer)) {
        let named = format!("rule {} ({})", index + 1, rule.when);
        return Judgement { outcome: rule.then.outcome(), rule: named, retry_after };
    }
    let foreign_page = || answer.is_page() && rules.iter().any(|rule| rule.expects_no_page(&answer));
    let (outcome, rule) = match response.status {
        200..=299 if foreign_page() => (Outcome::Misconfigured, "default: an HTML page where a rule expects otherwise"),
        _ if response.over_cap && receiver_dedupes => (Outcome::Retry, "default: body over the cap"),
        _ if response.over_cap => (Outcome::Ambiguous, "default: body over the cap"),
        200..=299 => (Outcome::Delivered, "default: 2xx"),
        429 => (Outcome::Throttled, "default: 429"),
        503 if retry_after.is_some() => (Outcome::Throttled, "default: 503 with Retry-After"),
        410 => (Outcome::Gone, "default: 410"),
        300..=399 => (Outcome::Retry, "default: redirects are not followed"),
        _ => (Outcome::Retry, "default: not 2xx"),
    };
    Judgement { outcome, rule: rule.into(), retry_after }
}

/// Judges the absence of a whole answer.
pub fn judge_failure(failure: Failure) -> Judgement {
    let (outcome, rule) = match failure {
        Failure::Blocked => (Outcome::Blocked, "default: egress policy"),
        Failure::Unrenderable => (Outcome::Unrenderable, "default: template not rendered"),
        Failure::SecretUnusable => (Outcome::Misconfigured, "default: a secret cannot be used"),
        Failure::Unreachable => (Outcome::Unreachable, "default: nothing sent"),
        Failure::Tls => (Outcome::Retry, "default: TLS handshake"),
        Failure::Lost => (Outcome::Ambiguous, "default: no answer after bytes were sent"),
    };
    Judgement { outcome, rule: rule.into(), retry_after: None }
}

/// Why no request could be made of an event: for want of a value, or of a secret that is ours to provide.
pub fn failure_to_render(error: &RenderError) -> Failure {
    match error {
        RenderError::UnknownSecret { .. } | RenderError::SecretEncoding { .. } => Failure::SecretUnusable,
        RenderError::Empty { .. }
        | RenderError::Unresolved { .. }
        | RenderError::Filter { .. }
        | RenderError::HeaderValue { .. }
        | RenderError::XmlValue { .. }
        | RenderError::PathSegment
        | RenderError::TooLarge { .. } => Failure::Unrenderable,
    }
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
mod tests {
    use regex::bytes::Regex;

    use super::*;
    use crate::domain::delivery::State;
    use crate::domain::retry::Jitter;

    fn response(status: u16, body: &str) -> Response<'_> {
        Response {
            status,
            content_type: Some("text/html; charset=utf-8"),
            retry_after: None,
            body: body.as_bytes(),
            over_cap: false,
        }
    }

    fn rule(when: Conditions, then: Verdict) -> ResponseRule {
        ResponseRule { when, then }
    }

    #[test]
    fn defaults_decide_where_no_rule_does() {
        let wait = Some(Duration::from_secs(7));
        let table = [
            (200, None, Outcome::Delivered),
            (204, None, Outcome::Delivered),
            (301, None, Outcome::Retry),
            (400, None, Outcome::Retry),
            (410, None, Outcome::Gone),
            (429, None, Outcome::Throttled),
            (500, None, Outcome::Retry),
            (503, None, Outcome::Retry),
            (503, wait, Outcome::Throttled),
        ];
        for (status, retry_after, outcome) in table {
            let judged = judge(&Response { retry_after, ..response(status, "") }, &[], true);
            assert_eq!((judged.outcome, judged.retry_after), (outcome, retry_after), "{status}");
        }
    }

    #[test]
    fn the_first_rule_that_holds_decides_and_is_named() {
        let status = |text| StatusRange::parse_list(text).unwrap();
        let json = |pointer: &str, value| {
            vec![JsonCondition { pointer: pointer.into(), expected: Expectation::OneOf(vec![value]) }]
        };
        let rules = [
            rule(
                Conditions { status: status("200"), body_contains: Some("duplicate".into()), ..Conditions::default() },
                Verdict::Duplicate,
            ),
            rule(
                Conditions {
                    status: status("2xx"),
                    json: json("/code", serde_json::json!(40100)),
                    ..Conditions::default()
                },
                Verdict::Throttled,
            ),
            rule(
                Conditions { body_matches: Some(Regex::new("^ERROR").unwrap()), ..Conditions::default() },
                Verdict::Rejected,
            ),
            rule(
                Conditions { status: status("2xx"), content_type: Some("text/HTML".into()), ..Conditions::default() },
                Verdict::Misconfigured,
            ),
        ];
        let judged = |status, body| judge(&response(status, body), &rules, true);
        assert_eq!(judged(200, "a duplicate").rule, "rule 1 (status 200, body contains \"duplicate\")");
        assert_eq!(judged(201, "{\"code\":40100}").outcome, Outcome::Throttled);
        assert_eq!(judged(201, "{\"code\":40101}").outcome, Outcome::Misconfigured);
        assert_eq!(judged(500, "ERROR: no").outcome, Outcome::Rejected);
        assert_eq!(judged(500, "no ERROR").outcome, Outcome::Retry);
    }

    #[test]
    fn a_page_is_misconfigured_only_where_a_rule_expects_otherwise() {
        let status = |text| StatusRange::parse_list(text).unwrap();
        let json = || vec![JsonCondition { pointer: "/error".into(), expected: Expectation::Present }];
        let xml = || vec![XmlCondition { tag: "error".into(), expected: Expectation::Present }];
        let none = Conditions::default;
        let page = "<html><body>Log in</body></html>";
        let table = [
            (rule(Conditions { json: json(), ..none() }, Verdict::Rejected), page, Outcome::Misconfigured),
            (rule(Conditions { json: json(), ..none() }, Verdict::Rejected), "{\"ok\":1}", Outcome::Delivered),
            (rule(Conditions { xml: xml(), ..none() }, Verdict::Rejected), page, Outcome::Misconfigured),
            (rule(Conditions { xml: xml(), ..none() }, Verdict::Rejected), "<ok/>", Outcome::Delivered),
            (
                rule(Conditions { content_type: Some("application/json".into()), ..none() }, Verdict::Delivered),
                page,
                Outcome::Misconfigured,
            ),
            (
                rule(Conditions { body_contains: Some("OK".into()), ..none() }, Verdict::Delivered),
                page,
                Outcome::Misconfigured,
            ),
            (
                rule(Conditions { body_contains: Some("OK".into()), ..none() }, Verdict::Delivered),
                "fine",
                Outcome::Delivered,
            ),
            (
                rule(Conditions { body_contains: Some("ERR".into()), ..none() }, Verdict::Rejected),
                page,
                Outcome::Delivered,
            ),
            (
                rule(Conditions { status: status("409"), json: json(), ..none() }, Verdict::Rejected),
                page,
                Outcome::Delivered,
            ),
        ];
        for (rule, body, outcome) in table {
            assert_eq!(
                judge(&response(200, body), std::slice::from_ref(&rule), true).outcome,
                outcome,
                "{rule:?} {body}"
            );
            assert_eq!(judge(&response(500, body), &[rule], true).outcome, Outcome::Retry);
        }
        let rules = [rule(Conditions { json: json(), ..none() }, Verdict::Rejected)];
        let unnamed = Response { content_type: None, ..response(200, " <!DOCTYPE HTML>\n<p>") };
        assert_eq!(judge(&unnamed, &rules, true).outcome, Outcome::Misconfigured);
        assert_eq!(judge(&Response { body: b"OK", ..unnamed }, &rules, true).outcome, Outcome::Delivered);
    }

    #[test]
    fn a_body_over_the_cap_is_not_success() {
        let over = Response { over_cap: true, ..response(200, "x") };
        assert_eq!(judge(&over, &[], true).outcome, Outcome::Retry);
        assert_eq!(judge(&over, &[], false).outcome, Outcome::Ambiguous);
    }

    #[test]
    fn what_is_ours_to_mend_is_told_from_what_an_event_lacks() {
        let outcome = |error| judge_failure(failure_to_render(&error)).outcome;
        let name = || "hmac".to_owned();
        assert_eq!(outcome(RenderError::UnknownSecret { name: name() }), Outcome::Misconfigured);
        assert_eq!(outcome(RenderError::SecretEncoding { name: name(), encoding: "hex" }), Outcome::Misconfigured);
        assert_eq!(outcome(RenderError::PathSegment), Outcome::Unrenderable);
    }

    #[test]
    fn what_follows() {
        let now = Timestamp::from_second(1_000).unwrap();
        let delivery = |spent| Delivery { state: State::InFlight { since: now }, made: spent, spent };
        let policy = RetryPolicy::explicit(vec![Duration::from_secs(10)], Jitter::None);
        let judged = |outcome, wait: Option<u64>| Judgement {
            outcome,
            rule: String::new(),
            retry_after: wait.map(Duration::from_secs),
        };
        let conclude = |outcome, wait, spent, dedupes| {
            conclude(&judged(outcome, wait), &delivery(spent), &policy, dedupes, now, 0.5)
        };
        let again =
            |seconds: i64, spends| Conclusion::Again { due: Timestamp::from_second(1_000 + seconds).unwrap(), spends };

        assert_eq!(conclude(Outcome::Retry, None, 0, true), again(10, true));
        assert_eq!(conclude(Outcome::Retry, Some(3), 0, true), again(10, true));
        assert_eq!(conclude(Outcome::Retry, Some(60), 0, true), again(60, true));
        assert_eq!(conclude(Outcome::Retry, None, 1, true), Conclusion::Dead(DeadReason::Exhausted));
        assert_eq!(conclude(Outcome::Throttled, Some(3), 1, true), again(3, false));
        assert_eq!(conclude(Outcome::Throttled, Some(0), 1, true), again(1, false), "never a hot loop");
        assert_eq!(conclude(Outcome::Throttled, None, 5, true), again(10, false));
        assert_eq!(conclude(Outcome::Ambiguous, None, 0, true), again(10, true));
        assert_eq!(conclude(Outcome::Ambiguous, None, 0, false), Conclusion::Held(HoldReason::Ambiguous));
        assert_eq!(conclude(Outcome::Unreachable, None, 0, false), again(10, true));
        assert_eq!(conclude(Outcome::Gone, None, 0, true), Conclusion::Held(HoldReason::Gone));
        assert_eq!(conclude(Outcome::Blocked, None, 0, true), Conclusion::Dead(DeadReason::Blocked));
    }
}
