//! Event types that nobody wants.

use std::collections::BTreeSet;

use super::super::problem::Weight;
use super::super::section::Section;
use crate::domain::dictionary::Dictionary;
use crate::domain::id::EventType;

/// The types that postbacks want, those included that are switched off: their day may come.
#[derive(Debug, Default)]
pub(in super::super) struct Demand {
    all: bool,
    types: BTreeSet<EventType>,
}

impl Demand {
    /// Takes note of what a postback wants; `None` for all types, or where that could not be read.
    pub(in super::super) fn add(&mut self, types: Option<&BTreeSet<EventType>>) {
        match types {
            Some(types) => self.types.extend(types.iter().cloned()),
            None => self.all = true,
        }
    }
}

/// Reports the types of the dictionary that no postback wants, at the first of them: in a dictionary that knows more
/// than today's affiliates want, a warning for each would bury all others.
pub(in super::super) fn check(dictionary: &Dictionary, demand: &Demand, root: &Section<'_>) {
    let unwanted: Vec<&str> = dictionary
        .types
        .keys()
        .filter(|kind| !demand.all && !demand.types.contains(*kind))
        .map(EventType::as_str)
        .collect();
    let Some(first) = unwanted.first() else { return };
    let message = match unwanted.as_slice() {
        [_] => "is wanted by no postback: its events are kept unrouted, and nobody hears of them".to_owned(),
        all => {
            format!("no postback wants {}: their events are kept unrouted, and nobody hears of them", all.join(", "))
        }
    };
    root.locate(first).add(Weight::Warning, message, "have a postback want them, or remove what is not needed");
}
