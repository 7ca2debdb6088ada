//! What is rendered or sent: a postback of the configuration, and an event to tell it of.
//!
//! The configuration is read from its files, as they are at this moment: a postback can be looked at before the daemon
//! has taken it over. Only a stored event needs the daemon, or its store.

use std::io::Read;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::super::configuration;
use super::super::context::Context;
use super::super::exit::{Exit, Failure};
use super::super::source::Source;
use super::Target;
use crate::config::{Settings, UnknownAffiliate};
use crate::dispatch::Errand;
use crate::domain::dictionary::{Dictionary, Reverses};
use crate::domain::event::{Event, Fault, MAX_EVENT_BYTES, Rules, Status};
use crate::domain::id::{AffiliateId, DeliveryId, EventId, EventType, PostbackName};
use crate::domain::nearest::nearest;
use crate::domain::postback::Postback;
use crate::domain::sample::{self, Extent, Wish};
use crate::inspect::{DeliveryFilter, Direction};
use crate::ops::clock::{Clock, SystemClock};

/// Most bytes read of an event: its texts, and generous room for names and spaces.
const MAX_INPUT: u64 = 4 * MAX_EVENT_BYTES as u64;

/// The event to tell of.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct EventArgs {
    /// An event: a JSON file, - for standard input, or a stored one (evt_… or dlv_…) [default: a sample]
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,

    /// The sample's type [default: one that the postback wants]
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "event", value_parser = |text: &str| text.parse::<EventType>())]
    kind: Option<EventType>,
}

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was made from the dictionary.
    Sample,
    /// It was handed over.
    Given,
    /// It is in the outbox.
    Stored,
}

impl Origin {
    /// Its name for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Given => "given",
            Self::Stored => "stored",
        }
    }

    /// Its name for people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Sample => "a sample made from the event dictionary",
            Self::Given => "the event given",
            Self::Stored => "a stored event",
        }
    }
}

/// An event to tell of.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Where it came from.
    pub(super) origin: Origin,
    /// The event.
    pub(super) event: Event,
    /// The event that it reverses, where it is known.
    pub(super) original: Option<Event>,
    /// The delivery that it is rendered for.
    id: DeliveryId,
    /// The attempt's number.
    number: u32,
    /// The postback of a stored delivery.
    postback: Option<PostbackName>,
}

impl Told {
    /// The errand of telling it.
    pub(super) fn errand(&self) -> Errand<'_> {
        Errand { event: &self.event, original: self.original.as_ref(), id: self.id, number: self.number }
    }

    /// The lines that say which postback is told of what.
    pub(super) fn heading(&self, postback: &Postback) -> String {
        let event = &self.event;
        format!(
            "postback     {}\nevent        {} {} {}, {}\n",
            postback.reference(),
            event.kind,
            event.transaction_id,
            event.status.name(),
            self.origin.words()
        )
    }

    /// Gives it an id of its own, as another event would have: no receiver may take it for a stored one.
    pub(super) fn made_another(&mut self) -> EventId {
        (self.id, self.number) = (fresh(SystemClock.now()), 1);
        self.id.event
    }
}

/// The configuration as its files have it.
///
/// # Errors
/// When it cannot be used.
pub(super) fn settings(context: &Context) -> Result<Settings, Failure> {
    configuration::load(&configuration::path(&context.globals)).map(|loaded| loaded.settings)
}

/// The event that was asked for; `None` for a sample, which every postback has its own of.
///
/// # Errors
/// When it cannot be read, is not there, or is not one of the dictionary.
pub(super) async fn told(context: &Context, settings: &Settings, args: &EventArgs) -> Result<Option<Told>, Failure> {
    match args.event.as_deref() {
        None => Ok(None),
        Some(id) if id.starts_with("evt_") || id.starts_with("dlv_") => stored(context, settings, id).await.map(Some),
        Some(name) => given(settings, name).map(Some),
    }
}

