//! `affiliate render`: the exact request that an event would become. Sends nothing, and needs no daemon.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::super::context::Context;
use super::super::exit::{Ended, Exit, Failure};
use super::super::output::{Form, Rows};
use super::subject::{self, EventArgs, Told};
use super::{Target, parse_target};
use crate::config::Settings;
use crate::domain::postback::Postback;
use crate::domain::request::{Explanation, Part, PartFate, PreparedRequest};
use crate::ops::clock::{Clock, SystemClock};
use crate::ops::random;

/// What to render.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Exits with 8 where the postback refuses the event, so that no request would be made.

Examples:
  postbackd affiliate render acme
  postbackd affiliate render acme/conversion --type ftd --json
  postbackd affiliate render acme/conversion --event event.json
  postbackd affiliate render acme/conversion --event dlv_00361eqg9sac0000
  postbackd affiliate render acme/conversion --reveal | sha256sum")]
pub(in crate::cli) struct RenderArgs {
    /// An affiliate, or one of its postbacks
    #[arg(value_name = "AFFILIATE[/POSTBACK]", value_parser = parse_target)]
    target: Target,

    #[command(flatten)]
    event: EventArgs,

    /// Print the bytes of one request as they would be sent, secrets and signature included
    #[arg(long, conflicts_with_all = ["json", "ndjson"])]
    reveal: bool,
}

/// Shows what an event would become.
pub(super) async fn render(context: &Context, args: RenderArgs) -> Ended {
    let settings = subject::settings(context)?;
    let told = subject::told(context, &settings, &args.event).await?;
    let postbacks = subject::postbacks(&settings, &args.target, told.as_ref())?;
    if args.reveal && postbacks.len() > 1 {
        return Err(name_one(&args.target, &postbacks));
    }
    let mut shown = Vec::with_capacity(postbacks.len());
    for postback in postbacks {
        let told = match &told {
            Some(told) => told.clone(),
            None => subject::sample_for(&settings, postback, &args.event)?,
        };
        let explanation = explain(&told, postback);
        shown.push((postback, told, explanation));
    }
    let refused = shown.iter().any(|(_, _, explanation)| !explanation.refusals.is_empty());
    if args.reveal {
        shown.iter().try_for_each(|(_, _, explanation)| reveal(context, explanation))?;
    } else {
        let json =
            || shown.iter().map(|(postback, told, explanation)| document(&settings, postback, told, explanation));
        match context.output.form() {
            Form::Json => context.output.document(&json!({ "items": json().collect::<Vec<_>>() }))?,
            Form::Ndjson => json().try_for_each(|item| context.output.document(&item))?,
            Form::People => {
                for (index, (postback, told, explanation)) in shown.iter().enumerate() {
                    if index > 0 {
                        context.output.text("")?;
                    }
                    print(context, &settings, postback, told, explanation)?;
                }
            }
        }
    }
    Ok(if refused { Exit::Refused } else { Exit::Ok })
}

/// The failure of naming an affiliate where one postback is needed.
pub(super) fn name_one(target: &Target, postbacks: &[&Postback]) -> Failure {
    let names: Vec<String> = postbacks.iter().map(|postback| postback.reference().to_string()).collect();
    let why = format!("it has {} postbacks", postbacks.len());
    Failure::new(
        Exit::Usage,
        format!("choosing a postback of {target}"),
        why,
        format!("name one of {}", names.join(", ")),
    )
}

/// What a postback makes of an event at this moment.
pub(super) fn explain(told: &Told, postback: &Postback) -> Explanation {
    let nonce = random::nonce();
    let now = crate::domain::timestamp::to_micros(SystemClock.now());
    postback.request.explain(&told.errand().scope(postback, now, &nonce))
}

/// Prints the text that the digest is made of: method, URL, headers, a blank line, the body.
fn reveal(context: &Context, explanation: &Explanation) -> Result<(), Failure> {
    let request = match &explanation.request {
        Ok(request) => request,
        Err(error) => {
            let next = "see the same without --reveal for all that is refused";
            return Err(Failure::new(Exit::Refused, "rendering the request", error, next));
        }
    };
    context
        .output
        .say("what follows holds secrets and signatures as they would be sent: keep it out of tickets and logs");
    let PreparedRequest { method, url, headers, body, .. } = request;
    let mut text = format!("{method}\n{url}\n");
    for (name, value) in headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    text.push('\n');
    context.output.data(text.as_bytes())?;
    context.output.data(body)
}

