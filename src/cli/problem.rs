//! Problem documents (RFC 9457) as the daemon answers them, turned into words.

use serde_json::Value;

use super::exit::{Exit, Failure};

/// The type of a problem whose faults say all there is to say.
const INVALID_EVENT: &str = "urn:postbackd:problem:invalid-event";

/// A problem document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    /// The response's status.
    pub(super) status: u16,
    /// Its short name.
    title: String,
    /// What happened.
    detail: String,
    /// Each fault: its place and what is wrong.
    faults: Vec<String>,
    /// The document as it came.
    pub(super) document: Value,
}

impl Problem {
    /// Reads the body of a response that is no success; anything at all makes a problem.
    pub(super) fn of_response(status: u16, body: &[u8]) -> Self {
        if let Ok(document @ Value::Object(_)) = serde_json::from_slice::<Value>(body) {
            return Self::of_document(status, document);
        }
        let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
        Self {
            status,
            title: String::new(),
            detail: format!("HTTP {status}: {start}"),
            faults: Vec::new(),
            document: serde_json::json!({"status": status, "detail": start}),
        }
    }

    /// Reads a document.
    pub(super) fn of_document(status: u16, document: Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let fault = |fault: &Value| {
            let (pointer, detail) = (text(fault.get("pointer")), text(fault.get("detail")));
            match (pointer.is_empty(), detail.is_empty()) {
                (true, _) => detail,
                (false, true) => format!("{pointer}: {}", text(fault.get("code"))),
                (false, false) => format!("{pointer}: {detail}"),
            }
        };
        let faults = document.get("errors").and_then(Value::as_array);
        Self {
            status,
            title: text(document.get("title")),
            detail: text(document.get("detail")),
            faults: faults.into_iter().flatten().map(fault).collect(),
            document,
        }
    }

    /// A problem of our own, in the same shape.
    pub(super) fn local(title: &str, detail: &str) -> Self {
        Self {
            status: 0,
            title: title.to_owned(),
            detail: detail.to_owned(),
            faults: Vec::new(),
            document: serde_json::json!({"title": title, "detail": detail}),
        }
    }

    /// Takes its faults out, for a command that tells each on a line of its own.
    pub(super) fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// How a command ends that meets it.
    pub(super) fn exit(&self) -> Exit {
        match self.status {
            401 | 403 => Exit::Auth,
            404 => Exit::NotFound,
            409 => Exit::Refused,
            _ => Exit::Error,
        }
    }

    /// The failure of `what`.
    pub(super) fn into_failure(self, what: &str, next: &str) -> Failure {
        let next = match self.status {
            401 => "pass --token-file with a token that the daemon's configuration lists under [[api.token]]",
            403 => "use a token, or a user of the socket, with the scope that this needs",
            429 | 503 => "try again shortly; `postbackd stats` tells how busy the daemon is",
            507 => "make room on the outbox's disk, then try again",
            _ => next,
        };
        Failure::new(self.exit(), what, &self, next)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The detail says everything that the title does, and more.
        let lead = if self.detail.is_empty() { &self.title } else { &self.detail };
        let faults_suffice =
            !self.faults.is_empty() && self.document.get("type").is_some_and(|kind| kind == INVALID_EVENT);
        let lead = Some(lead.as_str()).filter(|lead| !lead.is_empty() && !faults_suffice);
        let parts: Vec<&str> = lead.into_iter().chain(self.faults.iter().map(String::as_str)).collect();
        if parts.is_empty() {
            return write!(f, "the daemon answered {}", self.status);
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_problem_is_told() {
        let body = br#"{"type":"x","title":"Invalid event","status":422,"detail":"2 faults",
            "errors":[{"pointer":"/payout","code":"missing","detail":"must be there"},{"pointer":"/x","code":"unknown-field"}]}"#;
        let problem = Problem::of_response(422, body);
        assert_eq!(problem.to_string(), "2 faults; /payout: must be there; /x: unknown-field");
        let body = String::from_utf8_lossy(body).replace("\"x\"", &format!("{INVALID_EVENT:?}"));
        let problem = Problem::of_response(422, body.as_bytes());
        assert_eq!(problem.to_string(), "/payout: must be there; /x: unknown-field");
        assert_eq!(Problem::of_response(404, br#"{"title":"Not found"}"#).to_string(), "Not found");
    }

    #[test]
    fn statuses_lead_to_their_exits() {
        let expected = [
            (400, Exit::Error),
            (401, Exit::Auth),
            (403, Exit::Auth),
            (404, Exit::NotFound),
            (409, Exit::Refused),
            (503, Exit::Error),
        ];
        for (status, exit) in expected {
            assert_eq!(Problem::of_response(status, b"<html>").exit(), exit, "{status}");
        }
        assert!(Problem::of_response(502, b"<html>").to_string().contains("502"));
    }
}
