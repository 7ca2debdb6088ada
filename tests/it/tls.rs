//! Receivers behind TLS: what is delivered, and what becomes of every handshake that fails.

use serde_json::json;

use crate::harness::{Front, QUICK_RETRY, World, ftd, partner};

#[tokio::test]
async fn a_receiver_with_a_good_certificate_is_delivered_to() {
    let world = World::with(vec![partner("acme", "200 body=\"OK\"").behind(Front::Trusted)]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "delivered").await;
    let attempt = &detail["history"][0]["attempt"];
    assert_eq!(attempt["response"]["body"], "OK");
    assert!(attempt["request"]["url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{attempt}");
    assert!(attempt["timings_us"]["connect"].is_u64() && attempt["timings_us"]["tls"].is_u64(), "{attempt}");
    assert_eq!(world.receiver("acme").ledger().accepted_keys, 1);
}

#[tokio::test]
async fn http2_is_spoken_where_the_receiver_offers_it() {
    let world = World::with(vec![partner("acme", "500").behind(Front::Http2)]).await;
    for transaction in ["dep-1", "dep-2"] {
        let id = world.accept(ftd("acme", transaction)).await;
        world.until(&id, "delivered").await;
    }
    assert_eq!(world.front("acme").http2_requests(), 2);
    assert_eq!(world.receiver("acme").ledger().requests, 0);
}

#[tokio::test]
async fn a_handshake_that_fails_is_tried_again_and_sends_nothing() {
    let table = [
        ("expired", Front::Expired, "expired"),
        ("other-name", Front::OtherName, "not valid for name"),
        ("self-signed", Front::SelfSigned, "UnknownIssuer"),
        ("reset", Front::Reset, "reset"),
        ("plain", Front::Plain, "InvalidContentType"),
    ];
    let partners = table.iter().map(|(id, front, _)| partner(id, "200").behind(*front)).collect();
    let world = World::with(partners).await;
    for (id, _, error) in table {
        let delivery = world.accept(ftd(id, "dep-1")).await;
        let detail = world.until(&delivery, "dead").await;
        assert_eq!((&detail["delivery"]["reason"], &detail["delivery"]["spent"]), (&json!("exhausted"), &json!(4)));
        let attempt = &detail["history"][0]["attempt"];
        assert_eq!(
            (&attempt["outcome"], &attempt["rule"]),
            (&json!("retry"), &json!("default: TLS handshake")),
            "{id}"
        );
        assert!(attempt["error"].as_str().unwrap().contains(error), "{id}: {attempt}");
        assert!(attempt["response"].is_null(), "{id}: {attempt}");
        assert_eq!(world.receiver(id).ledger().requests, 0, "{id}");
    }
}

#[tokio::test]
async fn a_machine_that_trusts_nobody_is_misconfigured_itself() {
    let nobody = tempfile::NamedTempFile::new().unwrap();
    let environment = [("SSL_CERT_FILE", nobody.path().to_str().unwrap()), ("SSL_CERT_DIR", "")];
    let partners = vec![partner("acme", "200").behind(Front::Trusted)];
    let world = World::in_environment(partners, QUICK_RETRY, &environment).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    let detail = world.until(&id, "dead").await;
    assert_eq!(
        (&detail["delivery"]["reason"], &detail["delivery"]["attempts"]),
        (&json!("misconfigured"), &json!(1)),
        "{detail}"
    );
    assert_eq!(detail["history"][0]["attempt"]["rule"], "default: this machine trusts no certificate");
    assert_eq!(world.receiver("acme").ledger().requests, 0);
}
