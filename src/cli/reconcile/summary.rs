//! The end of a reconciliation as it is told: figures, sums, the first lines of each kind, and what to do next.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::asked::ReconcileArgs;
use super::line::{HEADING, Line};
use super::result::{KEPT, Results};
use super::{ANSWERS, Bad, page};
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::output::{Form, Rows};
use crate::cli::time::{micros, shown};
use crate::domain::reconcile::{Outside, Period, Tally, Verdict};

/// Most lines of a kind that are printed for people, and given as examples in JSON.
const EXAMPLES: usize = 20;

/// All there is to tell.
pub(super) struct Whole<'o> {
    pub(super) period: Period,
    /// Our events that were read, those of the margin among them.
    pub(super) events: u64,
    pub(super) bad: Bad,
    /// Ours that lie just outside, where the period was not said.
    pub(super) outside: Outside,
    /// The median of the time until ours had arrived, in microseconds.
    pub(super) median: Option<u64>,
    pub(super) results: Results<'o>,
}

/// Tells it in the form that was asked for, once the files are in their places.
pub(super) fn tell(context: &Context, args: &ReconcileArgs, mut whole: Whole<'_>) -> Result<(), Failure> {
    let next = next_steps(args, &whole);
    let page = args.html.as_ref().map(|_| page::page(args, &whole, &next)).unwrap_or_default();
    whole.results.finish(&page)?;
    match context.output.form() {
        Form::People => print(context, &whole, &next),
        Form::Json => context.output.document(&document(args, &whole, &next, EXAMPLES)),
        Form::Ndjson => context.output.document(&json!({ "summary": document(args, &whole, &next, 0) })),
    }
}

fn print(context: &Context, whole: &Whole<'_>, next: &[String]) -> Result<(), Failure> {
    let output = &context.output;
    let mut rows = Rows::new(vec!["reconciled", "value"]);
    for (name, value) in figures(whole) {
        rows.push(vec![name.into(), value]);
    }
    output.table(rows)?;
    let mut sums = Rows::new(vec!["currency", "ours", "theirs", "difference"]);
    for row in sums_of(&whole.results.tally) {
        sums.push(row.to_vec());
    }
    if !sums.is_empty() {
        output.text("")?;
        output.table(sums)?;
    }
    for (verdict, lines) in &whole.results.kept {
        let count = whole.results.tally.count(*verdict);
        let shown = lines.len().min(EXAMPLES);
        let more = if u64::try_from(shown).is_ok_and(|shown| shown < count) {
            format!(", the first {shown}")
        } else {
            String::new()
        };
        output.text(&format!("\n{} ({count}{more})", heading(*verdict)))?;
        let mut rows = Rows::new(HEADING.to_vec());
        for line in lines.iter().take(EXAMPLES) {
            rows.push(line.cells().to_vec());
        }
        output.table(rows)?;
    }
    for step in next {
        output.say(step);
    }
    Ok(())
}

/// The figures for people, in the order in which they are told.
pub(super) fn figures(whole: &Whole<'_>) -> Vec<(&'static str, String)> {
    let tally = &whole.results.tally;
    let percent = |rate: Option<Decimal>| {
        rate.map_or_else(|| "-".into(), |rate| format!("{} %", (rate * Decimal::ONE_HUNDRED).normalize()))
    };
    let mut figures = vec![
        ("period", format!("{} to {}", shown(whole.period.since), shown(whole.period.until))),
        ("ours", tally.ours().to_string()),
        ("of these accepted outside", tally.accepted_outside().to_string()),
        ("theirs", tally.theirs().to_string()),
    ];
    figures.extend(Verdict::ALL.map(|verdict| (heading(verdict), tally.count(verdict).to_string())));
    figures.push(("bad rows", whole.bad.count.to_string()));
    figures.push(("completion rate", percent(tally.completion())));
    figures.push(("discrepancy rate", percent(tally.discrepancy())));
    figures.push(("duplicate rate", percent(tally.duplicates())));
    figures.push(("median time to post", whole.median.map_or_else(|| "-".into(), micros)));
    figures
}

/// The sums for people: currency, ours, theirs, difference.
pub(super) fn sums_of(tally: &Tally) -> Vec<[String; 4]> {
    let row = |(code, sums): (&str, crate::domain::reconcile::Sums)| {
        let code = if code.is_empty() { "(none named)" } else { code };
        [code.to_owned(), sums.ours.to_string(), sums.theirs.to_string(), sums.difference.to_string()]
    };
    tally.sums().map(row).collect()
}

