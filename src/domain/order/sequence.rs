//! In which order the events of a group are told.

use super::Told;

/// Two places of an event in the sequence of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// Where it was accepted: for deliveries that have gone out.
    pub(super) accepted: usize,
    /// Where it belongs: for a reversal that came before its original, right behind the first event of that.
    pub(super) told: usize,
}

/// The places of events that are given in the order of their acceptance.
///
/// An event whose originals are all still to come steps back until the first of them has its place; those that stepped
/// back behind the same event follow it in the order of their acceptance. Events that undo each other in a circle come
/// last.
pub(super) fn places(events: &[Told]) -> Vec<Places> {
    let mut sequence = Sequence { events, places: vec![Places::default(); events.len()], told: Vec::new(), next: 0 };
    let mut stepped_back = vec![false; events.len()];
    for index in 0..events.len() {
        sequence.accept(index);
        if sequence.has_to_step_back(index) {
            stepped_back.get_mut(index).into_iter().for_each(|flag| *flag = true);
        } else {
            sequence.tell(index, &mut stepped_back);
        }
    }
    for index in 0..events.len() {
        if stepped_back.get(index) == Some(&true) {
            sequence.give(index);
        }
    }
    sequence.places
}

struct Sequence<'e> {
    events: &'e [Told],
    places: Vec<Places>,
    told: Vec<usize>,
    next: usize,
}

impl Sequence<'_> {
    fn accept(&mut self, index: usize) {
        if let Some(places) = self.places.get_mut(index) {
            places.accepted = self.next;
            self.next += 1;
        }
    }

    fn give(&mut self, index: usize) {
        if let Some(places) = self.places.get_mut(index) {
            places.told = self.next;
            self.next += 1;
            self.told.push(index);
        }
    }

    fn undoes(&self, index: usize, other: usize) -> bool {
        match (self.events.get(index), self.events.get(other)) {
            (Some(event), Some(original)) => index != other && event.facts.undoes(&original.facts),
            _ => false,
        }
    }

    fn has_to_step_back(&self, index: usize) -> bool {
        let reverses = self.events.get(index).is_some_and(|event| event.facts.reverses.is_some());
        reverses
            && !self.told.iter().any(|told| self.undoes(index, *told))
            && (0..self.events.len()).any(|other| self.undoes(index, other))
    }

    /// Gives an event its place, and those behind it that stepped back for it.
    fn tell(&mut self, index: usize, stepped_back: &mut [bool]) {
        let mut next = vec![index];
        while let Some(index) = next.pop() {
            self.give(index);
            for other in (0..self.events.len()).rev() {
                let waited = stepped_back.get(other) == Some(&true) && self.undoes(other, index);
                if let Some(flag) = stepped_back.get_mut(other).filter(|_| waited) {
                    *flag = false;
                    next.push(other);
                }
            }
        }
    }
}
