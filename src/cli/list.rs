//! `list`: deliveries that meet a filter, or events that are unrouted, page after page.

use clap::Args;
use serde::Serialize;

use super::columns::Column;
use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::filter::FilterArgs;
use super::output::{Form, Rows};
use super::redraw::WatchArgs;
use super::sort::{MAX_SORTED, SortArgs, Sorted};
use super::source::Source;
use super::time::shown;
use crate::inspect::{DeliveryFilter, DeliverySummary, Direction, Page, UnroutedEvent, UnroutedFilter};

/// Most deliveries asked for at once.
const PAGE: usize = 1_000;

/// What to list.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postbackd list --affiliate acme --state dead --since 2h
  postbackd list --state delivered --changed-since 10m
  postbackd list --text 'ip not allowed' --columns delivery_id,http_status,error
  postbackd list --state scheduled --sort due --watch
  postbackd list --since 24h --sort payout --desc --limit 20
  postbackd list --unrouted --json")]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    reach: ReachArgs,

    /// List events that are kept unrouted, instead of deliveries
    #[arg(long, conflicts_with_all = ["postback", "state", "state_reason", "outcome", "http_status", "text", "changed_since", "changed_until", "columns", "sort"])]
    unrouted: bool,
}

/// How much to list, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct ReachArgs {
    /// List so many at most
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    limit: usize,

    /// List all there are
    #[arg(long)]
    all: bool,

    /// Begin with the oldest
    #[arg(long)]
    oldest: bool,

    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    /// Columns of the table, divided by commas; JSON is always complete
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<Column>,

    #[command(flatten)]
    sort: SortArgs,

    #[command(flatten)]
    watch: WatchArgs,
}

impl ReachArgs {
    fn direction(&self) -> Direction {
        if self.oldest { Direction::Oldest } else { Direction::Newest }
    }

    fn most(&self) -> usize {
        if self.all { usize::MAX } else { self.limit }
    }
}

/// Lists deliveries, or unrouted events.
pub(super) async fn list(context: &Context, args: ListArgs) -> Ended {
    if args.unrouted {
        let filter = args.filter.unrouted();
        let source = Source::open(context).await?;
        let look = async || unrouted(context, &source, &filter, args.reach.clone()).await;
        return args.reach.watch.repeat(context, &source, look).await;
    }
    let filter = args.filter.filter(&[])?;
    let source = Source::open(context).await?;
    print(context, &source, &filter, args.reach).await
}

/// Prints the deliveries of a filter.
pub(super) async fn print(context: &Context, source: &Source, filter: &DeliveryFilter, reach: ReachArgs) -> Ended {
    reach.watch.repeat(context, source, async || look(context, source, filter, reach.clone()).await).await
}

async fn look(context: &Context, source: &Source, filter: &DeliveryFilter, reach: ReachArgs) -> Ended {
    let columns = if reach.columns.is_empty() { Column::DEFAULT.to_vec() } else { reach.columns.clone() };
    let table = Table {
        header: columns.iter().map(|column| column.name()).collect(),
        row: &|delivery: &DeliverySummary| columns.iter().map(|column| column.cell(delivery)).collect(),
        empty: "no delivery meets the filter",
    };
    if reach.sort.key().is_none() {
        return walk(context, Walk::new(source, filter, reach.direction(), reach.most()), reach.cursor, &table).await;
    }
    let all = Walk::new(source, filter, reach.direction(), MAX_SORTED + 1);
    let mut sorted = reach.sort.collect(all).await?;
    let total = sorted.len();
    sorted.truncate(reach.most());
    let shown = sorted.len();
    walk(context, Walk::over(Sorted(sorted), usize::MAX), None, &table).await?;
    if shown < total {
        context.output.say(&format!("{shown} of {total} are listed: add --all, or --limit"));
    }
    Ok(Exit::Ok)
}

async fn unrouted(context: &Context, source: &Source, filter: &UnroutedFilter, reach: ReachArgs) -> Ended {
    let table = Table {
        header: ["event_id", "affiliate", "type", "transaction_id", "status", "source", "accepted_at"].to_vec(),
        row: &|event: &UnroutedEvent| {
            let UnroutedEvent { event_id, affiliate, kind, transaction_id, status, source, .. } = event.clone();
            vec![event_id, affiliate, kind, transaction_id, status, source, shown(event.accepted_at)]
        },
        empty: "no event is unrouted, or none meets the filter",
    };
    let pages = Unrouted { source, filter, direction: reach.direction() };
    walk(context, Walk::over(pages, reach.most()), reach.cursor, &table).await
}

/// How people are shown what is listed.
struct Table<'t, T> {
    header: Vec<&'static str>,
    row: &'t dyn Fn(&T) -> Vec<String>,
    /// What is said where there is nothing.
    empty: &'static str,
}

async fn walk<P: Pages>(
    context: &Context,
    mut walk: Walk<P>,
    cursor: Option<String>,
    table: &Table<'_, P::Item>,
) -> Ended {
    walk.cursor = cursor;
    match context.output.form() {
        Form::People => print_tables(context, walk, table).await?,
        Form::Json => print_document(context, walk).await?,
        Form::Ndjson => {
            while let Some(page) = walk.next().await? {
                page.iter().try_for_each(|item| context.output.document(item))?;
            }
            say_more(context, walk.cursor.as_deref());
        }
    }
    Ok(Exit::Ok)
}

/// A table a page, so that a long list needs no more memory than a short one.
async fn print_tables<P: Pages>(
    context: &Context,
    mut walk: Walk<P>,
    table: &Table<'_, P::Item>,
) -> Result<(), Failure> {
    let mut any = false;
    while let Some(page) = walk.next().await? {
        if page.is_empty() {
            continue;
        }
        any = true;
        let mut rows = Rows::new(table.header.clone());
        for item in &page {
            rows.push((table.row)(item));
        }
        context.output.table(rows)?;
    }
    if !any {
        context.output.say(table.empty);
    }
    say_more(context, walk.cursor.as_deref());
    Ok(())
}

