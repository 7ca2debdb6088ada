//! The JSON bodies of orders: small, read within a deadline, and out of a budget of their own.
//!
//! Orders do not share the budget of ingest, so that an operator can still give them while producers hand in
//! more than is taken.

use axum::extract::{FromRequest, FromRequestParts as _, Request};
use serde::de::DeserializeOwned;

use super::admission::Admission;
use super::auth::Identity;
use super::body;
use super::problem::Problem;
use super::server::State;

/// Most bytes of one order: about a hundred thousand ids.
const MAX_ORDER: usize = 2 << 20;
/// Most bytes of all orders that are being read.
const MAX_ORDERS: usize = 8 << 20;

/// An order's body.
pub(super) struct Document<T>(pub(super) T);

/// Room for the bodies of orders.
pub fn room_for_orders() -> Admission {
    Admission::of(MAX_ORDERS, MAX_ORDER)
}

impl<T: DeserializeOwned> FromRequest<State> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let identity = Identity::from_request_parts(&mut parts, state).await?;
        let mut admitted = state.orders.enter(&identity.name)?;
        let body = body::read(body, &parts.headers, MAX_ORDER, &mut admitted).await?;
        let unlike = |error| Problem::malformed(format!("the body is not the JSON that is asked for here: {error}"));
        serde_json::from_slice(&body).map(Self).map_err(unlike)
    }
}
