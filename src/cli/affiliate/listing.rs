//! `affiliate list` and `affiliate show`: how affiliates are configured, and how they stand.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::context::Context;
use super::super::exit::{Ended, Exit, Failure};
use super::super::output::{Form, Rows};
use super::super::source::Source;
use super::super::time::shown;
use crate::domain::delivery::StateKind;
use crate::domain::id::AffiliateId;
use crate::domain::nearest::nearest;
use crate::inspect::{AffiliateView, PostbackSettings, PostbackView};

/// Which affiliate to show.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd affiliate show acme
  postbackd affiliate show acme --json")]
pub(in crate::cli) struct ShowArgs {
    /// The affiliate
    #[arg(value_name = "AFFILIATE", value_parser = |text: &str| text.parse::<AffiliateId>())]
    id: AffiliateId,
}

/// Lists all affiliates.
pub(super) async fn list(context: &Context) -> Ended {
    let affiliates = Source::open(context).await?.affiliates(context).await?;
    match context.output.form() {
        Form::Json => context.output.document(&json!({ "items": affiliates, "next_cursor": null }))?,
        Form::Ndjson => affiliates.iter().try_for_each(|affiliate| context.output.document(affiliate))?,
        Form::People => print_table(context, &affiliates)?,
    }
    Ok(Exit::Ok)
}

/// Shows one affiliate.
pub(super) async fn show(context: &Context, args: ShowArgs) -> Ended {
    let affiliates = Source::open(context).await?.affiliates(context).await?;
    let id = args.id.as_str();
    let Some(found) = affiliates.iter().find(|affiliate| affiliate.affiliate == id) else {
        let near = nearest(id, affiliates.iter().map(|affiliate| affiliate.affiliate.as_str()));
        let next = near.map_or("postbackd affiliate list".to_owned(), |near| format!("did you mean {near:?}?"));
        return Err(Failure::new(Exit::NotFound, format!("showing {id}"), "there is no such affiliate", next));
    };
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(found)?,
        Form::People => context.output.text(describe(found).trim_end())?,
    }
    Ok(Exit::Ok)
}

/// A row a postback; an affiliate without postbacks has one too.
fn print_table(context: &Context, affiliates: &[AffiliateView]) -> Result<(), Failure> {
    let header = vec![
        "affiliate",
        "name",
        "global",
        "postback",
        "events",
        "receiver",
        "backlog",
        "held",
        "dead",
        "breaker",
        "remark",
    ];
    let mut rows = Rows::new(header);
    for affiliate in affiliates {
        let global = if affiliate.global { "yes" } else { "no" };
        let head = [affiliate.affiliate.clone(), affiliate.name.clone().unwrap_or_default(), global.to_owned()];
        let breaker = affiliate.breaker.clone().unwrap_or_default();
        if affiliate.postbacks.is_empty() {
            let blank = std::iter::repeat_n(String::new(), 8);
            rows.push(head.iter().cloned().chain(blank).collect());
        }
        for postback in &affiliate.postbacks {
            rows.push(head.iter().cloned().chain(cells(postback, &breaker)).collect());
        }
    }
    if rows.is_empty() {
        context.output.say("no affiliate is configured");
        return Ok(());
    }
    context.output.table(rows)
}

fn cells(postback: &PostbackView, breaker: &str) -> [String; 8] {
    let (events, receiver) = match &postback.settings {
        Some(settings) => (events(settings), format!("{} {}", settings.method, settings.receiver)),
        None => (String::new(), "not configured, or switched off".to_owned()),
    };
    [
        postback.postback.clone(),
        events,
        receiver,
        backlog(postback).to_string(),
        postback.of(StateKind::Held).to_string(),
        postback.of(StateKind::Dead).to_string(),
        breaker.to_owned(),
        remark(postback),
    ]
}

fn backlog(postback: &PostbackView) -> u64 {
    StateKind::ALL.into_iter().filter(|kind| !kind.is_settled()).map(|kind| postback.of(kind)).sum()
}

fn remark(postback: &PostbackView) -> String {
    let paused = postback.paused.as_ref().map(|pause| format!("paused by {}: {}", pause.by, pause.reason));
    let flag = postback.misconfigured.as_ref().map(|flag| format!("misconfigured: {}", flag.rule));
    paused.into_iter().chain(flag).collect::<Vec<_>>().join("; ")
}

/// The types that a postback wants; an absent list is all of them.
fn events(settings: &PostbackSettings) -> String {
    settings.events.as_ref().map_or_else(|| "all".to_owned(), |kinds| kinds.join(", "))
}

