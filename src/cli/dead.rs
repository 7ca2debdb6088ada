//! `dead`: the dead letters, listed, grouped by what killed them, or sent again.

use std::collections::btree_map::{BTreeMap, Entry};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::bulk::{self, BulkArgs, ReplayArgs};
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::filter::FilterArgs;
use super::list::{self, ReachArgs, Walk};
use super::output::{Form, Rows};
use super::source::Source;
use super::time::shown;
use crate::domain::delivery::StateKind;
use crate::inspect::{DeliveryFilter, DeliverySummary, Direction};

/// Most groups that are told apart.
const MAX_GROUPS: usize = 10_000;

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum DeadCommand {
    /// List dead letters
    List(DeadListArgs),
    /// Send dead letters again
    Replay(ReplayArgs),
    /// Put dead letters away that somebody has looked at: they are not sent, and no longer listed here
    Discard(BulkArgs),
}

/// Which dead letters to list.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd dead list --group
  postbackd dead list --affiliate acme --text 'unknown click' --since 7d
  postbackd dead list --sort payout --desc --limit 20")]
pub(super) struct DeadListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    reach: ReachArgs,

    /// Count them by reason, outcome, status and rule; looks at all of them
    #[arg(long, conflicts_with_all = ["cursor", "columns", "oldest", "all", "sort", "watch"])]
    group: bool,
}

/// Dead letters that died of the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Group {
    count: u64,
    reason: Option<String>,
    outcome: Option<&'static str>,
    http_status: Option<u16>,
    rule: Option<String>,
    affiliates: Vec<String>,
    newest: Timestamp,
    example: String,
}

type Cause = (Option<String>, Option<&'static str>, Option<u16>, Option<String>);

/// Lists dead letters or sends them again.
pub(super) async fn dead(context: &Context, command: DeadCommand) -> Ended {
    match command {
        DeadCommand::Replay(args) => bulk::replay(context, args.of_dead_letters()?).await,
        DeadCommand::Discard(args) => bulk::discard(context, args, Some(StateKind::Dead)).await,
        DeadCommand::List(args) => {
            let filter = DeliveryFilter { state: Some(StateKind::Dead.name().into()), ..args.filter.filter(&[])? };
            let source = Source::open(context).await?;
            if args.group {
                print_groups(context, groups(&source, &filter).await?)
            } else {
                list::print(context, &source, &filter, args.reach).await
            }
        }
    }
}

async fn groups(source: &Source, filter: &DeliveryFilter) -> Result<Vec<Group>, Failure> {
    let mut groups: BTreeMap<Cause, Group> = BTreeMap::new();
    let mut walk = Walk::new(source, filter, Direction::Newest, usize::MAX);
    while let Some(page) = walk.next().await? {
        for delivery in page {
            add(&mut groups, delivery);
        }
        if groups.len() > MAX_GROUPS {
            let why = format!("there are more than {MAX_GROUPS} of them");
            return Err(Failure::new(
                Exit::Error,
                "grouping dead letters",
                why,
                "narrow them with --affiliate or --since",
            ));
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    Ok(groups)
}

fn add(groups: &mut BTreeMap<Cause, Group>, delivery: DeliverySummary) {
    let last = delivery.last_attempt;
    let (outcome, http_status) =
        (last.as_ref().map(|last| last.outcome.name()), last.as_ref().and_then(|last| last.http_status));
    let rule = last.map(|last| last.rule);
    match groups.entry((delivery.reason.clone(), outcome, http_status, rule.clone())) {
        Entry::Occupied(mut found) => {
            let group = found.get_mut();
            group.count += 1;
            group.newest = group.newest.max(delivery.changed_at);
            if !group.affiliates.contains(&delivery.affiliate) {
                group.affiliates.push(delivery.affiliate);
            }
        }
        Entry::Vacant(place) => {
            place.insert(Group {
                count: 1,
                reason: delivery.reason,
                outcome,
                http_status,
                rule,
                affiliates: vec![delivery.affiliate],
                newest: delivery.changed_at,
                example: delivery.delivery_id,
            });
        }
    }
}

fn print_groups(context: &Context, groups: Vec<Group>) -> Ended {
    match context.output.form() {
        Form::Json => context.output.document(&groups)?,
        Form::Ndjson => groups.iter().try_for_each(|group| context.output.document(group))?,
        Form::People if groups.is_empty() => context.output.say("there are no dead letters"),
        Form::People => {
            let header =
                vec!["count", "reason", "outcome", "http_status", "rule", "affiliates", "newest", "example_id"];
            let mut rows = Rows::new(header);
            for group in groups {
                rows.push(vec![
                    group.count.to_string(),
                    group.reason.unwrap_or_default(),
                    group.outcome.unwrap_or_default().into(),
                    group.http_status.map(|code| code.to_string()).unwrap_or_default(),
                    group.rule.unwrap_or_default(),
                    group.affiliates.join(", "),
                    shown(group.newest),
                    group.example,
                ]);
            }
            context.output.table(rows)?;
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures;

    #[test]
    fn dead_letters_are_grouped_by_what_killed_them() {
        let mut groups = BTreeMap::new();
        add(&mut groups, fixtures::delivery("dlv_1"));
        let mut other = fixtures::delivery("dlv_2");
        other.affiliate = "bravo".into();
        add(&mut groups, other);
        let mut gone = fixtures::delivery("dlv_3");
        gone.last_attempt.as_mut().unwrap().http_status = Some(404);
        add(&mut groups, gone);
        let counts: Vec<_> = groups.values().map(|group| (group.count, group.http_status)).collect();
        assert_eq!(counts, [(1, Some(404)), (2, Some(500))]);
        assert_eq!(groups.values().last().unwrap().affiliates, ["acme", "bravo"]);
    }
}
