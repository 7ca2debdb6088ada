//! A backup of the store, as a stream of bytes.

use std::io;

use axum::body::Body;
use axum::extract::{Extension, State as Extract};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use super::auth::Identity;
use super::listen::Endless;
use super::openapi::BackingUp;
use super::problem::{Kind, Problem};
use super::server::State;
use crate::config::Scope;
use crate::outbox::{OutboxError, TakeError};

/// Parts of a backup that may wait for whoever reads it.
const PARTS_WAITING: usize = 16;
/// Seconds after which who finds another backup under way is told to come back.
const RETRY_AFTER: u64 = 60;

/// A backup of the store, taken while it is in use
///
/// It is the store as it stands at the end of the backup. What is not whole is of no use, and is not put back: `postbackd
/// outbox backup` looks at it as it comes. One is taken at a time.
#[utoipa::path(get, path = "/v1/outbox/backup", operation_id = "backUp", tag = "daemon",
    security(("bearer" = ["configure", "read"])), extensions(("x-affiliates" = json!("all"))),
    responses((status = 200, description = "The backup", body = String, content_type = "application/octet-stream"), BackingUp))]
pub(super) async fn take(
    Extract(state): Extract<State>,
    identity: Identity,
    endless: Option<Extension<Endless>>,
) -> Result<Response, Problem> {
    // It tells everything that reads tell, and more than one affiliate's.
    identity.require(Scope::Configure)?;
    identity.require(Scope::Read)?;
    identity.require_all_affiliates()?;
    let (parts, mut taken) = mpsc::channel::<Result<Bytes, TakeError>>(PARTS_WAITING);
    let (outbox, clock, by) = (state.outbox.clone(), state.clock.clone(), identity.name);
    let stop = state.streams.stop().clone();
    tokio::task::spawn_blocking(move || {
        let mut sink = |part: Vec<u8>| !stop.is_cancelled() && parts.blocking_send(Ok(part.into())).is_ok();
        match outbox.back_up(&clock, &mut sink) {
            Ok(taken) => {
                let (pairs, writes, bytes) = (taken.pairs, taken.writes, taken.bytes);
                tracing::info!(pairs, writes, bytes, by, "backup.taken");
            }
            Err(error) => {
                tracing::warn!(%error, by, "backup.failed");
                let _ = parts.blocking_send(Err(error));
            }
        }
    });
    // A backup that cannot be begun is refused; one that breaks off breaks the connection off, too.
    let first = match taken.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(error.into()),
        None => return Err(OutboxError::Stopped("the backup has ended; why is in the log".into()).into()),
    };
    if let Some(Extension(endless)) = endless {
        endless.note();
    }
    let rest = stream::unfold(taken, |mut taken| async move { Some((taken.recv().await?, taken)) });
    let parts = stream::StreamExt::chain(stream::once(async { Ok(first) }), rest);
    let body = Body::from_stream(stream::TryStreamExt::map_err(parts, io::Error::other));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (header::CONNECTION, "close"),
    ];
    Ok((headers, body).into_response())
}

impl From<TakeError> for Problem {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Outbox(error) => error.into(),
            TakeError::Busy => Self::new(Kind::BackupUnderWay, error.to_string()).after(RETRY_AFTER),
            TakeError::TooSlow | TakeError::Gone => OutboxError::Stopped(error.to_string()).into(),
        }
    }
}
