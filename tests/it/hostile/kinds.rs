//! The kinds of hostile receivers that speak plain TCP: connections, broken HTTP/1.1, answers without end.

use std::time::Duration;

use super::conduct::{Kind, Port, Step};

use Step::{Drip, Finish, Flood, Hang, Hear, Pause};

/// What a lost answer is called.
pub(super) const LOST: &str = "no answer after bytes were sent";
/// What an attempt says that its deadline ended.
pub(super) const LATE: &str = "no whole answer within 2s";

/// What an attempt says that was ended by how much came.
const MUCH: &str = "bytes came without an end of the answer";

pub(super) fn say(text: impl AsRef<[u8]>) -> Step {
    Step::Say(text.as_ref().to_vec())
}

/// A kind that hears a request, then does these.
fn heard(name: &'static str, steps: impl IntoIterator<Item = Step>, outcome: &'static str, says: &'static str) -> Kind {
    raw(name, std::iter::once(Hear).chain(steps), outcome, says)
}

/// A kind that does these from the beginning.
pub(super) fn raw(
    name: &'static str,
    steps: impl IntoIterator<Item = Step>,
    outcome: &'static str,
    says: &'static str,
) -> Kind {
    let steps = steps.into_iter().collect();
    Kind { name, port: Port::Open, secure: false, front: None, steps, resets: false, outcome, says }
}

pub(super) fn resetting(kind: Kind) -> Kind {
    Kind { resets: true, ..kind }
}

/// An answer that stands whole, after which the connection is closed.
fn whole(name: &'static str, answer: impl AsRef<[u8]>, outcome: &'static str, says: &'static str) -> Kind {
    heard(name, [say(answer), Finish, Hang], outcome, says)
}

/// All kinds of plain TCP.
pub(super) fn all() -> Vec<Kind> {
    [connections(), broken(), slow(), endless(), wrong(), odd()].concat()
}

