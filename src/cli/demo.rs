//! `demo`: a casino's day at speed, with books that must balance.

use std::path::PathBuf;
use std::time::Duration;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows, Unit};
use crate::demo::{self, Books, DemoOptions, Glance};
use crate::domain::delivery::StateKind;

/// Longest the day may take to come to rest.
const PATIENCE: Duration = Duration::from_mins(10);

/// How large a demonstration.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Events of the day
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub events: u32,

    /// Where the day begins: the same seed is the same day
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Keep configuration and store in this new directory
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Plays the day, and ends with an error where a single figure does not add up.
///
/// # Errors
/// When the day cannot be played.
pub(super) async fn run(context: &Context, args: DemoArgs) -> Ended {
    let output = &context.output;
    let failed = |error: &dyn std::error::Error| {
        let why = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
        let why = format!("{error}{}", why.collect::<String>());
        Failure::new(Exit::Error, "the demo", why, "is there room in the temporary directory? try --keep DIR")
    };
    let temporary = tempfile::Builder::new().prefix("postbackd-demo-").tempdir().map_err(|error| failed(&error))?;
    let directory = args.keep.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    if args.keep.is_some() && directory.exists() {
        let why = format!("{} exists already", directory.display());
        return Err(Failure::new(Exit::Usage, "the demo keeps nothing there", why, "name a new directory"));
    }
    let events = usize::try_from(args.events).unwrap_or(usize::MAX);
    output.say(&format!("A casino's day of {events} events (seed {}) against receivers of every temper …", args.seed));
    output.begin(Some(u64::from(args.events)), Unit::Deliveries);
    let seconds = std::cell::Cell::new(0);
    let look = |glance: &Glance| {
        output.proceed(settled(glance), line(glance));
        let now = glance.elapsed.as_secs();
        if !output.shows_progress() && now > seconds.replace(now) {
            output.say(&format!("{now:>4} s  {}", line(glance)));
        }
    };
    let options = DemoOptions { events, seed: args.seed, directory: directory.clone(), patience: PATIENCE };
    let books = demo::run(&options, &look).await.map_err(|error| failed(&error))?;
    output.end();
    show(context, &books)?;
    if args.keep.is_some() {
        let config = directory.join("postbackd.toml");
        output.say(&format!("Look around: postbackd --config {} list --state dead", config.display()));
    }
    Ok(if books.faults.is_empty() { Exit::Ok } else { Exit::Error })
}

fn settled(glance: &Glance) -> u64 {
    glance.handed.accepted
}

fn line(glance: &Glance) -> String {
    let sum = |kind| glance.affiliates.iter().map(|(_, counts)| counts.of(kind)).sum::<u64>();
    format!(
        "accepted {}, delivered {}, to send {}, waiting {}, held {}, dead {}, attempts {}",
        glance.handed.accepted,
        sum(StateKind::Delivered),
        sum(StateKind::Scheduled),
        sum(StateKind::Waiting),
        sum(StateKind::Held),
        sum(StateKind::Dead),
        glance.attempts,
    )
}

fn show(context: &Context, books: &Books) -> Result<(), Failure> {
    let output = &context.output;
    if output.form() != Form::People {
        return output.document(&serde_json::json!({
            "balanced": books.faults.is_empty(),
            "faults": books.faults,
            "events": books.handed.accepted,
            "duplicates": books.handed.duplicates,
            "refused": books.handed.refused,
            "attempts": books.attempts,
            "reversals_in_order": books.reversals_in_order,
            "seconds": format!("{:.1}", books.elapsed.as_secs_f64()),
        }));
    }
    let mut rows = Rows::new(vec![
        "affiliate",
        "its receiver",
        "deliveries",
        "delivered",
        "dead",
        "held",
        "waiting",
        "cancelled",
        "received",
        "doubled",
    ]);
    for row in &books.rows {
        let of = |kind| row.counts.of(kind).to_string();
        rows.push(vec![
            row.affiliate.clone(),
            row.temper.describe().into(),
            row.expected.to_string(),
            of(StateKind::Delivered),
            of(StateKind::Dead),
            of(StateKind::Held),
            of(StateKind::Waiting),
            of(StateKind::Cancelled),
            row.received.to_string(),
            row.doubled.to_string(),
        ]);
    }
    output.table(rows)?;
    let handed = books.handed;
    output.text(&format!(
        "\nhanded in: {} accepted, {} duplicates recognised, {} broken ones refused; {} attempts in {:.1} s\n\
         order: {} reversals arrived behind their original, none before",
        handed.accepted,
        handed.duplicates,
        handed.refused,
        books.attempts,
        books.elapsed.as_secs_f64(),
        books.reversals_in_order,
    ))?;
    if books.faults.is_empty() {
        return output.text("the books balance: every event is accounted for, and nothing was delivered twice");
    }
    output.text(&format!("THE BOOKS DO NOT BALANCE: {} figures are wrong", books.faults.len()))?;
    books.faults.iter().take(50).try_for_each(|fault| output.text(&format!("  {fault}")))
}