/// The postbacks that are meant: the one that is named, else all of the affiliate.
///
/// # Errors
/// When there is none of that name.
pub(super) fn postbacks<'s>(
    settings: &'s Settings,
    target: &Target,
    told: Option<&Told>,
) -> Result<Vec<&'s Postback>, Failure> {
    let missing = |what: &str, near: Option<&str>| {
        let next = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => "name one that the configuration has and that is not switched off (enabled = false)".to_owned(),
        };
        Failure::new(Exit::NotFound, format!("looking for {target}"), format!("there is no such {what}"), next)
    };
    let Some(affiliate) = settings.affiliates.get(&target.affiliate) else {
        let near = nearest(target.affiliate.as_str(), settings.affiliates.keys().map(AffiliateId::as_str));
        return Err(missing("affiliate", near));
    };
    let name = target.postback.as_ref().or(told.and_then(|told| told.postback.as_ref()));
    let found = affiliate.postbacks.iter().map(|postback| &**postback);
    let found: Vec<_> = found.filter(|postback| name.is_none_or(|name| postback.name == *name)).collect();
    if found.is_empty() {
        let others = affiliate.postbacks.iter().map(|postback| postback.name.as_str());
        let near = name.and_then(|name| nearest(name.as_str(), others));
        return Err(missing("postback", near));
    }
    Ok(found)
}

/// Whether the daemon would plan a delivery of the event for the postback.
pub(super) fn wants(settings: &Settings, postback: &Postback, event: &Event) -> bool {
    let affiliate = settings.affiliates.get(&postback.affiliate);
    let hears = event.affiliate_id == postback.affiliate || affiliate.is_some_and(|affiliate| affiliate.global);
    hears && postback.wants.wants(event)
}

/// A sample for a postback.
///
/// # Errors
/// When the dictionary does not have the type.
pub(super) fn sample_for(settings: &Settings, postback: &Postback, args: &EventArgs) -> Result<Told, Failure> {
    let dictionary = &*settings.dictionary;
    let kind = args.kind.clone().or_else(|| wanted_type(dictionary, postback));
    let Some(kind) = kind else {
        let next = "add one to the event dictionary";
        return Err(Failure::new(Exit::NotFound, "making a sample", "the dictionary has no event type", next));
    };
    let now = SystemClock.now();
    let wants = &postback.wants;
    let status = wants.statuses.as_ref().filter(|statuses| !statuses.contains(&Status::Approved));
    let sub_ids: Vec<&str> = postback.request.expressions().filter_map(|expression| expression.sub_id()).collect();
    let wish = Wish {
        kind: &kind,
        affiliate: &postback.affiliate,
        status: status.and_then(|statuses| statuses.first().copied()).unwrap_or_default(),
        offer: wants.offers.as_ref().and_then(|offers| offers.first()),
        sub_ids: &sub_ids,
        now,
        extent: Extent::Whole,
    };
    let made = sample::sample(dictionary, wish);
    let made =
        made.map_err(|faults| refused(&format!("making a sample of {kind}"), &faults, "hand one in with --event"))?;
    Ok(Told {
        origin: Origin::Sample,
        event: made.event,
        original: made.original,
        id: fresh(now),
        number: 1,
        postback: None,
    })
}

/// A type that a postback wants: one that happens by itself rather than a reversal.
fn wanted_type(dictionary: &Dictionary, postback: &Postback) -> Option<EventType> {
    let wanted = |kind: &EventType| postback.wants.events.as_ref().is_none_or(|kinds| kinds.contains(kind));
    let found = || dictionary.types.iter().filter(|(kind, _)| wanted(kind));
    let billable = found().find(|(_, rule)| rule.billable && rule.reverses == Reverses::Never);
    let forward = || found().find(|(_, rule)| rule.reverses != Reverses::Must);
    billable.or_else(forward).or_else(|| found().next()).map(|(kind, _)| kind.clone())
}

