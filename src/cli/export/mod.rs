//! `export`: events, deliveries and attempts as a file for finance, page after page and in constant memory.
//!
//! A file appears under its name only when it is whole and on disk; a mark is set only behind that.

mod format;
#[cfg(feature = "parquet")]
mod parquet;
mod progress;
mod target;
mod whole;
mod wire;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::context::Context;
use super::exit::{Ended, Exit, Failure};
use super::filter::FilterArgs;
use super::output::{Form, Rows};
use super::source::Source;
use super::time::shown;
use crate::domain::export_mark::{self, ExportMark, MarkRequest, SETTLING};
use crate::domain::id::ConsumerName;
use crate::inspect::{By, Column, DeliveryFilter, ExportKind, ExportPage, MarkView, check_export, columns};
use crate::ops::clock::{Clock, SystemClock};

use format::{Format, RowWriter};
use progress::Progress;
use target::Target;
pub(super) use whole::WholeFile;
pub(super) use wire::ask;

const EXAMPLES: &str = "Examples:\n  \
     postbackd export deliveries --since 2026-10-01 --until 2026-11-01 --out october.csv\n  \
     postbackd export deliveries --until 2026-11-01 --mark finance --out october.parquet\n\n\
     docs/export.md tells what each column means, and how a month is closed.";
const EXAMPLES_OF_EVENTS: &str =
    "Example:\n  postbackd export events --affiliate acme --since 2026-10-01 --until 2026-11-01 --out acme.csv";
const EXAMPLES_OF_ATTEMPTS: &str = "Examples:\n  \
     postbackd export attempts --affiliate acme --transaction dep-88121 --format ndjson\n  \
     postbackd export attempts --since 7d --outcome ambiguous --columns delivery_id,number,started_at,error --out week.csv";

/// What to export.
#[derive(Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// Export events, by the time of their acceptance
    #[command(after_help = EXAMPLES_OF_EVENTS)]
    Events(ExportArgs),
    /// Export deliveries as they stand, by the time at which they came to their present state
    #[command(after_help = EXAMPLES)]
    Deliveries(DeliveriesArgs),
    /// Export attempts with their requests and answers, by the time at which they began
    #[command(after_help = EXAMPLES_OF_ATTEMPTS)]
    Attempts(ExportArgs),
    /// List how far the exports of each consumer reach
    Marks,
}

/// What to export, and how.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("since", |arg| arg.help("From this time on: 30d (ago), 2026-10-01 (midnight UTC) or 2026-10-01T00:00:00+02:00")))]
#[command(mut_arg("until", |arg| arg.help("Before this time")))]
#[command(mut_arg("changed_since", |arg| arg.help("Deliveries that came to their present state from then on")))]
#[command(mut_arg("outcome", |arg| arg.help("What the attempt, or a delivery's last attempt, came to")))]
#[command(mut_arg("http_status", |arg| arg.help("The status of the attempt's response, or of a delivery's last one")))]
pub(super) struct ExportArgs {
    /// The form of the rows [default: as the ending of FILE says, else ndjson]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,

    /// Write to this file, which appears once it is whole; - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,

    /// Only these columns, divided by commas, in this order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,

    /// In CSV, put an apostrophe before text that a spreadsheet would take for a formula
    #[arg(long)]
    spreadsheet: bool,

    /// Overwrite the file if there is one
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

/// Which deliveries to export, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct DeliveriesArgs {
    /// What --since and --until are about: when a delivery came to its present state, or its event's acceptance
    #[arg(long, value_enum, default_value = "changed")]
    by: TypedBy,

    /// Note that this consumer has everything until --until: retention may wait for it
    #[arg(long, value_name = "CONSUMER", requires = "until")]
    mark: Option<ConsumerName>,

    /// Set the mark although it goes back, or leaves a gap
    #[arg(long, requires = "mark")]
    force: bool,

    #[command(flatten)]
    export: ExportArgs,
}

/// Which time of a delivery is meant, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypedBy {
    Accepted,
    Changed,
}

impl From<TypedBy> for By {
    fn from(typed: TypedBy) -> Self {
        match typed {
            TypedBy::Accepted => Self::Accepted,
            TypedBy::Changed => Self::Changed,
        }
    }
}

/// A mark that is to be set behind the export.
struct Marking {
    consumer: ConsumerName,
    force: bool,
}

/// Exports, or lists the marks.
pub(super) async fn export(context: &Context, command: ExportCommand) -> Ended {
    match command {
        ExportCommand::Events(args) => run(context, ExportKind::Events, args, None).await,
        ExportCommand::Attempts(args) => run(context, ExportKind::Attempts, args, None).await,
        ExportCommand::Deliveries(DeliveriesArgs { export, by, mark, force }) => {
            let marking = mark.map(|consumer| Marking { consumer, force });
            run(context, ExportKind::Deliveries(by.into()), export, marking).await
        }
        ExportCommand::Marks => marks(context).await,
    }
}

