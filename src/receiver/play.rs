//! Acts a scripted answer out on a connection, properly or as badly as asked.
//!
//! Refuses to know why an answer was chosen.

use std::io;

use axum::http::StatusCode;

use super::answer::{Act, Answer, Body, Response};
use super::ledger::{Arrival, Ledger, Total};
use super::wire::Wire;

/// Filler and endless bodies are written in pieces of this size.
const PIECE: usize = 64 * 1024;
/// What `half` announces beyond what it sends.
const HALF_MISSING: u64 = 1_000;
/// Informational responses written at once.
const FLOOD_PIECE: u32 = 500;
const INFORMATIONAL: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
const JUNK: &[u8] = b"\x00\x01\x02 this is not HTTP \xff\xfe\r\n\r\n";
static FILLER: [u8; PIECE] = [b'x'; PIECE];

/// What becomes of the connection behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may follow.
    KeepAlive,
    /// It is closed in an orderly way.
    Close,
    /// It is reset.
    Reset,
}

/// The request that is being answered.
#[derive(Debug)]
pub(super) struct Exchange<'r> {
    pub(super) ledger: &'r Ledger,
    pub(super) arrival: &'r Arrival,
    /// Whether the request was a HEAD, whose response has no body.
    pub(super) is_head: bool,
    pub(super) keep_alive: bool,
}

/// Counts what an answer does wrong on purpose; before it is acted out, so that nobody waits in vain.
pub(super) fn announce(ledger: &Ledger, answer: &Answer) {
    let total = match &answer.act {
        Act::Respond(_) => return,
        Act::Hang => Total::Hung,
        Act::Reset | Act::ResetAfterHeaders(_) => Total::Reset,
        Act::Close => Total::Closed,
        Act::Half(_) | Act::Junk | Act::Endless(_) | Act::HeadersFlood(_) => Total::Broken,
    };
    ledger.add(total, 1);
}

/// Does what the answer says.
///
/// # Errors
/// When the peer left before the end.
pub(super) async fn play(wire: &mut Wire, answer: &Answer, exchange: &Exchange<'_>) -> io::Result<Next> {
    if !answer.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(answer.delay) => {}
            () = wire.peer_gone() => {
                if matches!(answer.act, Act::Respond(_)) {
                    exchange.ledger.add(Total::CutShort, 1);
                }
                return Ok(Next::Close);
            }
        }
    }
    match &answer.act {
        Act::Respond(response) => respond(wire, response, exchange).await,
        Act::Hang => {
            wire.peer_gone().await;
            Ok(Next::Close)
        }
        Act::Reset => Ok(Next::Reset),
        Act::Close => Ok(Next::Close),
        Act::Junk => {
            wire.write(JUNK).await?;
            Ok(Next::Close)
        }
        Act::ResetAfterHeaders(response) => {
            let length = body_length(response).max(1);
            wire.write(&head(response, Some(length), false)).await?;
            Ok(Next::Reset)
        }
        Act::Half(response) => half(wire, response).await,
        Act::Endless(response) => endless(wire, response).await,
        Act::HeadersFlood(response) => headers_flood(wire, response).await,
    }
}

async fn respond(wire: &mut Wire, response: &Response, exchange: &Exchange<'_>) -> io::Result<Next> {
    let closes = response.closes() || !exchange.keep_alive;
    let written = write_response(wire, response, exchange, closes).await;
    if let Err(early) = written {
        // A failure of the last write has already taken the count back.
        if let Failure::Early(_) = early {
            exchange.ledger.add(Total::CutShort, 1);
        }
        return Err(early.into());
    }
    Ok(if closes { Next::Close } else { Next::KeepAlive })
}

/// Where the writing of a response failed.
enum Failure {
    /// Before its last bytes.
    Early(io::Error),
    /// At its last bytes.
    Last(io::Error),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Early(error) | Failure::Last(error) => error,
        }
    }
}

