//! Lints: what may be used as it stands, and is most likely a mistake all the same.

use super::{Shop, affiliate_with, shipped_directory};
use crate::config::examine;

/// A dictionary in which not every event has a click or a transaction.
const EVENTS: &str = r#"
[ftd]
description = "First deposit."

[lead]
description = "A lead; told apart by its click."
dedupe = { by = "click_id" }

[adjustment]
description = "A correction that belongs to no click."
click_id = "optional"
"#;

/// An affiliate with these events and lines.
fn affiliate(events: &str, lines: &str) -> String {
    format!(
        "id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"p\"\nevents = {events}\nmethod = \"GET\"\n{lines}\n"
    )
}

fn warnings(events: &str, lines: &str) -> Vec<String> {
    let shop = Shop::new().file("events.toml", EVENTS).file("affiliates/acme.toml", &affiliate(events, lines));
    shop.warnings().into_iter().filter(|warning| warning.starts_with("affiliates/")).collect()
}

#[test]
fn a_parameter_that_promises_something_else_than_it_sends_is_a_warning() {
    let cases = [
        ("t={transaction_id}&click-id={offer_id}", Some("\"click-id\", which is for the click")),
        ("t={transaction_id}&cid=123", Some("\"cid\", which is for the click")),
        ("t={transaction_id}&cid={click_id}", None),
        ("t={transaction_id}&c={click_id}&cid={offer_id}", None),
        ("t={transaction_id}&subid={sub_ids.click}", None),
        ("c={click_id}&t={transaction_id}&cur={currency|lower}", Some("in lower case in \"cur\"")),
        ("c={click_id}&t={transaction_id}&cur={currency}", None),
        ("c={click_id}&t={transaction_id}&ts_ms={occurred_at|unix}", Some("use the filter unix_ms")),
        ("c={click_id}&t={transaction_id}&ts_millis={timestamp}", Some("use the filter unix_ms")),
        ("c={click_id}&t={transaction_id}&ts_ms={occurred_at|unix_ms}", None),
        ("c={click_id}&t={transaction_id}&unix_time={occurred_at|unix_ms}", Some("use the filter unix")),
        ("c={click_id}&t={transaction_id}&unix_time={occurred_at|unix}", None),
    ];
    for (query, expected) in cases {
        let found = warnings("[\"ftd\"]", &format!("url = \"https://t.example/p?{query}\""));
        let fits = match expected {
            Some(text) => {
                found.len() == 1 && found[0].contains(text) && found[0].contains("acme.toml:7: postback[0].url")
            }
            None => found.is_empty(),
        };
        assert!(fits, "{query}: {found:#?}");
    }
}

#[test]
fn events_that_the_template_would_refuse_are_told_before_they_are_dead_letters() {
    let url = "url = \"https://t.example/p?c={click_id}&t={transaction_id}\"";
    let refused = warnings("[\"ftd\", \"lead\", \"adjustment\"]", url);
    assert_eq!(
        refused,
        [
            "affiliates/acme.toml:5: postback[0].events: wants adjustment, whose events may come without click_id; they would be refused for want of \"c\" and end as dead letters; leave such types out, give the macro a default(…), or set on_empty",
            "affiliates/acme.toml:5: postback[0].events: wants lead, whose events may come without transaction_id; they would be refused for want of \"t\" and end as dead letters; leave such types out, give the macro a default(…), or set on_empty",
        ]
    );
    assert_eq!(warnings("[\"ftd\"]", url), Vec::<String>::new());
    let allowed = format!("{url}\non_empty = {{ c = \"omit\", t = \"omit\" }}");
    assert_eq!(warnings("\"*\"", &allowed), Vec::<String>::new());
    let meant = format!("{url}\non_empty = {{ c = \"refuse\", t = \"refuse\" }}");
    assert_eq!(warnings("\"*\"", &meant), Vec::<String>::new(), "what says refuse is meant so");
    let path = warnings("[\"ftd\"]", "url = \"https://t.example/{offer_id}?c={click_id}&t={transaction_id}\"");
    assert!(path.len() == 1 && path[0].contains("without offer_id") && path[0].contains("\"url path\""), "{path:?}");
}

#[test]
fn a_rule_behind_one_that_takes_all_of_its_answers_is_a_warning() {
    let rules = |first: &str, second: &str| {
        let url = "url = \"https://t.example/p?c={click_id}&t={transaction_id}\"";
        let rule = |when: &str| format!("[[postback.response]]\nwhen = {when}\nthen = \"retry\"\n");
        warnings("[\"ftd\"]", &format!("{url}\n{}{}", rule(first), rule(second)))
    };
    let shadowed = rules("{ status = \"2xx\" }", "{ status = \"200\", body_contains = \"x\" }");
    assert_eq!(
        shadowed,
        [
            "affiliates/acme.toml:12: postback[0].response[1].when: can never match: rule 1 before it takes every answer that it is for; move it before that rule, or remove it"
        ]
    );
    assert_eq!(rules("{ status = \"200\", body_contains = \"x\" }", "{ status = \"2xx\" }"), Vec::<String>::new());
}

#[test]
fn types_that_nobody_wants_are_a_warning() {
    let unwanted = |affiliate: &str| {
        let shop = Shop::new().file("events.toml", EVENTS).file("affiliates/acme.toml", affiliate);
        shop.warnings().into_iter().filter(|warning| warning.starts_with("events.toml")).collect::<Vec<_>>()
    };
    let url = "url = \"https://t.example/p?c={click_id|default(x)}&t={transaction_id|default(x)}\"";
    let told = unwanted(&affiliate("[\"ftd\"]", url));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("events.toml:9: adjustment: no postback wants adjustment, lead: "), "{told:?}");
    let told = unwanted(&affiliate("[\"ftd\", \"adjustment\"]", url));
    assert!(told[0].starts_with("events.toml:5: lead: is wanted by no postback: "), "{told:?}");
    assert_eq!(unwanted(&affiliate("\"*\"", url)), Vec::<String>::new());
    let off = format!("enabled = false\n{url}");
    assert_eq!(unwanted(&affiliate("\"*\"", &off)), Vec::<String>::new(), "it is switched on some day");
}

#[test]
fn warnings_are_told_beside_errors() {
    let lines = "headers = { a = \"{nope}\" }\nretry = { max_attempts = 1 }\n";
    let other = affiliate_with(lines).replace("acme", "beta");
    let plain = affiliate("[\"ftd\"]", "url = \"https://t.example/p?t={transaction_id}&cid=1\"");
    let shop = Shop::new().file("affiliates/acme.toml", &plain).file("affiliates/beta.toml", &other);
    let examined = examine(&shop.path("postbackd.toml"));
    assert!(examined.settings.is_none());
    assert_eq!(examined.errors.len(), 1, "{:?}", examined.errors);
    assert!(examined.warnings.iter().any(|warning| warning.message.contains("\"cid\"")), "{:?}", examined.warnings);
    let shipped = examine(&shipped_directory().join("postbackd.toml"));
    assert!(shipped.settings.is_some() && shipped.errors.is_empty() && shipped.warnings.is_empty());
}
