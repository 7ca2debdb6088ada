//! A postback's table: which events it wants, the request, the rules, the schedule and the deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::affiliate::{self, Surroundings};
use super::compile;
use super::item::{Item, quoted};
use super::lint::{self, Demand};
use super::problem::Weight;
use super::quantity;
use super::request;
use super::response;
use super::secrets::Declared;
use super::section::Section;
use crate::domain::event::Status;
use crate::domain::id::{AffiliateId, EventType, LaneName, OfferId, PostbackName};
use crate::domain::nearest::nearest;
use crate::domain::postback::{
    OrderPolicy, OriginalDead, OriginalUnknown, OriginalUnsettled, Postback, Selection, Timeouts,
};
use crate::domain::retry::{Exponential, Jitter, MAX_ATTEMPTS, RetryPolicy};

const DAY: Duration = Duration::from_hours(24);
const MILLI: Duration = Duration::from_millis(1);

/// Whose postback it is.
pub(super) struct Owner<'o, 'a> {
    pub(super) affiliate: &'o AffiliateId,
    pub(super) secrets: &'o Declared<'a>,
    /// Names of the postbacks before this one.
    pub(super) names: &'o mut BTreeSet<PostbackName>,
    /// What this one and those before it want.
    pub(super) wanted: &'o mut Demand,
}

/// Reads one postback. `None` where it is switched off or faulty; what is switched off is checked all the same,
/// except that its secrets need not be there.
pub(super) fn read<'a>(own: Section<'a>, owner: Owner<'_, 'a>, surroundings: Surroundings<'a, '_>) -> Option<Postback> {
    let mut section = own.over(surroundings.defaults);
    let Owner { affiliate, secrets, names, wanted } = owner;
    let name = name(&mut section, names);
    let enabled = section.read("enabled", Item::boolean).unwrap_or(true);
    let wants = selection(&mut section, surroundings);
    wanted.add(wants.as_ref().and_then(|wants| wants.events.as_ref()));
    let lane =
        section.read("lane", |item| item.parsed(|text| LaneName::parse(text), "use letters, digits, -, _ and ."));
    let order = order(&mut section);
    let receiver_dedupes = section.read("receiver_dedupes", Item::boolean).unwrap_or(true);
    let timeouts = timeouts(&mut section);
    let retry = retry(&mut section);
    let rules = response::read(&mut section);
    let source = request::read(&mut section, name.as_ref());
    // Part of [defaults] that is not a postback's own; see `affiliate`.
    section.accept_behind("limits");
    // A default is compiled where a postback takes it: only there are its secrets known.
    let source = source.filter(|_| name.is_some() || !section.is_partial());
    let compiled = source.and_then(|source| {
        let place = compile::Place { section: &section, declared: secrets, enabled, surroundings };
        compile::compile(source, &place)
    });
    let postback = compiled.and_then(|compiled| {
        let postback = Postback {
            affiliate: affiliate.clone(),
            name: name?,
            wants: wants?,
            lane,
            order,
            request: compiled.request,
            secrets: compiled.secrets,
            rules,
            retry,
            timeouts,
            receiver_dedupes,
        };
        lint::check(&lint::Subject {
            postback: &postback,
            source: &compiled.source,
            names_delivery: compiled.names_delivery,
            section: &section,
            dictionary: surroundings.dictionary,
        });
        Some(postback)
    });
    section.finish();
    postback.filter(|_| enabled)
}

fn name(section: &mut Section<'_>, names: &mut BTreeSet<PostbackName>) -> Option<PostbackName> {
    let item = section.require("name", "name the postback, such as \"conversion\"")?;
    let name = item.parsed(|text| PostbackName::parse(text), "use letters, digits, -, _ and .")?;
    if !names.insert(name.clone()) {
        item.fault(format!("{} is the name of another postback", quoted(name.as_str())), "give each its own name");
    }
    Some(name)
}

