//! Affiliates and their postbacks: as they are configured, and as the store knows them.
//!
//! What the store alone knows is shown too: a postback that was taken out of the configuration may still have a
//! backlog, and its deliveries are for a person to decide.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stats::{AffiliateStats, PostbackStats, Stats};
use super::views::{FlagView, PauseView};
use crate::domain::affiliate::{Affiliate, Rate};
use crate::domain::delivery::StateKind;
use crate::domain::id::{EventType, OfferId};
use crate::domain::plan::Affiliates;
use crate::domain::postback::Postback;
use crate::domain::record;

/// One affiliate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AffiliateView {
    /// Its id.
    pub affiliate: String,
    /// Its name for people; absent where it is no longer configured.
    pub name: Option<String>,
    /// Whether it is configured.
    pub configured: bool,
    /// Whether it hears of everybody's events.
    pub global: bool,
    /// Most attempts in flight at once.
    pub concurrency: Option<u32>,
    /// Most attempts begun in a time, such as `50/s`.
    pub rate: Option<String>,
    /// Its breaker; absent when the daemon is down.
    pub breaker: Option<String>,
    /// Attempts in flight; absent when the daemon is down.
    pub in_flight: Option<u32>,
    /// Deliveries that are not settled.
    pub backlog: u64,
    /// The earliest due time of its scheduled deliveries.
    pub oldest_due: Option<Timestamp>,
    /// Its postbacks, in the order of its file; those that only the store knows come last.
    pub postbacks: Vec<PostbackView>,
}

/// One postback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostbackView {
    /// Its name.
    pub postback: String,
    /// How it is configured; absent where it is switched off or gone.
    #[serde(flatten)]
    #[schema(value_type = PostbackSettings)]
    pub settings: Option<PostbackSettings>,
    /// Why it is paused, where it is.
    pub paused: Option<PauseView>,
    /// Why it is taken for misconfigured, where it is.
    pub misconfigured: Option<FlagView>,
    /// Deliveries by state.
    pub deliveries: BTreeMap<StateKind, u64>,
}

/// How a postback is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostbackSettings {
    /// The types that it wants; absent for all.
    pub events: Option<Vec<String>>,
    /// The offers that it wants; absent for all.
    pub offers: Option<Vec<String>>,
    /// The statuses that it wants; absent for all.
    pub statuses: Option<Vec<String>>,
    /// Its order lane, where it is not the affiliate's own.
    pub lane: Option<String>,
    /// Scheme, host and port of the receiver.
    #[schema(required = false)]
    pub receiver: String,
    /// The method.
    #[schema(required = false)]
    pub method: String,
    /// Most attempts.
    #[schema(required = false)]
    pub max_attempts: usize,
    /// The delays between attempts without jitter, in milliseconds.
    #[schema(required = false)]
    pub delays_ms: Vec<u64>,
    /// The deadline of one attempt, in milliseconds.
    #[schema(required = false)]
    pub timeout_ms: u64,
    /// Whether the receiver recognises a duplicate.
    #[schema(required = false)]
    pub receiver_dedupes: bool,
    /// Its response rules in order, in words; secrets are masked.
    #[schema(required = false)]
    pub rules: Vec<String>,
}

impl PostbackView {
    /// Deliveries of a state.
    pub fn of(&self, state: StateKind) -> u64 {
        self.deliveries.get(&state).copied().unwrap_or(0)
    }
}

/// Every affiliate that is configured or has a delivery, in the order of ids.
pub fn affiliates(stats: &Stats, configured: &Affiliates) -> Vec<AffiliateView> {
    let mut views: BTreeMap<&str, AffiliateView> = BTreeMap::new();
    for affiliate in configured.values() {
        views.insert(affiliate.id.as_str(), of_settings(affiliate));
    }
    for known in &stats.affiliates {
        let view = views.entry(&known.affiliate).or_insert_with(|| unconfigured(&known.affiliate));
        add_standing(view, known);
    }
    views.into_values().collect()
}

fn unconfigured(id: &str) -> AffiliateView {
    AffiliateView {
        affiliate: id.into(),
        name: None,
        configured: false,
        global: false,
        concurrency: None,
        rate: None,
        breaker: None,
        in_flight: None,
        backlog: 0,
        oldest_due: None,
        postbacks: Vec::new(),
    }
}

fn of_settings(affiliate: &Affiliate) -> AffiliateView {
    AffiliateView {
        name: Some(affiliate.name.clone()),
        configured: true,
        global: affiliate.global,
        concurrency: Some(affiliate.limits.concurrency),
        rate: affiliate.limits.rate.map(show_rate),
        postbacks: affiliate.postbacks.iter().map(|postback| postback_of_settings(postback)).collect(),
        ..unconfigured(affiliate.id.as_str())
    }
}

fn show_rate(rate: Rate) -> String {
    let unit = match rate.per.as_secs() {
        60 => "m".to_owned(),
        3_600 => "h".to_owned(),
        1 => "s".to_owned(),
        other => format!("{other}s"),
    };
    format!("{}/{unit}", rate.count)
}

fn postback_of_settings(postback: &Postback) -> PostbackView {
    let names = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let wants = &postback.wants;
    let millis = |time: &std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // A pattern may name the secret that it looks for.
    let mask = postback.secrets.concealed();
    let rule = |rule: &crate::domain::outcome::ResponseRule| {
        let mut text = mask.over(format!("{} → {}", rule.when, rule.then.outcome()), record::KEPT_ERROR_BYTES);
        record::cut(&mut text, record::KEPT_ERROR_BYTES);
        text
    };
    let settings = PostbackSettings {
        events: wants.events.as_ref().map(|kinds| names(kinds.iter().map(EventType::as_str).collect())),
        offers: wants.offers.as_ref().map(|offers| names(offers.iter().map(OfferId::as_str).collect())),
        statuses: wants.statuses.as_ref().map(|all| names(all.iter().map(|status| status.name()).collect())),
        lane: postback.lane.as_ref().map(ToString::to_string),
        receiver: postback.request.origin().to_owned(),
        method: postback.request.method().to_owned(),
        max_attempts: postback.retry.max_attempts(),
        delays_ms: postback.retry.delays().iter().map(millis).collect(),
        timeout_ms: millis(&postback.timeouts.total),
        receiver_dedupes: postback.receiver_dedupes,
        rules: postback.rules.iter().map(rule).collect(),
    };
    PostbackView {
        postback: postback.name.to_string(),
        settings: Some(settings),
        paused: None,
        misconfigured: None,
        deliveries: BTreeMap::new(),
    }
}

fn unconfigured_postback(name: &str) -> PostbackView {
    PostbackView {
        postback: name.to_owned(),
        settings: None,
        paused: None,
        misconfigured: None,
        deliveries: BTreeMap::new(),
    }
}

fn add_standing(view: &mut AffiliateView, known: &AffiliateStats) {
    view.breaker.clone_from(&known.breaker);
    view.in_flight = known.in_flight;
    view.backlog = known.backlog;
    view.oldest_due = known.oldest_due;
    for PostbackStats { postback, paused, misconfigured, deliveries } in &known.postbacks {
        let place = view.postbacks.iter().position(|found| found.postback == *postback).unwrap_or_else(|| {
            view.postbacks.push(unconfigured_postback(postback));
            view.postbacks.len() - 1
        });
        if let Some(found) = view.postbacks.get_mut(place) {
            found.paused.clone_from(paused);
            found.misconfigured.clone_from(misconfigured);
            found.deliveries.clone_from(deliveries);
        }
    }
}
