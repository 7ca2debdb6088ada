//! A thousand canary secrets, receivers that give them away, and a search of every byte that the program wrote.

mod echo;
mod flock;
mod search;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postbackd::domain::engine_kind::EngineKind;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Daemon, TOKEN, engine, ftd, write_daemon_file};
use flock::AFFILIATES;
use search::{Search, spellings};

/// What the program wrote, by where.
type Written = Vec<(String, Vec<u8>)>;

/// A token that is known and may read, and one that is not known.
const TOKENS: [usize; 2] = [1_000_001, 1_000_002];

/// The world of these tests.
struct World {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl World {
    /// Runs a command of the binary with the daemon's environment, and keeps what it wrote.
    fn run(&self, arguments: &[&str], written: &mut Written) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbackd"));
        command.current_dir(self.directory.path()).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.args(["--config", "postbackd.toml"]).args(arguments).output().unwrap();
        let name = arguments.join(" ");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.code().is_some_and(|code| code != 2),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        written.push((format!("stdout of {name}"), output.stdout));
        written.push((format!("stderr of {name}"), output.stderr));
        text
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Adds every file below a directory, and asserts that nobody else can read it.
fn add_private_files(directory: &Path, written: &mut Written) {
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory), 0o700, "{}", directory.display());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_private_files(&path, written);
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            written.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn the_search_finds_a_canary_in_every_spelling() {
    let canaries = flock::all();
    assert_eq!(canaries.len(), 1_000);
    let search = Search::new(canaries.iter().map(|canary| (canary.name.as_str(), canary.value.as_str())));
    for canary in [&canaries[0], &canaries[6], &canaries[999]] {
        for (how, spelling) in spellings(&canary.value) {
            let noise = format!("\u{0}abc{spelling}\u{1}xyz");
            let found = search.found(noise.as_bytes());
            assert!(found.iter().any(|found| found.starts_with(&canary.name)), "{how}: {found:?}");
        }
        let text = format!("GET /?key={}", canary.value);
        let packed = STANDARD.encode(text);
        assert!(!search.found(packed.as_bytes()).is_empty(), "within longer base64");
    }
    assert!(search.found("GET /?key=***&cid=click-dep-1 no such key".repeat(1_000).as_bytes()).is_empty());
}

fn world(receiver: std::net::SocketAddr, canaries: &[flock::Canary]) -> World {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let variables = flock::plant(directory.path(), canaries);
    flock::write_affiliates(directory.path(), canaries, receiver);
    let sha256 = hex::encode(Sha256::digest(flock::text(TOKENS[0])));
    let token = format!("[[api.token]]\nname = \"reader\"\nsha256 = \"{sha256}\"\nscopes = [\"read\"]\n");
    let lines = "level = \"trace\"\n[defaults.retry]\ninitial = \"100ms\"\nmax_attempts = 2\njitter = \"none\"\n";
    write_daemon_file(directory.path(), &[receiver.port()], &token, lines);
    World { directory, variables }
}

/// Asks for everything that there is to read, with a token that may, and one that is nobody's.
async fn ask_everything(daemon: &Daemon, ids: &[(String, String)], written: &mut Written) {
    let document = daemon.ask("GET", "/openapi.json", None, None).await.text().await.unwrap();
    let parsed: Value = serde_json::from_str(&document).unwrap();
    let mut paths = Vec::new();
    for (path, item) in parsed["paths"].as_object().unwrap() {
        if item.get("get").is_none() || path.contains("stream") {
            continue;
        }
        if path.contains("{delivery_id}") {
            paths.extend(ids.iter().map(|(_, id)| path.replace("{delivery_id}", id)));
        } else if path.contains("{event_id}") {
            paths.extend(ids.iter().step_by(3).map(|(event, _)| path.replace("{event_id}", event)));
        } else {
            let path = path.replace("{affiliate}", "a0").replace("{postback}", "get").replace("{what}", "attempts");
            paths.push(path);
        }
    }
    written.push(("/openapi.json".into(), document.into_bytes()));
    for (number, path) in paths.into_iter().enumerate() {
        // A token that nobody knows is told so wherever it asks.
        let unknown = (number % 20 == 0).then(|| flock::text(TOKENS[1]));
        for token in [flock::text(TOKENS[0])].into_iter().chain(unknown) {
            let response = daemon.ask("GET", &path, Some(&token), None).await;
            let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            let heads = format!("{:?}", response.headers()).into_bytes();
            written.push((format!("headers of {path}"), heads));
            if !kind.unwrap_or_default().starts_with("text/event-stream") {
                written.push((format!("GET {path}"), response.bytes().await.unwrap().to_vec()));
            }
        }
    }
}

/// Writes a file of an affiliate that says secrets where references to secrets belong: the faults do not repeat them.
async fn misconfigure(world: &World, daemon: &Daemon, canaries: &[flock::Canary], written: &mut Written) {
    let broken = world.path("affiliates/broken.toml");
    let secret = |number: usize| &canaries[number].value;
    let faulty = format!(
        "id = \"broken\"\nname = \"Broken\"\n[secrets]\na = {:?}\nb = {{ credential = {:?} }}\nc = {{ env = {:?} }}\n\
         d = {{ value = {:?} }}\n[[postback]]\nname = \"p\"\nevents = \"*\"\nmethod = \"GET\"\nurl = \"https://a.example/p\"\n\
         [postback.signature]\nscheme = \"standard-webhooks\"\nsecret = {{ file = \"../files/A0_PATH\" }}\n",
        secret(0),
        secret(1),
        secret(2),
        secret(3)
    );
    std::fs::write(&broken, faulty).unwrap();
    world.run(&["check"], written);
    world.run(&["check", "--json"], written);
    let reload = daemon.post("/v1/reload", &json!({})).await;
    assert_eq!(reload.status, 422);
    written.push(("the refused reload".into(), reload.body.to_string().into_bytes()));
    std::fs::remove_file(&broken).unwrap();
}

/// Runs the commands that read or explain.
fn read_everything(world: &World, (event, delivery): &(String, String), written: &mut Written) {
    let reads: [&[&str]; 13] = [
        &["list", "--json"],
        &["show", delivery],
        &["show", delivery, "--json"],
        &["trace", event],
        &["trace", "click-dep-1", "--json"],
        &["stats", "--json"],
        &["dead", "list", "--json"],
        &["affiliate", "list", "--json"],
        &["affiliate", "render", "a0"],
        &["affiliate", "render", "a1", "--json"],
        &["export", "events"],
        &["export", "deliveries", "--format", "csv"],
        &["doctor", "--json"],
    ];
    for arguments in reads {
        world.run(arguments, written);
    }
    for number in [0, 5, 10, 13] {
        let target = format!("a{number}/get");
        let words: [&str; 5] = ["affiliate", "test", &target, "--yes", "--json"];
        world.run(&words[..4 + number % 2], written);
    }
    world.run(&["export", "attempts", "--out", "attempts.ndjson"], written);
    let out = world.path("attempts.ndjson");
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let exported = std::fs::read(&out).unwrap();
    let echoed = exported.split(|byte| *byte == b'\n').filter(|line| String::from_utf8_lossy(line).contains("***"));
    assert!(echoed.count() > AFFILIATES * 3, "what is masked is there");
    written.push(("attempts.ndjson".into(), exported));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_that_the_program_writes_tells_a_secret() {
    let canaries = flock::all();
    let receiver = echo::start().await;
    let world = world(receiver, &canaries);
    let variables: Vec<_> = world.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut daemon = Daemon::start_in(world.directory.path(), &variables);
    let mut written = Written::new();
    let events = (0..AFFILIATES).map(|number| ftd(&format!("a{number}"), "dep-1")).collect();
    let taken = daemon.post("/v1/events/batch", &Value::Array(events)).await;
    assert_eq!(taken.body["accepted"], AFFILIATES, "{}", taken.body);
    let open = |stats: &Value, state: &str| stats["deliveries"][state].as_u64().unwrap_or(0);
    daemon.poll("/v1/stats", |stats| open(stats, "scheduled") + open(stats, "waiting") == 0).await;
    let mut ids = Vec::new();
    for result in taken.body["results"].as_array().unwrap() {
        let event = result["event_id"].as_str().unwrap();
        ids.extend(
            result["deliveries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| (event.to_owned(), id.as_str().unwrap().to_owned())),
        );
    }
    assert_eq!(ids.len(), AFFILIATES * 3);
    ask_everything(&daemon, &ids, &mut written).await;

    misconfigure(&world, &daemon, &canaries, &mut written).await;
    read_everything(&world, &ids[0], &mut written);
    let socket = world.path("postbackd.sock").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(socket, 0o600, "the socket is for the daemon's user alone");
    daemon.signal(rustix::process::Signal::TERM);
    let log = daemon.logs("daemon.stopped").await.join("\n");
    assert!(log.contains("\"level\":\"TRACE\"") && log.len() > 1_000_000, "the whole log: {} bytes", log.len());
    assert_eq!(daemon.wait().await, Some(0));
    written.push(("the log".into(), log.into_bytes()));
    for arguments in [&["list", "--json"][..], &["show", &ids[0].1], &["stats"], &["doctor"]] {
        world.run(arguments, &mut written);
    }
    add_private_files(&world.path("outbox"), &mut written);

    let mut names: Vec<_> = canaries.iter().map(|canary| (canary.name.clone(), canary.value.clone())).collect();
    names.extend(TOKENS.map(|number| (format!("token {number}"), flock::text(number))));
    names.push(("the token that may do everything".into(), TOKEN.into()));
    let search = Search::new(names.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let total: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
    // A new store of sled takes half a megabyte by itself.
    let least = if engine() == EngineKind::Sled { 10_000_000 } else { 9_000_000 };
    assert!(total > least && written.len() > 1_000, "{total} bytes of {} writings", written.len());
    let mut leaks = Vec::new();
    for (place, bytes) in &written {
        leaks.extend(search.found(bytes).into_iter().map(|found| format!("{place}: {found}")));
    }
    leaks.sort();
    leaks.dedup();
    assert!(leaks.is_empty(), "{} leaks: {:#?}", leaks.len(), &leaks[..leaks.len().min(60)]);
}

/// Where the configuration is that [`panics_with_everything`] takes.
const PANICKING: &str = "POSTBACKD_TEST_PANICKING";

/// Run by the test below, in a process of its own that has the secrets in its environment.
#[test]
#[ignore = "panics, for another test to look at what it says"]
fn panics_with_everything() {
    let loaded = postbackd::config::load(Path::new(&std::env::var(PANICKING).unwrap())).unwrap();
    let postbacks: usize = loaded.settings.affiliates.values().map(|affiliate| affiliate.postbacks.len()).sum();
    panic!("with {postbacks} postbacks: {:?}", loaded.settings);
}

#[test]
fn a_panic_says_no_secret() {
    let canaries = flock::all();
    let world = world("127.0.0.1:9".parse().unwrap(), &canaries);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["canaries::panics_with_everything", "--exact", "--ignored", "--nocapture"]);
    command.envs(world.variables.iter().map(|(name, value)| (name, value)));
    command.env(PANICKING, world.path("postbackd.toml")).env("RUST_BACKTRACE", "full").stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert!(!text.contains("with 0 postbacks") && text.contains("postbacks: Settings {"), "{text}");
    let search = Search::new(canaries.iter().map(|canary| (canary.name.as_str(), canary.value.as_str())));
    assert_eq!(search.found(&said), [""; 0]);
}
