//! Deliveries and stub daemons for the tests of the command line.

use std::path::PathBuf;

use axum::Router;
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::context::Context;
use super::options::Globals;
use super::output::{Captured, Form, Output, Person};
use crate::domain::delivery::StateKind;
use crate::domain::outcome::Outcome;
use crate::inspect::{DeliverySummary, LastAttempt};

/// A dead delivery whose every field is filled.
pub(super) fn delivery(id: &str) -> DeliverySummary {
    DeliverySummary {
        delivery_id: id.into(),
        event_id: "evt_0000000000000".into(),
        affiliate: "acme".into(),
        postback: "conversion".into(),
        lane: Some("slow".into()),
        kind: "ftd".into(),
        transaction_id: "dep-1".into(),
        click_id: Some("c-1".into()),
        status: "approved".into(),
        payout: Some("120.00".into()),
        currency: Some("EUR".into()),
        reverses: Some("dep-0".into()),
        state: StateKind::Dead,
        reason: Some("exhausted".into()),
        due: Some("2026-11-20T10:00:03Z".parse().unwrap()),
        attempts: 7,
        spent: 6,
        accepted_at: "2026-11-20T10:00:01Z".parse().unwrap(),
        changed_at: "2026-11-20T10:00:02Z".parse().unwrap(),
        last_attempt: Some(LastAttempt {
            number: 7,
            outcome: Outcome::Retry,
            rule: "other statuses".into(),
            http_status: Some(500),
            error: Some("cut off".into()),
        }),
    }
}

/// A stub of the daemon on a socket in a directory of its own.
pub(super) struct Daemon {
    directory: TempDir,
}

impl Daemon {
    /// Serves the routes from now on.
    pub(super) fn serve(routes: Router) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("p.sock")).unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { directory }
    }

    /// A path in its directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a command is handed that talks to it.
    pub(super) fn context(&self, form: Form, person: Person) -> (Context, Captured) {
        let config = self.path("p.toml");
        std::fs::write(&config, "[api]\nsocket = \"p.sock\"\n[outbox]\npath = \"data\"\n").unwrap();
        let (output, captured) = Output::captured(form, person);
        (Context { globals: Globals { config: Some(config), ..Globals::default() }, output }, captured)
    }
}
