//! `replays`: replays that were ordered, listed, watched and stopped.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows, Unit};
use super::time::shown;
use crate::dispatch::{ReplayState, ReplayView};
use crate::ops::clock::monotonic;

/// How often a running replay is looked at.
const INTERVAL: Duration = Duration::from_millis(300);
/// How long the daemon may be away while a replay is watched.
const AWAY: Duration = Duration::from_mins(2);

/// What to do with replays.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum ReplaysCommand {
    /// List replays
    List,
    /// Show a replay
    Show {
        /// The replay
        id: String,
    },
    /// Wait for the end of a replay
    Watch {
        /// The replay
        id: String,
    },
    /// Stop a replay; what it has sent stays sent
    Stop {
        /// The replay
        id: String,
    },
}

/// How a command ends that waited for a replay.
fn exit(view: &ReplayView) -> Exit {
    match view.state {
        ReplayState::Running => Exit::Ok,
        ReplayState::Finished if view.refused == 0 => Exit::Ok,
        ReplayState::Finished if view.replayed == 0 => Exit::Refused,
        ReplayState::Finished | ReplayState::Stopped => Exit::Partial,
    }
}

fn name(state: ReplayState) -> &'static str {
    match state {
        ReplayState::Running => "running",
        ReplayState::Finished => "finished",
        ReplayState::Stopped => "stopped",
    }
}

fn steps(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Lists, shows, watches or stops replays.
pub(super) async fn replays(context: &Context, command: ReplaysCommand) -> Ended {
    let client = context.client()?;
    let failing = |error: ClientError, what: &str| error.into_failure(what, "postbackd replays list");
    match command {
        ReplaysCommand::List => {
            let answer: Value = client.get(&["v1", "replays"], &[]).await.map_err(|e| failing(e, "listing replays"))?;
            print_list(context, &client, answer)
        }
        ReplaysCommand::Show { id } => {
            let view =
                client.get(&["v1", "replays", &id], &[]).await.map_err(|e| failing(e, &format!("replay {id}")))?;
            report(context, &view)?;
            Ok(Exit::Ok)
        }
        ReplaysCommand::Watch { id } => {
            let view =
                client.get(&["v1", "replays", &id], &[]).await.map_err(|e| failing(e, &format!("replay {id}")))?;
            watch(context, &client, view).await
        }
        ReplaysCommand::Stop { id } => {
            let answer = client.post(&["v1", "replays", &id, "stop"], &json!({})).await;
            let view = answer.map_err(|error| failing(error, &format!("stopping replay {id}")))?;
            report(context, &view)?;
            Ok(Exit::Ok)
        }
    }
}

/// Waits for the end of a replay, also over a restart of the daemon.
pub(super) async fn watch(context: &Context, client: &Client, started: ReplayView) -> Ended {
    context.output.begin(Some(steps(started.matched)), Unit::Deliveries);
    let ended = wait(context, client, started).await;
    context.output.end();
    let view = ended?;
    report(context, &view)?;
    Ok(exit(&view))
}

async fn wait(context: &Context, client: &Client, mut view: ReplayView) -> Result<ReplayView, Failure> {
    let mut last_answer = monotonic();
    let mut told = false;
    while view.state == ReplayState::Running {
        context.output.proceed(steps(view.done), format!("replayed {}, refused {}", view.replayed, view.refused));
        tokio::time::sleep(INTERVAL).await;
        match client.get(&["v1", "replays", &view.replay_id], &[]).await {
            Ok(next) => {
                view = next;
                last_answer = monotonic();
                if view.state == ReplayState::Running && !std::mem::replace(&mut told, true) {
                    let id = &view.replay_id;
                    context.output.say(&format!("it runs in the daemon; to stop it: postbackd replays stop {id}"));
                }
            }
            Err(ClientError::Unreachable { .. }) if last_answer.elapsed() < AWAY => {}
            Err(ClientError::Problem(problem)) if problem.status == 404 => {
                return Err(Failure::new(
                    Exit::Partial,
                    format!("watching replay {}", view.replay_id),
                    format!(
                        "the daemon no longer knows it; {} of {} were done when last seen",
                        view.done, view.matched
                    ),
                    "repeat the command with --dry-run to see what is left",
                ));
            }
            Err(error) => {
                let next = format!("postbackd replays watch {}", view.replay_id);
                return Err(error.into_failure("watching the replay, which goes on in the daemon", &next));
            }
        }
    }
    Ok(view)
}

/// Prints a replay, with its refusals as words.
pub(super) fn report(context: &Context, view: &ReplayView) -> Result<(), Failure> {
    for refusal in &view.refusals {
        context.output.say(&format!("{}: {}", refusal.id, refusal.why));
    }
    let untold = view.refused.saturating_sub(view.refusals.len());
    if untold > 0 {
        context.output.say(&format!("and {untold} more that were refused"));
    }
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(view),
        Form::People => context.output.text(&format!(
            "replay {} {}: {} of {} on their way again, {} refused",
            view.replay_id,
            name(view.state),
            view.replayed,
            view.matched,
            view.refused
        )),
    }
}

fn print_list(context: &Context, client: &Client, answer: Value) -> Ended {
    let views = match answer {
        Value::Object(mut page) => page.remove("items").unwrap_or_default(),
        list => list,
    };
    let views: Vec<ReplayView> =
        serde_json::from_value(views).map_err(|error| client.nonsense(&error).failing("listing replays"))?;
    match context.output.form() {
        Form::Json => context.output.document(&views)?,
        Form::Ndjson => views.iter().try_for_each(|view| context.output.document(view))?,
        Form::People if views.is_empty() => context.output.say("there are no replays"),
        Form::People => {
            let header = vec!["replay_id", "progress", "matched", "replayed", "refused", "started_at", "by", "reason"];
            let mut rows = Rows::new(header);
            for view in views {
                rows.push(vec![
                    view.replay_id,
                    name(view.state).into(),
                    view.matched.to_string(),
                    view.replayed.to_string(),
                    view.refused.to_string(),
                    shown(view.started_at),
                    view.by,
                    view.reason,
                ]);
            }
            context.output.table(rows)?;
        }
    }
    Ok(Exit::Ok)
}
