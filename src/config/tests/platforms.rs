//! The shipped platforms: each file is sound, becomes the request that it shows, and judges the answers that it lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::{Shop, shipped, shipped_directory};
use crate::config::Loaded;
use crate::domain::affiliate::Affiliate;
use crate::domain::event::{Event, Rules};
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::outcome::{self, Response};
use crate::domain::postback::Postback;
use crate::domain::template::Scope;

/// The platforms whose requests or answers are known.
const PLATFORMS: [&str; 32] = [
    "adjust",
    "affiliate-postback-engine",
    "affise",
    "altercpa",
    "appsflyer",
    "awin",
    "bemob",
    "binom",
    "cj",
    "everflow",
    "exoclick",
    "funnelflux",
    "google-ads",
    "impact",
    "keitaro",
    "meta",
    "offer18",
    "orbitra",
    "outbrain",
    "partnerize",
    "peerclick",
    "post-affiliate-pro",
    "propellerads",
    "rakuten",
    "redtrack",
    "scaleo",
    "taboola",
    "tiktok",
    "trackier",
    "trafficstars",
    "tune",
    "voluum",
];

/// What stands below one postback of a file.
#[derive(Debug, Default)]
struct Examples {
    /// The request: its first line, headers, an empty line and the body where there is one.
    request: Vec<String>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    body: String,
    outcome: String,
}

/// The texts of all files by the names of their platforms.
fn files() -> BTreeMap<String, String> {
    let entries = fs::read_dir(shipped_directory().join("platforms")).unwrap().map(|entry| entry.unwrap().path());
    let presets = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    presets.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// Loads all files as affiliates, with every secret in its place.
fn load(files: &BTreeMap<String, String>) -> Loaded {
    let events = fs::read_to_string(shipped_directory().join("events.toml")).unwrap();
    let mut shop = Shop::new().file("events.toml", &events);
    for (name, text) in files {
        shop = shop.file(&format!("affiliates/{name}.toml"), text);
        for credential in text.split("{ credential = \"").skip(1) {
            shop = shop.file(&format!("credentials/{}", credential.split('"').next().unwrap()), "s3cret/1");
        }
    }
    let directory = shop.path("credentials").to_str().unwrap().to_owned();
    shop.variable("CREDENTIALS_DIRECTORY", &directory).sound()
}

fn examples(text: &str) -> Vec<Examples> {
    let mut found: Vec<Examples> = Vec::new();
    for line in text.lines() {
        if line == "[[postback]]" {
            found.push(Examples::default());
        } else if let Some(line) = line.strip_prefix("# >") {
            found.last_mut().unwrap().request.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
        } else if let Some(line) = line.strip_prefix("# < ") {
            found.last_mut().unwrap().answers.push(answer(line));
        }
    }
    found
}

fn answer(line: &str) -> Answer {
    let (head, rest) = line.split_once(" | ").unwrap_or_else(|| panic!("{line}"));
    let (body, outcome) = rest.rsplit_once(" | ").unwrap_or_else(|| panic!("{line}"));
    let (status, content_type) = head.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    Answer {
        status: status.parse().unwrap(),
        content_type: Some(content_type.to_owned()).filter(|kind| kind != "-"),
        body: body.to_owned(),
        outcome: outcome.to_owned(),
    }
}

/// The events of the README beside the files.
fn samples(loaded: &Loaded) -> Vec<Event> {
    let text = fs::read_to_string(shipped_directory().join("platforms/README.md")).unwrap();
    let blocks = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let rules = Rules {
        dictionary: &loaded.settings.dictionary,
        knows_affiliate: &|_| true,
        now: "2026-11-23T00:00:00Z".parse().unwrap(),
    };
    let event = |block: &str| Event::parse(&serde_json::from_str::<Value>(block).unwrap(), rules).unwrap();
    blocks.map(event).collect()
}

/// What a postback's request looks like, without the headers that every request carries.
fn request(postback: &Postback, samples: &[Event]) -> Vec<String> {
    let event = samples.iter().find(|event| postback.wants.wants(event)).expect("an event that it wants");
    let event_id = EventId::from_u64(7);
    let scope = Scope {
        event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 0 },
        attempt: 1,
        timestamp: "2026-11-23T00:00:00Z".parse().unwrap(),
        nonce: "n0nce",
        original: event.reverses.as_ref().map(|_| &samples[0]),
        secrets: &postback.secrets,
    };
    let request = postback.request.render(&scope).unwrap_or_else(|error| panic!("{}: {error}", postback.reference()));
    let mut lines = vec![format!("{} {}", request.method, request.url)];
    let usual = |name: &str, value: &str| name == "user-agent" || (name == "accept" && value == "*/*");
    let own = request.headers.iter().filter(|(name, value)| !usual(name, value));
    lines.extend(own.map(|(name, value)| format!("{name}: {value}")));
    if !request.body.is_empty() {
        lines.push(String::new());
        lines.extend(std::str::from_utf8(&request.body).unwrap().lines().map(str::to_owned));
    }
    lines
}

