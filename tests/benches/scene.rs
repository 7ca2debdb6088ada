//! What the benches of single steps work on: an event as backends write it, affiliates with a plain and a signed postback,
//! and the records that come of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use jiff::Timestamp;
use postbackd::config::{self, Settings};
use postbackd::dispatch::Errand;
use postbackd::domain::delivery::{DeliveredHow, Delivery, State};
use postbackd::domain::event::{Event, Rules};
use postbackd::domain::id::{DeliveryId, EventId};
use postbackd::domain::outcome::Outcome;
use postbackd::domain::plan;
use postbackd::domain::postback::Postback;
use postbackd::domain::record::{AttemptRecord, Cause, HistoryEntry, RecordedResponse, Timings};
use postbackd::domain::request::PreparedRequest;
use postbackd::outbox::{EventRecord, PlanEntry};
use serde_json::Value;

/// Affiliates in all; the first is that of the event.
const AFFILIATES: usize = 50;
/// An event as a backend writes it.
pub(crate) const EVENT: &str = r#"{"transaction_id":"dep-000000088121","type":"ftd","affiliate_id":"affiliate-0",
"click_id":"w7KJ9X2PQ8LM4N6R0000000000015839","offer_id":"welcome-100","status":"approved",
"occurred_at":"2026-11-20T10:00:00Z","payout":"120.00","revenue":"100.00","currency":"EUR",
"sub_ids":{"sub1":"banner-3","sub2":"campaign-7"},"params":{"country":"DE"}}"#;
const QUERY: &str = "eid={event_id}&txid={transaction_id}&cid={click_id}&payout={payout|fixed(2)}&cur={currency}\
                     &goal={type}&sub1={sub_ids.sub1}&geo={params.country|lower}&ts={timestamp}";
const SIGNATURE: &str = "[postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = \"hmac\"\n\
                         message = \"{timestamp}.{path_and_query}\"\nplace = { query = \"sig\", encoding = \"hex\" }\n";

/// Everything that the steps need.
pub(crate) struct Scene {
    pub(crate) settings: Settings,
    pub(crate) json: Value,
    pub(crate) event: Event,
    pub(crate) now: Timestamp,
}

impl Scene {
    /// Loads a configuration as a daemon does.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postbackd.toml");
        fs::create_dir(directory.path().join("affiliates")).unwrap();
        fs::write(&path, "[api]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        fs::write(directory.path().join("events.toml"), include_str!("../../config/events.toml")).unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "a secret of the bench").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        for number in 0..AFFILIATES {
            let postback = |name: &str, signature: &str| {
                let url = format!("https://track.acme.example/postback?{QUERY}");
                format!(
                    "[[postback]]\nname = \"{name}\"\nevents = \"*\"\nmethod = \"GET\"\nurl = \"{url}\"\n{signature}"
                )
            };
            let (plain, signed) = (postback("plain", ""), postback("signed", SIGNATURE));
            let head =
                format!("id = \"affiliate-{number}\"\nname = \"A\"\n[secrets]\nhmac = {{ file = \"../secret\" }}\n");
            let file = directory.path().join(format!("affiliates/affiliate-{number}.toml"));
            fs::write(file, format!("{head}{plain}{signed}")).unwrap();
        }
        let settings = config::load(&path).unwrap().settings;
        let now: Timestamp = "2026-11-20T10:00:01Z".parse().unwrap();
        let json: Value = serde_json::from_str(EVENT).unwrap();
        let event = parse(&settings, &json, now);
        Self { settings, json, event, now }
    }

    /// Checks an event that is read already.
    pub(crate) fn parse(&self, json: &Value) -> Event {
        parse(&self.settings, json, self.now)
    }

    /// The postbacks that want the event.
    pub(crate) fn plan(&self) -> Vec<Arc<Postback>> {
        plan::plan(&self.event, &self.settings.affiliates)
    }

    /// One of the two postbacks of the event's affiliate.
    pub(crate) fn postback(&self, name: &str) -> Arc<Postback> {
        self.plan().into_iter().find(|postback| postback.name.as_str() == name).unwrap()
    }

    /// The request of an attempt.
    pub(crate) fn render(&self, postback: &Postback) -> PreparedRequest {
        let id = DeliveryId { event: EventId::from_u64(1_795_168_800_000_000), ordinal: 0 };
        let errand = Errand { event: &self.event, original: None, id, number: 1 };
        postback.request.render(&errand.scope(postback, self.now, "5b2f8c1d9e7a4630")).unwrap()
    }

    /// The record of the event with its plan.
    pub(crate) fn event_record(&self) -> EventRecord {
        let delivery = Delivery { state: State::Scheduled { due: self.now }, made: 0, spent: 0 };
        let entry = |postback: &Arc<Postback>| PlanEntry {
            postback: 1,
            lane: postback.lane.clone(),
            order: postback.order,
            delivery: delivery.clone(),
        };
        let plan = self.plan().iter().map(entry).collect();
        EventRecord { event: self.event.clone(), root: None, source: "backend".into(), accepted_at: self.now, plan }
    }

    /// The record of an attempt that was answered.
    pub(crate) fn attempt_record(&self) -> HistoryEntry {
        let request = self.render(&self.postback("signed"));
        let attempt = AttemptRecord {
            number: 1,
            started_at: self.now,
            request: Some(request.record),
            digest: Some(request.digest),
            response: Some(RecordedResponse {
                status: 200,
                headers: vec![("content-type".into(), "text/plain".into()), ("server".into(), "nginx".into())],
                body: "success=true; ".repeat(50),
                body_bytes: 700,
                truncated: false,
            }),
            timings: Timings::default(),
            remote: Some("203.0.113.7:443".into()),
            outcome: Outcome::Delivered,
            rule: "default: 2xx".into(),
            error: None,
        };
        let state = State::Delivered { how: DeliveredHow::Accepted };
        HistoryEntry {
            at: self.now,
            cause: Cause::Attempted(Box::new(attempt)),
            delivery: Delivery { state, made: 1, spent: 1 },
        }
    }
}

fn parse(settings: &Settings, json: &Value, now: Timestamp) -> Event {
    let knows_affiliate = |id: &_| settings.affiliates.contains_key(id);
    Event::parse(json, Rules { dictionary: &settings.dictionary, knows_affiliate: &knows_affiliate, now }).unwrap()
}