fn describe(affiliate: &AffiliateView) -> String {
    let mut text = String::new();
    let name = affiliate.name.as_deref().unwrap_or("not configured; the store still knows it");
    let _ = writeln!(text, "affiliate    {} ({name})", affiliate.affiliate);
    if affiliate.global {
        text.push_str("hears of     everybody's events\n");
    }
    if let Some(concurrency) = affiliate.concurrency {
        let rate = affiliate.rate.as_deref().map(|rate| format!(", {rate}")).unwrap_or_default();
        let _ = writeln!(text, "limits       {concurrency} attempts at once{rate}");
    }
    if let Some(breaker) = &affiliate.breaker {
        let _ = writeln!(text, "breaker      {breaker}");
    }
    let due = affiliate.oldest_due.map(|due| format!(", the oldest due {}", shown(due))).unwrap_or_default();
    let _ = writeln!(text, "backlog      {} deliveries{due}", affiliate.backlog);
    for postback in &affiliate.postbacks {
        describe_postback(&mut text, postback, &affiliate.affiliate);
    }
    text
}

fn describe_postback(text: &mut String, postback: &PostbackView, affiliate: &str) {
    let _ = writeln!(text, "\npostback     {affiliate}/{}", postback.postback);
    if let Some(pause) = &postback.paused {
        let _ = writeln!(text, "paused       by {} at {}: {}", pause.by, shown(pause.at), pause.reason);
    }
    if let Some(flag) = &postback.misconfigured {
        let _ = writeln!(text, "wrong        since {}, see {}: {}", shown(flag.at), flag.delivery, flag.rule);
    }
    match &postback.settings {
        None => text.push_str("configured   no, or switched off\n"),
        Some(settings) => describe_settings(text, settings),
    }
    let counts = StateKind::ALL.into_iter().map(|state| (state, postback.of(state))).filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(state, count)| format!("{} {count}", state.name())).collect();
    let _ = writeln!(text, "deliveries   {}", if counts.is_empty() { "none".into() } else { counts.join(", ") });
}

fn describe_settings(text: &mut String, settings: &PostbackSettings) {
    let narrowed = |word: &str, list: &Option<Vec<String>>| {
        list.as_ref().map(|list| format!("; {word} {}", list.join(", "))).unwrap_or_default()
    };
    let more = narrowed("offers", &settings.offers) + &narrowed("statuses", &settings.statuses);
    let _ = writeln!(text, "wants        {}{more}", events(settings));
    let _ = writeln!(text, "receiver     {} {}", settings.method, settings.receiver);
    let dedupes = if settings.receiver_dedupes {
        "recognised by the receiver"
    } else {
        "not recognised by the receiver: an ambiguous outcome is held for a person"
    };
    let _ = writeln!(text, "duplicates   {dedupes}");
    let time = |millis: &u64| format!("{:?}", Duration::from_millis(*millis));
    let delays: Vec<String> = settings.delays_ms.iter().map(time).collect();
    let delays = if delays.is_empty() { String::new() } else { format!(", behind {}", delays.join(", ")) };
    let _ = writeln!(text, "attempts     {} of {} each{delays}", settings.max_attempts, time(&settings.timeout_ms));
    for (index, rule) in settings.rules.iter().enumerate() {
        let _ = writeln!(text, "rule {:<7} {rule}", index + 1);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Json, Router};

    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::Person;

    fn daemon() -> Daemon {
        let page = json!({"items": [{"affiliate": "acme", "name": "Acme", "configured": true, "global": false,
            "concurrency": 8, "breaker": "closed", "in_flight": 0, "backlog": 3,
            "postbacks": [
                {"postback": "conversion", "events": ["ftd"], "method": "GET", "receiver": "https://a.example",
                 "max_attempts": 2, "delays_ms": [5000], "timeout_ms": 15000, "receiver_dedupes": false,
                 "rules": ["status 409 → duplicate"], "deliveries": {"held": 1, "scheduled": 2, "dead": 4},
                 "paused": {"by": "op", "reason": "gone", "at": "2026-11-20T10:00:00Z"}},
                {"postback": "old", "deliveries": {}, "paused": null, "misconfigured": null}]}]});
        let listed = get(async move || Json(page));
        Daemon::serve(Router::new().route("/v1/affiliates", listed))
    }

    #[tokio::test]
    async fn affiliates_are_listed_with_how_they_stand() {
        let daemon = daemon();
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        assert_eq!(list(&context).await, Ok(Exit::Ok));
        let data = captured.data();
        let line = |n| data.lines().nth(n).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line(1), "acme Acme no conversion ftd GET https://a.example 3 1 4 closed paused by op: gone");
        assert_eq!(line(2), "acme Acme no old not configured, or switched off 0 0 0 closed");
    }

    #[tokio::test]
    async fn an_affiliate_is_shown_with_its_rules_and_an_unknown_one_is_not_found() {
        let daemon = daemon();
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        assert_eq!(show(&context, ShowArgs { id: "acme".parse().unwrap() }).await, Ok(Exit::Ok));
        for expected in
            ["rule 1       status 409 → duplicate", "attempts     2 of 15s each, behind 5s", "held 1, dead 4"]
        {
            assert!(captured.data().contains(expected), "{expected}: {}", captured.data());
        }
        let missing = show(&context, ShowArgs { id: "amce".parse().unwrap() }).await.unwrap_err();
        assert_eq!(missing.exit(), Exit::NotFound);
        assert!(missing.to_string().contains("\"acme\""), "{missing}");
    }
}
