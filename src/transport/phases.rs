//! Takes the time of each phase of a connection, and knows how far an attempt got.
//!
//! The HTTP client opens a connection inside the attempt's own task, so what happens there can be written
//! into a cell of that task. A pooled connection leaves the cell empty.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower::Service;

use super::egress::Forbidden;
use crate::ops::clock::monotonic;

/// How far an attempt's own connection got.
#[derive(Debug, Default, Clone)]
pub(crate) struct Phases {
    pub(crate) connecting: Option<Instant>,
    pub(crate) resolved: Option<Instant>,
    pub(crate) tls_started: Option<Instant>,
    pub(crate) connected: Option<Instant>,
    pub(crate) forbidden: Option<Forbidden>,
    /// The connection was given up with the attempt itself: no other one can have carried the request.
    pub(crate) given_up: bool,
}

pub(crate) type SharedPhases = Arc<Mutex<Phases>>;

tokio::task_local! {
    /// What an attempt's task carries for its connection.
    pub(crate) static CONNECTING: SharedPhases;
}

/// Notes something about the connection of the current attempt, if there is one.
pub(crate) fn note(change: impl FnOnce(&mut Phases, Instant)) {
    let _ = CONNECTING.try_with(|phases| {
        change(&mut phases.lock().unwrap_or_else(PoisonError::into_inner), monotonic());
    });
}

impl Phases {
    pub(crate) fn dns(&self) -> Option<Duration> {
        Some(self.resolved?.duration_since(self.connecting?))
    }

    pub(crate) fn connect(&self) -> Option<Duration> {
        let begun = self.resolved.or(self.connecting)?;
        Some(self.tls_started.or(self.connected)?.duration_since(begun))
    }

    pub(crate) fn tls(&self) -> Option<Duration> {
        Some(self.connected?.duration_since(self.tls_started?))
    }
}

/// Notes when a connection is dropped unfinished. Where another attempt's connection was free first, the pool
/// hands the request to that one and finishes this one elsewhere: then nothing is noted here.
struct Unfinished(bool);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0 {
            note(|phases, _| phases.given_up = true);
        }
    }
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connector that takes its time: notes begin and end.
#[derive(Debug, Clone)]
pub(crate) struct PhaseConnector<S>(S);

impl<S> PhaseConnector<S> {
    /// Wraps a connector.
    pub(crate) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S, R> Service<R> for PhaseConnector<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, destination: R) -> Self::Future {
        note(|phases, now| *phases = Phases { connecting: Some(now), ..Phases::default() });
        let connecting = self.0.call(destination);
        Box::pin(async move {
            let mut unfinished = Unfinished(true);
            let connected = connecting.await;
            unfinished.0 = false;
            let connected = connected?;
            note(|phases, now| phases.connected = Some(now));
            Ok(connected)
        })
    }
}