/// Ports and connections that come to nothing.
fn connections() -> Vec<Kind> {
    let nothing = "nothing sent";
    vec![
        Kind { port: Port::Closed, ..raw("refuses", [], "unreachable", nothing) },
        Kind { port: Port::Full, ..raw("never-accepts", [], "unreachable", "no connection within 1s") },
        raw("accepts-late", [Pause(Duration::from_millis(700)), Hear, say(OK), Hang], "delivered", "2xx"),
        raw("closes-at-once", [], "ambiguous", LOST),
        resetting(raw("resets-at-once", [], "ambiguous|unreachable", "default")),
        heard("closes-when-asked", [], "ambiguous", LOST),
        resetting(heard("resets-when-asked", [], "ambiguous", LOST)),
        heard("finishes-when-asked", [Finish, Hang], "ambiguous", LOST),
        raw("finishes-at-once", [Finish, Hang], "ambiguous", LOST),
    ]
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";

/// Answers that break off at every stage.
fn broken() -> Vec<Kind> {
    vec![
        resetting(heard("resets-in-status", [say("HTTP/1.1 2")], "ambiguous", LOST)),
        resetting(heard("resets-in-headers", [say("HTTP/1.1 200 OK\r\nx-a: ")], "ambiguous", LOST)),
        resetting(heard(
            "resets-after-headers",
            [say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")],
            "ambiguous",
            LOST,
        )),
        resetting(heard("resets-in-body", [say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nso")], "ambiguous", LOST)),
        resetting(heard(
            "resets-in-chunk",
            [say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nso")],
            "ambiguous",
            LOST,
        )),
        whole("closes-in-status", "HTTP/1.1 2", "ambiguous", LOST),
        whole("closes-in-headers", "HTTP/1.1 200 OK\r\nx-a: 1\r\n", "ambiguous", LOST),
        whole("length-too-long", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nOK", "ambiguous", LOST),
        whole(
            "chunks-without-end",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nOK\r\n",
            "ambiguous",
            LOST,
        ),
    ]
}

/// Answers that take their time.
fn slow() -> Vec<Kind> {
    vec![
        heard("silent", [Hang], "ambiguous", LATE),
        heard("drips-status", [Drip(b"HTTP/1.1 200 an endless reason".to_vec())], "ambiguous", LATE),
        heard("drips-headers", [say("HTTP/1.1 200 OK\r\n"), Drip(b"x-a: 1\r\n".to_vec())], "ambiguous", LATE),
        heard(
            "drips-body",
            [say("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"), Drip(b"x".to_vec())],
            "ambiguous",
            LATE,
        ),
        heard(
            "drips-chunks",
            [say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Drip(b"1\r\nx\r\n".to_vec())],
            "ambiguous",
            LATE,
        ),
        heard("drips-1xx", [Drip(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec())], "ambiguous", LATE),
    ]
}

/// Answers without end, which come as fast as they are taken.
fn endless() -> Vec<Kind> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let filler = vec![b'x'; 16 * 1_024];
    let chunk = [b"4000\r\n", &filler[..], b"\r\n"].concat();
    let fields = "x-filler: 0123456789abcdef\r\n".repeat(500).into_bytes();
    let early_hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n".repeat(200).into_bytes();
    let over = "body over the cap";
    vec![
        heard("1xx-flood", [Flood(early_hints)], "ambiguous", MUCH),
        heard("endless-reason", [say("HTTP/1.1 200 "), Flood(filler.clone())], "ambiguous", LOST),
        heard("endless-field", [say("HTTP/1.1 200 OK\r\nx-a: "), Flood(filler.clone())], "ambiguous", LOST),
        heard("endless-headers", [say("HTTP/1.1 200 OK\r\n"), Flood(fields.clone())], "ambiguous", LOST),
        heard("endless-1xx-headers", [say("HTTP/1.1 103 Early Hints\r\n"), Flood(fields.clone())], "ambiguous", LOST),
        heard("endless-body", [say("HTTP/1.1 200 OK\r\n\r\n"), Flood(filler.clone())], "retry", over),
        heard("endless-chunks", [say(chunked), Flood(chunk)], "retry", over),
        heard("endless-chunk-extension", [say(format!("{chunked}1;a=")), Flood(filler.clone())], "ambiguous", LOST),
        heard("endless-chunk-size", [say(chunked), Flood(b"0".repeat(16 * 1_024))], "ambiguous", MUCH),
        heard("endless-trailers", [say(format!("{chunked}0\r\n")), Flood(fields)], "ambiguous", LOST),
        heard("endless-junk", [Flood(b"\0\xff\x16\x03\r\r\x80".repeat(2_000))], "ambiguous", LOST),
        heard("endless-blank-lines", [Flood(b"\r\n".repeat(4_000))], "ambiguous", "default"),
    ]
}

/// Answers that contradict themselves or HTTP.
fn wrong() -> Vec<Kind> {
    let answer = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}");
    vec![
        whole("junk", b"\x80\x81\0\0 no HTTP at all\r\n\r\n", "ambiguous", LOST),
        whole("http-0.9", "OK", "ambiguous", LOST),
        whole("http-9", "HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n", "ambiguous", LOST),
        whole("http2-in-clear", b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\0\0\0\0", "ambiguous", LOST),
        whole("tls-in-clear", b"\x15\x03\x03\0\x02\x02\x28", "ambiguous", LOST),
        whole("ssh", "SSH-2.0-OpenSSH_9.9\r\n", "ambiguous", LOST),
        whole("status-of-two-digits", "HTTP/1.1 20 OK\r\n\r\n", "ambiguous", LOST),
        whole("status-0", "HTTP/1.1 000 None\r\ncontent-length: 0\r\n\r\n", "ambiguous", LOST),
        whole("two-lengths", answer("content-length: 2\r\ncontent-length: 3", "OK!"), "ambiguous", LOST),
        whole("negative-length", answer("content-length: -2", "OK"), "ambiguous", LOST),
        whole("length-beyond-64-bits", answer("content-length: 99999999999999999999", "OK"), "ambiguous", LOST),
        whole("bad-chunk-size", answer("transfer-encoding: chunked", "zz\r\nOK\r\n0\r\n\r\n"), "ambiguous", LOST),
        whole("huge-chunk-size", answer("transfer-encoding: chunked", "ffffffffffffffff0\r\nOK"), "ambiguous", LOST),
        whole("chunk-without-line-end", answer("transfer-encoding: chunked", "2\r\nOKAY\r\n"), "ambiguous", LOST),
        whole("zero-byte-in-header", answer("x-a: a\0b\r\ncontent-length: 0", ""), "ambiguous", LOST),
        whole("space-in-header-name", answer("x a: b\r\ncontent-length: 0", ""), "ambiguous", LOST),
        whole("folded-header", answer("x-a: a\r\n b\r\ncontent-length: 0", ""), "ambiguous", LOST),
    ]
}

/// Answers that are HTTP, but meant to do harm.
fn odd() -> Vec<Kind> {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: /postback\r\ncontent-length: 0\r\n\r\n";
    let bomb = super::bomb::gzip(48 * 1_024);
    let packed = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    let deep = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let typed = |kind: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let later = |wait: &str| format!("HTTP/1.1 503 Later\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n");
    vec![
        heard("redirects-to-itself", [say(redirect), Hear, say(redirect), Hang], "retry", "redirects are not followed"),
        whole("redirects-to-a-file", redirect.replace("/postback", "file:///etc/passwd"), "retry", "redirects"),
        heard("switches-protocols", [say("HTTP/1.1 101 Of course\r\nupgrade: x\r\n\r\n"), Hang], "retry", "not 2xx"),
        whole("status-999", "HTTP/1.1 999 Denied\r\ncontent-length: 0\r\n\r\n", "retry", "not 2xx"),
        whole("gzip-bomb", [packed.as_bytes(), &bomb].concat(), "delivered", "2xx"),
        whole("deep-json", typed("application/json", &deep), "delivered", "2xx"),
        whole("xml-bomb", typed("text/xml", XML_BOMB), "delivered", "2xx"),
        whole("escape-sequences", typed("text/plain", "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}"), "delivered", "2xx"),
        whole("retry-after-beyond-64-bits", later("99999999999999999999999"), "retry", "not 2xx"),
        whole("retry-after-negative", later("-5"), "retry", "not 2xx"),
        heard("length-too-short", [say(format!("{OK} and more")), Hang], "delivered", "2xx"),
        heard("answers-twice", [say(OK.repeat(2)), Hang], "delivered", "2xx"),
        heard(
            "no-content-with-content",
            [say("HTTP/1.1 204 None\r\ncontent-length: 5\r\n\r\nhello"), Hang],
            "delivered",
            "2xx",
        ),
        whole(
            "header-not-ascii",
            b"HTTP/1.1 200 OK\r\nx-a: \xff\xfe\x80\r\ncontent-length: 0\r\n\r\n",
            "delivered",
            "2xx",
        ),
    ]
}

const XML_BOMB: &str = "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
    <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]><status>&d;&d;&d;</status>";
