//! Configuration files of any content, and response rules over answers of any content, for fuzzing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::document::{Document, Source};
use super::problem::Report;
use super::section::Section;
use super::{Examined, Problem, Settings, examine_with, quantity, response};
use crate::domain::outcome::{Judgement, Response, ResponseRule, fuzzing as answers, judge};
use crate::domain::postback::Postback;
use crate::domain::request::fuzzing::{leaves_whole, sent};
use crate::domain::sample::{Extent, Sample, Wish, sample};
use crate::fuzzing::{Pieces, now};

/// What stands in every environment variable, and must stand nowhere else.
const SECRET: &str = "c4nary-d0-n0t-print";
/// Most samples that are rendered of one configuration.
const MOST_SAMPLES: usize = 16;

thread_local! {
    /// Where the files of an input lie, one input behind the other.
    static DIRECTORY: Option<TempDir> = TempDir::new().ok();
}

/// The pieces are the daemon's file, the dictionary, and the files of two affiliates.
pub(crate) fn configuration(input: &[u8]) {
    DIRECTORY.with(|directory| {
        let directory = directory.as_ref().map_or(Path::new("."), TempDir::path);
        let written = write(directory, &Pieces::of(input));
        assert!(written.is_ok(), "{written:?}");
        if input.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
            // What stands in a file may be repeated; the fuzzer finds the word out.
            return drop(examine(directory));
        }
        let examined = examine(directory);
        assert_eq!(format!("{:?}", examine(directory)), format!("{examined:?}"), "the same files, read again");
        told(&examined, directory);
        match examined.settings {
            Some(settings) => rendered(&settings),
            None => assert!(!examined.errors.is_empty(), "refused without a reason"),
        }
    });
}

fn write(directory: &Path, pieces: &Pieces<'_>) -> std::io::Result<()> {
    fs::create_dir_all(directory.join("affiliates"))?;
    let names = ["postbackd.toml", "events.toml", "affiliates/acme.toml", "affiliates/other.toml"];
    names.iter().enumerate().try_for_each(|(index, name)| fs::write(directory.join(name), pieces.bytes(index)))
}

fn examine(directory: &Path) -> Examined {
    examine_with(&directory.join("postbackd.toml"), &|name| {
        (name != "CREDENTIALS_DIRECTORY").then(|| SECRET.to_owned())
    })
}

/// Each problem names a line that there is; none of them, and nothing that is printed of the settings, holds a secret.
fn told(examined: &Examined, directory: &Path) {
    for problem in examined.errors.iter().chain(&examined.warnings) {
        let Problem { file, line, message, .. } = problem;
        assert!(!message.is_empty() && !message.contains(SECRET), "{problem}");
        if let (Some(line), true) = (line, file.starts_with(directory)) {
            let lines = fs::read(file).unwrap_or_default().split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(line), "{problem}: there are {lines} lines");
        }
    }
    let once: BTreeSet<_> = examined.errors.iter().collect();
    assert_eq!(once.len(), examined.errors.len(), "a problem is told twice");
    assert!(!format!("{examined:?}").contains(SECRET), "a secret is printed");
}

/// What is taken can be used: whatever a postback makes of an event may leave.
fn rendered(settings: &Settings) {
    let postbacks = settings.affiliates.values().flat_map(|affiliate| &affiliate.postbacks);
    let wanted = postbacks.flat_map(|postback| settings.dictionary.types.keys().map(move |kind| (postback, kind)));
    for (postback, kind) in wanted.take(MOST_SAMPLES) {
        let (status, extent) = (crate::domain::event::Status::Approved, Extent::Whole);
        let wish =
            Wish { kind, affiliate: &postback.affiliate, status, offer: None, sub_ids: &["a"], now: now(), extent };
        if let Ok(sample) = sample(&settings.dictionary, wish) {
            leave(postback, &sample);
        }
    }
}

fn leave(postback: &Postback, sample: &Sample) {
    if let Ok(request) = sent(&postback.request, &sample.event, sample.original.as_ref(), &postback.secrets) {
        leaves_whole(&request, postback.request.origin());
        assert!(!format!("{:?}", request.record).contains(SECRET), "a secret is recorded: {:?}", request.record);
        assert_eq!(postback.request.check_secrets(&postback.secrets), []);
    }
}

/// The first piece are rules in TOML, the second `STATUS CONTENT-TYPE` of the answer, the third its body.
pub(crate) fn response_rules(input: &[u8]) {
    let pieces = Pieces::of(input);
    let head = pieces.text(1);
    let (status, content_type) = head.split_once(' ').map_or((&*head, None), |(status, kind)| (status, Some(kind)));
    let response = Response {
        status: status.trim().parse().unwrap_or(200),
        content_type,
        retry_after: content_type.and_then(|kind| kind.contains("later").then_some(Duration::from_secs(7))),
        body: pieces.bytes(2),
        over_cap: content_type.is_some_and(|kind| kind.contains("over")),
    };
    answers::read(&response);
    let rules = rules(&pieces.text(0));
    for dedupes in [true, false] {
        let judged = judge(&response, &rules, dedupes);
        assert_eq!(judge(&response, &rules, dedupes), judged, "the same answer, judged again");
        decided(&judged, &rules, &response);
    }
    covered(&rules, &response);
}

/// The rules of a postback's table. What is wrong with some of them is told, and the rest is taken.
fn rules(text: &str) -> Vec<ResponseRule> {
    let report = Report::default();
    let source = Source::of("rules.toml", text);
    let document = Document::parse(&source, &report);
    response::read(&mut Section::root(&document, &report))
}

fn names(response: &Response<'_>, rule: &ResponseRule) -> bool {
    judge(response, std::slice::from_ref(rule), true).rule.starts_with("rule 1 ")
}

/// The first rule that holds by itself decided, and none where none does.
fn decided(judged: &Judgement, rules: &[ResponseRule], response: &Response<'_>) {
    match rules.iter().position(|rule| names(response, rule)) {
        Some(index) => {
            assert!(judged.rule.starts_with(&format!("rule {} (", index + 1)), "{judged:?}, not rule {index}");
            assert_eq!(Some(judged.outcome), rules.get(index).map(|rule| rule.then.outcome()));
        }
        None => assert!(judged.rule.starts_with("default: "), "{judged:?}"),
    }
}

/// A rule that is said to take every answer of another does take it.
fn covered(rules: &[ResponseRule], response: &Response<'_>) {
    for rule in rules {
        assert!(!rule.when.is_any() || names(response, rule), "{} matches every answer", rule.when);
        for other in rules.iter().filter(|other| rule.when.cover(&other.when)) {
            let missed = names(response, other) && !names(response, rule);
            assert!(!missed, "{} is said to take what {} takes", rule.when, other.when);
        }
    }
}

/// Quantities are read as they are shown, and keep to their bounds.
pub(crate) fn quantities(text: &str) {
    if let Some(duration) = quantity::duration(text) {
        assert_eq!(quantity::duration(&quantity::show_duration(duration)), Some(duration), "{text:?}");
    }
    if let Some(size) = quantity::size(text) {
        assert_eq!(quantity::size(&quantity::show_size(size)), Some(size), "{text:?}");
    }
    assert!(quantity::rate(text).is_none_or(|rate| rate.count > 0 && !rate.interval().is_zero()), "{text:?}");
    assert!(quantity::percent(text).is_none_or(|part| (0.0..=1.0).contains(&part)), "{text:?}");
}

/// A duration as the configuration reads it.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    quantity::duration(text)
}
