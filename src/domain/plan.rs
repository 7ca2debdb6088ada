//! Which deliveries an event leads to.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use super::affiliate::Affiliate;
use super::event::Event;
use super::id::AffiliateId;
use super::postback::Postback;

/// Most deliveries that one event may lead to.
pub const MAX_DELIVERIES: usize = 256;

/// Every affiliate, by id.
#[derive(Debug, Clone, Default)]
pub struct Affiliates {
    by_id: BTreeMap<AffiliateId, Arc<Affiliate>>,
    /// Those who hear of everybody's events, in the order of their ids: an event must not look through all others for them.
    global: Vec<Arc<Affiliate>>,
}

impl FromIterator<Arc<Affiliate>> for Affiliates {
    fn from_iter<I: IntoIterator<Item = Arc<Affiliate>>>(affiliates: I) -> Self {
        let by_id: BTreeMap<_, _> = affiliates.into_iter().map(|affiliate| (affiliate.id.clone(), affiliate)).collect();
        let global = by_id.values().filter(|affiliate| affiliate.global).cloned().collect();
        Self { by_id, global }
    }
}

impl Deref for Affiliates {
    type Target = BTreeMap<AffiliateId, Arc<Affiliate>>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl<'a> IntoIterator for &'a Affiliates {
    type Item = (&'a AffiliateId, &'a Arc<Affiliate>);
    type IntoIter = std::collections::btree_map::Iter<'a, AffiliateId, Arc<Affiliate>>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_id.iter()
    }
}

/// The postbacks that want the event: its affiliate's first, then those of global affiliates, each in the
/// order of its file. An empty plan means that the event is kept unrouted.
pub fn plan(event: &Event, affiliates: &Affiliates) -> Vec<Arc<Postback>> {
    let own = affiliates.get(&event.affiliate_id);
    let global = affiliates.global.iter().filter(|affiliate| affiliate.id != event.affiliate_id);
    own.into_iter()
        .chain(global)
        .flat_map(|affiliate| &affiliate.postbacks)
        .filter(|postback| postback.wants.wants(event))
        .take(MAX_DELIVERIES)
        .cloned()
        .collect()
}