/// Each postback with what stands below it.
fn with_examples<'l>(affiliate: &'l Affiliate, text: &str) -> Vec<(&'l Postback, Examples)> {
    let examples = examples(text);
    assert_eq!(affiliate.postbacks.len(), examples.len(), "{}: every postback is switched on", affiliate.id);
    affiliate.postbacks.iter().map(AsRef::as_ref).zip(examples).collect()
}

#[test]
fn every_known_platform_has_a_file_with_its_facts() {
    let files = files();
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), PLATFORMS);
    for (name, text) in &files {
        for fact in ["# Dedupe ", "# Reversal ", "# Security ", "# Mind "] {
            assert_eq!(text.lines().filter(|line| line.starts_with(fact)).count(), 1, "{name}: {fact}");
        }
    }
}

#[test]
fn the_only_thing_to_mend_is_what_has_to_be_filled_in() {
    let files = files();
    let loaded = load(&files);
    assert_eq!(loaded.settings.affiliates.len(), files.len());
    // The dictionary knows more than platforms want.
    let warnings = || loaded.warnings.iter().filter(|warning| !warning.file.ends_with("events.toml"));
    let others: Vec<_> = warnings().filter(|warning| !warning.message.contains("still holds REPLACE")).collect();
    assert!(others.is_empty(), "{others:#?}");
    let to_fill_in = files.values().filter(|text| text.contains("REPLACE")).count();
    let warned: BTreeSet<_> = warnings().map(|warning| &warning.file).collect();
    assert_eq!(warned.len(), to_fill_in);
    for affiliate in loaded.settings.affiliates.values() {
        assert!(affiliate.postbacks.iter().all(|postback| postback.request.origin().ends_with("track.example")));
    }
}

#[test]
fn every_postback_becomes_the_request_below_it() {
    let files = files();
    let loaded = load(&files);
    let samples = samples(&loaded);
    let mut wrong = Vec::new();
    for (id, affiliate) in &loaded.settings.affiliates {
        for (postback, shown) in with_examples(affiliate, &files[id.as_str()]) {
            let made = request(postback, &samples);
            if made != shown.request {
                wrong.push(format!("{}:\n{}", postback.reference(), made.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "not as shown:\n{}", wrong.join("\n\n"));
}

#[test]
fn every_event_that_a_postback_wants_becomes_a_request() {
    let loaded = load(&files());
    let dictionary = &loaded.settings.dictionary;
    for affiliate in loaded.settings.affiliates.values() {
        for postback in &affiliate.postbacks {
            for kind in postback.wants.events.iter().flatten() {
                let event = shipped::example(kind, affiliate, dictionary);
                let made = shipped::render(postback, &event);
                assert!(made.is_ok(), "{} of {kind}: {made:?}", postback.reference());
            }
        }
    }
}

#[test]
fn every_answer_is_judged_as_listed_and_every_rule_has_its_answer() {
    let files = files();
    let loaded = load(&files);
    let mut with_rules = BTreeSet::new();
    for (id, affiliate) in &loaded.settings.affiliates {
        for (postback, shown) in with_examples(affiliate, &files[id.as_str()]) {
            let mut deciding = BTreeSet::new();
            for answer in shown.answers {
                let response = Response {
                    status: answer.status,
                    content_type: answer.content_type.as_deref(),
                    retry_after: None,
                    body: answer.body.as_bytes(),
                    over_cap: false,
                };
                let judged = outcome::judge(&response, &postback.rules, postback.receiver_dedupes);
                assert_eq!(
                    judged.outcome.name(),
                    answer.outcome,
                    "{}: {answer:?}, {}",
                    postback.reference(),
                    judged.rule
                );
                deciding
                    .extend(judged.rule.strip_prefix("rule ").map(|rule| rule.split(' ').next().unwrap().to_owned()));
            }
            assert_eq!(deciding.len(), postback.rules.len(), "{}: rules {deciding:?}", postback.reference());
            with_rules.extend((!postback.rules.is_empty()).then(|| id.as_str().to_owned()));
        }
    }
    let expected = [
        "adjust",
        "affiliate-postback-engine",
        "affise",
        "everflow",
        "exoclick",
        "google-ads",
        "impact",
        "meta",
        "orbitra",
        "rakuten",
        "taboola",
        "tiktok",
        "tune",
    ];
    assert_eq!(with_rules.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
