//! The stream of attempts, as server-sent events.
//!
//! A stream ends when the daemon does, and when the configuration changes: whoever listens comes back, says where he
//! was by `Last-Event-ID`, and is asked again who he is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State as Extract};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::auth::Identity;
use super::listen::Endless;
use super::openapi::Streaming;
use super::places::{Place, Places};
use super::problem::{Kind, Problem};
use super::query::Asked;
use super::server::State;
use crate::config::{Scope, Settings};
use crate::dispatch::{AttemptFilter, Begin, Feed, Heard, KEPT, KEPT_OWN, Listener, SeenAttempt};
use crate::domain::delivery::StateKind;
use crate::domain::id::{AffiliateId, ClickId, EventType, PostbackName, TransactionId};
use crate::domain::outcome::Outcome;

/// How often a stream on which nothing happens says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Seconds after which who found all places taken is told to come back.
const RETRY_AFTER: u64 = 10;
/// Of the attempts that are kept for a listener, one part of so many may go by unsaid before his place is said alone:
/// else it would be forgotten here while he waits.
const UNSAID: usize = 4;

/// The feed of attempts with the places for those who listen. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    feed: Arc<Feed>,
    places: Places,
    stop: CancellationToken,
}

impl Streams {
    /// Streams of a feed, until they are told to stop.
    pub fn new(feed: Arc<Feed>, stop: CancellationToken) -> Self {
        Self { feed, places: Places::default(), stop }
    }

    /// Ends them.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn place(&self, identity: &Identity) -> Result<Place, Problem> {
        self.places.take(identity).map_err(|taken| {
            Problem::new(Kind::TooManyStreams, format!("{:?} {taken}", identity.name)).after(RETRY_AFTER)
        })
    }
}

/// A stream's query.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// The affiliate that is told.
    #[param(value_type = Option<AffiliateId>, nullable = false)]
    affiliate: Option<String>,
    /// Its postback.
    #[param(value_type = Option<PostbackName>, nullable = false)]
    postback: Option<String>,
    /// The event's type.
    #[serde(rename = "type")]
    #[param(value_type = Option<EventType>, nullable = false)]
    kind: Option<String>,
    /// The event's transaction.
    #[param(value_type = Option<TransactionId>, nullable = false)]
    transaction: Option<String>,
    /// The event's click.
    #[param(value_type = Option<ClickId>, nullable = false)]
    click: Option<String>,
    /// What the attempt came to.
    #[param(value_type = Option<Outcome>, nullable = false)]
    outcome: Option<Outcome>,
    /// The response's status code.
    #[param(nullable = false, maximum = 65535)]
    http_status: Option<u16>,
    /// How the delivery stands behind it.
    #[param(value_type = Option<StateKind>, nullable = false)]
    state: Option<StateKind>,
    /// Why it stands there.
    #[param(nullable = false)]
    reason: Option<String>,
    /// Begins with so many of the attempts that were made before.
    #[param(value_type = Option<u32>, nullable = false, maximum = 4_294_967_295_u32, format = "uint32")]
    last: Option<u32>,
    #[param(ignore)]
    text: Option<String>,
}

/// Attempts as they are made, as server-sent events
///
/// An event `attempt` has an attempt in short as its data; `missed` says how many went by too fast to be told. The
/// stream ends with the daemon and when the configuration changes; `Last-Event-ID` goes on where it ended.
#[utoipa::path(get, path = "/v1/attempts/stream", operation_id = "streamAttempts", tag = "attempts",
    security(("bearer" = ["read"])), extensions(("x-affiliates" = json!("own"))),
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The last id that was heard")),
    responses((status = 200, description = "The stream: `data` of each `attempt`", body = SeenAttempt, content_type = "text/event-stream"), Streaming))]
pub(super) async fn attempts(
    Extract(state): Extract<State>,
    identity: Identity,
    endless: Option<Extension<Endless>>,
    headers: HeaderMap,
    query: Asked<StreamQuery>,
) -> Result<Response, Problem> {
    identity.require(Scope::Read)?;
    let query = query.read()?;
    if query.text.is_some() {
        let detail = "the stream carries no responses, so that text in them cannot be looked for; list deliveries with \
                      text instead";
        return Err(Problem::malformed(detail));
    }
    if let Some(affiliate) = &query.affiliate {
        identity.require_affiliate(affiliate)?;
    }
    let place = state.streams.place(&identity)?;
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let from = match (resumed, query.last) {
        (Some(place), _) => Begin::Behind(place),
        (None, Some(_)) => Begin::Kept,
        (None, None) => Begin::Now,
    };
    let last = query.last.filter(|_| resumed.is_none());
    let last = last.map_or(KEPT, |last| usize::try_from(last).unwrap_or(usize::MAX));
    let mut listener = state.streams.feed.listen(from, identity.affiliates.as_ref());
    let wanted = Wanted { filter: query.into(), identity };
    listener.keep_last(last, |attempt| wanted.is_met(attempt));
    if let Some(Extension(endless)) = endless {
        endless.note();
    }
    let (stop, mut settings) = (state.streams.stop.clone(), state.settings.clone());
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
        self.is_seen(attempt) && self.filter.matches(attempt)
    }

    fn is_seen(&self, attempt: &SeenAttempt) -> bool {
        self.identity.may_see(&attempt.affiliate)
    }

    /// Attempts of those that he may see that can go by unsaid.
    fn unsaid(&self) -> usize {
        (if self.may_count() { KEPT } else { KEPT_OWN }) / UNSAID
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
    /// Attempts that the listener may see and that went by unsaid.
    unsaid: usize,
    /// Whether the listener's place was said behind all that was kept.
    caught_up: bool,
    stop: CancellationToken,
    settings: watch::Receiver<Arc<Settings>>,
    _place: Place,
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
                Heard::Attempt(told) => {
                    let attempt = told.attempt();
                    if self.wanted.is_met(attempt) {
                        self.unsaid = 0;
                        let event = Event::default().id(told.place.to_string()).event("attempt");
                        return event.json_data(attempt).ok();
                    }
                    // What others are told says nothing, not even by when a place is said.
                    self.unsaid += usize::from(self.wanted.is_seen(attempt));
                    if self.unsaid >= self.wanted.unsaid() {
                        self.unsaid = 0;
                        return Some(Event::default().id(told.place.to_string()));
                    }
                }
            }
        }
    }
}
