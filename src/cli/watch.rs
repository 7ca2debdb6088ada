//! `orders`: bulk orders, listed, watched, paused, resumed and stopped.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows, Unit};
use super::time::shown;
use crate::dispatch::BulkView;
use crate::ops::clock::monotonic;
use crate::outbox::BulkState;

/// How often a running replay is looked at.
const INTERVAL: Duration = Duration::from_millis(300);
/// How long the daemon may be away while a replay is watched.
const AWAY: Duration = Duration::from_mins(2);

/// What to do with bulk orders.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum OrdersCommand {
    /// List bulk orders, the newest first, with who gave them and why
    List,
    /// Show a bulk order
    Show {
        /// The order (ord_…)
        id: String,
    },
    /// Wait for the end of a bulk order
    Watch {
        /// The order (ord_…)
        id: String,
    },
    /// Halt a bulk order until it is resumed
    Pause {
        /// The order (ord_…)
        id: String,
    },
    /// Go on with a bulk order that was paused
    Resume {
        /// The order (ord_…)
        id: String,
    },
    /// End a bulk order; what it has done stays done
    Stop {
        /// The order (ord_…)
        id: String,
    },
}

/// How a command ends that waited for an order.
pub(super) fn exit(view: &BulkView) -> Exit {
    match view.state {
        BulkState::Naming | BulkState::Running | BulkState::Paused => Exit::Ok,
        BulkState::Finished if view.refused == 0 => Exit::Ok,
        BulkState::Finished if view.done == 0 => Exit::Refused,
        BulkState::Finished | BulkState::Stopped => Exit::Partial,
    }
}

fn name(state: BulkState) -> &'static str {
    match state {
        BulkState::Naming | BulkState::Running => "running",
        BulkState::Paused => "paused",
        BulkState::Finished => "finished",
        BulkState::Stopped => "stopped",
    }
}

/// Lists, shows, watches, pauses, resumes or stops bulk orders.
pub(super) async fn orders(context: &Context, command: OrdersCommand) -> Ended {
    let client = context.client()?;
    match command {
        OrdersCommand::List => {
            let answer: Value =
                client.get(&["v1", "orders"], &[]).await.map_err(|error| failing(error, "listing orders"))?;
            print_list(context, &client, answer)
        }
        OrdersCommand::Show { id } => {
            report(context, &look(&client, &id).await?)?;
            Ok(Exit::Ok)
        }
        OrdersCommand::Watch { id } => {
            let view = look(&client, &id).await?;
            watch(context, &client, view).await
        }
        OrdersCommand::Pause { id } => change(context, &client, &id, "pause").await,
        OrdersCommand::Resume { id } => change(context, &client, &id, "resume").await,
        OrdersCommand::Stop { id } => change(context, &client, &id, "stop").await,
    }
}

fn failing(error: ClientError, what: &str) -> Failure {
    error.into_failure(what, "postbackd orders list")
}

async fn look(client: &Client, id: &str) -> Result<BulkView, Failure> {
    client.get(&["v1", "orders", id], &[]).await.map_err(|error| failing(error, &format!("order {id}")))
}

async fn change(context: &Context, client: &Client, id: &str, change: &str) -> Ended {
    let answer = client.post(&["v1", "orders", id, change], &json!({})).await;
    report(context, &answer.map_err(|error| failing(error, &format!("{change} order {id}")))?)?;
    Ok(Exit::Ok)
}

/// Waits for the end of an order, also over a restart of the daemon.
pub(super) async fn watch(context: &Context, client: &Client, given: BulkView) -> Ended {
    Ok(exit(&to_the_end(context, client, given).await?))
}

/// Waits for the end of an order, and tells how it ended.
pub(super) async fn to_the_end(context: &Context, client: &Client, given: BulkView) -> Result<BulkView, Failure> {
    context.output.begin(Some(given.matched), Unit::Deliveries);
    let ended = wait(context, client, given).await;
    context.output.end();
    let view = ended?;
    report(context, &view)?;
    Ok(view)
}

async fn wait(context: &Context, client: &Client, mut view: BulkView) -> Result<BulkView, Failure> {
    let mut last_answer = monotonic();
    let mut told = None;
    while view.state.is_open() {
        let words = format!("{}: done {}, refused {}", name(view.state), view.done, view.refused);
        context.output.proceed(view.done + view.refused, words);
        tokio::time::sleep(INTERVAL).await;
        match client.get(&["v1", "orders", &view.order_id.to_string()], &[]).await {
            Ok(next) => {
                view = next;
                last_answer = monotonic();
                if view.state.is_open() && told.replace(view.state) != Some(view.state) {
                    context.output.say(&advice(&view));
                }
            }
            Err(ClientError::Unreachable { .. }) if last_answer.elapsed() < AWAY => {}
            Err(ClientError::Problem(problem)) if problem.status == 404 => {
                return Err(Failure::new(
                    Exit::Partial,
                    format!("watching order {}", view.order_id),
                    format!("the daemon does not know it; {} of {} were done when last seen", view.done, view.matched),
                    "look whether this is the daemon that it was given to",
                ));
            }
            Err(error) => {
                let next = format!("postbackd orders watch {}", view.order_id);
                return Err(error.into_failure("watching the order, which goes on in the daemon", &next));
            }
        }
    }
    Ok(view)
}

fn advice(view: &BulkView) -> String {
    let id = view.order_id;
    match view.state {
        BulkState::Paused => format!("{} paused it; to go on: postbackd orders resume {id}", view.changed_by),
        _ => format!(
            "it runs in the daemon; to halt it: postbackd orders pause {id}, to end it: postbackd orders stop {id}"
        ),
    }
}

/// Prints an order, with its refusals as words.
pub(super) fn report(context: &Context, view: &BulkView) -> Result<(), Failure> {
    for refusal in &view.refusals {
        context.output.say(&format!("{}: {}", refusal.id, refusal.why));
    }
    let untold = view.refused.saturating_sub(view.refusals.len() as u64);
    if untold > 0 {
        context.output.say(&format!("and {untold} more that were refused"));
    }
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(view),
        Form::People => context.output.text(&format!(
            "order {} to {} {}: {} of {} done, {} refused",
            view.order_id,
            view.verb,
            name(view.state),
            view.done,
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
    let views: Vec<BulkView> =
        serde_json::from_value(views).map_err(|error| client.nonsense(&error).failing("listing orders"))?;
    match context.output.form() {
        Form::Json => context.output.document(&views)?,
        Form::Ndjson => views.iter().try_for_each(|view| context.output.document(view))?,
        Form::People if views.is_empty() => context.output.say("there are no orders"),
        Form::People => {
            let header = vec!["order_id", "verb", "state", "matched", "done", "refused", "created_at", "by", "reason"];
            let mut rows = Rows::new(header);
            for view in views {
                rows.push(vec![
                    view.order_id.to_string(),
                    view.verb,
                    name(view.state).into(),
                    view.matched.to_string(),
                    view.done.to_string(),
                    view.refused.to_string(),
                    shown(view.created_at),
                    view.by,
                    view.reason,
                ]);
            }
            context.output.table(rows)?;
        }
    }
    Ok(Exit::Ok)
}
