//! Which deliveries are spoken for: being sent, or being changed by an order.
//!
//! Lives in memory only. A crash forgets every claim, and finds the deliveries scheduled as before.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::DeliveryId;
use crate::planted::{Bug, planted};

#[derive(Debug, Default, Clone)]
pub(crate) struct Claims(Arc<Mutex<HashSet<DeliveryId>>>);

/// A claim on one delivery; ends when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    id: DeliveryId,
    claims: Claims,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashSet<DeliveryId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a delivery, unless somebody has.
    pub(crate) fn claim(&self, id: DeliveryId) -> Option<Claim> {
        let is_free = self.lock().insert(id) || planted(Bug::StaleLeaseSettles);
        is_free.then(|| Claim { id, claims: self.clone() })
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn holds(&self, id: DeliveryId) -> bool {
        self.lock().contains(&id)
    }
}

impl Claim {
    pub(crate) fn id(&self) -> DeliveryId {
        self.id
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.id);
    }
}
