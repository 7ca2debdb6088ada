//! `log`: the level of the running daemon's log.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::exit::{Ended, Exit};
use super::output::Form;
use super::time::{duration, shown};
use crate::ops::telemetry::LogLevel;

/// The level that the log is to have.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without FILTER it shows the level. Who changed it is logged, whatever the level is. It goes back after --for, with
`postbackd reload`, and when the daemon starts anew.

Examples:
  postbackd log
  postbackd log debug --for 10m
  postbackd log info,postbackd::dispatch=debug"
)]
pub(super) struct LogArgs {
    /// A level (error, warn, info, debug or trace), or a filter such as `info,postbackd::dispatch=debug`
    filter: Option<String>,

    /// Go back by itself after this time, such as 10m; at most 24h
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "filter")]
    time: Option<Duration>,
}

/// Shows or changes the level.
pub(super) async fn log(context: &Context, args: LogArgs) -> Ended {
    let client = context.client()?;
    let path = ["v1", "log"];
    let level: LogLevel = match args.filter {
        None => client.get(&path, &[]).await.map_err(|error| error.failing("looking at the level of the log"))?,
        Some(filter) => {
            let order = json!({ "filter": filter, "for_seconds": args.time.map(|time| time.as_secs()) });
            let answer = client.put(&path, &order).await;
            answer.map_err(|error| error.into_failure("changing the level of the log", "postbackd log --help"))?
        }
    };
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(&level)?,
        Form::People => context.output.text(&told(&level))?,
    }
    Ok(Exit::Ok)
}

fn told(level: &LogLevel) -> String {
    let LogLevel { filter, configured, until, by } = level;
    let Some(by) = by else { return format!("{filter}, as configured") };
    let back = until.map_or_else(|| "a reload or restart".to_owned(), |until| format!("{} or a reload", shown(until)));
    format!("{filter} by {by} until {back}; configured is {configured}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changed_it_and_until_when_is_told() {
        let level = |until: Option<&str>, by: Option<&str>| LogLevel {
            filter: "debug".into(),
            configured: "info".into(),
            until: until.map(|until| until.parse().unwrap()),
            by: by.map(Into::into),
        };
        let table = [
            (level(None, None), "debug, as configured"),
            (level(None, Some("uid:0")), "debug by uid:0 until a reload or restart; configured is info"),
            (
                level(Some("2026-11-20T10:00:00Z"), Some("ops")),
                "debug by ops until 2026-11-20T10:00:00.000Z or a reload; configured is info",
            ),
        ];
        for (level, expected) in table {
            assert_eq!(told(&level), expected);
        }
    }
}
