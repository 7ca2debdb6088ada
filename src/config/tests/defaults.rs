//! What is not said: built-in defaults, and `[defaults]`.

use std::time::Duration;

use super::{DAEMON, Shop, affiliate, affiliate_with, postback};
use crate::config::{LogFormat, UnknownAffiliate};
use crate::domain::engine_kind::EngineKind;
use crate::domain::retention::SizeLimits;
use crate::domain::retry::{Jitter, RetryPolicy};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let loaded = Shop::new().file("affiliates/acme.toml", &affiliate_with("")).sound();
    let settings = &loaded.settings;
    assert_eq!((settings.outbox.engine, settings.outbox.cache), (EngineKind::Sled, 256 << 20));
    assert_eq!((settings.outbox.keep_free, settings.outbox.path.to_str()), (512 << 20, Some("/var/lib/postbackd")));
    assert_eq!((settings.dispatch.in_flight, settings.dispatch.response_cap), (256, 64 << 10));
    assert_eq!(settings.dispatch.shutdown, secs(30));
    assert_eq!((settings.ingest.max_batch, settings.ingest.max_body), (1000, 8 << 20));
    assert_eq!(settings.ingest.max_buffered, 64 << 20);
    assert_eq!((settings.api.max_connections, settings.api.stalled_after), (1024, secs(30)));
    assert_eq!(settings.ingest.unknown_affiliate, UnknownAffiliate::Refuse);
    assert_eq!((settings.egress.ports.as_slice(), settings.egress.allow.len()), ([80, 443].as_slice(), 0));
    assert_eq!((settings.log.format, settings.log.level.as_str()), (LogFormat::Text, "info"));
    let limits = affiliate(&loaded, "acme").limits;
    assert_eq!((limits.concurrency, limits.rate), (8, None));
    assert_eq!(limits.breaker.map(|breaker| (breaker.failures, breaker.open)), Some((10, secs(30))));
    let timeouts = postback(&loaded, "acme", "p").timeouts;
    assert_eq!((timeouts.connect, timeouts.first_byte, timeouts.total), (secs(5), secs(15), secs(15)));
    assert_eq!(postback(&loaded, "acme", "p").retry.max_attempts(), 12);
}

#[test]
fn a_postback_overrides_defaults_key_by_key() {
    let daemon = format!(
        "{DAEMON}[defaults]\nreceiver_dedupes = false\nheaders = {{ a = \"1\", X-B = \"2\" }}\n[defaults.timeout]\n\
         connect = \"2s\"\ntotal = \"20s\"\n[defaults.retry]\nschedule = [\"1s\", \"2s\"]\njitter = \"none\"\n\
         [defaults.limits]\nconcurrency = 3\nrate = \"5/s\"\nbreaker = {{ failures = 0 }}\n"
    );
    let own = "headers = { x-b = \"3\" }\ntimeout = { total = \"9s\" }\n";
    let shop = Shop::new().file("postbackd.toml", &daemon).file("affiliates/acme.toml", &affiliate_with(own));
    let loaded = shop.sound();
    let read = postback(&loaded, "acme", "p");
    assert_eq!((read.timeouts.connect, read.timeouts.total, read.receiver_dedupes), (secs(2), secs(9), false));
    assert_eq!(read.retry, RetryPolicy::explicit(vec![secs(1), secs(2)], Jitter::None));
    let limits = affiliate(&loaded, "acme").limits;
    assert_eq!((limits.concurrency, limits.breaker), (3, None));

    // A schedule of the postback's own replaces one of the other kind, but not the jitter.
    let own = "retry = { initial = \"7s\", factor = 1.0, max_attempts = 2 }\n";
    let shop = shop.file("affiliates/acme.toml", &affiliate_with(own));
    let loaded = shop.sound();
    assert_eq!(postback(&loaded, "acme", "p").retry, RetryPolicy::explicit(vec![secs(7)], Jitter::None));
}

#[test]
fn a_shorter_total_shortens_the_defaults_below_it() {
    let lines = "timeout = { total = \"2s\" }\n";
    let loaded = Shop::new().file("affiliates/acme.toml", &affiliate_with(lines)).sound();
    assert_eq!(postback(&loaded, "acme", "p").timeouts.connect, secs(2));
}

#[test]
fn a_faulty_default_is_reported_once_and_where_it_stands() {
    let daemon = "[api]\nsocket = \"s\"\n[defaults]\nname = \"x\"\ntimeot = 1\n[defaults.retry]\nfactor = 0.5\n";
    let broken = Shop::new().file("postbackd.toml", daemon);
    let expected = vec![
        "postbackd.toml:4: defaults.name: cannot be a default; name each postback in its own table",
        "postbackd.toml:5: defaults.timeot: is not a known key; did you mean \"timeout\"?",
        "postbackd.toml:7: defaults.retry.factor: is 0.5, out of bounds; use a number from 1.0 to 100.0",
    ];
    assert_eq!(broken.errors(), expected, "without any postback");
    let used = broken
        .file("affiliates/acme.toml", &affiliate_with(""))
        .file("affiliates/b.toml", "id = \"b\"\nname = \"B\"\n");
    assert_eq!(used.errors(), expected, "with a postback");
}

#[test]
fn paths_are_relative_to_the_daemons_file() {
    let daemon = "[api]\nsocket = \"run/s\"\n[outbox]\npath = \"data\"\n";
    let shop = Shop::new().file("postbackd.toml", daemon);
    let settings = shop.sound().settings;
    assert_eq!((settings.api.socket, settings.outbox.path), (Some(shop.path("run/s")), shop.path("data")));
}

#[test]
fn one_size_is_for_both_ways_of_being_settled() {
    let read = |size: &str| {
        let daemon = format!("{DAEMON}\n[outbox]\nretain = {{ size = {size} }}\n");
        let loaded = Shop::new().file("postbackd.toml", &daemon).sound();
        loaded.settings.outbox.retain.sizes
    };
    let mib = |count: u64| Some(count << 20);
    assert_eq!(read("\"64MiB\""), SizeLimits { delivered: mib(64), dead: mib(64) });
    let each = read("{ delivered = \"64MiB\", dead = \"128MiB\" }");
    assert_eq!(each, SizeLimits { delivered: mib(64), dead: mib(128) });
    assert_eq!(read("{ delivered = \"128MiB\" }"), SizeLimits { delivered: mib(128), dead: None });
}
