//! The seam between attempts and the network.

use std::pin::Pin;
use std::sync::Arc;

use super::client::{Exchange, Transport};
use crate::domain::postback::Timeouts;
use crate::domain::request::PreparedRequest;

/// A request on its way. Boxed: next to what it takes to send one, a box costs nothing.
pub type Sending<'w> = Pin<Box<dyn Future<Output = Exchange> + Send + 'w>>;

/// Carries requests to receivers.
pub trait Wire: Send + Sync + std::fmt::Debug {
    /// Sends one request and reads its answer, within the deadlines. Never fails: what went wrong is the result.
    fn send(&self, request: PreparedRequest, timeouts: Timeouts) -> Sending<'_>;
}

/// A wire that can be handed around.
pub type SharedWire = Arc<dyn Wire>;

impl Wire for Transport {
    fn send(&self, request: PreparedRequest, timeouts: Timeouts) -> Sending<'_> {
        Box::pin(Transport::send(self, request, timeouts))
    }
}
