//! `show`: one delivery with its whole history, or one event with its deliveries.

use std::fmt::Write;

use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::columns::Column;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use super::source::Source;
use super::time::{micros, shown};
use crate::domain::delivery::StateKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::inspect::{AttemptView, Choice, Decision, DeliveryDetail, DeliverySummary, HistoryEntryView};

/// What to show.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd show dlv_00361eqg9sac0000 --bodies
  postbackd show evt_001k0qbr4wn60 --json")]
pub(super) struct ShowArgs {
    /// A delivery (dlv_…) or an event (evt_…)
    #[arg(value_name = "ID")]
    id: String,

    /// Print requests and responses in full
    #[arg(long)]
    bodies: bool,
}

/// An event with its deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EventDetail {
    /// The event.
    pub(super) event_id: String,
    /// What was accepted.
    pub(super) event: Value,
    /// Who handed it in.
    pub(super) source: String,
    /// When it was accepted.
    pub(super) accepted_at: Timestamp,
    /// Its deliveries.
    pub(super) deliveries: Vec<DeliverySummary>,
}

/// Shows a delivery or an event.
pub(super) async fn show(context: &Context, args: ShowArgs) -> Ended {
    let missing = || {
        let next = "look for it with `postbackd list --transaction …` or `--click …`";
        Failure::new(Exit::NotFound, format!("showing {}", args.id), "there is none of that id", next)
    };
    if let Ok(id) = args.id.parse::<EventId>() {
        let detail = Source::open(context).await?.event(id).await?.ok_or_else(missing)?;
        return print_event(context, &detail);
    }
    let id = delivery_id(&args.id)?;
    let detail = Source::open(context).await?.delivery(id).await?.ok_or_else(missing)?;
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(&detail)?,
        Form::People => {
            // Whoever has to decide needs to see everything that was said.
            let bodies = args.bodies || detail.decision.is_some();
            context.output.text(describe(&detail, bodies).trim_end())?;
        }
    }
    Ok(Exit::Ok)
}

/// The delivery of an id as typed.
///
/// # Errors
/// Says what an id looks like.
pub(super) fn delivery_id(text: &str) -> Result<DeliveryId, Failure> {
    let next = "copy the id from `postbackd list`";
    text.parse().map_err(|invalid| Failure::new(Exit::Usage, format!("the id {text:?}"), invalid, next))
}

fn print_event(context: &Context, detail: &EventDetail) -> Ended {
    if context.output.form() != Form::People {
        context.output.document(detail)?;
        return Ok(Exit::Ok);
    }
    let event = serde_json::to_string_pretty(&detail.event).unwrap_or_default();
    let head =
        format!("event     {}\naccepted  {} from {}\n", detail.event_id, shown(detail.accepted_at), detail.source);
    context.output.text(&format!("{head}{event}\n"))?;
    if detail.deliveries.is_empty() {
        context.output.say("no postback wants it: it is kept unrouted");
        return Ok(Exit::Ok);
    }
    let columns = Column::DEFAULT;
    let mut rows = Rows::new(columns.iter().map(|column| column.name()).collect());
    for delivery in &detail.deliveries {
        rows.push(columns.iter().map(|column| column.cell(delivery)).collect());
    }
    context.output.table(rows)?;
    Ok(Exit::Ok)
}

fn describe(detail: &DeliveryDetail, bodies: bool) -> String {
    let delivery = &detail.delivery;
    let reason = delivery.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let due = delivery.due.map(|due| format!(", due {}", shown(due))).unwrap_or_default();
    let mut text = format!(
        "delivery     {}\nevent        {} from {}\npostback     {}/{}\ntransaction  {}\nstate        {}{reason}{due}\n\
         attempts     {} ({} counted against the retry schedule)\n",
        delivery.delivery_id,
        delivery.event_id,
        detail.source,
        delivery.affiliate,
        delivery.postback,
        transaction(delivery),
        delivery.state.name(),
        delivery.attempts,
        delivery.spent,
    );
    let _ = writeln!(text, "\n{}  accepted", shown(delivery.accepted_at));
    if detail.earlier_entries > 0 {
        let _ = writeln!(text, "… {} earlier entries of its history are not shown", detail.earlier_entries);
    }
    for entry in &detail.history {
        describe_entry(&mut text, entry, bodies);
    }
    if let Some(decision) = &detail.decision {
        describe_decision(&mut text, decision);
    }
    if bodies {
        let event = serde_json::to_string_pretty(&detail.event).unwrap_or_default();
        let _ = writeln!(text, "\nevent:\n{event}");
    }
    text
}

