//! A finding as it is written: one flat line, the same in CSV, JSON and the page.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::time::shown;
use crate::domain::delivery::StateKind;
use crate::domain::event::Status;
use crate::domain::reconcile::{Finding, Theirs, Told, Verdict, lateness};

/// Most characters kept of what they answered.
const KEPT_ANSWER: usize = 200;

/// A finding, flat.
#[allow(clippy::struct_field_names, reason = "the line is one of their report")]
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    /// What else differs.
    pub(super) also: String,
    pub(super) their_line: Option<u64>,
    pub(super) transaction_id: Option<String>,
    pub(super) click_id: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) our_amount: Option<String>,
    pub(super) our_currency: Option<String>,
    pub(super) our_status: Option<&'static str>,
    pub(super) their_amount: Option<String>,
    pub(super) their_currency: Option<String>,
    pub(super) their_status: Option<&'static str>,
    pub(super) accepted_at: Option<Timestamp>,
    pub(super) delivered_at: Option<Timestamp>,
    pub(super) their_time: Option<Timestamp>,
    pub(super) late_seconds: Option<i64>,
    pub(super) event_id: Option<String>,
    pub(super) delivery_id: Option<String>,
    pub(super) state: Option<&'static str>,
    pub(super) reason: Option<String>,
    pub(super) attempts: Option<u32>,
    pub(super) outcome: Option<String>,
    pub(super) http_status: Option<u16>,
    /// By which rule the last answer was judged, or why there was none.
    pub(super) rule: Option<String>,
    /// What they answered to the last attempt, where it was looked up.
    pub(super) answer: Option<String>,
}

impl Line {
    /// The line of a finding.
    pub(super) fn of(finding: &Finding) -> Self {
        let (ours, theirs) = (finding.ours.as_ref(), finding.theirs.as_ref());
        let told = explaining(finding);
        let text = |ours: Option<&String>, theirs: fn(&Theirs) -> Option<&String>| {
            ours.or_else(|| finding.theirs.as_ref().and_then(theirs)).cloned()
        };
        let also: Vec<_> = finding.also.iter().map(|verdict| verdict.name()).collect();
        let late = ours.filter(|_| finding.says(Verdict::Late)).map(|ours| lateness(ours, theirs));
        Self {
            verdict: finding.verdict,
            also: also.join(" "),
            their_line: theirs.map(|theirs| theirs.line),
            transaction_id: text(ours.map(|ours| &ours.transaction), |theirs| theirs.transaction.as_ref()),
            click_id: text(ours.and_then(|ours| ours.click.as_ref()), |theirs| theirs.click.as_ref()),
            kind: text(ours.map(|ours| &ours.kind), |theirs| theirs.kind.as_ref()),
            our_amount: ours.and_then(|ours| ours.amount).map(|amount| amount.to_string()),
            our_currency: ours.and_then(|ours| ours.currency).map(|currency| currency.to_string()),
            our_status: ours.map(|ours| ours.status.name()),
            their_amount: theirs.and_then(|theirs| theirs.amount).map(|amount| amount.to_string()),
            their_currency: theirs.and_then(|theirs| theirs.currency).map(|currency| currency.to_string()),
            their_status: theirs.and_then(|theirs| theirs.status).map(Status::name),
            accepted_at: ours.map(|ours| ours.accepted_at),
            delivered_at: ours.and_then(|ours| ours.delivered_at),
            their_time: theirs.and_then(|theirs| theirs.at),
            late_seconds: late.map(|late| late.as_secs()),
            event_id: ours.map(|ours| ours.event_id.clone()),
            delivery_id: told.map(|told| told.delivery_id.clone()),
            state: told.map(|told| told.state.name()),
            reason: told.and_then(|told| told.reason.clone()),
            attempts: told.map(|told| told.attempts),
            outcome: told.and_then(|told| told.outcome.clone()),
            http_status: told.and_then(|told| told.http_status),
            rule: told.and_then(|told| told.answer.clone()),
            answer: None,
        }
    }

    /// Adds what they answered.
    pub(super) fn answered(&mut self, body: &str) {
        let kept: String = body.chars().take(KEPT_ANSWER).collect();
        self.answer = Some(if kept.len() < body.len() { format!("{kept}…") } else { kept });
    }

    /// The cells for people: who has what, and what is known of it.
    pub(super) fn cells(&self) -> [String; 8] {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let side = |amount: &Option<String>, currency: &Option<String>, status: Option<&str>| {
            let parts = [amount.as_deref(), currency.as_deref(), status];
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
        };
        [
            self.their_line.map_or_else(|| "-".into(), |line| line.to_string()),
            text(&self.transaction_id),
            text(&self.click_id),
            text(&self.kind),
            side(&self.our_amount, &self.our_currency, self.our_status),
            side(&self.their_amount, &self.their_currency, self.their_status),
            text(&self.delivery_id),
            self.explanation(),
        ]
    }

    /// Where our delivery stands, what they answered, and how late it was.
    fn explanation(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.state.map(|state| match &self.reason {
            Some(reason) if reason != state => format!("{state} ({reason})"),
            _ => state.to_owned(),
        }));
        let arrived = self.delivered_at.filter(|_| self.verdict == Verdict::MissingThere);
        parts.extend(arrived.map(|at| match self.state {
            Some(state) if state != StateKind::Delivered.name() => format!("had arrived at {}", shown(at)),
            _ => format!("at {}", shown(at)),
        }));
        parts.extend(self.http_status.map(|status| format!("HTTP {status}")));
        parts.extend(self.rule.clone().filter(|_| self.http_status.is_none()));
        parts.extend(self.answer.as_ref().map(|answer| format!("{answer:?}")));
        parts.extend(self.late_seconds.map(|seconds| format!("{seconds} s late")));
        parts.extend(Some(format!("also {}", self.also)).filter(|_| !self.also.is_empty()));
        if parts.is_empty() { "-".into() } else { parts.join(", ") }
    }

    /// The line for a spreadsheet: no text of others is taken for a formula.
    pub(super) fn for_spreadsheet(&self) -> Self {
        let text = |text: &Option<String>| {
            let obeyed = |text: &str| text.starts_with(['=', '+', '-', '@', '\t', '\r']);
            text.clone().map(|text| if obeyed(&text) { format!("'{text}") } else { text })
        };
        Self {
            transaction_id: text(&self.transaction_id),
            click_id: text(&self.click_id),
            kind: text(&self.kind),
            rule: text(&self.rule),
            answer: text(&self.answer),
            ..self.clone()
        }
    }
}

/// The delivery that explains a finding: of a status that differs the one that was to tell it.
pub(super) fn explaining(finding: &Finding) -> Option<&Told> {
    let ours = finding.ours.as_ref()?;
    Some(if finding.says(Verdict::StatusDiffers) { ours.last_word() } else { &ours.told })
}

/// The heading of each cell for people.
pub(super) const HEADING: [&str; 8] =
    ["line", "transaction_id", "click_id", "type", "ours", "theirs", "delivery_id", "reason"];
