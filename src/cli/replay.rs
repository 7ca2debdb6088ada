//! `replay`: sends deliveries again, after telling exactly how many and asking.
//!
//! The daemon does the work; this counts, asks, starts and watches.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::filter::FilterArgs;
use super::orders::not_confirmed;
use super::output::Form;
use super::replays;

use crate::dispatch::ReplayView;
use crate::domain::delivery::StateKind;
use crate::inspect::DeliveryFilter;

/// What `--force` means, told before anybody agrees to it.
const FORCE_MEANS: &str = "--force also sends deliveries again that have arrived: an affiliate that does not recognise \
                           the idempotency key counts, and may be paid for, these conversions twice";

/// What to send again.
#[derive(Debug, Clone, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct ReplayArgs {
    /// Deliveries (dlv_…)
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    filter: FilterArgs,

    /// Plan and send the events that no postback wanted when they came
    #[arg(long, conflicts_with = "ids")]
    unrouted: bool,

    /// Only count
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Replay so many at most, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Replay no faster than this, such as 50/s
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,

    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,

    /// Also send again what has arrived: the affiliate may count it twice
    #[arg(long)]
    force: bool,

    /// Do not wait for the end
    #[arg(long)]
    detach: bool,

    /// Whether only dead letters are meant.
    #[arg(skip)]
    dead: bool,
}

impl ReplayArgs {
    /// The same for dead letters only.
    ///
    /// # Errors
    /// When it was for something else.
    pub(super) fn of_dead_letters(mut self) -> Result<Self, Failure> {
        let dead = StateKind::Dead.name();
        let why = match &self.filter.state {
            _ if self.unrouted => "unrouted events are no dead letters",
            Some(state) if state != dead => "dead letters have no other state",
            _ => {
                self.dead = true;
                return Ok(self);
            }
        };
        Err(Failure::new(Exit::Usage, "dead replay", why, "use `postbackd replay` for all states"))
    }

    /// The filter that is meant.
    fn meant(&self) -> Result<DeliveryFilter, Failure> {
        let mut filter = self.filter.filter(&self.ids)?;
        if filter.is_empty() && !self.unrouted {
            return Err(Failure::new(
                Exit::Usage,
                "replay",
                "it is not said what to replay",
                "name deliveries by id, or by filters such as --affiliate acme --since 2h, or add --unrouted",
            ));
        }
        if self.dead {
            filter.state = Some(StateKind::Dead.name().into());
        }
        Ok(filter)
    }
}

/// Sends deliveries again.
pub(super) async fn replay(context: &Context, args: ReplayArgs) -> Ended {
    let filter = args.meant()?;
    let client = context.client()?;
    let matched = count(&client, &args, &filter).await?;
    let meant = args.limit.map_or(matched, |limit| limit.min(matched));
    if args.dry_run && context.output.form() != Form::People {
        context.output.document(&json!({"matched": matched, "would_replay": meant}))?;
        return Ok(Exit::Ok);
    }
    if matched == 0 {
        return nothing(context, &args);
    }
    tell(context, &args, matched, meant);
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    if !args.yes && !context.output.ask(&format!("Replay {}?", counted(meant, args.unrouted)))? {
        return Err(not_confirmed());
    }
    // No more than was shown: what comes to meet the filter from now on is for another replay.
    let order = order(&args, &filter, Some(meant), false);
    let started: ReplayView =
        client.post(&["v1", "replays"], &order).await.map_err(|error| error.failing("starting the replay"))?;
    if args.detach {
        context.output.say(&format!("watch it with: postbackd replays watch {}", started.replay_id));
        replays::report(context, &started)?;
        return Ok(Exit::Ok);
    }
    replays::watch(context, &client, started).await
}

async fn count(client: &Client, args: &ReplayArgs, filter: &DeliveryFilter) -> Result<u64, Failure> {
    let asked = order(args, filter, None, true);
    let answer: Value = client
        .post(&["v1", "replays"], &asked)
        .await
        .map_err(|error| error.failing("counting what would be replayed"))?;
    let matched = answer.get("matched").and_then(Value::as_u64);
    matched.ok_or_else(|| client.nonsense(&"there is no count in it").failing("counting what would be replayed"))
}

fn order(args: &ReplayArgs, filter: &DeliveryFilter, limit: Option<u64>, dry_run: bool) -> Value {
    json!({
        "filter": filter,
        "unrouted": args.unrouted,
        "force": args.force,
        "limit": limit,
        "rate": args.rate,
        "reason": args.reason.as_deref().unwrap_or("dry run"),
        "dry_run": dry_run,
    })
}

fn nothing(context: &Context, args: &ReplayArgs) -> Ended {
    if args.ids.is_empty() {
        context.output.say("nothing meets the filter; nothing to replay");
        return Ok(Exit::Ok);
    }
    let next = "look at them with `postbackd show ID`";
    Err(Failure::new(Exit::NotFound, "replay", "there is no delivery of these ids that meets the filter", next))
}

fn tell(context: &Context, args: &ReplayArgs, matched: u64, meant: u64) {
    let all = counted(matched, args.unrouted);
    let mut words = match (meant < matched, args.dry_run) {
        (true, _) => format!("{all} match; --limit leaves {meant} to be replayed, the oldest first"),
        (false, true) => format!("{all} would be replayed"),
        (false, false) => format!("{all} to be replayed"),
    };
    let distinct = u64::try_from(args.ids.len()).unwrap_or(u64::MAX);
    if matched < distinct {
        let _ = write!(
            words,
            "; {} of the ids do not exist, do not meet the filter, or are in a state that cannot be replayed (delivered ones need --force)",
            distinct - matched
        );
    }
    if !args.ids.is_empty() {
        words.push_str("; what is still under way, or has arrived and is not forced, will be refused");
    }
    if args.force {
        words.push('\n');
        words.push_str(FORCE_MEANS);
    }
    context.output.say(&words);
}