fn fresh(now: Timestamp) -> DeliveryId {
    DeliveryId { event: EventId::MIN.next(now), ordinal: 0 }
}

/// A file's text, or standard input's, to a bound that no event needs.
fn read(name: &str) -> std::io::Result<String> {
    let mut text = String::new();
    match name {
        "-" => std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?,
        name => std::fs::File::open(name)?.take(MAX_INPUT).read_to_string(&mut text)?,
    };
    Ok(text)
}

fn given(settings: &Settings, name: &str) -> Result<Told, Failure> {
    let what = format!("reading the event {name}");
    let next = "write one JSON object, as `postbackd enqueue` takes it";
    let unread = |error: &dyn std::fmt::Display| Failure::new(Exit::Error, &*what, error, next);
    let text = read(name).map_err(|error| unread(&error))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| unread(&error))?;
    let now = SystemClock.now();
    let event = parse(settings, &json, now).map_err(|faults| refused(&what, &faults, next))?;
    Ok(Told { origin: Origin::Given, event, original: None, id: fresh(now), number: 1, postback: None })
}

fn parse(settings: &Settings, json: &Value, now: Timestamp) -> Result<Event, Vec<Fault>> {
    let accepts = settings.ingest.unknown_affiliate == UnknownAffiliate::Accept;
    let knows_affiliate = |id: &AffiliateId| accepts || settings.affiliates.contains_key(id);
    Event::parse(json, Rules { dictionary: &settings.dictionary, knows_affiliate: &knows_affiliate, now })
}

fn refused(what: &str, faults: &[Fault], next: &str) -> Failure {
    let lines = faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail));
    Failure::new(Exit::Error, what, lines.collect::<Vec<_>>().join("; "), next)
}

async fn stored(context: &Context, settings: &Settings, text: &str) -> Result<Told, Failure> {
    let what = format!("looking for {text}");
    let invalid = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("the id {text:?}"), error, "copy the id from `postbackd list`")
    };
    let missing = || Failure::new(Exit::NotFound, &*what, "there is none of that id", "postbackd list");
    let source = Source::open(context).await?;
    let (json, id, number, postback) = if text.starts_with("evt_") {
        let id: EventId = text.parse().map_err(|error| invalid(&error))?;
        let detail = source.event(id).await?.ok_or_else(missing)?;
        (detail.event, DeliveryId { event: id, ordinal: 0 }, 1, None)
    } else {
        let id: DeliveryId = text.parse().map_err(|error| invalid(&error))?;
        let detail = source.delivery(id).await?.ok_or_else(missing)?;
        let postback = PostbackName::parse(detail.delivery.postback).ok();
        (detail.event, id, detail.delivery.attempts + 1, postback)
    };
    let now = SystemClock.now();
    let next = "the event dictionary has changed since it was accepted; see `postbackd check`";
    let event = parse(settings, &json, now).map_err(|faults| refused(&what, &faults, next))?;
    let original = original(&source, settings, &event, now).await?;
    Ok(Told { origin: Origin::Stored, event, original, id, number, postback })
}

/// The event that a stored one reverses, where the store has it.
async fn original(
    source: &Source,
    settings: &Settings,
    event: &Event,
    now: Timestamp,
) -> Result<Option<Event>, Failure> {
    let Some(reversed) = &event.reverses else { return Ok(None) };
    let filter = DeliveryFilter { transaction: Some(reversed.to_string()), ..DeliveryFilter::default() };
    let page = source.list(&filter, Direction::Oldest, None, 100).await?;
    for delivery in page.items.iter().filter(|delivery| delivery.transaction_id == reversed.as_str()) {
        let Ok(id) = delivery.event_id.parse() else { continue };
        let Some(detail) = source.event(id).await? else { continue };
        let found = parse(settings, &detail.event, now).ok();
        if let Some(found) = found.filter(|found| found.affiliate_id == event.affiliate_id) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
