//! Every example of the pages in `docs` runs, and the pages name everything there is.
//!
//! An example is a row of fenced blocks, told by the words behind the fence; other blocks are not looked at:
//!
//! - `toml postback`: what stands under `[[postback]]`; begins an example. What it leaves out of `name`, `events`,
//!   `method` and `url` is filled in, and the secrets of [`SECRETS`] are declared.
//! - `json event`: fields of an event. The first of a page is the page's event; others are put over it, for the example
//!   that they stand in. `json original` is the event that it reverses.
//! - `http request`: what the event becomes, without the headers that every request carries.
//! - `http response` and behind it `verdict`: the outcome that an answer has, and the rule behind a colon if one likes.
//! - `error`: each line is part of a problem that `check` reports, or of the reason why no request is made.
//! - `render`: lines of `template → text`, each on its own with the page's event; delimiters may follow the word.

mod coverage;
mod page;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{Shop, affiliate};
use crate::config::Loaded;
use crate::domain::event::{Event, Rules};
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::outcome::{self, Response};
use crate::domain::postback::Postback;
use crate::domain::request::PreparedRequest;
use crate::domain::template::Scope;
use page::{Block, Kind};

/// The secrets of the examples: name and value of each live one.
const SECRETS: [(&str, &[&str]); 3] = [
    ("hmac", &["top-secret"]),
    ("token", &["t0ken/1"]),
    ("rotating", &["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_b2xkIHNlY3JldCBvZiBhIHBhcnRuZXI="]),
];

/// The time of every attempt.
const NOW: &str = "2026-11-20T10:00:30Z";

/// The pages there are.
fn pages() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// The text of a page.
fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What has been read of a page so far.
#[derive(Default)]
struct Reader {
    /// The page's event.
    event: Option<Value>,
    /// The event of the example, where it has one of its own.
    own_event: Option<Value>,
    original: Option<Value>,
    /// The example's postback, or what is wrong with it.
    postback: Option<Result<Loaded, String>>,
    /// An answer that waits for its verdict.
    response: Option<String>,
    /// Whether nothing has been checked of the example yet.
    unchecked: bool,
    checked: usize,
}

#[test]
fn every_example_of_every_page_runs() {
    let mut checked = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        let mut reader = Reader::default();
        for block in page::blocks(&text) {
            let place = format!("{}:{}", path.display(), block.line);
            if let Err(problem) = reader.take(&block) {
                panic!("{place}: {problem}");
            }
        }
        assert!(!reader.unchecked && reader.response.is_none(), "{}: the last example shows nothing", path.display());
        checked += reader.checked;
    }
    assert!(checked > 40, "only {checked} examples were found: the words behind the fences must have changed");
}

impl Reader {
    fn take(&mut self, block: &Block<'_>) -> Result<(), String> {
        match block.kind {
            Kind::Postback => {
                if self.unchecked {
                    return Err("the example before this one shows nothing".into());
                }
                *self = Self { event: self.event.take(), checked: self.checked, ..Self::default() };
                self.postback = Some(shop(block.text).load().map_err(|problems| problems.to_string()));
                self.unchecked = true;
                Ok(())
            }
            Kind::Event => self.take_event(block.text),
            Kind::Original => {
                self.original = Some(self.over_page_event(block.text)?);
                Ok(())
            }
            Kind::Request => self.check(|reader| reader.request(block.text)),
            Kind::Response => {
                self.response = Some(block.text.to_owned());
                Ok(())
            }
            Kind::Verdict => self.check(|reader| reader.verdict(block.text)),
            Kind::Error => self.check(|reader| reader.errors(block.text)),
            Kind::Render(delimiters) => self.check(|reader| reader.rendered(block.text, delimiters)),
        }
    }

    fn check(&mut self, check: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.unchecked = false;
        self.checked += 1;
        check(self)
    }

    fn take_event(&mut self, text: &str) -> Result<(), String> {
        let event = self.over_page_event(text)?;
        if self.event.is_none() {
            self.event = Some(event);
        } else {
            self.own_event = Some(event);
        }
        Ok(())
    }

    /// Fields put over those of the page's event; `null` takes one away.
    fn over_page_event(&self, text: &str) -> Result<Value, String> {
        let fields: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut event = self.event.clone().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        for (name, value) in fields {
            event[name] = value;
        }
        Ok(event)
    }

    fn loaded(&self) -> Result<&Loaded, String> {
        match self.postback.as_ref().ok_or("no postback stands before it")? {
            Ok(loaded) => Ok(loaded),
            Err(problems) => Err(problems.clone()),
        }
    }

    fn postback(&self) -> Result<Arc<Postback>, String> {
        affiliate(self.loaded()?, "acme").postbacks.first().cloned().ok_or_else(|| "is switched off".into())
    }

    fn made(&self) -> Result<PreparedRequest, String> {
        let event = self.own_event.as_ref().or(self.event.as_ref()).ok_or("no event stands before it")?;
        render(self.loaded()?, &*self.postback()?, event, self.original.as_ref())
    }

    fn request(&self, expected: &str) -> Result<(), String> {
        let made = shown(&self.made()?);
        same(&made, expected)
    }