/// What a person has to know, and can do, about a held delivery.
fn describe_decision(text: &mut String, decision: &Decision) {
    let _ = writeln!(text, "\nheld because {}", decision.why);
    for (word, facts) in [("known", &decision.known), ("not known", &decision.unknown)] {
        for fact in facts {
            let _ = writeln!(text, "  {:<11}{fact}", format!("{word}:"));
        }
    }
    text.push_str("decide:\n");
    for Choice { when, command } in &decision.choices {
        let _ = writeln!(text, "  {command}\n      {when}");
    }
}

fn transaction(delivery: &DeliverySummary) -> String {
    let mut text = format!("{} {} {}", delivery.transaction_id, delivery.kind, delivery.status);
    let amount = delivery.payout.iter().chain(&delivery.currency).map(String::as_str).collect::<Vec<_>>().join(" ");
    for (word, value) in [
        ("payout", Some(amount.as_str()).filter(|text| !text.is_empty())),
        ("click", delivery.click_id.as_deref()),
        ("reverses", delivery.reverses.as_deref()),
    ] {
        if let Some(value) = value {
            let _ = write!(text, ", {word} {value}");
        }
    }
    text
}

fn describe_entry(text: &mut String, entry: &HistoryEntryView, bodies: bool) {
    let _ = writeln!(text, "{}  {}{}", shown(entry.at), entry.what, describe_change(entry));
    if let Some(attempt) = &entry.attempt {
        describe_attempt(text, attempt, bodies);
    }
}

/// What an entry of a history says behind its first word, on one line.
pub(super) fn describe_change(entry: &HistoryEntryView) -> String {
    let mut text = String::new();
    if let Some(order) = &entry.order {
        let _ = write!(text, " {order}");
    }
    if let Some(by) = &entry.by {
        let _ = write!(text, " by {by}");
    }
    if let Some(id) = &entry.order_id {
        let _ = write!(text, " ({id})");
    }
    if let Some(why) = &entry.why {
        let _ = write!(text, ": {why}");
    }
    if let Some(attempt) = &entry.attempt {
        let status = attempt.http_status.map_or_else(|| "no answer".into(), |status| status.to_string());
        let took = micros(attempt.timings_us.total);
        let _ = write!(text, " #{}: {status} in {took}, {} ({})", attempt.number, attempt.outcome.name(), attempt.rule);
    }
    text.push_str(&describe_standing(entry.state, entry.reason.as_deref(), entry.due));
    text
}

/// How a delivery stands behind what happened to it.
pub(super) fn describe_standing(state: StateKind, reason: Option<&str>, due: Option<Timestamp>) -> String {
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let due = due.map(|due| format!(", due {}", shown(due))).unwrap_or_default();
    format!(" → {}{reason}{due}", state.name())
}

pub(super) fn describe_attempt(text: &mut String, attempt: &AttemptView, bodies: bool) {
    if let Some(request) = &attempt.request {
        let _ = writeln!(text, "    {} {}", request.method, request.url);
    }
    if let Some(error) = &attempt.error {
        let _ = writeln!(text, "    {error}");
    }
    if !bodies {
        return;
    }
    let timings = attempt.timings_us;
    let parts =
        [("dns", timings.dns), ("connect", timings.connect), ("tls", timings.tls), ("first byte", timings.first_byte)];
    let parts: Vec<String> =
        parts.iter().filter_map(|(name, time)| Some(format!("{name} {}", micros((*time)?)))).collect();
    let remote = attempt.remote.as_deref().unwrap_or("-");
    let _ = writeln!(text, "    to {remote}: {}", if parts.is_empty() { "-".into() } else { parts.join(", ") });
    if let Some(request) = &attempt.request {
        describe_message(text, ">", &request.headers, &request.body);
    }
    if let Some(digest) = &attempt.digest {
        let _ = writeln!(text, "    sha256 of what was sent: {digest}");
    }
    if let Some(response) = &attempt.response {
        let _ = writeln!(text, "    < {}", response.status);
        describe_message(text, "<", &response.headers, &response.body);
        if response.truncated {
            let _ = writeln!(text, "    (cut; {} bytes were read)", response.body_bytes);
        }
    }
}

fn describe_message(text: &mut String, mark: &str, headers: &[(String, String)], body: &str) {
    for (name, value) in headers {
        let _ = writeln!(text, "    {mark} {name}: {value}");
    }
    if !body.is_empty() {
        let _ = writeln!(text, "    {mark}");
        for line in body.lines() {
            let _ = writeln!(text, "    {mark} {line}");
        }
    }
}
