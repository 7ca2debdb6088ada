//! `cancel`, `hold` and `release`: orders about single deliveries, or about all that meet a filter.
//!
//! Single ones are carried out and answered for one by one; what a filter means is a bulk order.

use clap::Args;
use serde_json::json;

use super::bulk::{self, BulkArgs, Meant};
use super::client::{Client, ClientError};
use super::columns::Column;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use super::show::delivery_id;
use crate::domain::id::DeliveryId;
use crate::inspect::{DeliveryDetail, DeliverySummary};

/// What to do when there is no delivery of an id.
const FIND_ID: &str = "copy the id from `postbackd list`";

/// What to do with released deliveries.
#[derive(Debug, Clone, Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    order: BulkArgs,

    /// Send it, even if the affiliate may have it already
    #[arg(long, conflicts_with = "delivered")]
    resend: bool,

    /// Do not send it: note that it has arrived
    #[arg(long)]
    delivered: bool,
}

/// An order about one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Cancel,
    Hold,
    Release { resend: bool, delivered: bool },
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release { .. } => "release",
        }
    }

    /// The same as a bulk order. What becomes of held deliveries has to be said: some of them may have arrived.
    fn meant(self) -> Result<Meant, Failure> {
        match self {
            Self::Cancel => Ok(Meant::of("cancel", "cancelled")),
            Self::Hold => Ok(Meant::of("hold", "held")),
            Self::Release { resend: true, .. } => Ok(Meant::of("release", "released")),
            Self::Release { delivered: true, .. } => Ok(Meant::of("confirm", "confirmed as delivered")),
            Self::Release { .. } => Err(Failure::new(
                Exit::Usage,
                "release",
                "some of what is held may have arrived already",
                "add --resend to send all that is meant, or --delivered to note that all of it has arrived",
            )),
        }
    }

    /// Whether it needs to know the delivery before it can be given.
    fn must_look(self) -> bool {
        self == Self::Release { resend: false, delivered: false }
    }
}

/// Cancels deliveries.
pub(super) async fn cancel(context: &Context, args: BulkArgs) -> Ended {
    give(context, args, Verb::Cancel).await
}

/// Holds deliveries.
pub(super) async fn hold(context: &Context, args: BulkArgs) -> Ended {
    give(context, args, Verb::Hold).await
}

/// Releases deliveries.
pub(super) async fn release(context: &Context, args: ReleaseArgs) -> Ended {
    let verb = Verb::Release { resend: args.resend, delivered: args.delivered };
    give(context, args.order, verb).await
}

async fn give(context: &Context, args: BulkArgs, verb: Verb) -> Ended {
    if !args.names_single_ones()? {
        return bulk::order(context, &args, verb.meant()?).await;
    }
    let ids = args.ids.iter().map(|id| delivery_id(id)).collect::<Result<Vec<_>, _>>()?;
    let client = context.client()?;
    if !args.dry_run && ids.len() > 1 && !args.yes {
        let question = format!("{} {} deliveries?", capital(verb.name()), ids.len());
        if !context.output.ask(&question)? {
            return Err(not_confirmed());
        }
    }
    let reason = args.reason.unwrap_or_default();
    let mut done = Vec::with_capacity(ids.len());
    let mut failed = None;
    for id in ids {
        let result = if args.dry_run {
            look(&client, id).await.map(|detail| detail.delivery)
        } else {
            order(&client, id, verb, &reason).await
        };
        match result {
            Ok(delivery) => done.push(delivery),
            Err(failure) => {
                context.output.fail(&failure);
                let exit = failure.exit();
                failed = failed.or(Some(exit));
                if matches!(exit, Exit::Unreachable | Exit::Auth) {
                    break;
                }
            }
        }
    }
    print(context, &done)?;
    Ok(Exit::of_parts(done.len(), failed))
}

async fn order(client: &Client, id: DeliveryId, verb: Verb, reason: &str) -> Result<DeliverySummary, Failure> {
    let what = format!("{} {id}", verb.name());
    if verb.must_look() {
        let found = look(client, id).await?.delivery;
        if matches!(found.reason.as_deref(), Some("ambiguous" | "interrupted")) {
            return Err(Failure::new(
                Exit::Usage,
                what,
                "nobody knows whether the affiliate got it, and it does not recognise duplicates",
                "ask the affiliate; then add --delivered if it has it, or --resend if it has not",
            ));
        }
    }
    let delivered = matches!(verb, Verb::Release { delivered: true, .. });
    let body = json!({"reason": reason, "delivered": delivered});
    let body = if matches!(verb, Verb::Release { .. }) { body } else { json!({"reason": reason}) };
    let answer = client.post(&["v1", "deliveries", &id.to_string(), verb.name()], &body).await;
    answer.map_err(|error| {
        let missing = matches!(&error, ClientError::Problem(problem) if problem.status == 404);
        let next = if missing { FIND_ID.to_owned() } else { format!("postbackd show {id}") };
        error.into_failure(&what, &next)
    })
}

async fn look(client: &Client, id: DeliveryId) -> Result<DeliveryDetail, Failure> {
    let answer = client.get(&["v1", "deliveries", &id.to_string()], &[]).await;
    answer.map_err(|error| error.into_failure(&format!("looking at {id}"), FIND_ID))
}

