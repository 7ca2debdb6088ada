//! `replay` and `discard`, and orders about whatever meets a filter: given after telling exactly how many and asking.
//!
//! The daemon does the work, also when this ends; this counts, asks, starts and watches.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::filter::FilterArgs;
use super::ids;
use super::orders::not_confirmed;
use super::output::Form;
use super::series;
use crate::domain::delivery::StateKind;
use crate::inspect::DeliveryFilter;

/// What `--force` means, told before anybody agrees to it.
const FORCE_MEANS: &str = "--force also sends deliveries again that have arrived: an affiliate that does not recognise \
                           the idempotency key counts, and may be paid for, these conversions twice";

/// Which deliveries an order is about, and how it is carried out.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct BulkArgs {
    /// Deliveries (dlv_…)
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,

    #[command(flatten)]
    pub(super) filter: FilterArgs,

    /// Only count
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,

    /// Do it for so many at most, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,

    /// No faster than this, such as 50/s
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,

    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub(super) reason: Option<String>,

    /// Do not wait for the end
    #[arg(long)]
    pub(super) detach: bool,
}

/// What to send again.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    bulk: BulkArgs,

    /// Deliveries named in this file, an id or a JSON document with a `delivery_id` a line; - for standard input
    #[arg(long = "ids", value_name = "FILE", conflicts_with = "ids")]
    ids_file: Option<PathBuf>,

    /// Plan and send the events that no postback wanted when they came
    #[arg(long, conflicts_with_all = ["ids", "ids_file"])]
    unrouted: bool,

    /// Also send again what has arrived: the affiliate may count it twice
    #[arg(long)]
    force: bool,

    /// Whether only dead letters are meant.
    #[arg(skip)]
    dead: bool,
}

/// An order as it will be given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meant {
    pub(super) verb: &'static str,
    /// What was done, as in "replayed".
    done: &'static str,
    pub(super) unrouted: bool,
    force: bool,
}

impl Meant {
    /// Puts dead and held deliveries away.
    pub(super) const DISCARD: Self = Self::of("discard", "discarded");

    /// An order by its verb, and by what is done then.
    pub(super) const fn of(verb: &'static str, done: &'static str) -> Self {
        Self { verb, done, unrouted: false, force: false }
    }
}

impl ReplayArgs {
    /// The same for dead letters only.
    ///
    /// # Errors
    /// When it was for something else.
    pub(super) fn of_dead_letters(mut self) -> Result<Self, Failure> {
        let dead = StateKind::Dead.name();
        let why = match &self.bulk.filter.state {
            _ if self.unrouted => "unrouted events are no dead letters",
            Some(state) if state != dead => "dead letters have no other state",
            _ => {
                self.dead = true;
                return Ok(self);
            }
        };
        Err(Failure::new(Exit::Usage, "dead replay", why, "use `postbackd replay` for all states"))
    }

    fn meant(&self) -> Meant {
        Meant { verb: "replay", done: "replayed", unrouted: self.unrouted, force: self.force }
    }

    fn filter(&self) -> Result<DeliveryFilter, Failure> {
        let mut filter = self.bulk.filter(self.meant())?;
        if self.dead {
            filter.state = Some(StateKind::Dead.name().into());
        }
        Ok(filter)
    }
}

impl BulkArgs {
    /// Whether it is about deliveries named one by one, and nothing else is said.
    pub(super) fn names_single_ones(&self) -> Result<bool, Failure> {
        let plain = self.limit.is_none() && self.rate.is_none() && !self.detach;
        Ok(!self.ids.is_empty() && plain && self.filter.filter(&[])?.is_empty())
    }

    /// The filter that is meant.
    fn filter(&self, meant: Meant) -> Result<DeliveryFilter, Failure> {
        let filter = self.filter.filter(&self.ids)?;
        if filter.is_empty() && !meant.unrouted {
            let verb = meant.verb;
            return Err(Failure::new(
                Exit::Usage,
                verb,
                format!("it is not said what to {verb}"),
                "name deliveries by id, or by filters such as --affiliate acme --since 2h",
            ));
        }
        Ok(filter)
    }
}

