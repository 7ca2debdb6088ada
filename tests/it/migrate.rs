//! A store is moved from one engine to the other while its daemon is down, whatever is in it and whenever that is killed.

use std::path::Path;

use postbackd::domain::engine_kind::EngineKind;
use postbackd::outbox::{Batch, open_engine, store_name};
use serde_json::{Value, json};

use crate::harness::{World, engine, ftd, partner, reversal};

fn other(kind: EngineKind) -> EngineKind {
    EngineKind::ALL.into_iter().find(|other| *other != kind).unwrap()
}

/// Has the configuration name an engine.
fn configure(world: &World, kind: EngineKind) {
    let path = world.path("postbackd.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    let named = |kind: EngineKind| format!("engine = \"{}\"", kind.name());
    std::fs::write(path, file.replace(&named(other(kind)), &named(kind))).unwrap();
}

/// Everything that is in a store, as a person sees it while the daemon is down.
fn told(world: &World) -> Vec<String> {
    let commands: [&[&str]; 5] = [
        &["list", "--ndjson", "--limit", "10000"],
        &["list", "--unrouted", "--ndjson"],
        &["affiliate", "list", "--json"],
        &["trace", "dep-dead", "--json"],
        &["export", "attempts", "--ndjson"],
    ];
    let run = |arguments: &[&str]| {
        let ended = world.daemon.command(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stdout.is_empty(), "{arguments:?} shows nothing");
        ended.stdout
    };
    commands.map(run).to_vec()
}

/// A world whose daemon has ended, with deliveries in every state.
async fn of_all_kinds() -> World {
    let partners = vec![
        partner("acme", "200"),
        partner("beta", "500").tables("[postback.retry]\nmax_attempts = 1\n"),
        partner("gamma", "200"),
    ];
    let mut world = World::configured(partners, "[ingest]\nunknown_affiliate = \"accept\"\n").await;
    world.daemon.post("/v1/affiliates/gamma/pause", &json!({ "reason": "their move" })).await;
    for number in 0..20 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
        world.accept(ftd("gamma", &format!("wait-{number}"))).await;
    }
    let dead = world.accept(ftd("beta", "dep-dead")).await;
    world.until(&dead, "dead").await;
    let held = world.accept(reversal("beta", "dep-back", "dep-dead")).await;
    world.until(&held, "held").await;
    world.accept(reversal("gamma", "wait-back", "wait-1")).await;
    world.accept(ftd("nobody", "dep-unrouted")).await;
    let slowly = json!({ "verb": "hold", "filter": { "affiliate": "gamma" }, "rate": "1/h", "reason": "fraud check" });
    assert_eq!(world.daemon.post("/v1/orders", &slowly).await.status, 202);
    world.received("acme", |ledger| ledger.accepted_keys == 20).await;
    world.daemon.signal(rustix::process::Signal::TERM);
    world.daemon.wait().await;
    world
}

#[tokio::test]
async fn a_store_is_moved_to_the_other_engine_and_back_with_all_that_is_in_it() {
    let mut world = of_all_kinds().await;
    let before = told(&world);
    for from in [engine(), other(engine())] {
        let to = other(from);
        let moved = world.daemon.command(&["outbox", "migrate", "--to", to.name(), "--json"]);
        assert_eq!(moved.code, 0, "{}", moved.stderr);
        let said: Value = serde_json::from_str(&moved.stdout).unwrap();
        assert_eq!(
            (&said["from"], &said["engine"], &said["resumed"]),
            (&json!(from.name()), &json!(to.name()), &json!(false))
        );
        assert!(said["pairs"].as_u64().is_some_and(|pairs| pairs > 100), "{said}");
        assert!(moved.stderr.contains(&format!("Set [outbox] engine = \"{}\" before", to.name())), "{}", moved.stderr);
        // The configuration still names the old one: nothing begins anew beside the store.
        let doctor = world.daemon.command(&["doctor", "--json"]);
        assert!(doctor.stdout.contains(&format!("it is of {}", to.name())), "{}", doctor.stdout);
        let mut begun = world.daemon.begin(&["run"], false);
        begun.says(&format!("there is a store of {}, and", to.name())).await;
        assert_eq!(begun.wait().await, Some(1));
        assert!(!world.path("outbox").join(store_name(from)).exists());
        configure(&world, to);
        assert_eq!(told(&world), before);
        let verified: Value =
            serde_json::from_str(&world.daemon.command(&["doctor", "--verify", "--json"]).stdout).unwrap();
        assert_eq!(verified["damage"], json!([]));
        let again = world.daemon.command(&["outbox", "migrate", "--to", to.name()]);
        assert_eq!((again.code, again.stderr.contains("already")), (0, true), "{}", again.stderr);
        let kept = world.path("outbox").join(format!("{}.migrated", store_name(from)));
        assert_eq!(said["kept"], json!(kept));
        std::fs::remove_dir_all(kept).unwrap();
    }
    world.daemon.start_again();
    let duplicate = world.daemon.post("/v1/events", &ftd("acme", "dep-1")).await;
    assert_eq!((duplicate.status, &duplicate.body["duplicate"]), (200, &json!(true)));
    world.accept(ftd("acme", "dep-new")).await;
    world.received("acme", |ledger| ledger.accepted_keys == 21).await;
}

