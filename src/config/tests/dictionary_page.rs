//! Every example of docs/dictionary.md does what the page says.

use serde_json::Value;

use super::Shop;
use crate::config::Loaded;
use crate::domain::event::{Event, Fault, Rules};

const PAGE: &str = include_str!("../../../docs/dictionary.md");

/// The fenced blocks of the page: what is behind the fence, and the lines up to the next.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').expect("a fence on a line of its own")).collect()
}

fn load(events: &str) -> Loaded {
    Shop::new().file("events.toml", events).sound()
}

fn parse(json: &Value, loaded: &Loaded) -> Result<Event, Vec<Fault>> {
    let knows_affiliate = &|_: &_| true;
    let dictionary = &loaded.settings.dictionary;
    Event::parse(json, Rules { dictionary, knows_affiliate, now: "2026-11-20T10:00:00Z".parse().unwrap() })
}

/// Whether everything that an example shows is there; what it leaves out is not looked at.
fn shows(example: &Value, found: &Value) -> bool {
    match (example, found) {
        (Value::Object(example), Value::Object(found)) => {
            example.iter().all(|(key, value)| found.get(key).is_some_and(|found| shows(value, found)))
        }
        (Value::Array(example), Value::Array(found)) => {
            example.len() == found.len() && example.iter().zip(found).all(|(example, found)| shows(example, found))
        }
        (example, found) => example == found,
    }
}

#[test]
fn every_example_of_the_page_is_as_it_says() {
    let mut loaded = None;
    let mut parsed = None;
    let mut checked = 0;
    for (kind, text) in blocks() {
        let json = || serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        match kind {
            "toml dictionary" => loaded = Some(load(text)),
            "json event" => parsed = Some(parse(&json(), loaded.as_ref().expect("a dictionary before the event"))),
            "json accepted" | "json problems" => {
                let found = match parsed.take().expect("an event before its answer") {
                    Ok(event) if kind == "json accepted" => event.to_json(),
                    Err(faults) if kind == "json problems" => serde_json::to_value(faults).unwrap(),
                    other => panic!("{kind}: {other:?}"),
                };
                assert!(shows(&json(), &found), "the page says {text}, and it is {found:#}");
                checked += 1;
            }
            other => panic!("{other:?} is no kind of example"),
        }
        assert!(kind != "toml dictionary" || parsed.is_none(), "an event without an answer before {text}");
    }
    assert!(parsed.is_none() && checked >= 8, "{checked}");
}
