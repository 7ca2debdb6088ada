//! The level of the log, changed while the daemon runs.

use serde_json::json;

use crate::harness::{INGEST_TOKEN, World, ftd, partner};

/// A line that is there at `debug` only.
const DETAIL: &str = "postback.attempting";
/// The line of the same attempt that is there at `info`.
const ATTEMPT: &str = "postback.attempted";

/// The lines of the log until an attempt of a new event has been logged.
async fn lines_of_an_attempt(world: &mut World, transaction: &str) -> Vec<String> {
    world.accept(ftd("acme", transaction)).await;
    world.daemon.logs(ATTEMPT).await
}

fn shows_detail(lines: &[String]) -> bool {
    lines.iter().any(|line| line.contains(DETAIL))
}

#[tokio::test]
async fn the_level_is_changed_for_a_time_and_who_did_it_is_logged() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    assert!(!shows_detail(&lines_of_an_attempt(&mut world, "dep-1").await), "at info");
    let changed = world.daemon.command(&["log", "off,postbackd::dispatch=debug", "--for", "1h", "--json"]);
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    let audit = world.daemon.logs("log.level_changed").await.pop().unwrap();
    for told in ["\"by\":\"uid:", "\"before\":\"info\"", "\"filter\":\"off,postbackd::dispatch=debug\"", "\"until\":"] {
        assert!(audit.contains(told), "{told} is missing: {audit}");
    }
    assert!(shows_detail(&lines_of_an_attempt(&mut world, "dep-2").await), "at debug");
    let shown = world.daemon.command(&["log"]);
    assert!(shown.stdout.contains("until") && shown.stdout.contains("configured is info"), "{}", shown.stdout);
    let shortly = world.daemon.command(&["log", "debug", "--for", "1s"]);
    assert_eq!(shortly.code, 0, "{}", shortly.stderr);
    world.daemon.logs("its time is over").await;
    assert!(!shows_detail(&lines_of_an_attempt(&mut world, "dep-3").await), "back at info");
    assert_eq!(world.daemon.command(&["log"]).stdout, "info, as configured\n");
}

#[tokio::test]
async fn a_reload_takes_the_level_of_the_configuration_anew() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    assert_eq!(world.daemon.command(&["log", "debug", "--for", "1h"]).code, 0);
    assert!(shows_detail(&lines_of_an_attempt(&mut world, "dep-1").await));
    let reloaded = world.daemon.command(&["reload"]);
    assert!(reloaded.code == 0 && !reloaded.stderr.contains("restart"), "{}", reloaded.stderr);
    assert!(!shows_detail(&lines_of_an_attempt(&mut world, "dep-2").await), "as configured");
    let file = std::fs::read_to_string(world.path("postbackd.toml")).unwrap();
    let louder = file.replace("format = \"json\"", "format = \"json\"\nlevel = \"info,postbackd::dispatch=debug\"");
    std::fs::write(world.path("postbackd.toml"), louder).unwrap();
    world.daemon.signal(rustix::process::Signal::HUP);
    world.daemon.logs("configuration.reloaded").await;
    assert!(shows_detail(&lines_of_an_attempt(&mut world, "dep-3").await), "as configured now");
}

#[tokio::test]
async fn what_is_no_filter_is_refused_with_an_example_and_changes_nothing() {
    let world = World::with(vec![partner("acme", "200")]).await;
    for (filter, why) in [("debgu", "no level"), ("postbackd=loud", "no filter")] {
        let refused = world.daemon.command(&["log", filter]);
        assert_ne!(refused.code, 0);
        assert!(
            refused.stderr.contains(why) && refused.stderr.contains("postbackd::dispatch=debug"),
            "{}",
            refused.stderr
        );
    }
    assert_ne!(world.daemon.command(&["log", "debug", "--for", "25h"]).code, 0);
    assert_eq!(world.daemon.command(&["log"]).stdout, "info, as configured\n");
    assert_eq!(world.daemon.get_as(INGEST_TOKEN, "/v1/log").await.status, 403);
    let unknown = world.daemon.put("/v1/log", &json!({ "filter": "debug", "minutes": 3 })).await;
    assert_eq!(unknown.status, 400, "{}", unknown.body);
}