fn counted(count: u64, unrouted: bool) -> String {
    let (one, many) = if unrouted { ("unrouted event", "unrouted events") } else { ("delivery", "deliveries") };
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use axum::{Json, Router};

    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::Person;

    type Orders = Arc<Mutex<Vec<Value>>>;

    fn view(state: &str, refused: u64) -> Value {
        let done = if state == "running" { 1 } else { 3 };
        json!({
            "replay_id": "rpl_1", "matched": 3, "done": done, "replayed": done - refused, "refused": refused,
            "state": state, "reason": "because", "by": "op", "started_at": "2026-11-20T10:00:00Z", "finished_at": null,
            "refusals": [{"id": "dlv_x", "why": "it has arrived"}],
        })
    }

    /// A daemon where three deliveries match, of which `refused` cannot be replayed.
    fn daemon(refused: u64) -> (Daemon, Orders) {
        let orders = Orders::default();
        let log = Arc::clone(&orders);
        let started = post(|Json(order): Json<Value>| async move {
            log.lock().unwrap().push(order.clone());
            if order["dry_run"] == true {
                return Json(json!({"matched": 3})).into_response();
            }
            (StatusCode::ACCEPTED, Json(view("running", 0))).into_response()
        });
        let watched = get(move || async move { Json(view("finished", refused)) });
        let routes = Router::new().route("/v1/replays", started).route("/v1/replays/{id}", watched);
        (Daemon::serve(routes), orders)
    }

    fn args() -> ReplayArgs {
        let mut filter = FilterArgs::default();
        filter.affiliate = Some("acme".into());
        ReplayArgs { filter, reason: Some("because".into()), ..ReplayArgs::default() }
    }

    fn orders_given(orders: &Orders) -> Vec<Value> {
        orders.lock().unwrap().iter().filter(|order| order["dry_run"] == false).cloned().collect()
    }

    #[tokio::test]
    async fn it_counts_asks_and_replays_no_more_than_was_shown() {
        let (daemon, orders) = daemon(0);
        let (context, captured) = daemon.context(Form::Json, Person::Says("y"));
        assert_eq!(replay(&context, args()).await, Ok(Exit::Ok));
        assert!(captured.words().contains("Replay 3 deliveries?"), "{}", captured.words());
        let given = orders_given(&orders);
        assert_eq!(given.len(), 1);
        assert_eq!(given[0]["limit"], 3);
        assert_eq!(given[0]["filter"], json!({"affiliate": "acme"}));
        assert_eq!(given[0]["reason"], "because");
    }

    #[tokio::test]
    async fn nothing_is_ordered_without_a_yes() {
        let (daemon, orders) = daemon(0);
        let cases =
            [(Person::Says("n"), Exit::Refused), (Person::Says(""), Exit::Refused), (Person::Absent, Exit::Usage)];
        for (person, exit) in cases {
            let (context, _) = daemon.context(Form::Json, person);
            assert_eq!(replay(&context, args()).await.unwrap_err().exit(), exit);
        }
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        assert_eq!(replay(&context, ReplayArgs { dry_run: true, limit: Some(2), ..args() }).await, Ok(Exit::Ok));
        assert!(captured.words().contains("--limit leaves 2"), "{}", captured.words());
        assert_eq!(orders_given(&orders), Vec::<Value>::new());
    }

    #[tokio::test]
    async fn refusals_are_told_and_end_as_partial() {
        let (daemon, _) = daemon(1);
        let (context, captured) = daemon.context(Form::Json, Person::Absent);
        let forced = ReplayArgs { yes: true, force: true, ..args() };
        assert_eq!(replay(&context, forced).await, Ok(Exit::Partial));
        assert!(captured.words().contains("dlv_x: it has arrived"), "{}", captured.words());
        assert!(captured.words().contains("twice"), "{}", captured.words());
    }

    #[tokio::test]
    async fn everything_is_never_meant_by_saying_nothing() {
        let (daemon, orders) = daemon(0);
        let (context, _) = daemon.context(Form::Json, Person::Says("y"));
        let unsaid = ReplayArgs { filter: FilterArgs::default(), yes: true, ..args() };
        assert_eq!(replay(&context, unsaid.clone()).await.unwrap_err().exit(), Exit::Usage);
        let dead = unsaid.of_dead_letters().unwrap();
        assert_eq!(replay(&context, dead).await.unwrap_err().exit(), Exit::Usage);
        assert!(orders.lock().unwrap().is_empty());
        let dead = args().of_dead_letters().unwrap();
        assert_eq!(dead.meant().unwrap().state.as_deref(), Some("dead"));
    }

    #[tokio::test]
    async fn a_replay_that_the_daemon_forgot_is_not_taken_for_done() {
        let started = post(|Json(order): Json<Value>| async move {
            let counting = order["dry_run"] == true;
            Json(if counting { json!({"matched": 3}) } else { view("running", 0) })
        });
        let forgotten = get(async || (StatusCode::NOT_FOUND, Json(json!({"title": "No such replay"}))));
        let routes = Router::new().route("/v1/replays", started).route("/v1/replays/{id}", forgotten);
        let daemon = Daemon::serve(routes);
        let (context, _) = daemon.context(Form::Json, Person::Absent);
        let failure = replay(&context, ReplayArgs { yes: true, ..args() }).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Partial);
        assert!(failure.to_string().contains("1 of 3"), "{failure}");
    }
}
