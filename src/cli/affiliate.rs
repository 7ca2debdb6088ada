//! `affiliate`: the affiliates that the daemon knows, paused and resumed.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use crate::domain::id::{AffiliateId, PostbackName};

/// What to do with affiliates.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum AffiliateCommand {
    /// List affiliates and their postbacks
    List,
    /// Send nothing more; deliveries wait
    Pause(PauseArgs),
    /// Send again
    Resume(PauseArgs),
}

/// What to pause or resume.
#[derive(Debug, Clone, Args)]
pub(super) struct PauseArgs {
    /// An affiliate, or one of its postbacks
    #[arg(value_name = "AFFILIATE[/POSTBACK]", value_parser = parse_target)]
    target: Target,

    /// Why; shown wherever the pause is
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// An affiliate or one of its postbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    affiliate: AffiliateId,
    postback: Option<PostbackName>,
}

fn parse_target(text: &str) -> Result<Target, String> {
    let (affiliate, postback) = match text.split_once('/') {
        Some((affiliate, postback)) => (affiliate, Some(postback)),
        None => (text, None),
    };
    let affiliate = affiliate.parse().map_err(|invalid| format!("the affiliate {invalid}"))?;
    let postback = postback.map(str::parse).transpose().map_err(|invalid| format!("the postback {invalid}"))?;
    Ok(Target { affiliate, postback })
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.postback {
            Some(postback) => write!(f, "{}/{postback}", self.affiliate),
            None => write!(f, "{}", self.affiliate),
        }
    }
}

/// Lists, pauses or resumes affiliates.
pub(super) async fn affiliate(context: &Context, command: AffiliateCommand) -> Ended {
    match command {
        AffiliateCommand::List => list(context).await,
        AffiliateCommand::Pause(args) => change(context, args, "pause").await,
        AffiliateCommand::Resume(args) => change(context, args, "resume").await,
    }
}

async fn change(context: &Context, args: PauseArgs, verb: &str) -> Ended {
    let Target { affiliate, postback } = &args.target;
    let affiliate = affiliate.to_string();
    let postback = postback.as_ref().map(ToString::to_string);
    let path = match &postback {
        Some(postback) => vec!["v1", "postbacks", &affiliate, postback, verb],
        None => vec!["v1", "affiliates", &affiliate, verb],
    };
    let answer = context.client()?.post(&path, &json!({"reason": args.reason})).await;
    let answer: Value =
        answer.map_err(|error| error.into_failure(&format!("{verb} {}", args.target), "postbackd affiliate list"))?;
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(&answer)?,
        Form::People => {
            let done = if verb == "pause" { "paused" } else { "resumed" };
            for postback in answer.get("postbacks").and_then(Value::as_array).into_iter().flatten() {
                context.output.text(&format!("{} {done}", text(postback.get("postback"))))?;
            }
        }
    }
    Ok(Exit::Ok)
}

async fn list(context: &Context) -> Ended {
    let client = context.client()?;
    let answer: Value =
        client.get(&["v1", "affiliates"], &[]).await.map_err(|error| error.failing("listing affiliates"))?;
    let form = context.output.form();
    if form == Form::Json {
        context.output.document(&answer)?;
        return Ok(Exit::Ok);
    }
    let Some(affiliates) = answer.get("items").and_then(Value::as_array) else {
        return Err(client.nonsense(&"there is no list in it").failing("listing affiliates"));
    };
    if form == Form::Ndjson {
        affiliates.iter().try_for_each(|affiliate| context.output.document(affiliate))?;
        return Ok(Exit::Ok);
    }
    print_table(context, affiliates)?;
    Ok(Exit::Ok)
}

/// A row a postback; an affiliate without postbacks has one too.
fn print_table(context: &Context, affiliates: &[Value]) -> Result<(), Failure> {
    let mut rows = Rows::new(vec!["affiliate", "name", "global", "postback", "events", "receiver", "paused"]);
    for affiliate in affiliates {
        let head = [
            text(affiliate.get("affiliate")),
            text(affiliate.get("name")),
            (if affiliate.get("global") == Some(&Value::Bool(true)) { "yes" } else { "no" }).to_owned(),
        ];
        let none = vec![Value::Null];
        let postbacks = affiliate.get("postbacks").and_then(Value::as_array).filter(|list| !list.is_empty());
        for postback in postbacks.unwrap_or(&none) {
            let name = text(postback.get("postback"));
            let receiver = [text(postback.get("method")), text(postback.get("receiver"))].join(" ");
            let paused = match postback.get("paused") {
                Some(Value::Object(pause)) => format!("by {}: {}", text(pause.get("by")), text(pause.get("reason"))),
                other => text(other),
            };
            let own = [name, events(postback), receiver.trim().to_owned(), paused];
            rows.push(head.iter().cloned().chain(own).collect());
        }
    }
    if rows.is_empty() {
        context.output.say("no affiliate is configured");
        return Ok(());
    }
    context.output.table(rows)
}

/// The types that a postback wants; an absent list is all of them.
fn events(postback: &Value) -> String {
    match postback.get("events") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Some(Value::Null) => "all".to_owned(),
        _ => String::new(),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use axum::{Json, Router};

    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::Person;

    #[test]
    fn a_target_is_an_affiliate_or_one_of_its_postbacks() {
        assert_eq!(parse_target("acme").unwrap().to_string(), "acme");
        assert_eq!(parse_target("acme/conversion").unwrap().to_string(), "acme/conversion");
        assert!(parse_target("acme/").is_err());
        assert!(parse_target("/x").is_err());
    }

    #[tokio::test]
    async fn what_was_paused_is_named() {
        let paused = post(async || Json(json!({"postbacks": [{"postback": "acme/conversion", "paused": true}]})));
        let daemon = Daemon::serve(Router::new().route("/v1/affiliates/acme/pause", paused));
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        let args = PauseArgs { target: parse_target("acme").unwrap(), reason: "because".into() };
        assert_eq!(affiliate(&context, AffiliateCommand::Pause(args)).await, Ok(Exit::Ok));
        assert_eq!(captured.data(), "acme/conversion paused\n");
    }

    #[tokio::test]
    async fn affiliates_are_listed_with_their_postbacks() {
        let page = json!({"items": [{"affiliate": "acme", "name": "Acme", "global": false, "postbacks": [
            {"postback": "conversion", "events": ["ftd"], "method": "GET", "receiver": "https://a.example", "paused": {"by": "op", "reason": "gone", "at": "2026-11-20T10:00:00Z"}}]}]});
        let listed = get(async move || Json(page));
        let daemon = Daemon::serve(Router::new().route("/v1/affiliates", listed));
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        assert_eq!(affiliate(&context, AffiliateCommand::List).await, Ok(Exit::Ok));
        let line = captured.data().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "acme Acme no conversion ftd GET https://a.example by op: gone");
    }
}
