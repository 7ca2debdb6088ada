//! The shipped files are sound, and show every key.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::json;

use super::{Shop, affiliate, postback, shipped_directory};
use crate::config::{Problem, load};
use crate::domain::affiliate::Affiliate;
use crate::domain::dictionary::{Dictionary, Field, ParamKind, ParamRule, Reverses};
use crate::domain::event::{Event, Rules};
use crate::domain::id::{DeliveryId, EventId, EventType};
use crate::domain::postback::Postback;
use crate::domain::template::{RenderError, Scope};

/// The repository's configuration in a directory of its own, each file changed by a function of its name and text.
fn copy(change: impl Fn(&str, &str) -> String) -> Shop {
    let mut shop = Shop::new();
    for directory in ["", "affiliates/"] {
        for entry in fs::read_dir(shipped_directory().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name = format!("{directory}{}", path.file_name().unwrap().to_str().unwrap());
                let text = change(&name, &fs::read_to_string(&path).unwrap());
                shop = shop.file(&name, &text);
            }
        }
    }
    shop
}

#[test]
fn the_shipped_files_are_sound_from_a_bare_clone() {
    let loaded = load(&shipped_directory().join("postbackd.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(loaded.settings.affiliates.len(), 4);
    assert_eq!(affiliate(&loaded, "acme").postbacks.len(), 3, "those whose secrets need not be there");
    assert_eq!(postback(&loaded, "acme", "conversion").timeouts.total, Duration::from_secs(10));
}

/// An event of a type with everything that any type may carry.
pub(super) fn example(kind: &EventType, affiliate: &Affiliate, dictionary: &Dictionary) -> Event {
    let rule = dictionary.rule(kind).unwrap();
    let value = |rule: &ParamRule| match rule.kind {
        ParamKind::Text => json!(rule.one_of.first().map_or("x", String::as_str)),
        ParamKind::Integer => json!(1),
        ParamKind::Decimal => json!("1.5"),
        ParamKind::Boolean => json!(true),
    };
    let params: serde_json::Map<_, _> = rule.params.iter().map(|(name, rule)| (name.clone(), value(rule))).collect();
    let reverses = (rule.reverses == Reverses::Must).then_some("t-0");
    let json = json!({
        "transaction_id": "t-1", "type": kind.as_str(), "affiliate_id": affiliate.id.as_str(), "click_id": "c-1",
        "offer_id": "welcome-100", "payout": "12.50", "revenue": "100.00", "currency": "EUR", "reverses": reverses,
        "sub_ids": { "sub1": "banner" }, "params": params,
    });
    let rules = Rules { dictionary, knows_affiliate: &|_| true, now: "2026-11-20T10:00:00Z".parse().unwrap() };
    Event::parse(&json, rules).unwrap_or_else(|faults| panic!("{kind}: {faults:?}"))
}

pub(super) fn render(postback: &Postback, event: &Event) -> Result<String, RenderError> {
    let event_id = EventId::from_u64(1);
    let scope = Scope {
        event,
        event_id,
        delivery_id: DeliveryId { event: event_id, ordinal: 0 },
        attempt: 1,
        timestamp: event.occurred_at,
        nonce: "n",
        original: Some(event),
        secrets: &postback.secrets,
    };
    postback.request.render(&scope).map(|request| request.url)
}

/// The conversions of casinos, sportsbooks, brokers and prop firms that everybody asks for.
const CONVERSIONS: [&str; 14] = [
    "registration",
    "kyc_approved",
    "ftd",
    "deposit",
    "qualified_player",
    "qualified_trade",
    "lot_commission",
    "challenge_purchase",
    "evaluation_passed",
    "funded_account",
    "subscription_started",
    "chargeback",
    "refund",
    "ftd_reversed",
];

#[test]
fn the_shipped_dictionary_tells_conversions_from_reversals() {
    let loaded = load(&shipped_directory().join("postbackd.toml")).unwrap();
    let types = &loaded.settings.dictionary.types;
    let rule = |name: &str| &types[&name.parse().unwrap()];
    assert!(rule("ftd").billable && rule("ftd").reverses == Reverses::Never);
    assert_eq!(rule("ftd_reversed").reverses, Reverses::Must);
    assert_eq!(rule("ftd").params["country"].max_length, 2);
    let missing = CONVERSIONS.iter().filter(|name| !types.contains_key(&name.parse().unwrap()));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
    let unpaid: Vec<_> =
        types.iter().filter(|(_, rule)| rule.billable && !rule.required.contains(&Field::Payout)).collect();
    assert!(unpaid.is_empty(), "what is billable says what is paid: {unpaid:?}");
    assert!(rule("adjustment").required.iter().all(|field| field.name() != "click_id"));
}

#[test]
fn every_example_that_is_commented_out_works() {
    let switched_on = |name: &str, text: &str| {
        let example =
            |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c == '[' || c.is_lowercase());
        let lines = text.lines().map(|line| if example(line) { &line[1..] } else { line });
        if name == "postbackd.toml" { lines.collect::<Vec<_>>().join("\n") } else { text.to_owned() }
    };
    let loaded = copy(switched_on).sound();
    assert_eq!(loaded.settings.api.tokens[0].name, "casino-backend");
    assert_eq!(loaded.settings.api.tokens[0].affiliates.as_ref().map(BTreeSet::len), Some(1));
    assert_eq!(
        loaded.settings.api.socket_users[0].scopes.iter().copied().collect::<Vec<_>>(),
        [crate::config::Scope::Ingest, crate::config::Scope::Read]
    );
}

#[test]
fn every_shipped_postback_works_once_its_secrets_are_there() {
    let shop = copy(|_, text| text.replace("enabled = false", "enabled = true"));
    let errors = shop.errors();
    assert!(errors.iter().all(|error| error.contains("secrets.")), "{errors:#?}");
    let directory = shop.path("credentials").to_str().unwrap().to_owned();
    let shop = shop
        .variable("CREDENTIALS_DIRECTORY", &directory)
        .variable("ACME_API_KEY", "key")
        .file("credentials/acme-hmac", "hmac\n")
        .file("credentials/lumen-measurement", "measurement")
        .private("secrets/acme-ledger", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", 0o600)
        .private("secrets/acme-ledger-old", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", 0o400);
    let loaded = shop.sound();
    assert_eq!(affiliate(&loaded, "acme").postbacks.len(), 6);
    for affiliate in loaded.settings.affiliates.values() {
        for postback in &affiliate.postbacks {
            let kinds = loaded.settings.dictionary.types.keys();
            for kind in kinds.filter(|kind| postback.wants.events.as_ref().is_none_or(|wanted| wanted.contains(*kind)))
            {
                let event = example(kind, affiliate, &loaded.settings.dictionary);
                let url = render(postback, &event).unwrap_or_else(|error| panic!("{}: {error}", postback.reference()));
                let host = url.split('/').nth(2).unwrap();
                assert!(host.ends_with(".example") && !url.contains(['{', '}']), "{url}");
            }
        }
    }
    let secrets = &postback(&loaded, "acme", "ledger").secrets;
    assert_eq!((secrets.names().collect::<Vec<_>>(), secrets.get("ledger").map(<[_]>::len)), (vec!["ledger"], Some(2)));
}
