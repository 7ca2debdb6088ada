//! `reconcile`: their conversions against ours, line by line, with the proof for each that they miss.
//!
//! Reads and never changes anything. Both sides are sorted on disk, so that memory does not grow with the report.

mod asked;
mod line;
mod merge;
mod ours;
mod page;
mod report;
mod result;
mod sorted;
mod summary;
#[cfg(test)]
mod tests;

use std::io;

use jiff::{SignedDuration, Timestamp};

pub(super) use asked::ReconcileArgs;

use self::line::Line;
use self::merge::{Join, Sides};
use self::report::{BadRow, Field, Report};
use self::result::{Files, Results};
use self::sorted::Room;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::source::Source;
use crate::domain::id::DeliveryId;
use crate::domain::nearest::nearest;
use crate::domain::reconcile::{Finding, Outside, Period, Rules, Verdict};
use crate::inspect::DeliveryFilter;

/// How it is asked for.
pub(super) const EXAMPLES: &str = "Exits with 0 when both sides agree, with 6 when they differ or rows cannot be read.\n\nExamples:\n  \
    postbackd reconcile --affiliate acme --report their.csv --map click_id=cid,transaction_id=txid,amount=payout,currency=cur,time=date --time-zone Europe/Malta\n  \
    postbackd reconcile --affiliate acme --report their.csv --map transaction_id=adv_sub,status=state --statuses approved=A|paid,rejected=D --html acme.html --missing missing.ndjson";

/// Memory of a run that is being sorted.
const RUN_BYTES: usize = 32 << 20;
/// Most bad rows that are listed; the rest is counted.
const LISTED_BAD_ROWS: usize = 100;
/// How far behind an end that nobody said it is looked whether ours go on there.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Most missing conversions whose last answer is looked up.
const ANSWERS: usize = 1_000;

/// Their rows that could not be read.
#[derive(Debug, Default, serde::Serialize)]
struct Bad {
    count: u64,
    first: Vec<BadRow>,
}

/// Reconciles.
pub(super) async fn reconcile(context: &Context, args: ReconcileArgs) -> Ended {
    let notation = args.notation()?;
    let room = Room { directory: args.temporary.clone(), run_bytes: RUN_BYTES };
    let mut report = Report::open(&args.report, &room.directory, notation)?;
    let mut sides = Sides::new(&room);
    let (bad, times) = read_theirs(context, &mut report, &mut sides)?;
    let period = args.period(times)?;
    let reach = Reach::of(&args, period);
    let filter = filter(&args, &reach.read)?;
    let source = Source::open(context).await?;
    known(context, &source, &args).await?;
    let files = Files::begin(context, &args)?;
    let beyond = ours::load(context, &source, (&filter, &reach.matched), &mut sides).await?;
    let rules = Rules {
        tolerance: args.tolerance,
        late: args.late(),
        amounts: report.has(Field::Amount),
        statuses: report.has(Field::Status),
    };
    let events = sides.events();
    let mut join = sides.join(rules, period).map_err(|error| unsorted(&error))?;
    let mut results = Results::begin(files, period);
    walk(context, &source, &mut join, &mut results).await?;
    let median = join.median().map_err(|error| unsorted(&error))?;
    let whole = bad.count == 0;
    let agrees = results.tally.is_clean();
    let outside = reach.unsaid(join.outside(), beyond);
    summary::tell(context, &args, summary::Whole { period, events, bad, outside, median, results })?;
    Ok(if whole && agrees { Exit::Ok } else { Exit::Partial })
}

/// Reads their rows; tells the bad ones, and the first and the last of their times.
fn read_theirs(
    context: &Context,
    report: &mut Report,
    sides: &mut Sides,
) -> Result<(Bad, Option<(Timestamp, Timestamp)>), Failure> {
    let mut bad = Bad::default();
    let mut times: Option<(Timestamp, Timestamp)> = None;
    while let Some(row) = report.next()? {
        match row {
            Ok(row) => {
                if let Some(at) = row.at {
                    let (first, last) = times.unwrap_or((at, at));
                    times = Some((first.min(at), last.max(at)));
                }
                sides.theirs(row).map_err(|error| unsorted(&error))?;
            }
            Err(row) => {
                bad.count += 1;
                if bad.first.len() < LISTED_BAD_ROWS {
                    context.output.say(&format!("line {}: {}", row.line, row.why));
                    bad.first.push(row);
                }
            }
        }
    }
    if bad.count > 0 {
        context.output.say(&format!("{} of their rows cannot be read; the rest is reconciled", bad.count));
    }
    Ok((bad, times))
}