fn print(context: &Context, done: &[DeliverySummary]) -> Result<(), Failure> {
    match context.output.form() {
        Form::Json => context.output.document(&done),
        Form::Ndjson => done.iter().try_for_each(|delivery| context.output.document(delivery)),
        Form::People if done.is_empty() => Ok(()),
        Form::People => {
            let columns = [Column::DeliveryId, Column::Affiliate, Column::Postback, Column::State, Column::Reason];
            let mut rows = Rows::new(columns.iter().map(|column| column.name()).collect());
            for delivery in done {
                rows.push(columns.iter().map(|column| column.cell(delivery)).collect());
            }
            context.output.table(rows)
        }
    }
}

/// A person was asked and did not agree.
pub(super) fn not_confirmed() -> Failure {
    Failure::new(Exit::Refused, "not confirmed", "nothing was changed", "answer y, or add --yes")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::Path;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use serde_json::Value;

    use super::*;
    use crate::cli::fixtures::{self, Daemon};
    use crate::cli::output::Person;

    const HELD: &str = "dlv_0000000000000001";
    const MISSING: &str = "dlv_0000000000000002";

    type Bodies = Arc<Mutex<Vec<Value>>>;

    fn daemon() -> (Daemon, Bodies) {
        let bodies = Bodies::default();
        let log = Arc::clone(&bodies);
        let shown = get(|Path(id): Path<String>| async move {
            let mut delivery = fixtures::delivery(&id);
            delivery.reason = Some("ambiguous".into());
            Json(json!({"delivery": delivery, "event": {}, "source": "x", "history": []}))
        });
        let ordered = post(|Path((id, _)): Path<(String, String)>, Json(body): Json<Value>| async move {
            log.lock().unwrap().push(body);
            if id == MISSING {
                return (StatusCode::NOT_FOUND, Json(json!({"title": "No such delivery"}))).into_response();
            }
            Json(fixtures::delivery(&id)).into_response()
        });
        let routes = Router::new().route("/v1/deliveries/{id}", shown).route("/v1/deliveries/{id}/{verb}", ordered);
        (Daemon::serve(routes), bodies)
    }

    fn order_args(ids: &[&str], yes: bool) -> BulkArgs {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        BulkArgs { ids, reason: Some("because".into()), yes, ..BulkArgs::default() }
    }

    #[tokio::test]
    async fn an_ambiguous_delivery_is_released_only_by_a_decision() {
        let (daemon, bodies) = daemon();
        let (context, captured) = daemon.context(Form::Json, Person::Absent);
        let undecided = ReleaseArgs { order: order_args(&[HELD], false), resend: false, delivered: false };
        assert_eq!(release(&context, undecided).await, Ok(Exit::Usage));
        assert!(captured.words().contains("--delivered"), "{}", captured.words());
        assert_eq!(*bodies.lock().unwrap(), Vec::<Value>::new());
        let decided = ReleaseArgs { order: order_args(&[HELD], false), resend: false, delivered: true };
        assert_eq!(release(&context, decided).await, Ok(Exit::Ok));
        assert_eq!(*bodies.lock().unwrap(), [json!({"reason": "because", "delivered": true})]);
    }

    #[tokio::test]
    async fn several_are_asked_about_and_one_that_is_missing_leaves_the_rest_done() {
        let (daemon, bodies) = daemon();
        let (context, _) = daemon.context(Form::Json, Person::Says("n"));
        let refused = cancel(&context, order_args(&[MISSING, HELD], false)).await.unwrap_err();
        assert_eq!(refused.exit(), Exit::Refused);
        assert_eq!(bodies.lock().unwrap().len(), 0);
        let (context, captured) = daemon.context(Form::Json, Person::Absent);
        assert_eq!(cancel(&context, order_args(&[MISSING, HELD], true)).await, Ok(Exit::Partial));
        assert!(captured.words().contains("No such delivery"), "{}", captured.words());
        assert_eq!(cancel(&context, order_args(&[MISSING], false)).await, Ok(Exit::NotFound));
    }

    #[tokio::test]
    async fn a_filter_makes_it_a_bulk_order_and_held_ones_need_a_decision() {
        let given = Bodies::default();
        let log = Arc::clone(&given);
        let ordered = post(|Json(body): Json<Value>| async move {
            log.lock().unwrap().push(body);
            Json(json!({"matched": 0}))
        });
        let daemon = Daemon::serve(Router::new().route("/v1/orders", ordered));
        let (context, _) = daemon.context(Form::Json, Person::Absent);
        let mut all = order_args(&[], true);
        all.filter.affiliate = Some("acme".into());
        let undecided = ReleaseArgs { order: all.clone(), resend: false, delivered: false };
        assert_eq!(release(&context, undecided).await.unwrap_err().exit(), Exit::Usage);
        assert_eq!(cancel(&context, order_args(&[], true)).await.unwrap_err().exit(), Exit::Usage);
        assert_eq!(given.lock().unwrap().len(), 0);
        assert_eq!(cancel(&context, all.clone()).await, Ok(Exit::Ok));
        let decided = ReleaseArgs { order: all, resend: false, delivered: true };
        assert_eq!(release(&context, decided).await, Ok(Exit::Ok));
        let verbs: Vec<Value> = given.lock().unwrap().iter().map(|body| body["verb"].clone()).collect();
        assert_eq!(verbs, ["cancel", "confirm"]);
    }
}
