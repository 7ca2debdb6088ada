//! The page for people: one file that needs nothing else, can be printed and sent, and runs no script.
//!
//! Everything that others wrote is escaped, and the page's own policy forbids whatever would be loaded.

use std::fmt::Write as _;

use super::asked::ReconcileArgs;
use super::line::{HEADING, Line};
use super::summary::{Whole, figures, heading, left_out, sums_of};
use crate::cli::output::printable;
use crate::cli::time::shown;

const HEAD: &str = "<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
    <meta name=\"referrer\" content=\"no-referrer\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <style>\n\
    body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }\n\
    h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }\n\
    table { border-collapse: collapse; margin: .5rem 0; }\n\
    th, td { border-bottom: 1px solid #ddd; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }\n\
    th { border-bottom: 2px solid #888; } td.n { text-align: right; font-variant-numeric: tabular-nums; }\n\
    code { font-size: .95em; overflow-wrap: anywhere; }\n\
    @media print { body { margin: 0; font-size: 10px; } thead { display: table-header-group; } tr { break-inside: avoid; } }\n\
    </style>\n";

/// The whole page.
pub(super) fn page(args: &ReconcileArgs, whole: &Whole<'_>, next: &[String]) -> String {
    let title = format!("Reconciliation with {}", args.affiliate);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n{HEAD}<title>{}</title>\n</head>\n<body>\n",
        escaped(&title)
    );
    let _ = writeln!(page, "<h1>{}</h1>", escaped(&title));
    let zone = args.time_zone.iana_name().unwrap_or("UTC");
    let (since, until) = (shown(whole.period.since), shown(whole.period.until));
    let report = args.report.display().to_string();
    let _ = writeln!(
        page,
        "<p>From {since} to {until} (their times are of {}), their report <code>{}</code>.</p>",
        escaped(zone),
        escaped(&report)
    );
    page.push_str("<table>\n<tbody>\n");
    for (name, value) in figures(whole) {
        let _ =
            writeln!(page, "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>", escaped(name), escaped(&value));
    }
    page.push_str("</tbody>\n</table>\n");
    table(
        &mut page,
        &["currency", "ours", "theirs", "difference"],
        sums_of(&whole.results.tally).iter().map(|row| row.to_vec()),
    );
    for (verdict, lines) in &whole.results.kept {
        let _ = writeln!(page, "<h2>{} ({})</h2>", escaped(heading(*verdict)), whole.results.tally.count(*verdict));
        table(&mut page, &HEADING, lines.iter().map(|line: &Line| line.cells().to_vec()));
        let left = left_out(whole, *verdict);
        if left > 0 {
            let _ = writeln!(page, "<p>{left} more are in the CSV file (--csv).</p>");
        }
    }
    if !whole.bad.first.is_empty() {
        let _ = writeln!(page, "<h2>rows that cannot be read ({})</h2>", whole.bad.count);
        table(
            &mut page,
            &["line", "why"],
            whole.bad.first.iter().map(|row| vec![row.line.to_string(), row.why.clone()]),
        );
    }
    if !next.is_empty() {
        page.push_str("<h2>next</h2>\n<ul>\n");
        for step in next {
            let _ = writeln!(page, "<li>{}</li>", escaped(step));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn table(page: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    page.push_str("<table>\n<thead><tr>");
    for name in header {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escaped(&name.replace('_', " ")));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escaped(&cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
}

/// A text that stands for itself in HTML, also between quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
