//! Secrets that are exchanged while the daemon goes on sending.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::harness::{Partner, World, ftd, partner};

const OLD: &str = "whsec_b2xkIHNlY3JldCBvZiBhIHBhcnRuZXI=";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A partner whose receiver knows one secret, fails once for each event, and whose postback is signed with these.
fn signed(id: &str, known: &str, secrets: &str) -> Partner {
    let signature = format!("[postback.signature]\nscheme = \"standard-webhooks\"\nsecret = {secrets}");
    partner(id, "500,200").affiliate("[limits.breaker]\nfailures = 0").knows(&[known]).tables(&signature)
}

/// References to secrets in files of a directory.
fn references(directory: &Path, names: &[&str]) -> String {
    let path = |name: &&str| format!("{{ file = \"{}\" }}", directory.join(name).display());
    format!("[{}]", names.iter().map(path).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn a_secret_is_exchanged_under_way_and_no_request_is_wrongly_signed() {
    let secrets = tempfile::tempdir().unwrap();
    for (name, value) in [("old", OLD), ("new", NEW)] {
        std::fs::write(secrets.path().join(name), value).unwrap();
        std::fs::set_permissions(secrets.path().join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let [old, both, new] = [&["old"][..], &["new", "old"], &["new"]].map(|names| references(secrets.path(), names));
    let world = World::with(vec![signed("late", OLD, &old), signed("early", NEW, &both)]).await;
    let exchange = async |id: &str, before: &str, after: &str| {
        let path = world.path(&format!("affiliates/{id}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(before, after)).unwrap();
        let answer = world.daemon.post("/v1/reload", &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    for number in 0..60 {
        match number {
            20 => exchange("late", &old, &both).await,
            40 => exchange("early", &both, &new).await,
            _ => {}
        }
        for id in ["late", "early"] {
            world.accept(ftd(id, &format!("{id}-{number}"))).await;
        }
    }
    for id in ["late", "early"] {
        let ledger = world.received(id, |ledger| ledger.accepted_keys == 60).await;
        assert_eq!((ledger.requests, ledger.signature_failures), (120, 0), "{id}");
    }
}
