//! The stream of attempts, as server-sent events.
//!
//! A stream ends when the daemon does, and when the configuration changes: whoever listens comes back, says where he
//! was by `Last-Event-ID`, and is asked again who he is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State as Extract};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::auth::Identity;
use super::listen::Endless;
use super::problem::Problem;
use super::server::State;
use crate::config::{Scope, Settings};
use crate::dispatch::{AttemptFilter, Begin, Feed, Heard, KEPT, Listener, SeenAttempt};
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;

/// Streams at once.
const MAX_STREAMS: usize = 32;
/// How often a stream on which nothing happens says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Seconds after which who found all places taken is told to come back.
const RETRY_AFTER: u64 = 10;
/// Attempts that go by unsaid before the listener's place is said alone: else it would be forgotten here while he waits.
const UNSAID: usize = KEPT / 4;

/// The feed of attempts with the places for those who listen. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    feed: Arc<Feed>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Streams {
    /// Streams of a feed, until they are told to stop.
    pub fn new(feed: Arc<Feed>, stop: CancellationToken) -> Self {
        Self { feed, places: Arc::new(Semaphore::new(MAX_STREAMS)), stop }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_STREAMS} streams of attempts are open, as many as may be; end one of them");
            let title = "Too many streams at once";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", title, detail).after(RETRY_AFTER)
        })
    }
}

/// A stream's query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    affiliate: Option<String>,
    postback: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    transaction: Option<String>,
    click: Option<String>,
    outcome: Option<Outcome>,
    http_status: Option<u16>,
    state: Option<StateKind>,
    reason: Option<String>,
    last: Option<usize>,
    text: Option<String>,
}

/// `GET /v1/attempts/stream`
pub(super) async fn attempts(
    Extract(state): Extract<State>,
    identity: Identity,
    endless: Option<Extension<Endless>>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    identity.require(Scope::Read)?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    if query.text.is_some() {
        let detail = "the stream carries no responses, so that text in them cannot be looked for; list deliveries with \
                      text instead";
        return Err(Problem::malformed(detail));
    }
    if let Some(affiliate) = &query.affiliate {
        identity.require_affiliate(affiliate)?;
    }
    let place = state.streams.place()?;
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let from = match (resumed, query.last) {
        (Some(place), _) => Begin::Behind(place),
        (None, Some(_)) => Begin::Kept,
        (None, None) => Begin::Now,
    };
    let last = query.last.filter(|_| resumed.is_none()).unwrap_or(KEPT);
    let mut listener = state.streams.feed.listen(from);
    let wanted = Wanted { filter: query.into(), identity };
    listener.keep_last(last, |attempt| wanted.is_met(attempt));
    if let Some(Extension(endless)) = endless {
        endless.note();
    }
    let (stop, mut settings) = (state.streams.stop, state.settings);
    // Changes from now on: earlier ones have been looked at when it was asked who listens.
    settings.mark_unchanged();
    let stream = Stream { listener, wanted, unsaid: 0, caught_up: false, stop, settings, _place: place };
    let heard = stream::unfold(stream, |mut stream| async move { Some((stream.next().await?, stream)) });
    let told = Sse::new(heard.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // A proxy that gathers an answer before it passes it on would hold it for ever. No other request follows on the
    // connection: it would have no more time than the stream when the daemon ends.
    let headers = [(HeaderName::from_static("x-accel-buffering"), "no"), (header::CONNECTION, "close")];
    Ok((headers, told).into_response())
}

/// What somebody wants to hear, and may.
struct Wanted {
    filter: AttemptFilter,
    identity: Identity,
}

impl Wanted {
    fn is_met(&self, attempt: &SeenAttempt) -> bool {
        self.identity.may_see(&attempt.affiliate) && self.filter.matches(attempt)
    }

    /// How many attempts there are is not for those who may see some of them only.
    fn may_count(&self) -> bool {
        self.identity.affiliates.is_none()
    }
}

impl From<StreamQuery> for AttemptFilter {
    fn from(query: StreamQuery) -> Self {
        Self {
            affiliate: query.affiliate,
            postback: query.postback,
            kind: query.kind,
            transaction: query.transaction,
            click: query.click,
            outcome: query.outcome,
            http_status: query.http_status,
            state: query.state,
            reason: query.reason,
        }
    }
}

struct Stream {
    listener: Listener,
    wanted: Wanted,
    /// Attempts that went by unsaid.
    unsaid: usize,
    /// Whether the listener's place was said behind all that was kept.
    caught_up: bool,
    stop: CancellationToken,
    settings: watch::Receiver<Arc<Settings>>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if !self.caught_up
                && let Some(place) = self.listener.reached()
            {
                self.caught_up = true;
                return Some(Event::default().id(place.to_string()));
            }
            let heard = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                _ = self.settings.changed() => return None,
                heard = self.listener.next() => heard?,
            };
            match heard {
                Heard::Missed(count) => {
                    let count = count.filter(|_| self.wanted.may_count());
                    return Some(Event::default().event("missed").data(json!({ "missed": count }).to_string()));
                }
                Heard::Attempt(told) if self.wanted.is_met(&told.attempt) => {
                    self.unsaid = 0;
                    let event = Event::default().id(told.place.to_string()).event("attempt");
                    return event.json_data(&told.attempt).ok();
                }
                Heard::Attempt(told) => {
                    self.unsaid += 1;
                    if self.unsaid >= UNSAID && self.wanted.may_count() {
                        self.unsaid = 0;
                        return Some(Event::default().id(told.place.to_string()));
                    }
                }
            }
        }
    }
}
