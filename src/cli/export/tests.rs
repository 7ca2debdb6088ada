//! What of a command line is refused before anything is read or written.

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
