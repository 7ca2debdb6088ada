//! Which deliveries an event leads to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::affiliate::Affiliate;
use super::event::Event;
use super::id::AffiliateId;
use super::postback::Postback;

/// Most deliveries that one event may lead to.
pub const MAX_DELIVERIES: usize = 256;

/// Every affiliate, by id.
pub type Affiliates = BTreeMap<AffiliateId, Arc<Affiliate>>;

/// The postbacks that want the event: its affiliate's first, then those of global affiliates, each in the
/// order of its file. An empty plan means that the event is kept unrouted.
pub fn plan(event: &Event, affiliates: &Affiliates) -> Vec<Arc<Postback>> {
    let own = affiliates.get(&event.affiliate_id);
    let global = affiliates.values().filter(|affiliate| affiliate.global && affiliate.id != event.affiliate_id);
    own.into_iter()
        .chain(global)
        .flat_map(|affiliate| &affiliate.postbacks)
        .filter(|postback| postback.wants.wants(event))
        .take(MAX_DELIVERIES)
        .cloned()
        .collect()
}
