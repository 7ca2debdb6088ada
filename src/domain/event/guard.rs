//! The guard: no personal data leaves the house in an event unless the dictionary lets it.
//!
//! Ids are only ever refused, because a masked id would name nothing. Texts follow the policy of their parameter, or of
//! their type.

use super::fault::{FaultCode, pointer};
use super::parse::Reader;
use crate::domain::dictionary::PersonalData;
use crate::domain::personal_data::{self, Kind, MASK, Place};

/// How a text of `sub_ids` or `params` is guarded.
#[derive(Clone, Copy)]
pub(super) struct Guard<'k> {
    /// The text's name.
    pub(super) key: &'k str,
    /// Where it stands.
    pub(super) place: Place,
    /// What becomes of it.
    pub(super) policy: PersonalData,
}

impl Reader<'_> {
    /// Refuses an id that looks like personal data; of an id in a known format only an e-mail address is believed.
    pub(super) fn guard_id(&mut self, name: &str, id: &str) {
        let dictionary = self.rules.dictionary;
        let known = match name {
            "click_id" => dictionary.click_ids.fit(id),
            "transaction_id" | "reverses" => dictionary.transaction_ids.fit(id),
            _ => false,
        };
        let found = if known { personal_data::find_email(id) } else { personal_data::find(id, Place::Id) };
        if let Some(kind) = found {
            self.refuse(&pointer(&[name]), kind);
        }
    }

    /// Gives a text as it may be kept: as it is, masked, or not at all.
    pub(super) fn guard_text(&mut self, place: &str, text: &str, guard: Guard<'_>) -> Option<String> {
        let named = personal_data::named(guard.key, text);
        match guard.policy {
            PersonalData::Allow => Some(text.to_owned()),
            PersonalData::Mask if named.is_some() => Some(MASK.to_owned()),
            PersonalData::Mask | PersonalData::Refuse => {
                let Some(kind) = named.or_else(|| personal_data::find(text, guard.place)) else {
                    return Some(text.to_owned());
                };
                let masked =
                    (guard.policy == PersonalData::Mask).then(|| personal_data::masked(text, guard.place)).flatten();
                if masked.is_none() {
                    self.refuse(place, kind);
                }
                masked
            }
        }
    }

    /// Refuses a number that looks like personal data, or whose name says so; a number cannot be masked.
    pub(super) fn guard_number(&mut self, place: &str, digits: &str, guard: Guard<'_>) {
        let found = personal_data::named(guard.key, digits).or_else(|| personal_data::find(digits, guard.place));
        if let Some(kind) = found.filter(|_| guard.policy != PersonalData::Allow) {
            self.refuse(place, kind);
        }
    }

    /// Refuses a name that is personal data itself.
    pub(super) fn guard_key(&mut self, place: &str, key: &str) {
        if let Some(kind) = personal_data::find(key, Place::Id) {
            self.refuse(place, kind);
        }
    }

    fn refuse(&mut self, place: &str, kind: Kind) {
        let detail = format!("looks like {}; personal data must not be sent to affiliates", kind.name());
        self.fault(place, FaultCode::PersonalData, detail);
    }
}
