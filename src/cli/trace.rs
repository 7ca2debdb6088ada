//! `trace`: one timeline of all that happened for a click, transaction, event or delivery.

use std::fmt::Write;

use clap::Args;
use jiff::Timestamp;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, printable};
use super::show::{describe_attempt, describe_change, describe_standing};
use super::source::Source;
use super::time::shown;
use crate::inspect::{LeftOut, Trace, TraceEntry, TraceStep, TracedEvent};

/// What to trace.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd trace c-77f3
  postbackd trace dep-88121 --requests
  postbackd trace dlv_00361eqg9sac0000 --json

A transaction is traced with what reverses it and what it reverses; a click with all its transactions.")]
pub(super) struct TraceArgs {
    /// A click, a transaction, an event (evt_…) or a delivery (dlv_…)
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: String,

    /// Print the request and the response of each attempt
    #[arg(long)]
    requests: bool,
}

/// Prints a timeline.
pub(super) async fn trace(context: &Context, args: TraceArgs) -> Ended {
    let source = Source::open(context).await?;
    let trace = source.trace(&args.key, args.requests).await?.ok_or_else(|| missing(&args.key))?;
    match context.output.form() {
        Form::Json => context.output.document(&trace)?,
        Form::Ndjson => trace.entries.iter().try_for_each(|entry| context.output.document(entry))?,
        Form::People => context.output.text(describe(&trace, args.requests).trim_end())?,
    }
    if let Some(words) = left_out(trace.left_out) {
        context.output.say(&words);
    }
    Ok(Exit::Ok)
}

fn missing(key: &str) -> Failure {
    let next = "compare it with `postbackd list --since 2h` and `postbackd list --unrouted`; an event that is past its \
                retention ([outbox] retain) is gone";
    let why = "no event, delivery, transaction or click of that name is stored, or none that may be seen";
    Failure::new(Exit::NotFound, format!("tracing {key:?}"), why, next)
}

fn left_out(left_out: LeftOut) -> Option<String> {
    let LeftOut { events, entries, more } = left_out;
    let parts = [(events, "events"), (entries, "entries")];
    let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let see = "`postbackd list --transaction …` lists all deliveries, `postbackd show dlv_…` one with its history";
    let at_least = if more { ", at least," } else { "" };
    let what = if parts.is_empty() { "events".to_owned() } else { parts.join(" and ") };
    (more || !parts.is_empty()).then(|| format!("the oldest {what}{at_least} are left out: {see}"))
}

fn describe(trace: &Trace, requests: bool) -> String {
    let mut text = String::new();
    let found_as: Vec<_> = trace.found_as.iter().map(|kind| kind.name()).collect();
    let _ = writeln!(text, "{} {}", found_as.join(" and "), printable(&trace.key));
    if found_as.len() > 1 {
        text.push_str("(both have that name: what belongs to either is shown)\n");
    }
    for event in &trace.events {
        describe_event(&mut text, event);
    }
    text.push('\n');
    let Some(first) = trace.entries.first().map(|entry| entry.at) else { return text };
    for entry in &trace.entries {
        let _ = writeln!(text, "{}  {:>12}  {}", shown(entry.at), relative(first, entry.at), line(trace, entry));
        if let TraceStep::Changed { change, .. } = &entry.step
            && let Some(attempt) = change.attempt.as_ref().filter(|_| requests)
        {
            describe_attempt(&mut text, attempt, true);
        }
    }
    text
}

fn describe_event(text: &mut String, event: &TracedEvent) {
    let _ = writeln!(text, "\n{}  {}", event.event_id, facts(event));
    if event.deliveries.is_empty() {
        text.push_str("  unrouted: it has no delivery\n");
    }
    for delivery in &event.deliveries {
        let standing = describe_standing(delivery.state, delivery.reason.as_deref(), delivery.due);
        let attempts = if delivery.attempts == 1 { "attempt" } else { "attempts" };
        let (id, affiliate, postback) = (&delivery.delivery_id, &delivery.affiliate, &delivery.postback);
        let _ = writeln!(text, "  {id}  {affiliate}/{postback}{standing}, {} {attempts}", delivery.attempts);
    }
}

/// What an event says, in short.
fn facts(event: &TracedEvent) -> String {
    let mut text = format!("{} {} {}", event.kind, event.transaction_id, event.status);
    for part in event.payout.iter().chain(&event.currency) {
        let _ = write!(text, " {part}");
    }
    let _ = write!(text, ", affiliate {}", event.affiliate);
    for (word, value) in [("click", &event.click_id), ("reverses", &event.reverses)] {
        if let Some(value) = value {
            let _ = write!(text, ", {word} {value}");
        }
    }
    text
}

/// One line of the timeline, behind its times.
fn line(trace: &Trace, entry: &TraceEntry) -> String {
    match &entry.step {
        TraceStep::Accepted => {
            let event = trace.events.iter().find(|event| event.event_id == entry.event_id);
            let told = event.map(|event| format!("  {} from {}", facts(event), event.source)).unwrap_or_default();
            format!("accepted     {}{told}", entry.event_id)
        }
        TraceStep::Planned { delivery_id, affiliate, postback, state, reason, due } => {
            let standing = describe_standing(*state, reason.as_deref(), *due);
            format!("planned      {delivery_id}  {affiliate}/{postback}{standing}")
        }
        TraceStep::Changed { delivery_id, affiliate, postback, change } => {
            let told = describe_change(change);
            let error = change.attempt.as_ref().and_then(|attempt| attempt.error.as_deref());
            let error = error.map(|error| format!(": {error}")).unwrap_or_default();
            // One line an entry: what others wrote may have several.
            let told = format!("{told}{error}").replace(['\n', '\r'], " ");
            format!("{:<11}  {delivery_id}  {affiliate}/{postback} {}", change.what, told.trim_start())
        }
    }
}

/// How long after the first entry something happened.
fn relative(first: Timestamp, at: Timestamp) -> String {
    let passed = u64::try_from(at.as_microsecond() - first.as_microsecond()).unwrap_or(0);
    let seconds = passed / 1_000_000;
    match seconds {
        0..60 => format!("+{seconds}.{:02} s", passed % 1_000_000 / 10_000),
        60..3_600 => format!("+{} m {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("+{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("+{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_the_first_in_a_unit_that_fits() {
        let first: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let table = [
            ("2026-11-20T10:00:00Z", "+0.00 s"),
            ("2026-11-20T10:00:00.214Z", "+0.21 s"),
            ("2026-11-20T10:00:07.5Z", "+7.50 s"),
            ("2026-11-20T10:03:02Z", "+3 m 02 s"),
            ("2026-11-20T12:10:00Z", "+2 h 10 m"),
            ("2026-11-23T14:00:00Z", "+3 d 04 h"),
            ("2026-11-20T09:59:59Z", "+0.00 s"),
        ];
        for (at, expected) in table {
            assert_eq!(relative(first, at.parse().unwrap()), expected, "{at}");
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert_eq!(left_out(LeftOut::default()), None);
        let words = left_out(LeftOut { events: 2, entries: 7, more: false }).unwrap();
        assert!(words.starts_with("the oldest 2 events and 7 entries are left out"), "{words}");
        let words = left_out(LeftOut { events: 3_596, entries: 0, more: true }).unwrap();
        assert!(words.starts_with("the oldest 3596 events, at least, are left out"), "{words}");
    }
}
