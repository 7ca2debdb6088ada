//! What an answer, or its absence, means: the response rules, the defaults behind them, and what follows.

mod body;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod rule;
mod xml;

pub use body::{Expectation, JsonCondition, XmlCondition};
pub use rule::{Conditions, ResponseRule, StatusRange, Verdict};

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::{Conclusion, DeadReason, DeliveredHow, Delivery, HoldReason};
use super::retry::{self, RetryPolicy};
use super::template::RenderError;
use crate::planted::{Bug, planted};
use body::Answer;

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
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
    /// This machine could not open a connection (no descriptors, ports or memory left): nothing was sent.
    Local,
    /// The TLS handshake failed: no request was sent.
    Tls,
    /// This machine trusts no certificate at all, so that no handshake can succeed: no request was sent.
    OwnTls,
    /// A timeout or a broken connection after bytes were sent.
    Lost,
}

/// An outcome with what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What the attempt came to.
    pub outcome: Outcome,
    /// The rule that decided: `rule 2 (…)` for a configured one, which is owned; `default: …` otherwise, which is not.
    pub rule: Cow<'static, str>,
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

/// Judges a response by a postback's rules, then by the defaults.
pub fn judge(response: &Response<'_>, rules: &[ResponseRule], receiver_dedupes: bool) -> Judgement {
    let retry_after = response.retry_after;
    let answer = Answer::new(response);
    if let Some((index, rule)) = rules.iter().enumerate().find(|(_, rule)| rule.when.hold(&answer)) {
        let named = format!("rule {} ({})", index + 1, rule.when);
        return Judgement { outcome: rule.then.outcome(), rule: named.into(), retry_after, local: false };
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
    Judgement { outcome, rule: rule.into(), retry_after, local: false }
}

/// Judges the absence of a whole answer.
pub fn judge_failure(failure: Failure) -> Judgement {
    let (outcome, rule) = match failure {
        Failure::Blocked => (Outcome::Blocked, "default: egress policy"),
        Failure::Unrenderable => (Outcome::Unrenderable, "default: template not rendered"),
        Failure::SecretUnusable => (Outcome::Misconfigured, "default: a secret cannot be used"),
        Failure::Unreachable => (Outcome::Unreachable, "default: nothing sent"),
        Failure::Local => (Outcome::Unreachable, "default: nothing sent, local fault"),
        Failure::Tls => (Outcome::Retry, "default: TLS handshake"),
        Failure::OwnTls => (Outcome::Misconfigured, "default: this machine trusts no certificate"),
        Failure::Lost => (Outcome::Ambiguous, "default: no answer after bytes were sent"),
    };
    Judgement { outcome, rule: rule.into(), retry_after: None, local: failure == Failure::Local }
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
            Some(_) if planted(Bug::RetryAfterHastens) && judgement.retry_after.is_some() => {
                Conclusion::Again { due: retry::after(now, asked), spends: true }
            }
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