fn usage(what: &str, why: impl std::fmt::Display, next: &str) -> Failure {
    Failure::new(Exit::Usage, what, why, next)
}

async fn run(context: &Context, kind: ExportKind, args: ExportArgs, marking: Option<Marking>) -> Ended {
    if context.output.form() == Form::Json {
        return Err(usage("an export", "is not one JSON document", "use --format ndjson, csv or parquet"));
    }
    let mut filter = args.filter.filter(&[])?;
    let format = args.format.unwrap_or_else(|| Format::of(&args.out));
    if format == Format::Parquet && target::is_standard(&args.out) && context.output.is_at_terminal() {
        return Err(usage("--format parquet", "is nothing that a terminal can show", "add --out FILE"));
    }
    if args.spreadsheet && format != Format::Csv {
        return Err(usage("--spreadsheet", "is for CSV", "add --format csv, or leave it out"));
    }
    let chosen = Chosen::of(kind, &args.columns)?;
    check_export(kind, &filter).map_err(|invalid| usage("the filter", invalid, "see --help for what can be given"))?;
    if let Some(marking) = &marking {
        check_markable(kind, &filter, &args, marking)?;
    }
    let source = Source::open(context).await?;
    let wanted = match marking {
        Some(marking) => Some(prepare_mark(&source, &mut filter, marking).await?),
        None => None,
    };
    say_what_may_be_missing(context, &filter);

    let target = Target::open(&context.output, &args.out, args.yes)?;
    let first = source.export(kind, &filter, None).await?;
    let mark = wanted.map(|wanted| wanted.markable(first.asked_at)).transpose()?;
    let writer = format::writer(format, &chosen.columns, target.writer()?, args.spreadsheet)?;
    let rows = copy(context, &source, (kind, &filter), first, &chosen, writer).await?;
    target.finish()?;
    if let Some(request) = mark {
        return set_mark(context, &source, MarkRequest { rows, ..request }).await;
    }
    if !target::is_standard(&args.out) {
        context.output.say(&format!("{rows} rows in {}", args.out.display()));
    }
    Ok(Exit::Ok)
}

/// Copies all pages, of which the first is there; returns how many rows there were.
async fn copy(
    context: &Context,
    source: &Source,
    (kind, filter): (ExportKind, &DeliveryFilter),
    mut page: ExportPage,
    chosen: &Chosen,
    mut writer: Box<dyn RowWriter + '_>,
) -> Result<u64, Failure> {
    let mut rows = 0;
    let mut progress = Progress::new(&context.output, filter);
    loop {
        for row in page.rows {
            writer.write(chosen.pick(row)).map_err(target::unwritten)?;
            rows += 1;
        }
        progress.came_to(page.reached, rows);
        let Some(cursor) = page.next_cursor else {
            writer.finish().map_err(target::unwritten)?;
            return Ok(rows);
        };
        page = source.export(kind, filter, Some(&cursor)).await?;
    }
}

/// The columns that are wanted, with their places in a whole row.
struct Chosen {
    columns: Vec<Column>,
    places: Vec<usize>,
    all: bool,
}

impl Chosen {
    fn of(kind: ExportKind, names: &[String]) -> Result<Self, Failure> {
        let known = columns(kind);
        if names.is_empty() {
            return Ok(Self { places: (0..known.len()).collect(), columns: known, all: true });
        }
        let mut chosen = Self { columns: Vec::new(), places: Vec::new(), all: false };
        for name in names {
            let found = known
                .iter()
                .enumerate()
                .find(|(place, column)| column.name == name.trim() && !chosen.places.contains(place));
            let Some((place, column)) = found else {
                let all: Vec<_> = known.iter().map(|column| column.name).collect();
                let why = format!("{name:?} is no column of {}, or is named twice", kind.name());
                return Err(usage("--columns", why, &format!("choose from {}", all.join(","))));
            };
            chosen.places.push(place);
            chosen.columns.push(*column);
        }
        Ok(chosen)
    }

    fn pick(&self, row: Vec<crate::inspect::Cell>) -> Vec<crate::inspect::Cell> {
        if self.all {
            return row;
        }
        self.places.iter().filter_map(|place| row.get(*place).cloned()).collect()
    }
}

/// Only what is whole can be marked: a file with everything of a period.
fn check_markable(
    kind: ExportKind,
    filter: &DeliveryFilter,
    args: &ExportArgs,
    marking: &Marking,
) -> Result<(), Failure> {
    let unfiltered = DeliveryFilter { since: filter.since, until: filter.until, ..DeliveryFilter::default() };
    let wrong = if target::is_standard(&args.out) {
        "needs a file: what goes to standard output may get lost; add --out FILE"
    } else if *filter != unfiltered {
        "covers everything of a period; leave the other filters out"
    } else if kind != ExportKind::Deliveries(By::Changed) {
        "goes by the time at which deliveries came to their present state; leave --by out"
    } else {
        return Ok(());
    };
    Err(usage(&format!("--mark {}", marking.consumer), wrong, "postbackd export deliveries --help"))
}