fn document(settings: &Settings, postback: &Postback, told: &Told, explanation: &Explanation) -> Value {
    let request = explanation.request.as_ref().ok();
    let part = |part: &Part| {
        let (fate, why) = match &part.fate {
            PartFate::Sent => ("sent", None),
            PartFate::Omitted => ("omitted", None),
            PartFate::Refused(error) => ("refused", Some(error.to_string())),
        };
        json!({ "place": part.place.name(), "name": part.name, "value": part.value, "template": part.template,
            "fate": fate, "why": why })
    };
    json!({
        "postback": postback.reference().to_string(),
        "event_from": told.origin.name(),
        "event": told.event.to_json(),
        "original": told.original.as_ref().map(crate::domain::event::Event::to_json),
        "wanted": subject::wants(settings, postback, &told.event),
        "request": request.map(|request| &request.record),
        "parts": explanation.parts.iter().map(part).collect::<Vec<_>>(),
        "refusals": explanation.refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "signed": explanation.signed.as_ref().map(|signed| json!({ "scheme": signed.scheme, "text": signed.text })),
        "digest": request.map(|request| hex::encode(request.digest)),
    })
}

fn print(
    context: &Context,
    settings: &Settings,
    postback: &Postback,
    told: &Told,
    explanation: &Explanation,
) -> Result<(), Failure> {
    let output = &context.output;
    let event = &told.event;
    let mut text = told.heading(postback);
    if !subject::wants(settings, postback, event) {
        text.push_str(
            "wanted       no: it is another affiliate's, or the postback's events, offers or statuses leave it out\n",
        );
    }
    if event.reverses.is_some() && told.original.is_none() {
        text.push_str("original     not known here: every {original.…} but its transaction_id is empty\n");
    }
    match &explanation.request {
        Ok(request) => describe_request(&mut text, request),
        Err(_) => {
            text.push('\n');
            for refusal in &explanation.refusals {
                let _ = writeln!(text, "refused: {refusal}");
            }
        }
    }
    output.text(&text)?;
    output.table(table(&explanation.parts))?;
    let mut text = String::new();
    let omitted = explanation.parts.iter().filter(|part| part.fate == PartFate::Omitted);
    let omitted: Vec<String> = omitted.map(|part| format!("{} {}", part.place.name(), part.name)).collect();
    if !omitted.is_empty() {
        let _ = writeln!(text, "\nleft out, being empty: {}", omitted.join(", "));
    }
    if let Some(signed) = &explanation.signed {
        let _ = writeln!(text, "\nsigned ({}):\n{}", signed.scheme, signed.text);
    }
    if let Ok(request) = &explanation.request {
        let _ = writeln!(text, "\nsha256 of what would be sent: {}", hex::encode(request.digest));
    }
    output.text(text.trim_end_matches('\n'))
}

/// The request as it would be on record.
fn describe_request(text: &mut String, request: &PreparedRequest) {
    let record = &request.record;
    let _ = writeln!(text, "\n{} {}", record.method, record.url);
    for (name, value) in &record.headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    if !record.body.is_empty() {
        let _ = writeln!(text, "\n{}", record.body);
    }
}

fn table(parts: &[Part]) -> Rows {
    let mut rows = Rows::new(vec!["part", "name", "value", "from"]);
    for part in parts {
        let value = match (&part.fate, &part.value) {
            (PartFate::Refused(_), _) => "(refused)".to_owned(),
            (PartFate::Omitted, _) | (PartFate::Sent, None) => "(left out)".to_owned(),
            (PartFate::Sent, Some(value)) => value.clone(),
        };
        let from = part.template.clone().unwrap_or_else(|| "fixed".to_owned());
        rows.push(vec![part.place.name().to_owned(), part.name.clone(), value, from]);
    }
    rows
}