/// Sends deliveries again.
pub(super) async fn replay(context: &Context, mut args: ReplayArgs) -> Ended {
    if let Some(path) = args.ids_file.take() {
        args.bulk.ids = ids::read(&path)?;
    }
    let filter = args.filter()?;
    give(context, &args.bulk, args.meant(), &filter).await
}

/// Puts dead and held deliveries away.
pub(super) async fn discard(context: &Context, args: BulkArgs, only: Option<StateKind>) -> Ended {
    let mut filter = args.filter(Meant::DISCARD)?;
    if let Some(state) = only {
        filter.state = Some(state.name().into());
    }
    give(context, &args, Meant::DISCARD, &filter).await
}

/// Gives any other order.
pub(super) async fn order(context: &Context, args: &BulkArgs, meant: Meant) -> Ended {
    let filter = args.filter(meant)?;
    give(context, args, meant, &filter).await
}

/// Counts, asks, gives an order about whatever meets the filter, and watches it; several, one behind the other, where
/// more deliveries are named by id than one can name.
async fn give(context: &Context, args: &BulkArgs, meant: Meant, filter: &DeliveryFilter) -> Ended {
    let client = context.client()?;
    let mut parts = Vec::new();
    for part in series::divided(filter) {
        let matched = count(&client, args, meant, &part).await?;
        parts.push((part, matched));
    }
    let matched = parts.iter().map(|(_, matched)| matched).sum();
    let limited = args.limit.map_or(matched, |limit| limit.min(matched));
    if args.dry_run && context.output.form() != Form::People {
        context.output.document(&json!({"matched": matched, (format!("would_{}", meant.verb)): limited}))?;
        return Ok(Exit::Ok);
    }
    if matched == 0 {
        return nothing(context, args, meant);
    }
    let orders = series::limited_to(parts, limited);
    if args.detach && orders.len() > 1 {
        return Err(series::refuse_to_detach(orders.len(), meant));
    }
    tell(context, args, meant, matched, limited);
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    let question = format!("{} {}?", capital(meant.verb), counted(limited, meant.unrouted));
    if !args.yes && !context.output.ask(&question)? {
        return Err(not_confirmed());
    }
    series::give(context, &client, args, meant, &orders).await
}

async fn count(client: &Client, args: &BulkArgs, meant: Meant, filter: &DeliveryFilter) -> Result<u64, Failure> {
    let asked = body(args, meant, filter, None, true);
    let doing = format!("counting what would be {}", meant.done);
    let answer: Value = client.post(&["v1", "orders"], &asked).await.map_err(|error| error.failing(&doing))?;
    let matched = answer.get("matched").and_then(Value::as_u64);
    matched.ok_or_else(|| client.nonsense(&"there is no count in it").failing(&doing))
}

/// An order as it is given.
pub(super) fn body(args: &BulkArgs, meant: Meant, filter: &DeliveryFilter, limit: Option<u64>, dry_run: bool) -> Value {
    json!({
        "verb": meant.verb,
        "filter": filter,
        "unrouted": meant.unrouted,
        "force": meant.force,
        "limit": limit,
        "rate": args.rate,
        "reason": args.reason.as_deref().unwrap_or("dry run"),
        "dry_run": dry_run,
    })
}

fn nothing(context: &Context, args: &BulkArgs, meant: Meant) -> Ended {
    let verb = meant.verb;
    if args.ids.is_empty() {
        context.output.say(&format!("nothing meets the filter; nothing to {verb}"));
        return Ok(Exit::Ok);
    }
    let next = "look at them with `postbackd show ID`";
    let why = format!("there is no delivery of these ids that meets the filter and that can be {}", meant.done);
    Err(Failure::new(Exit::NotFound, verb, why, next))
}

fn tell(context: &Context, args: &BulkArgs, meant: Meant, matched: u64, limited: u64) {
    let (all, done) = (counted(matched, meant.unrouted), meant.done);
    let mut words = match (limited < matched, args.dry_run) {
        (true, _) => format!("{all} match; --limit leaves {limited} to be {done}, the oldest first"),
        (false, true) => format!("{all} would be {done}"),
        (false, false) => format!("{all} to be {done}"),
    };
    let distinct = u64::try_from(args.ids.len()).unwrap_or(u64::MAX);
    if matched < distinct {
        let left = distinct - matched;
        let _ = write!(
            words,
            "; {left} of the ids do not exist, do not meet the filter, or are in a state that cannot be {done}"
        );
        if meant.verb == "replay" {
            words.push_str(" (delivered ones need --force)");
        }
    }
    if meant.force {
        words.push('\n');
        words.push_str(FORCE_MEANS);
    }
    context.output.say(&words);
}

