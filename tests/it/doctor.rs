//! What `doctor` finds, with the daemon up, down and dead, and what it makes of configurations that cannot work.

use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use postbackd::outbox::{Batch, open_engine};
use serde_json::Value;

use crate::harness::{World, engine, ftd, partner, write_daemon_file};

/// What it found, and how it ended.
struct Diagnosis {
    code: i32,
    document: Value,
    stderr: String,
}

impl Diagnosis {
    /// The levels and texts of a check.
    fn of(&self, check: &str) -> Vec<(&str, &str)> {
        let findings = self.document["findings"].as_array().unwrap().iter();
        let own = findings.filter(|finding| finding["check"] == check);
        own.map(|finding| (finding["level"].as_str().unwrap(), finding["found"].as_str().unwrap())).collect()
    }

    /// A check found this, and nothing worse than told.
    fn expect(&self, check: &str, level: &str, words: &str) {
        let found = self.of(check);
        let told = found.iter().any(|(of, text)| *of == level && text.contains(words));
        assert!(told, "{check} is no {level} with {words:?}: {:#}", self.document);
    }

    fn remedies(&self) -> String {
        let findings = self.document["findings"].as_array().unwrap().iter();
        findings.map(|finding| finding["remedy"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// The failures that are not of the machine that the tests run on.
    fn failures(&self) -> Vec<&Value> {
        let findings = self.document["findings"].as_array().unwrap().iter();
        let of_machine = |finding: &&Value| ["fsync", "memory"].iter().any(|check| finding["check"] == **check);
        findings.filter(|finding| finding["level"] == "failure").filter(|finding| !of_machine(finding)).collect()
    }
}

fn run(directory: &Path, more: &[&str], trusted: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbackd"));
    command.current_dir(directory).args(["--config", "postbackd.toml", "doctor"]).args(more);
    command.env("SSL_CERT_FILE", directory.join(trusted)).env_remove("SSL_CERT_DIR").env_remove("POSTBACKD_URL");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn diagnose(directory: &Path, more: &[&str]) -> Diagnosis {
    let (code, stdout, stderr) = run(directory, &[&["--json"], more].concat(), "authority.pem");
    let document = serde_json::from_str(&stdout).unwrap_or_default();
    Diagnosis { code, document, stderr }
}

/// A directory with one affiliate, whose postback has this URL and these lines, and no daemon.
fn shop(url: &str, lines: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    write_daemon_file(directory.path(), &[], "", "");
    let affiliate = format!(
        "id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"conversions\"\nevents = \"*\"\nmethod = \"GET\"\n\
         insecure_http = true\nurl = \"{url}?cid={{click_id}}\"\n{lines}"
    );
    std::fs::write(directory.path().join("affiliates/acme.toml"), affiliate).unwrap();
    directory
}

#[tokio::test]
async fn a_healthy_daemon_has_no_failure_and_one_that_was_stopped_or_killed_is_told_apart() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    world.accept(ftd("acme", "dep-1")).await;
    world.at_rest().await;
    let up = diagnose(world.directory.path(), &[]);
    assert_eq!(up.failures(), Vec::<&Value>::new());
    assert_eq!(up.code == 1, !up.document["ok"].as_bool().unwrap(), "{}", up.stderr);
    for about in postbackd::ops::doctor::CHECKS.iter().filter(|about| about.name != "verify") {
        assert!(!up.of(about.name).is_empty(), "{} is missing: {:#}", about.name, up.document);
    }
    up.expect("daemon", "ok", env!("CARGO_PKG_VERSION"));
    up.expect("store", "ok", "1 events accepted");
    up.expect("open files", "ok", "the daemon may open");
    up.expect("egress", "ok", "all receivers may be sent to");
    let (code, people, words) = run(world.directory.path(), &[], "authority.pem");
    assert!(people.lines().any(|line| line.starts_with("ok       daemon ")), "{people}");
    assert!(code == up.code && words.contains("warning"), "{words}");
    let refused = diagnose(world.directory.path(), &["--verify"]);
    assert!(refused.code == 8 && refused.stderr.contains("--outbox"), "{}", refused.stderr);
    world.daemon.kill();
    let dead = diagnose(world.directory.path(), &[]);
    dead.expect("daemon", "failure", "does not answer");
    dead.expect("store", "ok", "1 events accepted");
    assert_eq!(dead.code, 1);
    world.daemon.start_again();
    world.daemon.signal(rustix::process::Signal::TERM);
    world.daemon.wait().await;
    let stopped = diagnose(world.directory.path(), &["--verify"]);
    stopped.expect("daemon", "warning", "does not run");
    stopped.expect("verify", "ok", "1 events with 1 deliveries");
    assert_eq!(stopped.failures(), Vec::<&Value>::new());
}

#[tokio::test]
async fn damage_is_named_by_verify() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let delivery = world.accept(ftd("acme", "dep-1")).await;
    world.until(&delivery, "delivered").await;
    world.daemon.signal(rustix::process::Signal::TERM);
    world.daemon.wait().await;
    let engine = open_engine(engine(), &world.path("outbox"), 16 << 20).unwrap();
    let (key, mut value) =
        engine.scan(Bound::Included(b"h".to_vec()), Bound::Excluded(b"i".to_vec())).next().unwrap().unwrap();
    *value.last_mut().unwrap() ^= 1;
    engine.apply(Batch { writes: vec![(key, Some(value)), (b"c-stray".to_vec(), Some(Vec::new()))] }).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let found = diagnose(world.directory.path(), &["--verify"]);
    found.expect("verify", "failure", "2 things are wrong");
    let spaces: Vec<_> = found.document["damage"].as_array().unwrap().iter().map(|damage| &damage["space"]).collect();
    assert_eq!(spaces, ["click", "history"], "{:#}", found.document);
    assert_eq!(found.code, 1);
    // A copy is looked at wherever it lies.
    std::fs::rename(world.path("outbox"), world.path("copy")).unwrap();
    let found = diagnose(world.directory.path(), &["--verify", "--outbox", "copy"]);
    found.expect("verify", "failure", "2 things are wrong");
    assert_eq!(diagnose(world.directory.path(), &["--verify", "--outbox", "nowhere"]).code, 3);
}

#[test]
fn a_configuration_that_cannot_be_used_ends_in_its_own_exit_and_the_rest_is_looked_at() {
    let directory = shop("http://nobody.invalid/pb", "retry = { initial = \"fast\" }\n");
    let found = diagnose(directory.path(), &[]);
    assert_eq!(found.code, 7);
    found.expect("configuration", "failure", "acme.toml:9: postback[0].retry");
    found.expect("daemon", "warning", "does not run");
    found.expect("store", "ok", "none yet");
    assert!(!found.of("disk").is_empty() && !found.of("fsync").is_empty() && !found.of("memory").is_empty());
    std::fs::write(directory.path().join("postbackd.toml"), "[outbox").unwrap();
    let found = diagnose(directory.path(), &[]);
    assert_eq!(found.code, 7);
    found.expect("daemon", "warning", "not looked at");
    assert!(!found.of("clock").is_empty() && !found.of("CA").is_empty());
    assert!(!directory.path().join("outbox").exists(), "looking makes no store");
}

#[test]
fn receivers_that_cannot_be_reached_are_named_with_the_line_that_would_permit_them() {
    let found = diagnose(shop("https://nobody.invalid/pb", "").path(), &[]);
    found.expect("DNS", "failure", "nobody.invalid has no address");
    found.expect("DNS", "failure", "acme/conversions");
    assert_eq!(found.code, 1);
    let found = diagnose(shop("http://10.1.2.3/pb", "").path(), &[]);
    found.expect("egress", "failure", "10.1.2.3 is not public");
    assert!(found.remedies().contains("[egress] allow = [\"127.0.0.0/8\", \"10.1.2.3\"]"), "{}", found.remedies());
    let found = diagnose(shop("http://127.0.0.1:8099/pb", "").path(), &[]);
    found.expect("egress", "failure", "port 8099 is not allowed");
    assert!(found.remedies().contains("[egress] ports = [80, 443, 8099]"), "{}", found.remedies());
}

#[test]
fn a_secret_that_others_can_read_and_a_trust_store_without_roots_fail() {
    let signature = "[postback.signature]\nscheme = \"standard-webhooks\"\nsecret = { file = \"key\" }\n";
    let directory = shop("http://127.0.0.1/pb", signature);
    let secret = directory.path().join("affiliates/key");
    std::fs::write(&secret, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let with_mode = |mode| std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
    with_mode(0o644);
    let found = diagnose(directory.path(), &[]);
    found.expect("secrets", "failure", "mode 0644");
    assert_eq!(found.code, 7);
    with_mode(0o600);
    std::fs::write(directory.path().join("authority.pem"), "").unwrap();
    let found = diagnose(directory.path(), &[]);
    found.expect("secrets", "ok", "1 postback's secrets");
    found.expect("CA", "failure", "no https postback will arrive");
    assert!(found.code == 1 && !found.stderr.contains("C2FVsBQI") && !found.document.to_string().contains("C2FVsBQI"));
}
