//! `affiliate test`: one marked conversion, sent from this process by the daemon's own rules, and what came of it.
//!
//! Nothing enters the outbox. The conversion is marked by its transaction id, so that the affiliate can take it out of
//! its books again; what a receiver counts cannot be taken back from here, and so a person is asked first.

use std::fmt::Write;

use clap::Args;
use serde_json::json;
use url::{Host, Url};

use super::super::context::Context;
use super::super::exit::{Ended, Exit, Failure, with_causes};
use super::super::orders::not_confirmed;
use super::super::output::Form;
use super::super::show::describe_attempt;
use super::super::time::shown;
use super::render::{explain, name_one};
use super::subject::{self, EventArgs, Told};
use super::{Target, parse_target};
use crate::config::Settings;
use crate::dispatch::{Rehearsal, rehearse};
use crate::domain::delivery::{Conclusion, HoldReason, State};
use crate::domain::id::{ClickId, TransactionId};
use crate::domain::outcome::Outcome;
use crate::domain::postback::Postback;
use crate::inspect::AttemptView;
use crate::ops::clock::SystemClock;
use crate::transport::{EgressPolicy, Transport, TransportOptions};

/// What marks the transaction of a test.
const MARK: &str = "test-";

/// What to send, and where.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exits with 0 where the affiliate took it (delivered, duplicate), 6 where it was sent and not \
taken, or reached nobody, and 8 where nothing was sent: not confirmed, refused by the template, or blocked.

Examples:
  postbackd affiliate test acme/conversion
  postbackd affiliate test acme/conversion --type ftd --click THEIR-TEST-CLICK --yes
  postbackd affiliate test acme/conversion --to http://127.0.0.1:9000 --yes --json")]
pub(in crate::cli) struct TestArgs {
    /// The postback; an affiliate that has only one will do
    #[arg(value_name = "AFFILIATE[/POSTBACK]", value_parser = parse_target)]
    target: Target,

    #[command(flatten)]
    event: EventArgs,

    /// The transaction id to send [default: test-, and one that nothing else has]
    #[arg(long, value_name = "ID", value_parser = |text: &str| TransactionId::parse(text))]
    transaction: Option<TransactionId>,

    /// The click id to send, such as one that the affiliate gave you for tests
    #[arg(long, value_name = "ID", value_parser = |text: &str| ClickId::parse(text))]
    click: Option<ClickId>,

    /// Send it to this scheme, host and port instead, such as your own `postbackd receiver`
    #[arg(long, value_name = "ORIGIN")]
    to: Option<String>,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Sends one marked conversion.
pub(super) async fn test(context: &Context, args: TestArgs) -> Ended {
    let settings = subject::settings(context)?;
    let told = subject::told(context, &settings, &args.event).await?;
    let postback = match subject::postbacks(&settings, &args.target, told.as_ref())?.as_slice() {
        [postback] => *postback,
        several => return Err(name_one(&args.target, several)),
    };
    let told = match told {
        Some(told) => told,
        None => subject::sample_for(&settings, postback, &args.event)?,
    };
    let told = marked(told, &args)?;
    let mut egress = EgressPolicy { allow: settings.egress.allow.clone(), ports: settings.egress.ports.clone() };
    let postback = match &args.to {
        None => postback.clone(),
        Some(origin) => redirected(postback, origin, &mut egress)?,
    };
    let explanation = explain(&told, &postback);
    let request = explanation.request.map_err(|_| {
        let why = explanation.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let next = format!("postbackd affiliate render {}", postback.reference());
        Failure::new(Exit::Refused, "nothing was sent", why, next)
    })?;
    context.output.say(&format!("this sends {} {}", request.record.method, request.record.url));
    let transaction = &told.event.transaction_id;
    if !args.yes {
        let question = format!("Send {} {transaction} to {} for real?", told.event.kind, postback.reference());
        if !context.output.ask(&question).map_err(|failure| failure.ending(Exit::Refused))? {
            return Err(not_confirmed());
        }
    }
    let transport = transport(&settings, egress)?;
    let rehearsal = rehearse(told.errand(), &postback, &transport, &SystemClock).await;
    let exit = exit_of(rehearsal.record.outcome);
    print(context, &postback, &told, rehearsal)?;
    Ok(exit)
}

fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Delivered | Outcome::Duplicate => Exit::Ok,
        Outcome::Blocked | Outcome::Unrenderable => Exit::Refused,
        Outcome::Rejected
        | Outcome::Misconfigured
        | Outcome::Throttled
        | Outcome::Gone
        | Outcome::Retry
        | Outcome::Unreachable
        | Outcome::Ambiguous => Exit::Partial,
    }
}

