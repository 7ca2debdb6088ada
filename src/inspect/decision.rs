//! Decisions: what a person has to know of a delivery that is held, and the commands that decide it.
//!
//! Says only what the record proves. Where it proves nothing, that is said, too: a delivery that is sent twice and one
//! that is never sent both cost somebody money.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::views::{AttemptView, DeliverySummary, HistoryEntryView};
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;

/// What is to be decided about a held delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// Why it is held.
    pub why: String,
    /// What the record proves.
    pub known: Vec<String>,
    /// What it does not.
    pub unknown: Vec<String>,
    /// What can be done, the likeliest first.
    pub choices: Vec<Choice>,
}

/// One way to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// When it is right.
    pub when: String,
    /// The command, to be completed by a reason.
    pub command: String,
}

/// What is to be decided; `None` where the delivery is not held.
pub(super) fn decision(delivery: &DeliverySummary, history: &[HistoryEntryView]) -> Option<Decision> {
    if delivery.state != StateKind::Held {
        return None;
    }
    let facts = Facts { delivery, last: history.iter().rev().find_map(|entry| entry.attempt.as_ref()) };
    let held = Facts::decision;
    Some(match delivery.reason.as_deref().unwrap_or_default() {
        "ambiguous" => facts.ambiguous(),
        "interrupted" => facts.interrupted(),
        "gone" => Decision {
            choices: facts.after_repair(&[(
                "first, once the affiliate has its postback back",
                format!("postbackd affiliate resume {}/{}", delivery.affiliate, delivery.postback),
            )]),
            ..held(&facts, "the receiver answered that this postback is gone for good (410); the postback is paused")
        },
        "original_dead" => held(&facts, "the event that it reverses is a dead letter: the affiliate never heard of it"),
        "original_unknown" => held(&facts, "the event that it reverses was never handed in; it goes out once it is"),
        "overtaken" => held(&facts, "the affiliate was told since of something newer, which it would undo"),
        "group_damaged" => {
            held(&facts, "a record of its transaction is damaged, so that nobody can tell what went out before it")
        }
        "unconfigured" => held(&facts, "its postback is not in the configuration, or is switched off"),
        "operator" => held(&facts, "an operator said so"),
        other => held(&facts, other),
    })
}

/// What the record says.
struct Facts<'d> {
    delivery: &'d DeliverySummary,
    last: Option<&'d AttemptView>,
}

impl Facts<'_> {
    fn command(&self, verb: &str, flag: &str) -> String {
        let flag = if flag.is_empty() { String::new() } else { format!(" {flag}") };
        format!("postbackd {verb} {}{flag} --reason \"…\"", self.delivery.delivery_id)
    }

    fn choice(&self, when: &str, verb: &str, flag: &str) -> Choice {
        Choice { when: when.into(), command: self.command(verb, flag) }
    }

    /// A delivery of which it is known whether the affiliate has it.
    fn decision(&self, why: &str) -> Decision {
        Decision { why: why.into(), known: self.known(), unknown: Vec::new(), choices: self.after_repair(&[]) }
    }

    fn after_repair(&self, first: &[(&str, String)]) -> Vec<Choice> {
        let first = first
            .iter()
            .map(|(when, command)| Choice { when: (*when).into(), command: format!("{command} --reason \"…\"") });
        let rest = [
            self.choice("it is to be sent", "release", ""),
            self.choice("it is not to be sent", "cancel", ""),
            self.choice("the affiliate has been told in another way", "release", "--delivered"),
        ];
        first.chain(rest).collect()
    }

    fn ambiguous(&self) -> Decision {
        let answered = self.last.and_then(|attempt| attempt.response.as_ref());
        let why = match answered {
            None => "the request was sent, and no whole answer came; this receiver does not recognise duplicates",
            Some(_) => "the answer broke off, or was longer than is read; this receiver does not recognise duplicates",
        };
        let unknown = match answered {
            None => "whether the receiver got the request, and whether it counted the conversion",
            Some(_) => "whether the receiver counted the conversion: its answer is not known to its end",
        };
        Decision { unknown: vec![unknown.into()], choices: self.of_unknown(), ..self.decision(why) }
    }

    fn interrupted(&self) -> Decision {
        let mut known = self.known();
        known.push(format!(
            "the intent to make attempt #{} was on disk before its first byte; nothing behind it was",
            self.delivery.attempts
        ));
        let Self { delivery, .. } = self;
        known.push(format!(
            "what it was to send is shown by: postbackd affiliate render {}/{} --event {}",
            delivery.affiliate, delivery.postback, delivery.delivery_id
        ));
        Decision {
            known,
            unknown: vec![
                "whether any byte of that attempt left this machine".into(),
                "whether the receiver got it, answered it, and counted the conversion".into(),
            ],
            choices: self.of_unknown(),
            ..self.decision("the daemon ended during an attempt; this receiver does not recognise duplicates")
        }
    }

    /// The way out where nobody knows whether the affiliate has it.
    fn of_unknown(&self) -> Vec<Choice> {
        vec![
            self.choice("the affiliate has it", "release", "--delivered"),
            self.choice("the affiliate has it not: the same idempotency key goes out again", "release", "--resend"),
            self.choice("nobody is to be told any more", "cancel", ""),
        ]
    }

    fn known(&self) -> Vec<String> {
        let Some(attempt) = self.last else {
            return vec!["no request of it is on record".into()];
        };
        let number = attempt.number;
        let mut known = Vec::new();
        known.push(match (&attempt.request, attempt.outcome) {
            (None, _) => format!("attempt #{number} made no request"),
            (Some(_), Outcome::Unreachable | Outcome::Blocked) => {
                format!("attempt #{number} reached nobody: no byte of the request was sent")
            }
            (Some(request), _) => match &attempt.remote {
                Some(remote) => format!("attempt #{number} sent {} {} to {remote}", request.method, request.url),
                None => format!("attempt #{number} was sending {} {}", request.method, request.url),
            },
        });
        known.extend(attempt.digest.as_ref().map(|digest| format!("sha256 of the whole request: {digest}")));
        known.push(match &attempt.response {
            Some(response) => {
                format!("the receiver answered {} and {} bytes of a body", response.status, response.body_bytes)
            }
            None => format!("the receiver answered nothing: {}", attempt.error.as_deref().unwrap_or("no reason known")),
        });
        known.push(format!(
            "the affiliate can look for transaction {}{} and idempotency key {}",
            self.delivery.transaction_id,
            self.delivery.click_id.as_ref().map(|click| format!(", click {click}")).unwrap_or_default(),
            self.delivery.delivery_id,
        ));
        known
    }
}
