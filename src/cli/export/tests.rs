//! What of a command line is refused before anything is read or written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser as _;

use super::*;
use crate::cli::fixtures;
use crate::cli::output::Person;

#[derive(clap::Parser)]
struct Typed {
    #[command(subcommand)]
    command: ExportCommand,
}

async fn typed(line: &str) -> Failure {
    let daemon = fixtures::Daemon::serve(axum::Router::new());
    let (context, _) = daemon.context(Form::People, Person::Absent);
    let command = Typed::try_parse_from(std::iter::once("export").chain(line.split(' '))).unwrap().command;
    export(&context, command).await.unwrap_err()
}

#[tokio::test]
async fn a_mark_is_for_a_whole_file_with_everything() {
    let base = "deliveries --until 2026-11-01 --mark finance";
    for (more, why) in [
        ("", "add --out FILE"),
        (" --out /nonexistent/x.csv --affiliate acme", "leave the other filters out"),
        (" --out /nonexistent/x.csv --by accepted", "leave --by out"),
    ] {
        let failure = typed(&format!("{base}{more}")).await;
        assert!(failure.exit() == Exit::Usage && failure.to_string().contains(why), "{more}: {failure}");
    }
}

/// An export of October with a mark, by a daemon that tells a time with each of its two pages; the marks it was asked for.
async fn marked_by_a_daemon_at(times: [&'static str; 2]) -> (Ended, usize) {
    use axum::extract::Query;
    use axum::routing::get;

    let set = Arc::new(AtomicUsize::new(0));
    let page = move |Query(query): Query<BTreeMap<String, String>>| async move {
        let (time, cursor) =
            if query.contains_key("cursor") { (times[1], None) } else { (times[0], Some("postbackd-next-cursor")) };
        let now = (!time.is_empty()).then_some("postbackd-now");
        let headers = now.map(|name| (name, time)).into_iter().chain(cursor.map(|name| (name, "second")));
        axum::response::AppendHeaders(headers.collect::<Vec<_>>())
    };
    let counted = Arc::clone(&set);
    let mark = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        axum::Json(json!({
            "consumer": "finance", "until": "2026-11-01T00:00:00Z", "rows": 0, "by": "x", "at": "2026-11-01T01:00:00Z",
        }))
    };
    let marks = get(async || axum::Json(json!({ "items": [], "next_cursor": null }))).post(mark);
    let routes = axum::Router::new().route("/v1/export/deliveries", get(page)).route("/v1/exports/marks", marks);
    let daemon = fixtures::Daemon::serve(routes);
    let (context, _) = daemon.context(Form::People, Person::Absent);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("october.csv");
    let line = format!("export deliveries --until 2026-11-01 --mark finance --out {}", file.display());
    let command = Typed::try_parse_from(line.split(' ')).unwrap().command;
    let ended = export(&context, command).await;
    assert_eq!(file.exists(), ended.is_ok(), "a file that comes to nothing is not there");
    (ended, set.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_mark_covers_nothing_that_could_happen_behind_the_first_page() {
    let (ended, marks) = marked_by_a_daemon_at(["2026-11-01T00:10:00Z", "2026-11-01T00:10:05Z"]).await;
    assert!((ended.as_ref().ok(), marks) == (Some(&Exit::Ok), 1), "{:?}", ended.err());
    // This machine's clock is ahead of the daemon's, and the export takes long enough for the daemon to take the mark.
    for times in [["2026-11-01T00:09:59Z", "2026-11-01T00:30:00Z"], ["", "2026-11-01T00:30:00Z"]] {
        let (ended, marks) = marked_by_a_daemon_at(times).await;
        let failure = ended.unwrap_err();
        assert!(failure.exit() == Exit::Refused && marks == 0, "{times:?}: {failure}");
    }
}

#[tokio::test]
async fn a_terminal_is_shown_no_parquet() {
    let daemon = fixtures::Daemon::serve(axum::Router::new());
    let (mut context, _) = daemon.context(Form::People, Person::Absent);
    context.output = context.output.at_terminal();
    let command = Typed::try_parse_from(["export", "events", "--format", "parquet"]).unwrap().command;
    let failure = export(&context, command).await.unwrap_err();
    assert!(failure.exit() == Exit::Usage && failure.to_string().contains("--out FILE"), "{failure}");
}

#[tokio::test]
async fn what_makes_no_sense_is_a_usage_error() {
    for line in [
        "events --state dead",
        "attempts --columns number,nonsense",
        "attempts --columns number,number",
        "deliveries --format ndjson --spreadsheet",
        "deliveries --since 2026-11-01 --until 2026-10-01",
    ] {
        let failure = typed(line).await;
        assert_eq!(failure.exit(), Exit::Usage, "{line}: {failure}");
    }
}

#[tokio::test]
async fn a_file_that_is_there_is_not_overwritten_by_accident() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let failure = typed(&format!("events --out {}", file.path().display())).await;
    assert!(failure.exit() == Exit::Refused && failure.to_string().contains("--yes"), "{failure}");
}

#[test]
fn columns_are_picked_in_the_order_in_which_they_were_named() {
    let names = ["status".to_owned(), "event_id".to_owned()];
    let chosen = Chosen::of(ExportKind::Events, &names).unwrap();
    let row: Vec<_> = columns(ExportKind::Events).iter().map(|c| crate::inspect::Cell::Text(c.name.into())).collect();
    let picked: Vec<_> = chosen.pick(row).into_iter().map(|cell| cell.text().unwrap().into_owned()).collect();
    assert_eq!(picked, names);
}
