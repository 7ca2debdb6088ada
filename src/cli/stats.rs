//! `stats`: the state of everything at a glance.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanDuration};

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::output::{Form, Rows};
use super::redraw::WatchArgs;
use super::source::Source;
use super::time::shown;
use crate::domain::delivery::{DeadReason, StateKind};
use crate::inspect::{AffiliateStats, PostbackStats, Stats};
use crate::outbox::{Money, Room};

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
    if let Some(remark) = stats.room.and_then(lack_of_room) {
        context.output.text(remark)?;
    }
    let in_flight = stats.in_flight.map(|count| format!("\nin flight    {count}")).unwrap_or_default();
    context.output.text(&format!(
        "at           {}\nevents       accepted {}, duplicates {}, conflicts {}, unrouted {}\ndeliveries   {}\n\
         attempts     {}{in_flight}\ndead letters {}\nmoney        {}\non disk      {} ({} of records)\n",
        shown(stats.at),
        totals.accepted,
        totals.duplicates,
        totals.conflicts,
        totals.unrouted,
        or_none(stats.deliveries.iter().map(|(state, count)| format!("{} {count}", state.name()))),
        or_none(totals.attempts.iter().map(|(outcome, count)| format!("{} {count}", outcome.name()))),
        reasons(&stats.dead),
        of_deliveries(&stats.money),
        HumanBytes(stats.disk_bytes),
        HumanBytes(stats.record_bytes),
    ))?;
    if stats.affiliates.is_empty() {
        return Ok(());
    }
    context.output.table(affiliates(stats))?;
    context.output.text("")?;
    let mut rows = Rows::new(vec!["postback", "scheduled", "waiting", "held", "delivered", "dead", "other", "remark"]);
    for affiliate in &stats.affiliates {
        affiliate.postbacks.iter().for_each(|postback| rows.push(row(affiliate, postback)));
    }
    context.output.table(rows)
}

/// What a full disk holds up, and who tells more.
fn lack_of_room(room: Room) -> Option<&'static str> {
    match room {
        Room::Enough => None,
        Room::Reserve => Some("disk full    no new events are accepted; what is stored is sent. See: postbackd doctor"),
        Room::Exhausted => {
            Some("disk full    nothing is accepted and nothing sent until there is room. See: postbackd doctor")
        }
    }
}

fn or_none(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

fn reasons(dead: &BTreeMap<DeadReason, u64>) -> String {
    or_none(dead.iter().map(|(reason, count)| format!("{} {count}", reason.name())))
}

/// The money of a currency: under way and lost.
fn money(money: &Money) -> String {
    let about = if money.exact { "" } else { "about " };
    format!("{about}{0} {1} waiting, {about}{0} {2} dead", money.currency, money.waiting, money.dead)
}

/// All money. An event that several postbacks tell counts in each of their deliveries.
fn of_deliveries(all: &[Money]) -> String {
    let told = or_none(all.iter().map(money));
    if all.is_empty() { told } else { format!("{told}, by deliveries") }
}

fn affiliates(stats: &Stats) -> Rows {
    let mut rows = Rows::new(vec![
        "affiliate",
        "backlog",
        "overdue",
        "in_flight",
        "breaker",
        "success_1h",
        "p50",
        "p95",
        "dead",
        "money",
    ]);
    for affiliate in &stats.affiliates {
        let lately = affiliate.lately;
        let overdue = affiliate.oldest_due.map(|due| stats.at.duration_since(due));
        let overdue = overdue.and_then(|age| Duration::try_from(age).ok());
        rows.push(vec![
            affiliate.affiliate.clone(),
            affiliate.backlog.to_string(),
            overdue.map(|age| HumanDuration(age).to_string()).unwrap_or_default(),
            affiliate.in_flight.map(|count| count.to_string()).unwrap_or_default(),
            affiliate.breaker.clone().unwrap_or_default(),
            lately.map(|lately| percent(lately.succeeded, lately.attempts)).unwrap_or_default(),
            lately.and_then(|lately| lately.p50_us).map(latency).unwrap_or_default(),
            lately.and_then(|lately| lately.p95_us).map(latency).unwrap_or_default(),
            if affiliate.dead.is_empty() { String::new() } else { reasons(&affiliate.dead) },
            affiliate.money.iter().map(money).collect::<Vec<_>>().join("; "),
        ]);
    }
    rows
}

/// A share in percent, cut to a tenth: what is not all of it never shows as 100 %.
fn percent(part: u64, whole: u64) -> String {
    let tenths = (part * 1_000).checked_div(whole).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn latency(micros: u64) -> String {
    match micros {
        0..1_000_000 => format!("{} ms", micros.div_ceil(1_000)),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

fn row(affiliate: &AffiliateStats, postback: &PostbackStats) -> Vec<String> {
    let counts = &postback.deliveries;
    let paused = postback.paused.as_ref().map(|pause| format!("paused by {}: {}", pause.by, pause.reason));
    let flagged =
        postback.misconfigured.as_ref().map(|flag| format!("misconfigured, see {}: {}", flag.delivery, flag.rule));
    vec![
        format!("{}/{}", affiliate.affiliate, postback.postback),
        (of(counts, StateKind::Scheduled) + of(counts, StateKind::InFlight)).to_string(),
        of(counts, StateKind::Waiting).to_string(),
        of(counts, StateKind::Held).to_string(),
        of(counts, StateKind::Delivered).to_string(),
        of(counts, StateKind::Dead).to_string(),
        (of(counts, StateKind::Cancelled) + of(counts, StateKind::Superseded)).to_string(),
        paused.into_iter().chain(flagged).collect::<Vec<_>>().join("; "),
    ]
}

fn of(counts: &BTreeMap<StateKind, u64>, kind: StateKind) -> u64 {
    counts.get(&kind).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_all_of_it_never_shows_as_all() {
        assert_eq!([percent(9_999, 10_000), percent(1, 1), percent(0, 0)], ["99.9 %", "100.0 %", "0.0 %"]);
    }

    #[test]
    fn latencies_are_short_to_read() {
        assert_eq!([latency(950), latency(23_400), latency(2_950_000)], ["1 ms", "24 ms", "2.9 s"]);
    }
}