fn selection(section: &mut Section<'_>, surroundings: Surroundings<'_, '_>) -> Option<Selection> {
    let events = section.require("events", "list event types such as [\"ftd\"], or write \"*\" for all");
    let events = events.and_then(|item| events_of(&item, surroundings));
    let offers = section.read("offers", |item| {
        let entries = item.filled_list()?;
        let offers = entries
            .iter()
            .filter_map(|entry| entry.parsed(|text| OfferId::parse(text), "write the offer's id, as events name it"));
        Some(offers.collect())
    });
    let statuses = section.read("statuses", |item| {
        let choices = Status::ALL.map(|status| (status.name(), status));
        Some(item.filled_list()?.iter().filter_map(|entry| entry.choose(&choices)).collect())
    });
    let events = match events? {
        Wanted::All => None,
        Wanted::These(kinds) => Some(kinds),
    };
    Some(Selection { events, offers, statuses })
}

/// The event types that a postback wants.
enum Wanted {
    All,
    These(BTreeSet<EventType>),
}

fn events_of(item: &Item<'_>, surroundings: Surroundings<'_, '_>) -> Option<Wanted> {
    if let Some(text) = item.value.get_ref().as_str() {
        if text == "*" {
            return Some(Wanted::All);
        }
        item.fault(format!("{} is not a list", quoted(text)), format!("write [{text:?}], or \"*\" for all"));
        return None;
    }
    let kinds = item.filled_list()?.into_iter().map(|entry| {
        let kind = entry.parsed(|text| EventType::parse(text), "write the name of an event type")?;
        if !surroundings.knows_types || surroundings.dictionary.rule(&kind).is_some() {
            return Some(kind);
        }
        let known: Vec<_> = surroundings.dictionary.types.keys().map(EventType::as_str).collect();
        let remedy = match nearest(kind.as_str(), known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if entry.value.get_ref().as_str() == Some("*") => "write events = \"*\"".into(),
            None => "add it to the event dictionary, or remove it".into(),
        };
        entry.fault(format!("{} is not in the event dictionary", quoted(kind.as_str())), remedy);
        None
    });
    let kinds: Vec<_> = kinds.collect();
    kinds.into_iter().collect::<Option<BTreeSet<_>>>().map(Wanted::These)
}

fn order(section: &mut Section<'_>) -> OrderPolicy {
    let unsettled = [
        ("hold", OriginalUnsettled::Hold),
        ("cancel_both", OriginalUnsettled::CancelBoth),
        ("send_both", OriginalUnsettled::SendBoth),
    ];
    let dead = [("hold", OriginalDead::Hold), ("send", OriginalDead::Send)];
    let unknown = [("hold", OriginalUnknown::Hold), ("send", OriginalUnknown::Send)];
    OrderPolicy {
        original_unsettled: section.read("original_unsettled", |item| item.choose(&unsettled)).unwrap_or_default(),
        original_dead: section.read("original_dead", |item| item.choose(&dead)).unwrap_or_default(),
        original_unknown: section.read("original_unknown", |item| item.choose(&unknown)).unwrap_or_default(),
        latest_only: section.read("latest_only", Item::boolean).unwrap_or(false),
    }
}

fn timeouts(section: &mut Section<'_>) -> Timeouts {
    const CONNECT: Duration = Duration::from_secs(5);
    const TOTAL: Duration = Duration::from_secs(15);
    let Some(mut section) = section.section("timeout") else {
        return Timeouts { connect: CONNECT, first_byte: TOTAL, total: TOTAL };
    };
    let bounds = 100 * MILLI..=Duration::from_mins(5);
    let total = section.read("total", |item| item.duration(bounds.clone())).unwrap_or(TOTAL);
    let mut within_total = |key: &'static str, default: Duration| {
        let Some(given) = section.read(key, |item| item.duration(bounds.clone())) else { return default.min(total) };
        if given > total {
            let [given, total] = [given, total].map(quantity::show_duration);
            let message = format!("is {given}, longer than total ({total})");
            section.locate(key).add(Weight::Error, message, format!("shorten {key}, or raise total"));
        }
        given
    };
    let timeouts =
        Timeouts { connect: within_total("connect", CONNECT), first_byte: within_total("first_byte", total), total };
    section.finish();
    timeouts
}

const EXPONENTIAL_KEYS: [&str; 4] = ["initial", "factor", "max_delay", "max_attempts"];

