//! The pages name everything that the code knows.

use super::text;
use crate::config::response::EXPECTATIONS;
use crate::domain::outcome::{Conditions, Outcome, Verdict};
use crate::domain::request::OnEmpty;
use crate::domain::signature::{Algorithm, CustomSource, Output, ParameterForm, PlaceSource, SecretEncoding};
use crate::domain::template::{Delimiters, FILTERS, event_names, message_names};

/// Checks that a page names each of these as code.
fn names_all<'n>(page: &str, what: &str, names: impl IntoIterator<Item = &'n str>) {
    let text = text(page);
    let missing: Vec<_> = names.into_iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/{page} does not name these {what}: {missing:?}");
}

#[test]
fn templates_are_documented_whole() {
    names_all("templates.md", "filters", FILTERS);
    names_all("templates.md", "styles", Delimiters::ALL.map(Delimiters::name));
    let macros: Vec<_> = event_names().map(|name| format!("{{{name}}}")).collect();
    names_all("templates.md", "macros", macros.iter().map(String::as_str));
    names_all("templates.md", "places of macros", ["{original.…}", "{secret.NAME}", "{sub_ids.NAME}", "{params.NAME}"]);
    let settings = [OnEmpty::Refuse, OnEmpty::Omit, OnEmpty::Send].map(|setting| match setting {
        OnEmpty::Refuse => "refuse",
        OnEmpty::Omit => "omit",
        OnEmpty::Send => "send",
    });
    names_all("templates.md", "settings", settings);
    names_all("templates.md", "bodies", ["form", "json", "json_text", "text"]);
}

#[test]
fn every_filter_and_every_style_is_shown_at_work() {
    let text = text("templates.md");
    let shown = super::page::blocks(&text).iter().map(|block| block.text).collect::<String>();
    for filter in FILTERS {
        let calls = [format!("|{filter}}}"), format!("|{filter}("), format!("|{filter}|")];
        assert!(calls.iter().any(|call| shown.contains(call)), "docs/templates.md shows no {filter}");
    }
    for style in Delimiters::ALL {
        let set = format!("delimiters = \"{}\"", style.name());
        let rendered = format!("```render {}", style.name());
        assert!(shown.contains(&set) || text.contains(&rendered), "docs/templates.md shows no {}", style.name());
    }
}

#[test]
fn signatures_are_documented_whole() {
    names_all("signing.md", "algorithms", Algorithm::ALL.map(Algorithm::name));
    names_all("signing.md", "encodings of secrets", SecretEncoding::ALL.map(SecretEncoding::name));
    names_all("signing.md", "outputs", Output::ALL.map(Output::name));
    names_all("signing.md", "forms", ParameterForm::ALL.map(ParameterForm::name));
    let parts: Vec<_> = message_names().map(|name| format!("{{{name}}}")).collect();
    names_all("signing.md", "parts of a request", parts.iter().map(String::as_str));
    names_all("signing.md", "schemes", ["standard-webhooks", "custom"]);
    // A field that is added does not compile here until its key is written down.
    let keys = |source: CustomSource| {
        let CustomSource {
            algorithm: _,
            secret: _,
            secret_encoding: _,
            message: _,
            joiner: _,
            parameters: _,
            output: _,
            place,
        } = source;
        match place {
            PlaceSource::Query(_) | PlaceSource::Header { name: _, value: _, repeat: _ } => {}
        }
    };
    let _ = keys;
    let keys =
        ["algorithm", "secret", "secret_encoding", "message", "joiner", "parameters", "place", "encoding", "query"];
    names_all("signing.md", "keys", keys.into_iter().chain(["header", "template", "repeat"]));
}

#[test]
fn outcomes_are_documented_whole() {
    names_all("outcomes.md", "outcomes", Outcome::ALL.map(Outcome::name));
    names_all("outcomes.md", "verdicts", Verdict::ALL.map(|verdict| verdict.outcome().name()));
    names_all("outcomes.md", "expectations", EXPECTATIONS);
    // A condition that is added does not compile here until its key is written down.
    let Conditions { status: _, content_type: _, body_contains: _, body_matches: _, json: _, xml: _ } =
        Conditions::default();
    let keys = ["status", "content_type", "body_contains", "body_matches", "json", "xml", "pointer", "tag"];
    names_all("outcomes.md", "conditions", keys);
    let text = text("outcomes.md");
    for verdict in Verdict::ALL {
        let rule = format!("then = \"{}\"", verdict.outcome().name());
        assert!(text.contains(&rule), "docs/outcomes.md shows no rule with {rule}");
    }
}