/// A mark that is wanted, beside those that are there.
struct Wanted {
    request: MarkRequest,
    last: Option<ExportMark>,
    consumers: usize,
}

/// Finds out where the consumer's last export ended.
async fn prepare_mark(
    source: &Source,
    filter: &mut DeliveryFilter,
    Marking { consumer, force }: Marking,
) -> Result<Wanted, Failure> {
    let what = format!("--mark {consumer}");
    if matches!(source, Source::Store(_)) {
        let why = "the daemon is down, and only it writes to the store";
        return Err(Failure::new(Exit::Unreachable, what, why, "start the daemon, or export without --mark"));
    }
    let marks = source.export_marks().await?;
    let consumers = marks.len();
    let last = marks.into_iter().find(|view| view.consumer == consumer).map(|view| view.mark);
    if filter.since.is_none() && !force {
        filter.since = last.as_ref().map(|mark| mark.until);
    }
    let Some(until) = filter.until else {
        return Err(usage(&what, "needs to know how far it reaches", "add --until TIME"));
    };
    let until = crate::domain::timestamp::to_micros(until);
    let request = MarkRequest { consumer, since: filter.since, until, rows: 0, by: String::new(), force };
    let wanted = Wanted { request, last, consumers };
    // Where it begins can be judged already; that it is over only by the daemon's clock.
    wanted.check(Timestamp::MAX)?;
    Ok(wanted)
}

impl Wanted {
    /// The mark, where it covers nothing that could still happen when the export began, by the daemon's clock: it
    /// decides when the mark is set, but an export that took long would then cover what it never saw.
    fn markable(self, asked_at: Option<Timestamp>) -> Result<MarkRequest, Failure> {
        let Some(asked_at) = asked_at else {
            let why = "the daemon does not tell its time, so that nobody knows what the export may have missed";
            return Err(Failure::new(Exit::Refused, self.what(), why, "use the daemon's version of this program"));
        };
        self.check(asked_at)?;
        Ok(self.request)
    }

    fn check(&self, now: Timestamp) -> Result<(), Failure> {
        let mark = export_mark::set(self.request.clone(), self.last.as_ref(), self.consumers, now);
        mark.map(drop).map_err(|refused| {
            let next = "postbackd export marks tells how far each consumer has come";
            Failure::new(Exit::Refused, self.what(), refused, next)
        })
    }

    fn what(&self) -> String {
        format!("--mark {}", self.request.consumer)
    }
}

async fn set_mark(context: &Context, source: &Source, request: MarkRequest) -> Ended {
    let Source::Daemon(client) = source else { return Ok(Exit::Ok) };
    let body = json!({
        "consumer": request.consumer, "since": request.since, "until": request.until, "rows": request.rows,
        "force": request.force,
    });
    let set = client.post::<MarkView>(&["v1", "exports", "marks"], &body).await;
    let MarkView { consumer, mark } = set.map_err(|error| {
        let what = format!("the export of {} rows is whole, but the mark could not be set", request.rows);
        error.into_failure(&what, "repeat the command with --yes").ending(Exit::Partial)
    })?;
    context.output.say(&format!("{} rows; {consumer} has everything until {}", mark.rows, mark.until));
    Ok(Exit::Ok)
}

/// A period whose end is not well past may still get rows.
fn say_what_may_be_missing(context: &Context, filter: &DeliveryFilter) {
    let settled = SystemClock.now().checked_sub(SETTLING).unwrap_or(Timestamp::MIN);
    if filter.until.is_some_and(|until| until > settled) {
        context
            .output
            .say("postbackd: --until is later than 10 minutes ago: what is being sent just now may be missing");
    }
}

async fn marks(context: &Context) -> Ended {
    let marks = Source::open(context).await?.export_marks().await?;
    match context.output.form() {
        Form::Json => context.output.document(&json!({ "items": marks }))?,
        Form::Ndjson => marks.iter().try_for_each(|mark| context.output.document(mark))?,
        Form::People if marks.is_empty() => context.output.say("nobody has marked an export"),
        Form::People => {
            let mut rows = Rows::new(vec!["consumer", "until", "rows", "by", "at"]);
            for MarkView { consumer, mark: ExportMark { until, rows: count, by, at } } in marks {
                rows.push(vec![consumer.to_string(), until.to_string(), count.to_string(), by, shown(at)]);
            }
            context.output.table(rows)?;
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests;
