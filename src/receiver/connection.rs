//! Serves one connection: read, count, choose, answer, until either side has enough.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::answer::{Act, Answer, Body, Response};
use super::control;
use super::ledger::{Arrival, BODY_DETAIL, Seen, Total};
use super::play::{self, Exchange, Next};
use super::shared::{Shared, State};
use super::wire::{ReadError, Request, Wire};

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection could not be set to send at once");
    }
    let mut wire = Wire::new(stream);
    let next = loop {
        let (received, sent) = (wire.received, wire.sent);
        match wire.request().await {
            Ok(Some(request)) => {
                let next = answer(&mut wire, &shared, &request, (received, sent)).await;
                if next != Next::KeepAlive {
                    break next;
                }
            }
            Ok(None) | Err(ReadError::Broken(_)) => break Next::Close,
            Err(ReadError::Refused { status, reason }) => {
                shared.state().ledger.add(Total::Malformed, 1);
                refuse(wire, status, reason).await;
                shared.signal();
                return;
            }
        }
    };
    if next == Next::Reset
        && let Err(error) = wire.reset()
    {
        tracing::debug!(%error, "a connection could not be reset");
    }
}

async fn refuse(mut wire: Wire, status: u16, reason: &str) {
    let refusal = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{reason}",
        reason.len()
    );
    if wire.write(refusal.as_bytes()).await.is_ok() {
        wire.farewell().await;
    }
}

async fn answer(wire: &mut Wire, shared: &Shared, request: &Request, before: (u64, u64)) -> Next {
    if control::concerns(request) {
        let reply = control::reply(shared, request);
        shared.signal();
        return match wire.write(&reply.into_bytes(request.keep_alive)).await {
            Ok(()) if request.keep_alive => Next::KeepAlive,
            Ok(()) | Err(_) => Next::Close,
        };
    }
    let state = shared.state();
    let arrival = state.ledger.arrive(shared.key.of(request));
    state.ledger.add(Total::BytesIn, wire.received.saturating_sub(before.0));
    let answer = choose(shared, &state, request, &arrival);
    record(shared, &state, request, &arrival, &answer);
    play::announce(&state.ledger, &answer);
    shared.signal();
    let is_head = request.method() == "HEAD";
    let exchange = Exchange { ledger: &state.ledger, arrival: &arrival, is_head, keep_alive: request.keep_alive };
    let played = play::play(wire, &answer, &exchange).await;
    state.ledger.add(Total::BytesOut, wire.sent.saturating_sub(before.1));
    shared.signal();
    played.unwrap_or(Next::Close)
}

fn choose<'s>(shared: &Shared, state: &'s State, request: &Request, arrival: &Arrival) -> Cow<'s, Answer> {
    let fault = shared.verify.as_ref().and_then(|verify| verify.check(request).err());
    let Some(fault) = fault else {
        return Cow::Borrowed(state.playbook.choose(request, arrival.hash, arrival.nth));
    };
    state.ledger.add(Total::SignatureFailures, 1);
    let response = Response { body: Body::Text(fault.to_string()), ..Response::status(401) };
    Cow::Owned(Answer { act: Act::Respond(response), ..Answer::status(401) })
}

/// Keeps the request in full and shows it to whoever watches, where either is wanted.
fn record(shared: &Shared, state: &State, request: &Request, arrival: &Arrival, answer: &Answer) {
    let kept = state.ledger.wants_detail(arrival.sequence);
    let watched = shared.watchers.receiver_count() > 0;
    if !kept && !watched {
        return;
    }
    let body = request.body.get(..BODY_DETAIL).unwrap_or(&request.body);
    let seen = Seen {
        sequence: arrival.sequence,
        offset: arrival.offset,
        key: arrival.key.clone(),
        method: request.method().to_owned(),
        path_and_query: request.target().to_owned(),
        headers: request.fields().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: Bytes::copy_from_slice(body),
        body_length: request.body.len() as u64,
        answer: answer.to_string(),
    };
    if watched {
        // Fails only when the last watcher has just gone.
        drop(shared.watchers.send(seen.clone()));
    }
    if kept {
        state.ledger.keep(seen);
    }
}
