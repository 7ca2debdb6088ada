//! Backups: taken from a daemon at work, put back where a store was lost, and sent from there.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use postbackd::outbox::store_name;
use serde_json::{Value, json};

use crate::harness::{World, engine, ftd, partner};

/// What was accepted before the backup is in it; what is sent meanwhile is neither lost nor torn.
#[tokio::test]
async fn a_store_that_is_lost_is_put_back_from_a_backup_taken_at_work() {
    // gamma is told of nothing, and known to the configuration alone.
    let partners = vec![partner("acme", "delay 2ms 200"), partner("beta", "200"), partner("gamma", "200")];
    let mut world = World::with(partners).await;
    world.daemon.post("/v1/affiliates/beta/pause", &json!({ "reason": "their move" })).await;
    for part in 0..10 {
        let batch = (0..200).map(|n| ftd(if n % 2 == 0 { "acme" } else { "beta" }, &format!("dep-{part}-{n}")));
        let answer = world.daemon.post("/v1/events/batch", &Value::Array(batch.collect())).await;
        assert_eq!(answer.body["accepted"], 200);
    }
    let slowly = json!({ "verb": "hold", "filter": { "affiliate": "beta" }, "rate": "1/h", "reason": "fraud check" });
    assert_eq!(world.daemon.post("/v1/orders", &slowly).await.status, 202);
    // Most of acme's are on their way while the backup is taken.
    let taken = world.daemon.command(&["outbox", "backup", "backup"]);
    assert_eq!((taken.code, taken.stdout.as_str()), (0, ""), "{}", taken.stderr);
    assert!(taken.stderr.contains("in backup: the store as it stood at"), "{}", taken.stderr);
    let backup = world.path("backup");
    assert_eq!(backup.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let id = world.accept(ftd("beta", "dep-later")).await;

    let put_back = ["outbox", "restore", "backup"];
    let refused = |world: &World, words: &str| {
        let refused = world.daemon.command(&put_back);
        assert_eq!(refused.code, 8, "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    };
    // Also where what it works with was moved away under it.
    let name = store_name(engine());
    let (store, old) = (world.path("outbox").join(name), world.path("outbox/old"));
    std::fs::rename(&store, &old).unwrap();
    refused(&world, "a daemon, or another restore, is at work");
    std::fs::rename(&old, &store).unwrap();
    world.daemon.kill();
    refused(&world, "there is a store already");
    std::fs::remove_dir_all(world.path("outbox")).unwrap();
    let restored = world.daemon.command(&put_back);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    let told = "2 postbacks and 1 bulk orders have been paused";
    assert!(restored.stderr.contains(told), "beta's was already: {}", restored.stderr);
    let names: BTreeSet<_> = std::fs::read_dir(world.path("outbox")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, BTreeSet::from([name.into()]), "nothing else is left");
    let verified = world.daemon.command(&["doctor", "--verify", "--json"]);
    let found: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(found["damage"], json!([]), "{}", verified.stdout);

    world.daemon.start_again();
    let stats = world.daemon.get("/v1/stats").await.body;
    assert_eq!(stats["totals"]["accepted"], 2_000);
    assert_eq!(world.daemon.get(&format!("/v1/deliveries/{id}")).await.status, 404, "it came after the backup");
    for (affiliate, by) in [(0, "restore"), (1, "tests"), (2, "restore")] {
        assert_eq!(stats["affiliates"][affiliate]["postbacks"][0]["paused"]["by"], by, "{stats}");
    }
    let orders = world.daemon.get("/v1/orders").await.body;
    assert_eq!(orders["items"][0]["state"], "paused", "{orders}");
    let open = &stats["deliveries"]["scheduled"];
    assert!(open.as_u64().is_some_and(|open| open > 1_000), "acme had some left: {stats}");
    for _ in 0..20 {
        let stats = world.daemon.get("/v1/stats").await.body;
        assert_eq!(
            (&stats["deliveries"]["scheduled"], &stats["in_flight"]),
            (open, &json!(0)),
            "nobody has looked yet"
        );
    }
    for affiliate in ["acme", "beta"] {
        let resume = world.daemon.command(&["affiliate", "resume", affiliate, "--reason", "looked at"]);
        assert_eq!(resume.code, 0, "{}", resume.stderr);
    }
    let stats = world.at_rest().await;
    // The order may have held its first one before the backup was taken.
    let held = stats["deliveries"]["held"].as_u64().unwrap_or(0);
    assert!(held <= 1, "{stats}");
    assert_eq!(stats["deliveries"]["delivered"], 2_000 - held);
    let (acme, beta) = (world.receiver("acme").ledger(), world.receiver("beta").ledger());
    assert_eq!((acme.accepted_keys, beta.accepted_keys), (1_000, 1_000 - held));
}

/// A new store beside a half one would be taken for the one that was lost: events that it knew would be accepted again.
#[tokio::test]
async fn no_daemon_begins_anew_where_a_backup_is_being_put_back() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    world.daemon.kill();
    std::fs::remove_dir_all(world.path("outbox")).unwrap();
    std::fs::create_dir_all(world.path("outbox/restoring").join(store_name(engine()))).unwrap();
    let mut begun = world.daemon.begin(&["run"], false);
    begun.says("a backup was being put back here").await;
    assert_eq!(begun.wait().await, Some(1));
    assert!(!world.path("outbox").join(store_name(engine())).exists());
}

/// A part of a backup is worth nothing, and what is no backup is not taken for one; nothing is left behind.
#[tokio::test]
async fn only_a_whole_backup_is_put_back() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.until(&id, "delivered").await;
    world.daemon.kill();
    // With the daemon down the store itself is read, and that is said; standard output will do.
    let taken = world.daemon.command(&["outbox", "backup", "whole"]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stderr.contains("the daemon is down"), "{}", taken.stderr);
    let again = world.daemon.command(&["outbox", "backup", "whole"]);
    assert_eq!(again.code, 8, "nothing is overwritten unasked: {}", again.stderr);
    let whole = std::fs::read(world.path("whole")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (name, bytes, code, words) in [
        ("torn", &whole[..whole.len() - 7], 1, "is not whole"),
        ("damaged", &damaged[..], 1, "checksum does not match"),
        ("foreign", b"id,amount\n1,2\n", 2, "no backup"),
    ] {
        std::fs::write(world.path(name), bytes).unwrap();
        let refused = world.daemon.command(&["outbox", "restore", name, "--outbox", "elsewhere"]);
        assert_eq!(refused.code, code, "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{name}: {}", refused.stderr);
        let left: Vec<_> = std::fs::read_dir(world.path("elsewhere")).unwrap().collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    let restored =
        world.daemon.command(&["outbox", "restore", "whole", "--outbox", "elsewhere", "--unpaused", "--json"]);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    let told: Value = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!(told["paused"], 0);
    assert!(!world.path("elsewhere/restoring").exists());
    let none = world.daemon.command(&["outbox", "restore", "nowhere"]);
    assert_eq!(none.code, 3, "{}", none.stderr);
}
