//! `check` and `reload`: what is wrong with the configuration, and having the daemon take it.

use clap::Args;
use serde_json::{Value, json};

use super::configuration::{self, Checked, Severity};
use super::context::Context;
use super::exit::{Ended, Exit};
use super::output::Form;
use super::problem::Problem;

/// How strictly to check.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(
    after_help = "Exits with 7 where the configuration cannot be used; with --strict also where there is a warning.

Examples:
  postbackd check
  postbackd check --config /etc/postbackd/postbackd.toml --strict
  postbackd check --json | jq -r '.findings[] | \"\\(.file):\\(.line) \\(.message)\"'"
)]
pub(super) struct CheckArgs {
    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,
}

/// Checks the configuration without a daemon.
pub(super) fn check(context: &Context, args: CheckArgs) -> Ended {
    let path = configuration::path(&context.globals);
    let checked = configuration::check(&path);
    let ok = checked.summary.is_some() && (!args.strict || checked.findings.is_empty());
    let output = &context.output;
    match output.form() {
        Form::Json => output.document(&json!({
            "file": path,
            "ok": ok,
            "findings": checked.findings,
            "summary": checked.summary,
        }))?,
        Form::Ndjson => checked.findings.iter().try_for_each(|finding| output.document(finding))?,
        Form::People => checked.findings.iter().try_for_each(|finding| output.text(&finding.to_string()))?,
    }
    output.say(&verdict(&checked, &path.display().to_string()));
    if args.strict && !ok && checked.summary.is_some() {
        output.say("with --strict, warnings fail");
    }
    Ok(if ok { Exit::Ok } else { Exit::Configuration })
}

fn verdict(checked: &Checked, path: &str) -> String {
    let warnings = checked.findings.iter().filter(|finding| finding.severity == Severity::Warning).count();
    match checked.summary {
        Some(summary) => format!(
            "{path} is good: {}, {}, {}, {}",
            counted(summary.affiliates, "affiliate", "affiliates"),
            counted(summary.postbacks, "postback", "postbacks"),
            counted(summary.types, "event type", "event types"),
            counted(warnings, "warning", "warnings"),
        ),
        None => format!(
            "{path} cannot be used: {}, {}",
            counted(checked.findings.len() - warnings, "error", "errors"),
            counted(warnings, "warning", "warnings"),
        ),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Has the daemon take its configuration anew.
pub(super) async fn reload(context: &Context) -> Ended {
    let client = context.client()?;
    let what = "reloading the configuration";
    let answer = client.exchange(reqwest::Method::POST, &["v1", "reload"], &[], Some("{}".into())).await;
    let answer = answer.map_err(|error| error.failing(what))?;
    let document = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    if !answer.status.is_success() {
        let mut problem = Problem::of_response(answer.status.as_u16(), &answer.body);
        for fault in problem.take_faults() {
            context.output.say(&format!("error: {fault}"));
        }
        let failure = problem
            .into_failure(what, "put it right, then reload again; `postbackd check` tells the same without the daemon");
        return Err(if answer.status == 422 { failure.ending(Exit::Configuration) } else { failure });
    }
    let warnings = document.get("warnings").and_then(Value::as_array).cloned().unwrap_or_default();
    if context.output.form() != Form::People {
        context.output.document(&document)?;
        return Ok(Exit::Ok);
    }
    for warning in &warnings {
        context
            .output
            .say(&format!("warning: {}", warning.as_str().map_or_else(|| warning.to_string(), str::to_owned)));
    }
    context.output.text(&format!("reloaded with {}", counted(warnings.len(), "warning", "warnings")))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::routing::post;
    use axum::{Json, Router};

    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::Person;

    #[tokio::test]
    async fn a_bad_configuration_ends_in_its_own_exit() {
        let refuse = post(async || (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"title": "Bad configuration"}))));
        let daemon = Daemon::serve(Router::new().route("/v1/reload", refuse));
        let (context, _) = daemon.context(Form::People, Person::Absent);
        assert_eq!(reload(&context).await.unwrap_err().exit(), Exit::Configuration);
        std::fs::create_dir(daemon.path("affiliates")).unwrap();
        std::fs::write(daemon.path("events.toml"), include_str!("../../config/events.toml")).unwrap();
        let good =
            "events = \"events.toml\"\naffiliates = \"affiliates\"\n[outbox]\npath = \"o\"\n[api]\nsocket = \"s\"\n";
        std::fs::write(daemon.path("p.toml"), good).unwrap();
        let lax = CheckArgs::default();
        assert_eq!(check(&context, lax), Ok(Exit::Ok));
        assert_eq!(check(&context, CheckArgs { strict: true }), Ok(Exit::Configuration), "there is no affiliate");
        std::fs::write(daemon.path("p.toml"), "[api").unwrap();
        assert_eq!(check(&context, lax), Ok(Exit::Configuration));
    }
}