async fn write_response(
    wire: &mut Wire,
    response: &Response,
    exchange: &Exchange<'_>,
    closes: bool,
) -> Result<(), Failure> {
    let mut informational = response.informational;
    while informational > 0 {
        let now = informational.min(FLOOD_PIECE);
        wire.write(&INFORMATIONAL.repeat(now as usize)).await.map_err(Failure::Early)?;
        informational -= now;
    }
    let bodiless = matches!(response.status, 204 | 304);
    let mut bytes = head(response, (!bodiless).then(|| body_length(response)), closes);
    let sends_body = !bodiless && !exchange.is_head;
    let mut filler = 0;
    match &response.body {
        _ if !sends_body => {}
        Body::Filler(length) => filler = *length,
        Body::Usual | Body::Text(_) => bytes.extend_from_slice(text(response).as_bytes()),
    }
    if let Some(pause) = response.drip {
        let last = bytes.len().saturating_sub(usize::from(filler == 0));
        for byte in bytes.drain(..last) {
            wire.write(&[byte]).await.map_err(Failure::Early)?;
            tokio::time::sleep(pause).await;
        }
        while filler > 1 {
            wire.write(b"x").await.map_err(Failure::Early)?;
            tokio::time::sleep(pause).await;
            filler -= 1;
        }
    }
    while filler > 0 {
        if !bytes.is_empty() {
            wire.write(&bytes).await.map_err(Failure::Early)?;
        }
        let now = usize::try_from(filler).unwrap_or(PIECE).min(PIECE);
        bytes.clear();
        bytes.extend_from_slice(FILLER.get(..now).unwrap_or_default());
        filler -= now as u64;
    }
    exchange.ledger.complete(exchange.arrival, response.status);
    let written = wire.write(&bytes).await;
    if written.is_err() {
        exchange.ledger.retract(exchange.arrival, response.status);
    }
    written.map_err(Failure::Last)
}

async fn half(wire: &mut Wire, response: &Response) -> io::Result<Next> {
    let announced = body_length(response).saturating_add(HALF_MISSING);
    wire.write(&head(response, Some(announced), false)).await?;
    match &response.body {
        Body::Usual | Body::Text(_) => wire.write(text(response).as_bytes()).await?,
        Body::Filler(length) => {
            let mut left = *length;
            while left > 0 {
                let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                wire.write(FILLER.get(..now).unwrap_or_default()).await?;
                left -= now as u64;
            }
        }
    }
    Ok(Next::Close)
}

async fn endless(wire: &mut Wire, response: &Response) -> io::Result<Next> {
    let mut start = head(response, None, false);
    start.truncate(start.len().saturating_sub(2));
    start.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    wire.write(&start).await?;
    let mut chunk = format!("{PIECE:x}\r\n").into_bytes();
    chunk.extend_from_slice(&FILLER);
    chunk.extend_from_slice(b"\r\n");
    loop {
        wire.write(&chunk).await?;
    }
}

async fn headers_flood(wire: &mut Wire, response: &Response) -> io::Result<Next> {
    let mut start = head(response, None, false);
    start.truncate(start.len().saturating_sub(2));
    wire.write(&start).await?;
    let mut number = 0_u64;
    loop {
        let mut piece = String::with_capacity(PIECE);
        while piece.len() < PIECE - 64 {
            piece.push_str("x-flood-");
            piece.push_str(&number.to_string());
            piece.push_str(": xxxxxxxxxxxxxxxx\r\n");
            number += 1;
        }
        wire.write(piece.as_bytes()).await?;
    }
}

/// The text of a body that is no filler.
fn text(response: &Response) -> &str {
    match &response.body {
        Body::Usual if response.is_success() => "OK",
        Body::Usual => reason(response.status),
        Body::Text(text) => text,
        Body::Filler(_) => "",
    }
}

fn body_length(response: &Response) -> u64 {
    match &response.body {
        Body::Filler(length) => *length,
        Body::Usual | Body::Text(_) => text(response).len() as u64,
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Scripted")
}

/// The status line and header section with its empty line.
fn head(response: &Response, length: Option<u64>, closes: bool) -> Vec<u8> {
    let mut head = String::with_capacity(256);
    head.push_str("HTTP/1.1 ");
    head.push_str(&response.status.to_string());
    head.push(' ');
    head.push_str(reason(response.status));
    head.push_str("\r\n");
    let has = |wanted: &str| response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let mut field = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    };
    for (name, value) in &response.headers {
        field(name, value);
    }
    if !has("content-type") {
        field("content-type", "text/plain");
    }
    if let Some(length) = length.filter(|_| !has("content-length")) {
        field("content-length", &length.to_string());
    }
    if closes && !has("connection") {
        field("connection", "close");
    }
    head.push_str("\r\n");
    head.into_bytes()
}
