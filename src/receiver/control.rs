//! The receiver's own paths under `/_receiver/`: read the ledger, change the script, start over.
//!
//! They are not counted and know no authentication: a receiver belongs on a loopback address.

use std::error::Error;
use std::fmt::Write;

use serde_json::{Value, json};

use super::script::Script;
use super::shared::Shared;
use super::wire::Request;

const PREFIX: &str = "/_receiver/";

/// What a control request is answered.
#[derive(Debug)]
pub(super) struct Reply {
    status: &'static str,
    body: Value,
}

/// Whether a request is for the receiver itself.
pub(super) fn concerns(request: &Request) -> bool {
    request.target().starts_with(PREFIX)
}

/// Does what a control request asks.
pub(super) fn reply(shared: &Shared, request: &Request) -> Reply {
    let name = request.path().strip_prefix(PREFIX).unwrap_or_default();
    match (request.method(), name) {
        ("GET", "ledger") => Reply { status: "200 OK", body: ledger(shared, request) },
        ("PUT", "script") => set_script(shared, &request.body),
        ("POST", "reset") => {
            shared.start_over();
            Reply { status: "200 OK", body: json!({ "reset": true }) }
        }
        (_, "ledger" | "script" | "reset") => {
            let error = "use GET /_receiver/ledger, PUT /_receiver/script or POST /_receiver/reset";
            Reply { status: "405 Method Not Allowed", body: json!({ "error": error }) }
        }
        _ => Reply { status: "404 Not Found", body: json!({ "error": "known are ledger, script and reset" }) },
    }
}

/// The counts; `?key=` asks for one key, `?entries=true` for the requests kept in full.
fn ledger(shared: &Shared, request: &Request) -> Value {
    let snapshot = shared.state().ledger.snapshot();
    if let Some(key) = request.parameter("key") {
        return snapshot.key(&key).map_or_else(|| json!({ "seen": 0, "accepted": 0 }), |known| known.to_json());
    }
    let mut document = snapshot.to_json();
    if request.parameter("entries").as_deref() == Some("true")
        && let Some(fields) = document.as_object_mut()
    {
        let entries = snapshot.entries().iter().map(|entry| entry.to_json()).collect();
        fields.insert("entries".to_owned(), Value::Array(entries));
    }
    document
}

fn set_script(shared: &Shared, body: &[u8]) -> Reply {
    let refusal = |error: String| Reply { status: "400 Bad Request", body: json!({ "error": error }) };
    let Ok(text) = std::str::from_utf8(body) else { return refusal("the script is not UTF-8".to_owned()) };
    match Script::parse(text) {
        Ok(script) => {
            let rules = script.rules.len();
            shared.set_script(script);
            Reply { status: "200 OK", body: json!({ "rules": rules }) }
        }
        Err(error) => refusal(with_sources(&error)),
    }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

impl Reply {
    /// The reply as a response.
    pub(super) fn into_bytes(self, keep_alive: bool) -> Vec<u8> {
        let body = format!("{}\n", self.body);
        let close = if keep_alive { "" } else { "connection: close\r\n" };
        let status = self.status;
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{close}\r\n{body}")
            .into_bytes()
    }
}