/// What a verdict is called above its lines.
pub(super) fn heading(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Matched => "matched",
        Verdict::MissingThere => "missing there",
        Verdict::UnknownToUs => "unknown to us",
        Verdict::CurrencyDiffers => "currency differs",
        Verdict::AmountDiffers => "amount differs",
        Verdict::StatusDiffers => "status differs",
        Verdict::Duplicate => "duplicate",
        Verdict::Late => "late",
    }
}

/// What can be done about it, with the exact commands.
fn next_steps(args: &ReconcileArgs, whole: &Whole<'_>) -> Vec<String> {
    let again = whole.results.again;
    let affiliate = &args.affiliate;
    let mut steps: Vec<String> = outside(whole).into_iter().collect();
    if again.undelivered + again.delivered > 0 {
        let file = args.missing.as_ref().map(|path| path.display().to_string());
        let name = file.clone().unwrap_or_else(|| "missing.ndjson".into());
        if file.is_none() {
            steps.push(format!("to send again what they miss, repeat with --missing {name}"));
        }
        let command = format!("postbackd replay --ids {name} --affiliate {affiliate}");
        if again.undelivered > 0 {
            let count = again.undelivered;
            steps
                .push(format!("{count} never arrived; send these again: {command} --reason 'missing in their report'"));
        }
        if again.delivered > 0 {
            let count = again.delivered;
            steps.push(format!(
                "{count} they answered and miss all the same; show them the answer, and once they agree send these, too: \
                 {command} --force --reason 'answered, but missing in their report'"
            ));
        }
    }
    if again.held > 0 {
        steps
            .push(format!("{} are held for a person: postbackd list --affiliate {affiliate} --state held", again.held));
    }
    if again.open > 0 {
        steps.push(format!("{} are still to be sent; reconcile again once they are", again.open));
    }
    let cut = whole.results.kept.values().any(|lines| lines.len() > EXAMPLES);
    if cut && args.csv.is_none() {
        steps.push("for every line, repeat with --csv FILE or --ndjson".into());
    }
    if whole.results.tally.count(Verdict::MissingThere) > ANSWERS as u64 {
        steps.push(format!(
            "what they answered was looked up for the first {ANSWERS} that they miss; `postbackd show ID` has the rest"
        ));
    }
    if whole.results.tally.has_overflowed() {
        steps.push("a sum has more digits than can be kept; it is not whole".into());
    }
    steps
}

/// That ours lie just outside of a period that nobody said: days that are missing in their report entirely look like that.
fn outside(whole: &Whole<'_>) -> Option<String> {
    let Outside { before, behind } = whole.outside;
    let ends = [(before, "just before"), (behind, "just behind")];
    let ends: Vec<String> =
        ends.iter().filter(|(count, _)| *count > 0).map(|(count, place)| format!("{count} {place} it")).collect();
    (!ends.is_empty()).then(|| {
        format!(
            "the period is that of their first to their last row; of ours {} were accepted and have no row: if their report \
             should have these days, too, say --since and --until",
            ends.join(" and ")
        )
    })
}

fn document(args: &ReconcileArgs, whole: &Whole<'_>, next: &[String], examples: usize) -> Value {
    let tally = serde_json::to_value(&whole.results.tally).unwrap_or_default();
    let mut document = Map::new();
    document.insert("affiliate".into(), json!(args.affiliate));
    document.insert("postback".into(), json!(args.postback));
    document.insert("report".into(), json!(args.report));
    document.insert("since".into(), json!(whole.period.since));
    document.insert("until".into(), json!(whole.period.until));
    document.insert("time_zone".into(), json!(args.time_zone.iana_name()));
    document.extend(tally.as_object().cloned().unwrap_or_default());
    document.insert("median_time_to_post_us".into(), json!(whole.median));
    document.insert("outside".into(), json!(whole.outside));
    document.insert("our_events_read".into(), json!(whole.events));
    document.insert("bad_rows".into(), json!(whole.bad));
    document.insert("to_send_again".into(), json!(whole.results.again));
    document.insert("files".into(), json!({ "csv": args.csv, "html": args.html, "missing": args.missing }));
    document.insert("next".into(), json!(next));
    if examples > 0 {
        let first = |lines: &Vec<Line>| lines.iter().take(examples).cloned().collect::<Vec<_>>();
        let lines: Map<_, _> = whole
            .results
            .kept
            .iter()
            .map(|(verdict, lines)| (verdict.name().to_owned(), json!(first(lines))))
            .collect();
        document.insert("examples".into(), Value::Object(lines));
    }
    Value::Object(document)
}

/// How many lines of a kind the page leaves out.
pub(super) fn left_out(whole: &Whole<'_>, verdict: Verdict) -> u64 {
    let kept = whole.results.kept.get(&verdict).map_or(0, |lines| lines.len().min(KEPT) as u64);
    whole.results.tally.count(verdict).saturating_sub(kept)
}
