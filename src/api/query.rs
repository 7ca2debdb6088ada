//! Paths and queries: what cannot be read is told by a problem document.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The named parts of a path. What they cannot be names nothing.
pub(super) struct Named<T>(pub(super) T);

/// A query that is looked at behind the caller's scope.
pub(super) struct Asked<T>(Result<Query<T>, QueryRejection>);

impl<T> Asked<T> {
    /// The query.
    ///
    /// # Errors
    /// When it is not well-formed.
    pub(super) fn read(self) -> Result<T, Problem> {
        self.0.map(|Query(query)| query).map_err(|error| Problem::malformed(error.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named = Path::from_request_parts(parts, state).await;
        named.map(|Path(named)| Self(named)).map_err(|error: PathRejection| Problem::not_found(error.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Query::from_request_parts(parts, state).await))
    }
}
