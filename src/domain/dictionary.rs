//! The event dictionary: which event types exist and what each may and must carry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::id::EventType;
use super::money::Amount;
use super::personal_data::Formats;

/// All event types an operator knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// The types by name.
    pub types: BTreeMap<EventType, TypeRule>,
    /// Formats of click ids that are never mistaken for personal data.
    pub click_ids: Formats,
    /// Formats of transaction ids that are never mistaken for personal data.
    pub transaction_ids: Formats,
}

impl Dictionary {
    /// The rule of a type, if the dictionary has it.
    pub fn rule(&self, kind: &EventType) -> Option<&TypeRule> {
        self.types.get(kind)
    }
}

/// What one event type may and must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRule {
    /// One sentence for people.
    pub description: String,
    /// Fields that must be there beside `transaction_id`, `type` and `affiliate_id`.
    pub required: BTreeSet<Field>,
    /// Parameters that may be there, by name.
    pub params: BTreeMap<String, ParamRule>,
    /// Whether money is paid for it.
    pub billable: bool,
    /// Whether it undoes another event.
    pub reverses: Reverses,
    /// Events of this type may come without a transaction id: those of the same click are the same event within this
    /// time of the first one's acceptance.
    pub click_dedupe: Option<Duration>,
    /// What becomes of sub ids that look like personal data.
    pub personal_data: PersonalData,
}

/// What becomes of a text that looks like personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PersonalData {
    /// The event is refused.
    #[default]
    Refuse,
    /// What was found is replaced by a mask, and the event accepted.
    Mask,
    /// The text is accepted as it is.
    Allow,
}

/// A field of an event that a type may require.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `click_id`; required unless the type says otherwise.
    ClickId,
    /// `offer_id`.
    OfferId,
    /// `payout`, and with it `currency`.
    Payout,
    /// `revenue`, and with it `currency`.
    Revenue,
}

impl Field {
    /// Every field a type may require.
    pub const ALL: [Self; 4] = [Self::ClickId, Self::OfferId, Self::Payout, Self::Revenue];

    /// The field's name in an event.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClickId => "click_id",
            Self::OfferId => "offer_id",
            Self::Payout => "payout",
            Self::Revenue => "revenue",
        }
    }
}

/// Whether an event of a type names another that it undoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reverses {
    /// `reverses` must be absent.
    #[default]
    Never,
    /// `reverses` may be there.
    May,
    /// `reverses` must be there.
    Must,
}

/// What a parameter's value must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamRule {
    /// Its type.
    pub kind: ParamKind,
    /// Most characters of a text value.
    pub max_length: usize,
    /// The only texts that are accepted; empty for any text.
    pub one_of: BTreeSet<String>,
    /// The least number that is accepted.
    pub min: Option<Amount>,
    /// The greatest number that is accepted.
    pub max: Option<Amount>,
    /// Whether an event must carry it.
    pub required: bool,
    /// What becomes of a value that looks like personal data.
    pub personal_data: PersonalData,
}

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParamKind {
    /// Any text within the length.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// An exact decimal number.
    Decimal,
    /// `true` or `false`.
    Boolean,
}

impl ParamKind {
    /// The kind's name in the dictionary file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
        }
    }
}