/// The process itself is killed, wherever it is; the next one goes on.
#[tokio::test]
async fn a_migration_that_is_killed_goes_on_where_it_was() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    world.daemon.post("/v1/affiliates/acme/pause", &json!({ "reason": "their move" })).await;
    for part in 0..20 {
        let batch = (0..500).map(|number| ftd("acme", &format!("dep-{part}-{number}")));
        let answer = world.daemon.post("/v1/events/batch", &Value::Array(batch.collect())).await;
        assert_eq!(answer.body["accepted"], 500);
    }
    world.daemon.kill();
    let (from, to) = (engine(), other(engine()));
    let beside = world.path("outbox").join(format!("{}.migrating", store_name(to)));
    // Each is killed once the new store has grown beyond what the ones before left.
    let mut grown = 0;
    for _ in 0..3 {
        let mut migration = world.daemon.begin_process(&["outbox", "migrate", "--to", to.name()]);
        while migration.try_wait().unwrap().is_none() && blocks(&beside) <= grown {
            tokio::task::yield_now().await;
        }
        migration.kill().unwrap();
        migration.wait().unwrap();
        assert!(beside.exists(), "it was killed on its way");
        grown = blocks(&beside) + 200;
        let mut begun = world.daemon.begin(&["run"], false);
        begun.says(&format!("outbox migrate --to {}", to.name())).await;
        assert_eq!(begun.wait().await, Some(1));
        assert_eq!(world.daemon.command(&["list"]).code, 8, "nobody looks at half a migration");
    }
    let moved = world.daemon.command(&["outbox", "migrate", "--to", to.name(), "--json"]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    let said: Value = serde_json::from_str(&moved.stdout).unwrap();
    assert_eq!((&said["from"], &said["resumed"]), (&json!(from.name()), &json!(true)), "{said}");
    configure(&world, to);
    world.daemon.start_again();
    assert_eq!(world.daemon.get("/v1/stats").await.body["deliveries"]["scheduled"], 10_000);
}

fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let of = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.blocks());
    entries.filter_map(Result::ok).map(|entry| of(&entry.path()) + blocks(&entry.path())).sum()
}

#[tokio::test]
async fn a_damaged_store_stays_where_it_is_unless_that_is_wanted() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let delivery = world.accept(ftd("acme", "dep-1")).await;
    world.until(&delivery, "delivered").await;
    world.daemon.kill();
    let store = open_engine(engine(), &world.path("outbox"), 16 << 20).unwrap();
    store.apply(Batch { writes: vec![(b"c-stray".to_vec(), Some(Vec::new()))] }).unwrap();
    store.sync().unwrap();
    drop(store);
    let to = other(engine());
    let refused = world.daemon.command(&["outbox", "migrate", "--to", to.name()]);
    assert_eq!(refused.code, 8, "{}", refused.stderr);
    assert!(refused.stderr.contains("damaged: click"), "{}", refused.stderr);
    world.daemon.start_again();
    world.daemon.kill();
    let moved = world.daemon.command(&["outbox", "migrate", "--to", to.name(), "--damaged"]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    let none = world.daemon.command(&["outbox", "migrate", "--to", to.name(), "--outbox", "nowhere"]);
    assert_eq!(none.code, 3, "{}", none.stderr);
}
