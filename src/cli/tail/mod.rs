//! `tail`: attempts as they are made, over restarts of the daemon, until somebody ends it.

mod frames;

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use comfy_table::Color;
use serde::Deserialize;

use super::client::{Client, ClientError};
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::Form;
use super::time::{micros, shown};
use crate::dispatch::SeenAttempt;
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;
use frames::{Frame, Frames};

/// How often a daemon that is away is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// How long nothing may come, not even a sign that the stream is still there, before it is taken for broken.
const SILENCE: Duration = Duration::from_secs(45);

/// Which attempts to watch.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd tail --affiliate acme
  postbackd tail --outcome retry --last 50
  postbackd tail --transaction dep-88121 --ndjson | jq .http_status

Attempts come without requests and responses: `postbackd show dlv_… --bodies` has them, and
`postbackd list --text STRING` looks for text in responses.")]
pub(super) struct TailArgs {
    /// The affiliate that is told
    #[arg(long, value_name = "ID")]
    affiliate: Option<String>,

    /// Its postback
    #[arg(long, value_name = "NAME")]
    postback: Option<String>,

    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// What the attempt came to
    #[arg(long, value_name = "OUTCOME", value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::name)))]
    outcome: Option<String>,

    /// The status of the response
    #[arg(long, value_name = "CODE")]
    http_status: Option<u16>,

    /// The state of the delivery behind the attempt
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(StateKind::ALL.map(StateKind::name)))]
    state: Option<String>,

    /// The reason that stands with the state, such as exhausted or ambiguous
    #[arg(long, value_name = "REASON")]
    state_reason: Option<String>,

    /// The event's transaction
    #[arg(long, value_name = "ID")]
    transaction: Option<String>,

    /// The event's click
    #[arg(long, value_name = "ID")]
    click: Option<String>,

    /// Begin with so many of the attempts made before, as far as the daemon still has them in memory (1000 in all; 64 of each affiliate for a narrowed token)
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: usize,
}

impl TailArgs {
    fn query(self) -> Vec<(&'static str, String)> {
        let given = [
            ("affiliate", self.affiliate),
            ("postback", self.postback),
            ("type", self.kind),
            ("outcome", self.outcome),
            ("http_status", self.http_status.map(|status| status.to_string())),
            ("state", self.state),
            ("reason", self.state_reason),
            ("transaction", self.transaction),
            ("click", self.click),
            ("last", Some(self.last.to_string())),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Prints attempts until it is interrupted, or nobody reads them any more.
pub(super) async fn tail(context: &Context, args: TailArgs) -> Ended {
    let client = context.client()?;
    let mut tail = Tail { context, client: &client, query: args.query(), last: None };
    tokio::select! {
        failure = tail.follow() => Err(failure),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

struct Tail<'a> {
    context: &'a Context,
    client: &'a Client,
    query: Vec<(&'static str, String)>,
    /// The last place of the stream that was heard.
    last: Option<String>,
}

/// The data of an event that tells of attempts that went by.
#[derive(Debug, Deserialize)]
struct Missed {
    missed: Option<u64>,
}

impl Tail<'_> {
    /// Follows the stream, also over restarts of the daemon; ends by a failure only.
    async fn follow(&mut self) -> Failure {
        let path = ["v1", "attempts", "stream"];
        let mut response = match self.client.listen(&path, &self.query, None).await {
            Ok(response) => response,
            Err(error) => return error.failing("watching attempts"),
        };
        loop {
            if let Err(failure) = self.print(response).await {
                return failure;
            }
            let output = &self.context.output;
            output.say(&format!("postbackd: the stream from {} has ended; connecting again", self.client.endpoint()));
            response = loop {
                // Nothing is missed by it, and a stream that ends again and again floods nobody.
                tokio::time::sleep(RETRY).await;
                match self.client.listen(&path, &self.query, self.last.as_deref()).await {
                    Ok(response) => break response,
                    Err(error) if may_pass(&error) => {}
                    Err(error) => return error.failing("watching attempts"),
                }
            };
            output.say("postbackd: connected again");
        }
    }

    /// Prints what one response brings until it ends or breaks.
    async fn print(&mut self, mut response: reqwest::Response) -> Result<(), Failure> {
        let mut frames = Frames::default();
        // However it ends, the stream is listened to again.
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout(SILENCE, response.chunk()).await {
            let whole = frames.take(&bytes).map_err(|error| self.nonsense(&error))?;
            for frame in whole {
                self.print_frame(&frame)?;
                self.last = frame.id.or_else(|| self.last.take());
            }
        }
        Ok(())
    }

    fn print_frame(&self, frame: &Frame) -> Result<(), Failure> {
        let output = &self.context.output;
        match frame.event.as_str() {
            "attempt" => {
                let attempt: SeenAttempt = serde_json::from_str(&frame.data).map_err(|error| self.nonsense(&error))?;
                match output.form() {
                    Form::People => output.line(&describe(&attempt), colour(attempt.outcome)),
                    Form::Json | Form::Ndjson => output.document(&attempt).and_then(|()| output.flush()),
                }
            }
            "missed" => {
                let missed: Missed = serde_json::from_str(&frame.data).map_err(|error| self.nonsense(&error))?;
                let what = match missed.missed {
                    Some(count) => format!("{count} attempts went by unseen, whether they meet the filter or not"),
                    None => "some attempts may have gone by unseen".into(),
                };
                output.say(&format!("postbackd: {what}; `postbackd list --since …` has all deliveries"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn nonsense(&self, why: &dyn std::fmt::Display) -> Failure {
        self.client.nonsense(why).failing("watching attempts")
    }
}

/// Whether it may be otherwise in a while: the daemon is away, or has no place free.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Problem(problem) => problem.status >= 500,
        ClientError::Forbidden { .. } | ClientError::Nonsense { .. } => false,
    }
}

fn colour(outcome: Outcome) -> Color {
    match outcome {
        Outcome::Delivered | Outcome::Duplicate => Color::Green,
        Outcome::Throttled | Outcome::Retry | Outcome::Unreachable | Outcome::Ambiguous => Color::Yellow,
        Outcome::Rejected | Outcome::Misconfigured | Outcome::Unrenderable | Outcome::Gone | Outcome::Blocked => {
            Color::Red
        }
    }
}

/// One attempt on one line.
fn describe(attempt: &SeenAttempt) -> String {
    let status = attempt.http_status.map_or_else(|| "no answer".into(), |status| status.to_string());
    let error = attempt.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let standing = super::show::describe_standing(attempt.state, attempt.reason.as_deref(), attempt.due);
    format!(
        "{}  {}  {}/{}  {} {} #{}: {status} in {}, {} ({}){error}{standing}",
        shown(attempt.at),
        attempt.delivery_id,
        attempt.affiliate,
        attempt.postback,
        attempt.kind,
        attempt.transaction_id,
        attempt.number,
        micros(attempt.total_us),
        attempt.outcome.name(),
        attempt.rule,
    )
}
