//! Who is told of what in a story: a few affiliates, their postbacks, and what a reload may change about them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::dice::Dice;
use crate::config::{self, Settings};
use crate::domain::affiliate::{Affiliate, BreakerPolicy, Limits, Rate};
use crate::domain::id::{AffiliateId, PostbackName, PostbackRef};
use crate::domain::postback::{OrderPolicy, OriginalDead, OriginalUnknown, OriginalUnsettled};

/// The affiliate whose receiver is always well, and whose deliveries nothing may hold up.
pub(super) const STEADY: &str = "steady";
/// The affiliates that events are about.
pub(super) const OWNERS: [&str; 3] = [STEADY, "acme", "bolt"];

const DAEMON: &str = "[api]\nsocket = \"s\"\n[defaults.timeout]\nconnect = \"2s\"\ntotal = \"6s\"\n[defaults.retry]\ninitial = \"1s\"\nfactor = 2.0\nmax_delay = \"4s\"\nmax_attempts = 4\n";
const EVENTS: &str = "[lead]\ndescription = \"A lead.\"\n[ftd]\ndescription = \"A deposit.\"\n[undo]\ndescription = \"Undone.\"\nreverses = \"must\"\n";
/// Each affiliate with its postbacks.
const PARTNERS: [(&str, &[&str]); 4] =
    [(STEADY, &["main"]), ("acme", &["conv", "strict"]), ("bolt", &["one", "two"]), ("house", &["ledger"])];

fn affiliate(id: &str, postbacks: &[&str]) -> String {
    let mut text = format!("id = \"{id}\"\nname = \"{id}\"\nglobal = {}\n", id == "house");
    for name in postbacks {
        let _ = write!(
            text,
            "[[postback]]\nname = \"{name}\"\nevents = \"*\"\nmethod = \"GET\"\nurl = \"https://{id}.example/{name}?click={{click_id}}&tx={{transaction_id}}&key={{idempotency_key}}&n={{attempt}}\"\n"
        );
        for (text_of, verdict) in [("error", "retry"), ("again", "duplicate"), ("never", "rejected")] {
            let _ = write!(
                text,
                "[[postback.response]]\nwhen = {{ status = \"200\", body_contains = \"{text_of}\" }}\nthen = \"{verdict}\"\n"
            );
        }
    }
    text
}

/// The configuration that all stories begin with, read as a daemon reads it.
fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let directory = tempfile::TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("postbackd.toml", DAEMON);
        write("events.toml", EVENTS);
        for (id, postbacks) in PARTNERS {
            write(&format!("affiliates/{id}.toml"), &affiliate(id, postbacks));
        }
        config::load(&directory.path().join("postbackd.toml")).unwrap_or_else(|problems| panic!("{problems}")).settings
    })
}

/// The configuration of a story as it is now.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) slots: usize,
    /// Everybody, as the story began with them.
    all: BTreeMap<AffiliateId, Arc<Affiliate>>,
    /// Who is configured now.
    pub(super) affiliates: BTreeMap<AffiliateId, Arc<Affiliate>>,
}