/// The same document as the API's page, written as it comes.
async fn print_document<P: Pages>(context: &Context, mut walk: Walk<P>) -> Result<(), Failure> {
    let output = &context.output;
    let unwritable = |error: serde_json::Error| Failure::new(Exit::Error, "writing JSON", error, "");
    output.raw(b"{\"items\": [")?;
    let mut divider = "\n";
    while let Some(page) = walk.next().await? {
        for item in &page {
            let text = serde_json::to_string(item).map_err(unwritable)?;
            output.data(format!("{divider}{text}").as_bytes())?;
            divider = ",\n";
        }
    }
    let cursor = serde_json::to_string(&walk.cursor).map_err(unwritable)?;
    output.raw(format!("\n], \"next_cursor\": {cursor}}}\n").as_bytes())
}

fn say_more(context: &Context, cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        context.output.say(&format!("there may be more: add --all, or --cursor {cursor}"));
    }
}

/// Something that is listed in pages.
pub(super) trait Pages {
    /// What is on them.
    type Item: Serialize;

    /// The page behind a cursor.
    async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Self::Item>, Failure>;
}

/// The deliveries of a filter.
pub(super) struct Deliveries<'a> {
    source: &'a Source,
    filter: &'a DeliveryFilter,
    direction: Direction,
}

impl Pages for Deliveries<'_> {
    type Item = DeliverySummary;

    async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Page<DeliverySummary>, Failure> {
        self.source.list(self.filter, self.direction, cursor, limit).await
    }
}

/// The unrouted events of a filter.
struct Unrouted<'a> {
    source: &'a Source,
    filter: &'a UnroutedFilter,
    direction: Direction,
}

impl Pages for Unrouted<'_> {
    type Item = UnroutedEvent;

    async fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Page<UnroutedEvent>, Failure> {
        self.source.unrouted(self.filter, self.direction, cursor, limit).await
    }
}

/// Walks over the pages of a list.
pub(super) struct Walk<P> {
    pages: P,
    left: usize,
    /// Where the next page begins.
    cursor: Option<String>,
    ended: bool,
}

impl<'a> Walk<Deliveries<'a>> {
    /// A walk over at most `most` deliveries.
    pub(super) fn new(source: &'a Source, filter: &'a DeliveryFilter, direction: Direction, most: usize) -> Self {
        Self::over(Deliveries { source, filter, direction }, most)
    }
}

impl<P: Pages> Walk<P> {
    /// A walk over at most so many of what is on some pages.
    pub(super) fn over(pages: P, most: usize) -> Self {
        Self { pages, left: most, cursor: None, ended: false }
    }

    /// The next page, which may be empty; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<P::Item>>, Failure> {
        if self.ended || self.left == 0 {
            return Ok(None);
        }
        let limit = self.left.min(PAGE);
        let page = self.pages.page(self.cursor.as_deref(), limit).await?;
        self.left = self.left.saturating_sub(page.items.len());
        self.ended = page.next_cursor.is_none();
        self.cursor = page.next_cursor;
        Ok(Some(page.items))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::RawQuery;
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::fixtures::{self, Daemon};
    use crate::cli::output::Person;

    fn daemon() -> (Daemon, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let pages = get(move |RawQuery(query): RawQuery| async move {
            let query = query.unwrap_or_default();
            let page = match query.as_str() {
                second if second.contains("cursor=two") => {
                    json!({"items": [fixtures::delivery("dlv_b")], "next_cursor": null})
                }
                _ => json!({"items": [fixtures::delivery("dlv_a")], "next_cursor": "two"}),
            };
            log.lock().unwrap().push(query);
            Json(page)
        });
        (Daemon::serve(Router::new().route("/v1/deliveries", pages)), asked)
    }

    fn reach(all: bool, limit: usize) -> ReachArgs {
        let (sort, watch) = (SortArgs::default(), WatchArgs::default());
        ReachArgs { limit, all, oldest: false, cursor: None, columns: Vec::new(), sort, watch }
    }

    #[tokio::test]
    async fn all_pages_make_one_document() {
        let (daemon, asked) = daemon();
        let (context, captured) = daemon.context(Form::Json, Person::Absent);
        let filter = DeliveryFilter { affiliate: Some("acme".into()), ..DeliveryFilter::default() };
        let source = Source::open(&context).await.unwrap();
        print(&context, &source, &filter, reach(true, 50)).await.unwrap();
        let document: Value = serde_json::from_str(&captured.data()).unwrap();
        let ids: Vec<_> =
            document["items"].as_array().unwrap().iter().map(|item| item["delivery_id"].clone()).collect();
        assert_eq!(ids, ["dlv_a", "dlv_b"]);
        assert_eq!(document["next_cursor"], Value::Null);
        assert!(asked.lock().unwrap()[0].contains("affiliate=acme"));
    }

    #[tokio::test]
    async fn a_limit_ends_the_walk_and_tells_how_to_go_on() {
        let (daemon, asked) = daemon();
        let (context, captured) = daemon.context(Form::People, Person::Absent);
        let source = Source::open(&context).await.unwrap();
        print(&context, &source, &DeliveryFilter::default(), reach(false, 1)).await.unwrap();
        assert!(captured.data().contains("dlv_a"), "{}", captured.data());
        assert!(!captured.data().contains("dlv_b"), "{}", captured.data());
        assert!(captured.words().contains("--cursor two"), "{}", captured.words());
        assert_eq!(*asked.lock().unwrap(), ["limit=1"]);
    }
}
