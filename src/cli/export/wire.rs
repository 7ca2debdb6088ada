//! Asks the daemon for a page of an export, and reads its lines.

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::cli::client::{Answer, Client, ClientError};
use crate::cli::exit::Failure;
use crate::cli::patience;
use crate::inspect::{By, Cell, Column, DeliveryFilter, ExportKind, ExportPage, columns};

/// Where the next page begins.
const NEXT_CURSOR: &str = "postbackd-next-cursor";
/// How far the export has come.
const REACHED: &str = "postbackd-reached";
/// The time by the daemon's clock.
const NOW: &str = "postbackd-now";

/// A page of an export, as the daemon answers it.
///
/// # Errors
/// When it does not, or is busy for long.
pub(in crate::cli) async fn ask(
    client: &Client,
    kind: ExportKind,
    filter: &DeliveryFilter,
    cursor: Option<&str>,
) -> Result<ExportPage, Failure> {
    let mut query = crate::cli::filter::query(filter);
    match kind {
        ExportKind::Deliveries(By::Accepted) => query.push(("by", "accepted".into())),
        ExportKind::Deliveries(By::Changed) => query.push(("by", "changed".into())),
        ExportKind::Events | ExportKind::Attempts => {}
    }
    query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
    let failed = |error: ClientError| error.failing(&format!("exporting {}", kind.name()));
    let answer = patience::read(client, &["v1", "export", kind.name()], &query).await.map_err(failed)?;
    page(client, kind, &answer).map_err(failed)
}

fn page(client: &Client, kind: ExportKind, answer: &Answer) -> Result<ExportPage, ClientError> {
    if !answer.status.is_success() {
        return Err(ClientError::Problem(Box::new(answer.problem())));
    }
    let columns = columns(kind);
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows = lines.map(|line| row(&columns, line)).collect::<Result<_, _>>().map_err(|why| client.nonsense(&why))?;
    let [reached, asked_at] = [REACHED, NOW].map(|name| text(&answer.headers, name).and_then(|at| at.parse().ok()));
    Ok(ExportPage { rows, next_cursor: text(&answer.headers, NEXT_CURSOR), reached, asked_at })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn row(columns: &[Column], line: &[u8]) -> Result<Vec<Cell>, String> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let cell = |column: &Column| {
        let value = object.get(column.name).ok_or_else(|| format!("there is no column {}", column.name))?;
        Cell::parse(column, value).map_err(|error| error.to_string())
    };
    columns.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Kind;

    #[test]
    fn a_line_without_a_column_is_no_row() {
        let columns = [Column { name: "number", kind: Kind::Number, meaning: "" }];
        assert_eq!(row(&columns, br#"{"number":3,"more":1}"#), Ok(vec![Cell::Number(3)]));
        for line in [&br#"{"more":1}"#[..], br#"{"number":"3"}"#, b"{", b"[]"] {
            assert!(row(&columns, line).is_err());
        }
    }
}