/// Marks an event, and the one that it reverses: nothing real may be paid, or taken back, by a test.
fn marked(mut told: Told, args: &TestArgs) -> Result<Told, Failure> {
    let mark = |id: &TransactionId| {
        if id.as_str().starts_with(MARK) {
            return Ok(id.clone());
        }
        let next = "choose one with --transaction";
        TransactionId::parse(format!("{MARK}{id}"))
            .map_err(|error| Failure::new(Exit::Usage, format!("marking the transaction {id}"), error, next))
    };
    let fresh = told.made_another();
    let own = match (&args.transaction, told.origin) {
        (Some(chosen), _) => chosen.clone(),
        (None, subject::Origin::Sample) => {
            let number = fresh.to_string();
            let number = TransactionId::parse(number.trim_start_matches("evt_"));
            mark(&number.unwrap_or_else(|_| told.event.transaction_id.clone()))?
        }
        (None, subject::Origin::Given | subject::Origin::Stored) => mark(&told.event.transaction_id)?,
    };
    told.event.transaction_id = own;
    told.event.transaction_given = true;
    told.event.reverses = told.event.reverses.as_ref().map(mark).transpose()?;
    if let Some(original) = &mut told.original {
        original.transaction_id = mark(&original.transaction_id)?;
    }
    if let Some(click) = &args.click {
        told.event.click_id = Some(click.clone());
    }
    Ok(told)
}

/// The postback with another receiver. One on this machine may be reached though the egress policy forbids it, and by
/// plain http: a person names it, and nobody is on the way.
fn redirected(postback: &Postback, origin: &str, egress: &mut EgressPolicy) -> Result<Postback, Failure> {
    let wrong = |why: &str| {
        Failure::new(Exit::Usage, format!("--to {origin}"), why, "write scheme, host and port: http://127.0.0.1:9000")
    };
    let url = Url::parse(origin).map_err(|error| wrong(&error.to_string()))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !bare || url.password().is_some() {
        return Err(wrong("path and query are those of the template"));
    }
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(wrong("it names no host")),
    };
    if here {
        let loopback = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|net| net.parse::<ipnet::IpNet>().ok());
        egress.allow.extend(loopback);
        egress.ports.extend(url.port_or_known_default());
    } else if url.scheme() == "http" && !postback.request.origin().starts_with("http:") {
        return Err(wrong("plain http would show the request to anybody on the way; use https"));
    }
    Ok(Postback { request: postback.request.at_origin(url.as_str()), ..postback.clone() })
}

fn transport(settings: &Settings, egress: EgressPolicy) -> Result<Transport, Failure> {
    let response_cap = usize::try_from(settings.dispatch.response_cap).unwrap_or(usize::MAX);
    Transport::new(&TransportOptions { egress, response_cap })
        .map_err(|error| Failure::new(Exit::Error, "nothing was sent", with_causes(&error), ""))
}

fn print(context: &Context, postback: &Postback, told: &Told, rehearsal: Rehearsal) -> Result<(), Failure> {
    let Rehearsal { record, conclusion } = rehearsal;
    let attempt = AttemptView::new(record);
    let next = next(&conclusion);
    if context.output.form() != Form::People {
        let state = match conclusion {
            Conclusion::Delivered(how) => State::Delivered { how },
            Conclusion::Dead(reason) => State::Dead { reason },
            Conclusion::Held(reason) => State::Held { reason },
            Conclusion::Again { due, .. } => State::Scheduled { due },
        };
        return context.output.document(&json!({
            "postback": postback.reference().to_string(),
            "event_from": told.origin.name(),
            "event": told.event.to_json(),
            "attempt": attempt,
            "next": { "state": state.kind(), "reason": state.reason(), "words": next },
        }));
    }
    let mut text = told.heading(postback);
    let key = told.errand().id;
    let _ = writeln!(text, "key          {key}\n");
    describe_attempt(&mut text, &attempt, true);
    let _ = writeln!(text, "\noutcome      {} ({})\nnext         {next}", attempt.outcome.name(), attempt.rule);
    context.output.text(text.trim_end_matches('\n'))
}

/// What the daemon would do next with a delivery whose first attempt this was.
fn next(conclusion: &Conclusion) -> String {
    match conclusion {
        Conclusion::Delivered(_) => "the daemon would send nothing more".into(),
        Conclusion::Dead(reason) => {
            let state = State::Dead { reason: *reason };
            format!("the delivery would be a dead letter ({})", state.reason().unwrap_or_default())
        }
        Conclusion::Held(HoldReason::Gone) => {
            "the daemon would pause the postback and hold its deliveries until a person resumes it".into()
        }
        Conclusion::Held(_) => "the delivery would be held for a person to decide".into(),
        Conclusion::Again { due, spends } => {
            let counted = if *spends { "counted against" } else { "not counted against" };
            format!("the daemon would send it again at {}, {counted} the retry schedule", shown(*due))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_taken_ends_well() {
        for outcome in Outcome::ALL {
            let taken = matches!(outcome, Outcome::Delivered | Outcome::Duplicate);
            assert_eq!(exit_of(outcome) == Exit::Ok, taken, "{outcome}");
        }
    }
}