impl Cast {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut all = BTreeMap::clone(&settings().affiliates);
        for (id, affiliate) in &mut all {
            vary(Arc::make_mut(affiliate), id.as_str() == STEADY, dice);
        }
        Self { slots: usize::try_from(dice.between(6, 10)).unwrap(), affiliates: all.clone(), all }
    }

    pub(super) fn dictionary() -> Arc<crate::domain::dictionary::Dictionary> {
        Arc::clone(&settings().dictionary)
    }

    /// Everybody is configured again.
    pub(super) fn restore(&mut self) {
        self.affiliates = self.all.clone();
    }

    /// Every postback of the story, configured or not.
    pub(super) fn postbacks(&self) -> Vec<PostbackRef> {
        self.all
            .values()
            .flat_map(|affiliate| affiliate.postbacks.iter().map(|postback| postback.reference()))
            .collect()
    }

    /// Whether a postback is configured now.
    pub(super) fn has(&self, postback: &PostbackRef) -> bool {
        let affiliate = self.affiliates.get(&postback.affiliate);
        affiliate.is_some_and(|affiliate| affiliate.postbacks.iter().any(|own| own.name == postback.postback))
    }

    /// Whether the receiver of a postback recognises duplicates.
    pub(super) fn dedupes(&self, postback: &PostbackRef) -> bool {
        let affiliate = &self.all[&postback.affiliate];
        affiliate.postbacks.iter().any(|own| own.name == postback.postback && own.receiver_dedupes)
    }

    pub(super) fn limits(&self, affiliate: &AffiliateId) -> Limits {
        self.affiliates.get(affiliate).unwrap_or(&self.all[affiliate]).limits
    }

    /// Changes something that a reload can change; tells what.
    pub(super) fn change(&mut self, dice: &mut Dice) -> String {
        let others = |id: &AffiliateId| id.as_str() != STEADY;
        let ids: Vec<AffiliateId> = self.all.keys().filter(|id| others(id)).cloned().collect();
        let id = dice.pick(&ids).unwrap().clone();
        match dice.roll(5) {
            0 => {
                self.slots = usize::try_from(dice.between(5, 12)).unwrap();
                format!("{} slots", self.slots)
            }
            1 => {
                self.affiliates.remove(&id);
                format!("{id} is removed")
            }
            2 => {
                let Some(affiliate) = self.affiliates.get_mut(&id) else { return "nothing".into() };
                let affiliate = Arc::make_mut(affiliate);
                let gone = affiliate.postbacks.pop();
                format!(
                    "{} is removed",
                    gone.map_or_else(|| "nothing".into(), |postback| postback.reference().to_string())
                )
            }
            3 => {
                let affiliate = Arc::clone(&self.all[&id]);
                self.affiliates.insert(id.clone(), affiliate);
                format!("{id} is back as it was")
            }
            _ => {
                let Some(affiliate) = self.affiliates.get_mut(&id) else { return "nothing".into() };
                let affiliate = Arc::make_mut(affiliate);
                affiliate.limits = limits(dice);
                format!("limits of {id}: {:?}", affiliate.limits)
            }
        }
    }
}

fn limits(dice: &mut Dice) -> Limits {
    let count = u32::try_from(dice.between(1, 6)).unwrap();
    let failures = u32::try_from(dice.between(2, 4)).unwrap();
    let open = Duration::from_secs(dice.between(2, 8));
    Limits {
        concurrency: u32::try_from(dice.between(1, 4)).unwrap(),
        rate: dice.chance(40).then_some(Rate { count, per: Duration::from_secs(1) }),
        breaker: dice.chance(60).then_some(BreakerPolicy { failures, open, max_open: Duration::from_secs(20) }),
    }
}

fn vary(affiliate: &mut Affiliate, steady: bool, dice: &mut Dice) {
    affiliate.limits = if steady { Limits { concurrency: 4, rate: None, breaker: None } } else { limits(dice) };
    for postback in &mut affiliate.postbacks {
        let postback = Arc::make_mut(postback);
        let strict = postback.name == PostbackName::parse("strict").unwrap();
        postback.receiver_dedupes = !strict && (steady || dice.chance(85));
        if steady {
            continue;
        }
        postback.lane = dice.chance(30).then(|| format!("lane{}", dice.roll(2)).parse().unwrap());
        postback.order = OrderPolicy {
            original_unsettled: *dice
                .pick(&[OriginalUnsettled::Hold, OriginalUnsettled::CancelBoth, OriginalUnsettled::SendBoth])
                .unwrap(),
            original_dead: if dice.chance(70) { OriginalDead::Hold } else { OriginalDead::Send },
            original_unknown: if dice.chance(70) { OriginalUnknown::Hold } else { OriginalUnknown::Send },
            latest_only: dice.chance(25),
        };
    }
}
