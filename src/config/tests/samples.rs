//! Sample events: made of any dictionary, and accepted by it.

use super::{Shop, shipped_directory};
use crate::config::load;
use crate::domain::dictionary::{Dictionary, Reverses};
use crate::domain::event::{Event, ParamValue, Rules, Status};
use crate::domain::sample::{Extent, Sample, TRANSACTION, Wish, sample};

const EVENTS: &str = r#"
[ftd]
description = "First deposit."
required = ["payout"]
billable = true
params.country = { type = "text", max_length = 2 }
params.level = { type = "integer", required = true }
params.brand = { type = "text", max_length = 4 }

[ftd_reversed]
description = "First deposit undone."
reverses = "must"

[lead]
description = "A lead."
dedupe = { by = "click_id" }
"#;

fn made(dictionary: &Dictionary, kind: &str, extent: Extent) -> Sample {
    let (kind, affiliate) = (kind.parse().unwrap(), "acme".parse().unwrap());
    let now = "2026-11-20T10:00:00Z".parse().unwrap();
    let (status, sub_ids) = (Status::Pending, &["channel"]);
    let wish = Wish { kind: &kind, affiliate: &affiliate, status, offer: None, sub_ids, now, extent };
    sample(dictionary, wish).unwrap_or_else(|faults| panic!("{kind}: {faults:?}"))
}

fn dictionary() -> std::sync::Arc<Dictionary> {
    Shop::new().file("events.toml", EVENTS).sound().settings.dictionary
}

#[test]
fn a_whole_sample_carries_everything_that_its_type_allows() {
    let Sample { event, original } = made(&dictionary(), "ftd", Extent::Whole);
    assert_eq!((event.transaction_id.as_str(), event.status), (TRANSACTION, Status::Pending));
    assert_eq!(event.payout.map(|amount| amount.to_string()).as_deref(), Some("120.00"));
    assert_eq!(event.sub_ids["channel"], "sample-channel");
    assert_eq!(event.params["brand"], ParamValue::Text("samp".into()), "no longer than the dictionary allows");
    assert_eq!(event.params.len(), 3);
    assert_eq!(original, None);
}

#[test]
fn the_least_sample_carries_what_must_be_there_and_nothing_else() {
    let event = made(&dictionary(), "ftd", Extent::Least).event;
    assert_eq!(event.params.keys().collect::<Vec<_>>(), ["level"]);
    assert!(event.sub_ids.is_empty() && event.offer_id.is_none() && event.revenue.is_none());
    let lead = made(&dictionary(), "lead", Extent::Least).event;
    assert!(!lead.transaction_given && lead.click_id.is_some());
}

#[test]
fn a_reversal_comes_with_the_event_that_it_undoes() {
    let Sample { event, original } = made(&dictionary(), "ftd_reversed", Extent::Whole);
    let original = original.unwrap();
    assert_eq!(event.reverses.as_ref(), Some(&original.transaction_id));
    assert_eq!((original.kind.as_str(), original.status), ("ftd", Status::Approved));
}

#[test]
fn an_unknown_type_is_refused_as_an_event_of_it_would_be() {
    let (kind, affiliate) = ("fdt".parse().unwrap(), "acme".parse().unwrap());
    let now = "2026-11-20T10:00:00Z".parse().unwrap();
    let (status, extent) = (Status::Approved, Extent::Whole);
    let wish = Wish { kind: &kind, affiliate: &affiliate, status, offer: None, sub_ids: &[], now, extent };
    let faults = sample(&dictionary(), wish).unwrap_err();
    assert!(faults.iter().any(|fault| fault.pointer == "/type"), "{faults:?}");
}

#[test]
fn every_type_of_the_shipped_dictionary_has_its_samples() {
    let loaded = load(&shipped_directory().join("postbackd.toml")).unwrap();
    let dictionary = &loaded.settings.dictionary;
    for (kind, rule) in &dictionary.types {
        for extent in [Extent::Whole, Extent::Least] {
            let Sample { event, original } = made(dictionary, kind.as_str(), extent);
            assert_eq!(original.is_some(), rule.reverses == Reverses::Must, "{kind}");
            let rules = Rules { dictionary, knows_affiliate: &|_| true, now: event.occurred_at };
            assert_eq!(Event::parse(&event.to_json(), rules).as_ref(), Ok(&event), "{kind}");
        }
    }
}
