//! `affiliate pause` and `affiliate resume`: orders about all postbacks of an affiliate, or one.

use clap::Args;
use serde_json::{Value, json};

use super::super::context::Context;
use super::super::exit::{Ended, Exit};
use super::super::output::Form;
use super::{Target, parse_target};

/// What to pause or resume.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd affiliate pause acme --reason 'their migration, ticket 4711'
  postbackd affiliate resume acme/conversion --reason 'they are back'")]
pub(in crate::cli) struct PauseArgs {
    /// An affiliate, or one of its postbacks
    #[arg(value_name = "AFFILIATE[/POSTBACK]", value_parser = parse_target)]
    target: Target,

    /// Why; shown wherever the pause is
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Has the daemon pause or resume postbacks.
pub(super) async fn change(context: &Context, args: PauseArgs, verb: &str) -> Ended {
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
                let name = postback.get("postback").and_then(Value::as_str).unwrap_or_default();
                context.output.text(&format!("{name} {done}"))?;
            }
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use axum::{Json, Router};

    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::Person;

    #[tokio::test]
    async fn what_was_paused_is_named() {
        let paused = post(async || Json(json!({"postbacks": [{"postback": "acme/conversion", "paused": true}]})));
        let daemon = Daemon::serve(Router::new().route("/v1/affiliates/acme/pause", paused));
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        let args = PauseArgs { target: parse_target("acme").unwrap(), reason: "because".into() };
        assert_eq!(change(&context, args, "pause").await, Ok(Exit::Ok));
        assert_eq!(captured.data(), "acme/conversion paused\n");
    }
}
