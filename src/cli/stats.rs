//! `stats`: the state of everything at a glance.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::HumanBytes;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use super::redraw::WatchArgs;
use super::source::Source;
use super::time::shown;
use crate::domain::delivery::StateKind;
use crate::inspect::{AffiliateStats, PostbackStats, Stats};

/// How to show the state of everything.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd stats
  postbackd stats --watch=10s
  postbackd stats --json | jq .deliveries")]
pub(super) struct StatsArgs {
    #[command(flatten)]
    watch: WatchArgs,
}

/// Shows the state of everything.
pub(super) async fn stats(context: &Context, args: &StatsArgs) -> Ended {
    let source = Source::open(context).await?;
    args.watch.repeat(context, &source, async || look(context, &source).await).await
}

async fn look(context: &Context, source: &Source) -> Ended {
    let stats = source.stats().await?;
    match context.output.form() {
        Form::Json | Form::Ndjson => context.output.document(&stats)?,
        Form::People => print(context, &stats)?,
    }
    Ok(Exit::Ok)
}

fn print(context: &Context, stats: &Stats) -> Result<(), Failure> {
    let totals = &stats.totals;
    let attempts: Vec<String> =
        totals.attempts.iter().map(|(outcome, count)| format!("{} {count}", outcome.name())).collect();
    let deliveries: Vec<String> =
        stats.deliveries.iter().map(|(state, count)| format!("{} {count}", state.name())).collect();
    let or_none = |parts: &[String]| if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
    let in_flight = stats.in_flight.map(|count| format!("\nin flight   {count}")).unwrap_or_default();
    context.output.text(&format!(
        "at          {}\nevents      accepted {}, duplicates {}, conflicts {}, unrouted {}\ndeliveries  {}\n\
         attempts    {}{in_flight}\non disk     {}\n",
        shown(stats.at),
        totals.accepted,
        totals.duplicates,
        totals.conflicts,
        totals.unrouted,
        or_none(&deliveries),
        or_none(&attempts),
        HumanBytes(stats.disk_bytes),
    ))?;
    let header = vec![
        "affiliate",
        "postback",
        "backlog",
        "scheduled",
        "waiting",
        "held",
        "delivered",
        "dead",
        "other",
        "oldest_due",
        "breaker",
        "remark",
    ];
    let mut rows = Rows::new(header);
    for affiliate in &stats.affiliates {
        for postback in &affiliate.postbacks {
            rows.push(row(affiliate, postback));
        }
    }
    if rows.is_empty() { Ok(()) } else { context.output.table(rows) }
}

fn row(affiliate: &AffiliateStats, postback: &PostbackStats) -> Vec<String> {
    let counts = &postback.deliveries;
    let open = StateKind::ALL.into_iter().filter(|kind| !kind.is_settled()).map(|kind| of(counts, kind)).sum::<u64>();
    let paused = postback.paused.as_ref().map(|pause| format!("paused by {}: {}", pause.by, pause.reason));
    let flagged =
        postback.misconfigured.as_ref().map(|flag| format!("misconfigured, see {}: {}", flag.delivery, flag.rule));
    vec![
        affiliate.affiliate.clone(),
        postback.postback.clone(),
        open.to_string(),
        (of(counts, StateKind::Scheduled) + of(counts, StateKind::InFlight)).to_string(),
        of(counts, StateKind::Waiting).to_string(),
        of(counts, StateKind::Held).to_string(),
        of(counts, StateKind::Delivered).to_string(),
        of(counts, StateKind::Dead).to_string(),
        (of(counts, StateKind::Cancelled) + of(counts, StateKind::Superseded)).to_string(),
        affiliate.oldest_due.map(shown).unwrap_or_default(),
        affiliate.breaker.clone().unwrap_or_default(),
        paused.into_iter().chain(flagged).collect::<Vec<_>>().join("; "),
    ]
}

fn of(counts: &BTreeMap<StateKind, u64>, kind: StateKind) -> u64 {
    counts.get(&kind).copied().unwrap_or(0)
}