fn retry(section: &mut Section<'_>) -> RetryPolicy {
    let Some(mut section) = section.section("retry") else {
        return RetryPolicy::exponential(Exponential { ..DEFAULT_SCHEDULE }, Jitter::Full);
    };
    for key in EXPONENTIAL_KEYS.into_iter().chain(["schedule"]) {
        section.accept(key);
    }
    let jitter = section.read("jitter", jitter).unwrap_or(Jitter::Full);
    // Whoever names a schedule of one kind silences defaults of the other.
    let mut kind: Vec<_> = EXPONENTIAL_KEYS.to_vec();
    kind.push("schedule");
    let mut deciding = section.deciding(&kind);
    let policy = match deciding.get("schedule") {
        Some(item) => {
            for key in EXPONENTIAL_KEYS.into_iter().filter(|key| deciding.has(key)) {
                let message = "stands beside schedule, which already lists every delay";
                deciding.locate(key).add(Weight::Error, message, "remove one of the two");
            }
            explicit(&item, jitter)
        }
        None => RetryPolicy::exponential(exponential(&mut section), jitter),
    };
    section.finish();
    policy
}

const DEFAULT_SCHEDULE: Exponential =
    Exponential { initial: Duration::from_secs(5), factor: 3.0, max_delay: Duration::from_hours(6), max_attempts: 12 };

fn exponential(section: &mut Section<'_>) -> Exponential {
    let bounds = 100 * MILLI..=7 * DAY;
    let initial = section.read("initial", |item| item.duration(bounds.clone())).unwrap_or(DEFAULT_SCHEDULE.initial);
    let factor = section.read("factor", |item| item.factor(1.0..=100.0)).unwrap_or(DEFAULT_SCHEDULE.factor);
    let max_delay = section.read("max_delay", |item| item.duration(bounds));
    let max_attempts =
        section.read("max_attempts", |item| u32::try_from(item.integer(1..=u64::from(MAX_ATTEMPTS))?).ok());
    if max_delay.is_some_and(|longest| longest < initial) {
        let message = format!("is shorter than initial ({})", quantity::show_duration(initial));
        section.locate("max_delay").add(Weight::Error, message, "raise max_delay, or shorten initial");
    }
    Exponential {
        initial,
        factor,
        max_delay: max_delay.unwrap_or(DEFAULT_SCHEDULE.max_delay.max(initial)),
        max_attempts: max_attempts.unwrap_or(DEFAULT_SCHEDULE.max_attempts),
    }
}

fn explicit(item: &Item<'_>, jitter: Jitter) -> RetryPolicy {
    let entries = item.list().unwrap_or_default();
    let most = MAX_ATTEMPTS - 1;
    if entries.len() > most as usize {
        item.fault(format!("has {} delays, at most {most} are allowed", entries.len()), "shorten the list");
    }
    let delays = entries.iter().filter_map(|entry| entry.duration(100 * MILLI..=7 * DAY));
    RetryPolicy::explicit(delays.collect(), jitter)
}

fn jitter(item: &Item<'_>) -> Option<Jitter> {
    let parse = |text: &str| match text {
        "none" => Ok(Jitter::None),
        "full" => Ok(Jitter::Full),
        "equal" => Ok(Jitter::Equal),
        other => quantity::percent(other).map(Jitter::Part).ok_or("is not a jitter"),
    };
    item.parsed(parse, "use none, full, equal, or a part of the delay such as \"20%\"")
}

/// Checks `[defaults]` on its own, so that its faults show before there is a postback.
pub(super) fn check_defaults<'a>(defaults: &Section<'a>, surroundings: Surroundings<'a, '_>) {
    if defaults.has("name") {
        defaults.locate("name").add(Weight::Error, "cannot be a default", "name each postback in its own table");
    }
    let Ok(affiliate) = AffiliateId::parse("defaults") else { return };
    let mut section = defaults.clone().partial();
    if let Some(limits) = section.section("limits") {
        affiliate::read_limits(limits);
    }
    let owner = Owner {
        affiliate: &affiliate,
        secrets: &BTreeMap::new(),
        names: &mut BTreeSet::new(),
        wanted: &mut Demand::default(),
    };
    let surroundings = Surroundings { defaults: None, ..surroundings };
    read(section, owner, surroundings);
}