/// How many, in words.
pub(super) fn counted(count: u64, unrouted: bool) -> String {
    let (one, many) = if unrouted { ("unrouted event", "unrouted events") } else { ("delivery", "deliveries") };
    format!("{count} {}", if count == 1 { one } else { many })
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use axum::{Json, Router};

    use super::series::IDS_OF_AN_ORDER;
    use super::*;
    use crate::cli::fixtures::Daemon;
    use crate::cli::output::Person;

    type Orders = Arc<Mutex<Vec<Value>>>;

    fn view(state: &str, refused: u64) -> Value {
        let done = if state == "running" { 1 } else { 3 };
        json!({
            "order_id": "ord_0000000000001", "verb": "replay", "force": false, "matched": 3, "done": done - refused,
            "refused": refused, "remaining": 3 - done, "state": state, "reason": "because", "by": "op", "rate": null,
            "filter": {}, "created_at": "2026-11-20T10:00:00Z", "changed_at": "2026-11-20T10:00:00Z", "changed_by": "op",
            "refusals": [{"id": "dlv_x", "why": "it has arrived"}],
        })
    }

    /// A daemon where three deliveries match, of which `refused` cannot be replayed.
    fn daemon(refused: u64) -> (Daemon, Orders) {
        daemon_where(view("finished", refused))
    }

    /// A daemon where three deliveries match, and each order ends like this.
    fn daemon_where(end: Value) -> (Daemon, Orders) {
        let orders = Orders::default();
        let log = Arc::clone(&orders);
        let started = post(|Json(order): Json<Value>| async move {
            log.lock().unwrap().push(order.clone());
            if order["dry_run"] == true {
                return Json(json!({"matched": 3})).into_response();
            }
            (StatusCode::ACCEPTED, Json(view("running", 0))).into_response()
        });
        let watched = get(move || async move { Json(end.clone()) });
        let routes = Router::new().route("/v1/orders", started).route("/v1/orders/{id}", watched);
        (Daemon::serve(routes), orders)
    }

    fn args() -> ReplayArgs {
        let mut filter = FilterArgs::default();
        filter.affiliate = Some("acme".into());
        let bulk = BulkArgs { filter, reason: Some("because".into()), ..BulkArgs::default() };
        ReplayArgs { bulk, ..ReplayArgs::default() }
    }

    fn changed(change: impl FnOnce(&mut BulkArgs)) -> ReplayArgs {
        let mut args = args();
        change(&mut args.bulk);
        args
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
        assert_eq!(replay(&context, changed(|bulk| (bulk.dry_run, bulk.limit) = (true, Some(2)))).await, Ok(Exit::Ok));
        assert!(captured.words().contains("--limit leaves 2"), "{}", captured.words());
        assert_eq!(orders_given(&orders), Vec::<Value>::new());
    }

    #[tokio::test]
    async fn refusals_are_told_and_end_as_partial() {
        let (daemon, _) = daemon(1);
        let (context, captured) = daemon.context(Form::Json, Person::Absent);
        let forced = ReplayArgs { force: true, ..changed(|bulk| bulk.yes = true) };
        assert_eq!(replay(&context, forced).await, Ok(Exit::Partial));
        assert!(captured.words().contains("dlv_x: it has arrived"), "{}", captured.words());
        assert!(captured.words().contains("twice"), "{}", captured.words());
    }

    #[tokio::test]
    async fn more_ids_than_an_order_can_name_are_ordered_in_several_after_one_question() {
        let (daemon, orders) = daemon(0);
        let (context, captured) = daemon.context(Form::Json, Person::Says("y"));
        let named = more_than_an_order_can_name(&daemon, |bulk| (bulk.yes, bulk.limit) = (false, Some(5)));
        assert_eq!(replay(&context, named).await, Ok(Exit::Ok));
        assert!(captured.words().contains("Replay 5 deliveries?"), "{}", captured.words());
        let given = orders_given(&orders);
        let shape: Vec<_> =
            given.iter().map(|order| (order["filter"]["ids"].as_array().unwrap().len(), &order["limit"])).collect();
        assert_eq!(shape, [(IDS_OF_AN_ORDER, &json!(3)), (1, &json!(2))]);
        assert_eq!(given[1]["filter"]["ids"][0], json!(format!("dlv_{IDS_OF_AN_ORDER:016}")));
    }

    fn more_than_an_order_can_name(daemon: &Daemon, change: impl FnOnce(&mut BulkArgs)) -> ReplayArgs {
        let file = daemon.path("ids");
        let ids: Vec<String> = (0..=IDS_OF_AN_ORDER).map(|number| format!("dlv_{number:016}")).collect();
        std::fs::write(&file, ids.join("\n")).unwrap();
        ReplayArgs { ids_file: Some(file), ..changed(|bulk| (bulk.yes = true, change(bulk)).1) }
    }

    #[tokio::test]
    async fn behind_an_order_that_was_not_carried_out_no_other_is_given() {
        let cases = [
            (view("stopped", 0), 1, Exit::Partial),
            (view("finished", 3), 1, Exit::Partial),
            (view("finished", 1), 2, Exit::Partial),
            (view("finished", 0), 2, Exit::Ok),
        ];
        for (end, given, exit) in cases {
            let (daemon, orders) = daemon_where(end.clone());
            let (context, captured) = daemon.context(Form::Json, Person::Absent);
            let args = more_than_an_order_can_name(&daemon, |_| ());
            assert_eq!(replay(&context, args).await, Ok(exit), "{end}");
            assert_eq!(orders_given(&orders).len(), given, "{end}");
            let told = captured.words().contains("3 deliveries more were not ordered");
            assert_eq!(told, given == 1, "{}", captured.words());
        }
    }

    #[tokio::test]
    async fn several_orders_are_not_left_alone() {
        let (daemon, orders) = daemon(0);
        let (context, _) = daemon.context(Form::Json, Person::Absent);
        let args = more_than_an_order_can_name(&daemon, |bulk| bulk.detach = true);
        let failure = replay(&context, args).await.unwrap_err();
        assert!(failure.exit() == Exit::Usage && failure.to_string().contains("at once"), "{failure}");
        assert_eq!(orders_given(&orders), Vec::<Value>::new());
        let one = more_than_an_order_can_name(&daemon, |bulk| (bulk.detach, bulk.limit) = (true, Some(2)));
        assert_eq!(replay(&context, one).await, Ok(Exit::Ok), "what fits into one order may be left alone");
    }

    #[tokio::test]
    async fn everything_is_never_meant_by_saying_nothing() {
        let (daemon, orders) = daemon(0);
        let (context, _) = daemon.context(Form::Json, Person::Says("y"));
        let unsaid = changed(|bulk| (bulk.filter, bulk.yes) = (FilterArgs::default(), true));
        assert_eq!(replay(&context, unsaid.clone()).await.unwrap_err().exit(), Exit::Usage);
        let dead = unsaid.of_dead_letters().unwrap();
        assert_eq!(replay(&context, dead).await.unwrap_err().exit(), Exit::Usage);
        assert!(orders.lock().unwrap().is_empty());
        let dead = args().of_dead_letters().unwrap();
        assert_eq!(dead.filter().unwrap().state.as_deref(), Some("dead"));
    }

    #[tokio::test]
    async fn a_replay_that_the_daemon_forgot_is_not_taken_for_done() {
        let started = post(|Json(order): Json<Value>| async move {
            let counting = order["dry_run"] == true;
            Json(if counting { json!({"matched": 3}) } else { view("running", 0) })
        });
        let forgotten = get(async || (StatusCode::NOT_FOUND, Json(json!({"title": "No such replay"}))));
        let routes = Router::new().route("/v1/orders", started).route("/v1/orders/{id}", forgotten);
        let daemon = Daemon::serve(routes);
        let (context, _) = daemon.context(Form::Json, Person::Absent);
        let failure = replay(&context, changed(|bulk| bulk.yes = true)).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Partial);
        assert!(failure.to_string().contains("1 of 3"), "{failure}");
    }
}