    fn verdict(&mut self, expected: &str) -> Result<(), String> {
        let text = self.response.take().ok_or("no response stands before it")?;
        let answer = page::answer(&text)?;
        let content_type = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let response = Response {
            status: answer.status,
            content_type: content_type.map(|(_, value)| value.as_str()),
            retry_after: None,
            body: answer.body.as_bytes(),
            over_cap: false,
        };
        let postback = self.postback()?;
        let judged = outcome::judge(&response, &postback.rules, postback.receiver_dedupes);
        let expected = expected.trim();
        let made = if expected.contains(':') {
            format!("{}: {}", judged.outcome, judged.rule)
        } else {
            judged.outcome.to_string()
        };
        same(&made, expected)
    }

    fn errors(&self, expected: &str) -> Result<(), String> {
        let problem = match &self.postback {
            None => return Err("no postback stands before it".into()),
            Some(Err(problems)) => problems.clone(),
            Some(Ok(_)) => match self.made() {
                Ok(request) => return Err(format!("a request is made: {}", shown(&request))),
                Err(error) => error,
            },
        };
        match expected.lines().find(|line| !problem.contains(line.trim())) {
            Some(line) => Err(format!("{line:?} is not part of:\n{problem}")),
            None => Ok(()),
        }
    }

    fn rendered(&self, lines: &str, delimiters: &str) -> Result<(), String> {
        let event = self.event.as_ref().ok_or("no event stands before it")?;
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let (template, expected) = line.split_once('→').ok_or_else(|| format!("{line:?} holds no →"))?;
            let text = toml::Value::String(template.trim().to_owned());
            let delimiters = if delimiters.is_empty() { "{ }" } else { delimiters };
            let postback = format!(
                "method = \"POST\"\ndelimiters = \"{delimiters}\"\n[postback.body]\ncontent_type = \"text/plain\"\ntext = {text}\n"
            );
            let made = shop(&postback).load().map_err(|problems| problems.to_string()).and_then(|loaded| {
                let postback = affiliate(&loaded, "acme").postbacks[0].clone();
                render(&loaded, &postback, event, self.original.as_ref())
            });
            let made = made.map_err(|error| format!("{line}: {error}"))?;
            same(std::str::from_utf8(&made.body).unwrap(), expected.trim())
                .map_err(|error| format!("{line}: {error}"))?;
        }
        Ok(())
    }
}

/// A configuration with one postback.
fn shop(postback: &str) -> Shop {
    let head = postback.split("\n[").next().unwrap_or_default();
    let says = |key: &str| head.lines().any(|line| line.split(['=', '.']).next().unwrap_or_default().trim() == key);
    let mut text = "id = \"acme\"\nname = \"Acme Media\"\n\n[secrets]\n".to_owned();
    let events = fs::read_to_string(super::shipped_directory().join("events.toml")).unwrap();
    let mut shop = Shop::new().file("events.toml", &events);
    for (name, values) in SECRETS {
        let mut references = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let variable = format!("{name}_{index}").to_uppercase();
            references.push(format!("{{ env = \"{variable}\" }}"));
            shop = shop.variable(&variable, value);
        }
        writeln!(text, "{name} = [{}]", references.join(", ")).unwrap();
    }
    text.push_str("\n[[postback]]\n");
    let usual = [
        ("name", "\"example\""),
        ("events", "\"*\""),
        ("method", "\"GET\""),
        ("url", "\"https://track.acme.example/postback\""),
    ];
    for (key, value) in usual.into_iter().filter(|(key, _)| !says(key)) {
        writeln!(text, "{key} = {value}").unwrap();
    }
    shop.file("affiliates/acme.toml", &format!("{text}{postback}"))
}

fn render(
    loaded: &Loaded,
    postback: &Postback,
    event: &Value,
    original: Option<&Value>,
) -> Result<PreparedRequest, String> {
    let rules =
        Rules { dictionary: &loaded.settings.dictionary, knows_affiliate: &|_| true, now: NOW.parse().unwrap() };
    let parse = |json: &Value| Event::parse(json, rules).map_err(|faults| format!("{faults:?}"));
    let event = parse(event)?;
    let original = original.map(parse).transpose()?;
    let event_id = EventId::from_u64(7);
    let scope = Scope {
        event: &event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 0 },
        attempt: 1,
        timestamp: NOW.parse().unwrap(),
        nonce: "7c9e6679f2a34b1d",
        original: original.as_ref(),
        secrets: &postback.secrets,
    };
    postback.request.render(&scope).map_err(|error| error.to_string())
}

/// A request as pages show it.
fn shown(request: &PreparedRequest) -> String {
    let mut text = format!("{} {}\n", request.method, request.url);
    let usual = |name: &str, value: &str| name == "user-agent" || (name == "accept" && value == "*/*");
    for (name, value) in request.headers.iter().filter(|(name, value)| !usual(name, value)) {
        writeln!(text, "{name}: {value}").unwrap();
    }
    if !request.body.is_empty() {
        write!(text, "\n{}", std::str::from_utf8(&request.body).unwrap()).unwrap();
    }
    text
}

fn same(made: &str, expected: &str) -> Result<(), String> {
    if made.trim_end() == expected.trim_end() { Ok(()) } else { Err(format!("this is what comes out:\n{made}")) }
}
