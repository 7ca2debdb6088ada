//! Places for those who listen: how many there are at once, for one and for all.
//!
//! Whoever is narrowed to some affiliates shares a part of the places, so that the operator always finds one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::auth::Identity;

/// Places in all.
const ALL: usize = 32;
/// Of these, the most that those take together who are narrowed to some affiliates.
const ALL_NARROWED: usize = 24;
/// The most that one takes who may see everything.
const OWN: usize = 8;
/// The most that one takes who is narrowed.
const OWN_NARROWED: usize = 4;

/// Who holds places: a name, and whether he is narrowed.
type Holder = (String, bool);

/// The places. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<BTreeMap<Holder, usize>>>);

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    holder: Holder,
}

/// Why no place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Taken {
    /// He has as many as one may have.
    #[error("has {0} streams of attempts open, as many as one may have; end one of them")]
    Own(usize),
    /// All have as many as there may be.
    #[error("finds as many streams of attempts open as may be; come back later")]
    All,
}

impl Places {
    /// Takes a place.
    ///
    /// # Errors
    /// When none is free, or none for him.
    pub(super) fn take(&self, identity: &Identity) -> Result<Place, Taken> {
        let is_narrowed = identity.affiliates.is_some();
        let own = if is_narrowed { OWN_NARROWED } else { OWN };
        let holder = (identity.name.clone(), is_narrowed);
        let mut held = self.held();
        if held.get(&holder).is_some_and(|count| *count >= own) {
            return Err(Taken::Own(own));
        }
        let narrowed: usize = held.iter().filter(|((_, narrowed), _)| *narrowed).map(|(_, count)| count).sum();
        if held.values().sum::<usize>() >= ALL || (is_narrowed && narrowed >= ALL_NARROWED) {
            return Err(Taken::All);
        }
        *held.entry(holder.clone()).or_default() += 1;
        drop(held);
        Ok(Place { places: self.clone(), holder })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Holder, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, affiliate: Option<&str>) -> Identity {
        let affiliates = affiliate.map(|id| [id.parse().unwrap()].into());
        Identity { name: name.into(), scopes: [].into(), affiliates }
    }

    /// Takes places until there is none.
    fn take_all(places: &Places, who: &Identity) -> (Vec<Place>, Taken) {
        let mut taken = Vec::new();
        loop {
            match places.take(who) {
                Ok(place) => taken.push(place),
                Err(why) => return (taken, why),
            }
        }
    }

    #[test]
    fn one_takes_so_many_and_gives_them_back() {
        let places = Places::default();
        for (who, most) in [(who("acme", Some("acme")), 4), (who("ops", None), 8)] {
            let (mut taken, why) = take_all(&places, &who);
            assert_eq!((taken.len(), why), (most, Taken::Own(most)));
            taken.pop();
            let again = take_all(&places, &who).0;
            assert_eq!(again.len(), 1);
        }
        assert!(places.held().is_empty(), "nobody is remembered who holds none");
    }

    #[test]
    fn the_operator_finds_a_place_however_many_are_narrowed() {
        let places = Places::default();
        let narrowed: Vec<_> = (0..10).map(|n| take_all(&places, &who(&format!("n{n}"), Some("acme")))).collect();
        assert_eq!(narrowed.iter().map(|(taken, _)| taken.len()).sum::<usize>(), 24);
        assert_eq!(narrowed.last().map(|(_, why)| *why), Some(Taken::All));
        let ops = take_all(&places, &who("ops", None));
        assert_eq!((ops.0.len(), ops.1), (8, Taken::Own(8)));
        assert_eq!(take_all(&places, &who("others", None)).1, Taken::All);
    }
}
