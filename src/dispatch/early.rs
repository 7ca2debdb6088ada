//! A bug to be caught, in builds that have them: what is sent is taken for delivered before it was sent.

use std::sync::Arc;

use crate::domain::postback::Timeouts;
use crate::domain::record::Timings;
use crate::domain::request::PreparedRequest;
use crate::planted::{Bug, planted};
use crate::transport::{Exchange, Received, Sending, SharedWire, Wire};

/// The wire that attempts are sent over, or one that answers first.
pub(super) fn wire(wire: &SharedWire) -> SharedWire {
    if planted(Bug::SettleBeforeSending) { Arc::new(Early(Arc::clone(wire))) } else { Arc::clone(wire) }
}

/// Says that a request has arrived, and sends it then.
#[derive(Debug)]
struct Early(SharedWire);

impl Wire for Early {
    fn send(&self, request: PreparedRequest, timeouts: Timeouts) -> Sending<'_> {
        let wire = Arc::clone(&self.0);
        tokio::spawn(async move { wire.send(request, timeouts).await });
        let received = Received { status: 200, headers: Vec::new(), body: Vec::new(), over_cap: false };
        let told = Exchange { result: Ok(received), timings: Timings::default(), remote: None };
        Box::pin(async { told })
    }
}
