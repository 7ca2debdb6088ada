//! Deliveries named in a file: an id a line, or a JSON document with a `delivery_id` a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::exit::{Exit, Failure};
use crate::dispatch::MAX_DELIVERIES;
use crate::domain::id::DeliveryId;

/// Longest line.
const LONGEST_LINE: u64 = 64 << 10;

#[derive(Deserialize)]
struct Document {
    delivery_id: String,
}

/// Reads the ids of a file, or of standard input for `-`: in the order of acceptance, each once.
///
/// # Errors
/// When it cannot be read, a line names no delivery, or there are more than orders can be given about.
pub(super) fn read(path: &Path) -> Result<Vec<String>, Failure> {
    let what = || format!("reading ids from {}", path.display());
    let next = "write an id (dlv_…), or a JSON document with a \"delivery_id\", on each line";
    let failing = |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, what(), why, next);
    let mut ids = if path == Path::new("-") {
        of_lines(io::stdin().lock()).map_err(|why| failing(&why))?
    } else {
        let file = File::open(path).map_err(|error| failing(&error))?;
        of_lines(BufReader::new(file)).map_err(|why| failing(&why))?
    };
    // An original goes before what reverses it, also where they come to be in different orders.
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(failing(&"it names no delivery"));
    }
    Ok(ids.into_iter().map(|id| id.to_string()).collect())
}

pub(super) fn of_lines(mut from: impl BufRead) -> Result<Vec<DeliveryId>, String> {
    let mut ids = Vec::new();
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let read = io::Read::take(&mut from, LONGEST_LINE).read_line(&mut line).map_err(|error| error.to_string())?;
        if read == 0 {
            break;
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        if ids.len() == MAX_DELIVERIES {
            return Err(format!("more than {MAX_DELIVERIES} deliveries; divide the file"));
        }
        ids.push(id(text).map_err(|why| format!("line {number}: {why}"))?);
    }
    Ok(ids)
}

fn id(text: &str) -> Result<DeliveryId, String> {
    let parse = |id: &str| id.parse::<DeliveryId>().map_err(|error| error.to_string());
    if !text.starts_with('{') {
        return parse(text);
    }
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    parse(&document.delivery_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Result<Vec<String>, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn ids_and_documents_are_read_in_the_order_of_acceptance_each_once() {
        let text = "dlv_00361eqg9sac0001\n\n{\"delivery_id\":\"dlv_00361eqg9sac0000\",\"state\":\"dead\"}\r\ndlv_00361eqg9sac0001";
        assert_eq!(ids(text).unwrap(), ["dlv_00361eqg9sac0000", "dlv_00361eqg9sac0001"]);
    }

    #[test]
    fn what_is_no_id_is_told_by_its_line() {
        for (text, told) in
            [("dlv_00361eqg9sac0000\nevt_1\n", "line 2"), ("{\"id\":1}", "line 1"), ("\n", "no delivery")]
        {
            let failure = ids(text).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage);
            assert!(failure.to_string().contains(told), "{failure}");
        }
    }
}