/// How far outside of the period is looked.
struct Reach {
    /// What can match.
    matched: Period,
    /// What is read: a day more at each end that nobody said.
    read: Period,
    /// Which ends nobody said.
    ends_unsaid: (bool, bool),
}

impl Reach {
    fn of(args: &ReconcileArgs, period: Period) -> Self {
        let (margin, (first, last)) = (args.margin(), args.ends_unsaid());
        let wider = |unsaid: bool| if unsaid { margin.max(DAY) } else { margin };
        let widened = |before: SignedDuration, behind: SignedDuration| Period {
            since: period.since.checked_add(-before).unwrap_or(Timestamp::MIN),
            until: period.until.checked_add(behind).unwrap_or(Timestamp::MAX),
        };
        Self { matched: widened(margin, margin), read: widened(wider(first), wider(last)), ends_unsaid: (first, last) }
    }

    /// What lies outside of the ends that nobody said.
    fn unsaid(&self, unpaired: Outside, beyond: Outside) -> Outside {
        let (first, last) = self.ends_unsaid;
        Outside {
            before: if first { unpaired.before + beyond.before } else { 0 },
            behind: if last { unpaired.behind + beyond.behind } else { 0 },
        }
    }
}

fn filter(args: &ReconcileArgs, read: &Period) -> Result<DeliveryFilter, Failure> {
    let filter = DeliveryFilter {
        affiliate: Some(args.affiliate.clone()),
        postback: args.postback.clone(),
        since: Some(read.since),
        until: Some(read.until),
        ..DeliveryFilter::default()
    };
    filter
        .validate()
        .map_err(|invalid| Failure::new(Exit::Usage, "reconcile", invalid, "see --help for what can be given"))?;
    Ok(filter)
}

/// Refuses an affiliate or a postback that nobody knows: nothing of ours would be found, and all of theirs be unknown.
async fn known(context: &Context, source: &Source, args: &ReconcileArgs) -> Result<(), Failure> {
    let affiliates = source.affiliates(context).await?;
    let missing = |what: String, name: &str, known: Vec<&str>| {
        let next = nearest(name, known)
            .map_or_else(|| "look at `postbackd affiliate list`".into(), |name| format!("did you mean {name:?}?"));
        Err(Failure::new(Exit::NotFound, "reconcile", what, next))
    };
    let Some(affiliate) = affiliates.iter().find(|view| view.affiliate == args.affiliate) else {
        let known = affiliates.iter().map(|view| view.affiliate.as_str()).collect();
        return missing(format!("there is no affiliate {:?}", args.affiliate), &args.affiliate, known);
    };
    let Some(postback) = &args.postback else { return Ok(()) };
    let known: Vec<&str> = affiliate.postbacks.iter().map(|view| view.postback.as_str()).collect();
    if known.contains(&postback.as_str()) {
        return Ok(());
    }
    missing(format!("affiliate {:?} has no postback {postback:?}", args.affiliate), postback, known)
}

/// Walks through what is found, and looks up what they answered to the first that they miss.
async fn walk(context: &Context, source: &Source, join: &mut Join, results: &mut Results<'_>) -> Result<(), Failure> {
    let mut looked_up = 0;
    while let Some(findings) = join.next().map_err(|error| unsorted(&error))? {
        for finding in findings {
            let mut line = Line::of(&finding);
            if finding.verdict == Verdict::MissingThere && looked_up < ANSWERS {
                looked_up += 1;
                look_up(source, &finding, &mut line).await?;
            }
            results.take(context, &finding, line)?;
        }
    }
    Ok(())
}

async fn look_up(source: &Source, finding: &Finding, line: &mut Line) -> Result<(), Failure> {
    let id = line::explaining(finding).and_then(|told| told.delivery_id.parse::<DeliveryId>().ok());
    let Some(id) = id else { return Ok(()) };
    let Some(detail) = source.delivery(id).await? else { return Ok(()) };
    let attempts = detail.history.into_iter().rev().find_map(|entry| entry.attempt);
    if let Some(response) = attempts.and_then(|attempt| attempt.response) {
        line.http_status = Some(response.status);
        line.answered(response.body.trim());
    }
    Ok(())
}

/// Sorting failed.
fn unsorted(error: &io::Error) -> Failure {
    Failure::new(Exit::Error, "sorting both sides", error, "make room, or name another directory with --temporary")
}
