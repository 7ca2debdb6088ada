//! The kinds of hostile receivers behind https: handshakes that go wrong, and broken HTTP/2 behind good ones.

use std::time::Duration;

use super::conduct::{Kind, Step};
use super::kinds::{LATE, LOST, raw, resetting, say};
use crate::harness::Front;

use Step::{Drip, Finish, Flood, Hang, Hear};

/// All kinds of https.
pub(super) fn all() -> Vec<Kind> {
    [handshakes(), certificates(), behind_tls(), http2()].concat()
}

/// A kind that answers the beginning of a handshake with these.
fn handshake(name: &'static str, steps: impl IntoIterator<Item = Step>, says: &'static str) -> Kind {
    Kind { secure: true, ..raw(name, std::iter::once(Hear).chain(steps), "retry", says) }
}

fn handshakes() -> Vec<Kind> {
    let tls = "TLS handshake";
    // A record of a handshake, of the longest length that a record may have.
    let record = b"\x16\x03\x03\x40\x00";
    let long = [&record[..], b"\x02\xff\xff\xff", &vec![0; 0x4000 - 4]].concat();
    vec![
        handshake("tls-silent", [Hang], "no connection within 1s"),
        handshake("tls-drip", [say(record), Drip(b"\0".to_vec())], "no connection within 1s"),
        handshake("tls-junk", [say(b"\x80\x81\x82\x83 no TLS\r\n\r\n"), Hang], tls),
        handshake("tls-answered-in-clear", [say("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), Hang], tls),
        handshake("tls-flood", [Flood(vec![0x16; 16 * 1_024])], tls),
        handshake("tls-endless-message", [say(&long), Flood([&record[..], &vec![0; 0x4000]].concat())], tls),
        handshake("tls-empty-records", [Flood(b"\x16\x03\x03\0\0".repeat(1_000))], tls),
        handshake("tls-endless-warnings", [Flood(b"\x15\x03\x03\0\x02\x01\x5a".repeat(1_000))], tls),
        handshake("tls-alert", [say(b"\x15\x03\x03\0\x02\x02\x28"), Hang], tls),
        handshake("tls-closes", [], tls),
        handshake("tls-finishes", [Finish, Hang], tls),
        resetting(handshake("tls-resets", [], tls)),
    ]
}

fn certificates() -> Vec<Kind> {
    let bad = |name, front, says| Kind {
        secure: true,
        front: Some(front),
        ..raw(name, [Hear, say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), Hang], "retry", says)
    };
    vec![
        bad("certificate-expired", Front::Expired, "expired"),
        bad("certificate-of-another", Front::OtherName, "not valid for name"),
        bad("certificate-of-nobody", Front::SelfSigned, "UnknownIssuer"),
    ]
}

/// A kind behind a good handshake.
fn sealed(front: Front, kind: Kind) -> Kind {
    Kind { secure: true, front: Some(front), ..kind }
}

fn behind_tls() -> Vec<Kind> {
    let kind = |name, steps: Vec<Step>, says| sealed(Front::Trusted, raw(name, steps, "ambiguous", says));
    vec![
        kind("tls-then-silent", vec![Hear, Hang], LATE),
        kind("tls-then-closes", vec![], LOST),
        resetting(kind("tls-then-resets", vec![Hear], LOST)),
        kind("tls-then-junk", vec![Hear, say(b"\x80\x81 no HTTP\r\n\r\n"), Hang], LOST),
        kind("tls-then-drip", vec![Hear, Drip(b"HTTP/1.1 200 an endless reason".to_vec())], LATE),
    ]
}

/// A frame of HTTP/2 (RFC 9113).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` (RFC 7541).
const STATUS_200: u8 = 0x88;

/// A kind of HTTP/2 that says hello before its steps.
fn greeting(name: &'static str, steps: Vec<Step>, outcome: &'static str, says: &'static str) -> Kind {
    let hello = vec![Hear, say(frame(SETTINGS, 0, 0, &[])), say(frame(SETTINGS, 1, 0, &[]))];
    sealed(Front::Http2, raw(name, [hello, steps].concat(), outcome, says))
}

/// Lets the request come, where it comes behind what was heard: an answer before it would be a fault of another kind.
fn asked() -> Step {
    Step::Pause(Duration::from_millis(200))
}

/// Answers the first request of each connection, and then nothing: neither requests nor whether it is alive.
pub(super) fn falls_silent() -> Kind {
    let ok = say(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[STATUS_200]));
    greeting("h2-falls-silent", vec![asked(), ok, Hang], "delivered", "2xx")
}

fn http2() -> Vec<Kind> {
    let kind = greeting;
    let ok = || say(frame(HEADERS, END_HEADERS, 1, &[STATUS_200]));
    // A field of 4,000 bytes that enters the table, and what refers to it ten thousand times.
    let bomb = [&[STATUS_200, 0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4_000], &[0xbe; 10_000]].concat();
    let filler = vec![b'x'; 16_384];
    vec![
        sealed(Front::Http2, raw("h2-silent", [Hear, Hang], "ambiguous", LATE)),
        sealed(
            Front::Http2,
            raw("h2-answered-as-http1", [Hear, say("HTTP/1.1 200 OK\r\n\r\n"), Hang], "ambiguous", LOST),
        ),
        kind("h2-never-answers", vec![Hang], "ambiguous", LATE),
        kind("h2-closes", vec![], "ambiguous", LOST),
        kind("h2-goes-away", vec![say(frame(GOAWAY, 0, 0, &[0; 8])), Hang], "ambiguous", LOST),
        kind("h2-refuses-stream", vec![say(frame(RESET, 0, 1, &[0, 0, 0, 7])), Hang], "ambiguous", LOST),
        kind(
            "h2-resets-after-headers",
            vec![asked(), ok(), say(frame(RESET, 0, 1, &[0, 0, 0, 2])), Hang],
            "ambiguous",
            LOST,
        ),
        kind("h2-ping-flood", vec![Flood(frame(PING, 0, 0, &[7; 8]).repeat(500))], "ambiguous", "default"),
        kind(
            "h2-settings-flood",
            vec![Flood(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(500))],
            "ambiguous",
            "default",
        ),
        kind("h2-window-flood", vec![Flood(frame(WINDOW, 0, 1, &[0, 0, 0, 1]).repeat(500))], "ambiguous", "default"),
        kind("h2-reset-flood", vec![Flood(frame(RESET, 0, 3, &[0, 0, 0, 8]).repeat(500))], "ambiguous", LOST),
        kind(
            "h2-empty-data-flood",
            vec![asked(), ok(), Flood(frame(DATA, 0, 1, &[]).repeat(500))],
            "ambiguous",
            "default",
        ),
        kind(
            "h2-continuation-flood",
            vec![say(frame(HEADERS, 0, 1, &[STATUS_200])), Flood(frame(CONTINUATION, 0, 1, &[0x82; 1_000]).repeat(20))],
            "ambiguous",
            LOST,
        ),
        kind("h2-header-bomb", vec![say(frame(HEADERS, END_HEADERS, 1, &bomb)), Hang], "ambiguous", LOST),
        kind("h2-frame-too-long", vec![say(b"\xff\xff\xff\0\0\0\0\0\x01"), Flood(filler.clone())], "ambiguous", LOST),
        kind("h2-push", vec![say(frame(PUSH, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])), Hang], "ambiguous", LOST),
        kind("h2-drips-data", vec![asked(), ok(), Drip(frame(DATA, 0, 1, b"x"))], "ambiguous", "default"),
        kind("h2-endless-data", vec![asked(), ok(), Flood(frame(DATA, 0, 1, &filler))], "retry|ambiguous", "default"),
    ]
}
