//! The commands of `docs/operating-affiliates.md`, run as they stand there: each prints what the page shows, but for ids,
//! digests, times and other numbers.

use std::path::Path;

use postbackd::receiver::{Receiver, ReceiverOptions, Script};
use regex::Regex;
use serde_json::{Value, json};

use crate::harness::{Daemon, write_daemon_file};

const PAGE: &str = include_str!("../../docs/operating-affiliates.md");

const EVENTS: &str = "[registration]\ndescription = \"An account\"\n\n[ftd]\ndescription = \"A first deposit\"\nrequired = [\"payout\"]\n\n\
                      [ftd_reversed]\ndescription = \"A first deposit undone\"\nreverses = \"must\"\n";

/// What the page says in words of the affiliate that its examples have.
const REST: &str = "[postback.timeout]\ntotal = \"5s\"\n\n\
    [postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = \"hmac\"\n\
    message = \"{timestamp}.{path_and_query}\"\nplace = { query = \"sig\", encoding = \"hex\" }\n\n\
    [[postback.response]]\nwhen = { status = \"200\", body_contains = \"duplicate\" }\nthen = \"duplicate\"\n";

fn block(language: &str) -> &'static str {
    let (_, behind) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    behind.split_once("```").unwrap().0
}

/// The page's commands with what they print.
fn examples() -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    for block in PAGE.split("```text\n").skip(1) {
        for line in block.split_once("```").unwrap().0.lines() {
            match line.strip_prefix("$ postbackd ") {
                Some(command) => examples.push((command.to_owned(), String::new())),
                None => {
                    let (_, printed) = examples.last_mut().unwrap();
                    printed.push_str(line);
                    printed.push('\n');
                }
            }
        }
    }
    examples
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let rules = [
        (r"\S*/(affiliates/acme\.toml|events\.toml|postbackd\.toml)", "$1"),
        (r"\b(dlv_|evt_|test-)[0-9a-z]+", "$1#"),
        (r"\b[0-9a-f]{64}\b", "#"),
        (r"[0-9][0-9.:TZ-]*( ?(ms|µs|s))?\b", "#"),
        (r"\s+", " "),
    ];
    let mut line = line.to_owned();
    for (pattern, with) in rules {
        line = Regex::new(pattern).unwrap().replace_all(&line, with).into_owned();
    }
    line.trim().to_owned()
}

async fn shop(directory: &Path, script: &str) -> (Receiver, Daemon) {
    let options = ReceiverOptions {
        script: Script::parse(script).unwrap(),
        key: "goal".parse().unwrap(),
        ..ReceiverOptions::default()
    };
    let receiver = Receiver::start(options).await.unwrap();
    write_daemon_file(directory, &[receiver.address().port()], "", "");
    std::fs::write(directory.join("events.toml"), EVENTS).unwrap();
    std::fs::create_dir(directory.join("affiliates")).unwrap();
    let secret = directory.join("hmac");
    std::fs::write(&secret, "a secret of the page").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let postback = block("toml").replace("127.0.0.1:9107", &receiver.address().to_string());
    let affiliate = format!(
        "id = \"acme\"\nname = \"Acme Media\"\n[limits]\nconcurrency = 8\n[secrets]\nhmac = {{ file = \"{}\" }}\n{postback}{REST}",
        secret.display()
    );
    std::fs::write(directory.join("affiliates/acme.toml"), affiliate).unwrap();
    let daemon = Daemon::start_in(directory, &[]);
    (receiver, daemon)
}

async fn accept(daemon: &Daemon, event: Value, state: &str) -> String {
    let answer = daemon.post("/v1/events", &event).await;
    let id = answer.body["deliveries"][0].as_str().unwrap().to_owned();
    daemon.poll(&format!("/v1/deliveries/{id}"), |detail| detail["delivery"]["state"] == state).await;
    id
}

// The receiver has to answer while a command is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_page_prints_what_the_page_shows() {
    let directory = tempfile::tempdir().unwrap();
    let (_receiver, daemon) = shop(directory.path(), "?cid=their-test-click => 500\n?cid=c-77f3 => hang\n200").await;
    let event = |transaction: &str, click: &str| {
        json!({ "transaction_id": transaction, "type": "ftd", "affiliate_id": "acme", "click_id": click,
                "payout": "120.00", "currency": "EUR" })
    };
    accept(&daemon, event("dep-1", "c-1"), "delivered").await;
    let examples = examples();
    assert_eq!(examples.len(), 7, "the page is read whole");
    for (typed, printed) in examples {
        let mut typed = typed;
        if typed.starts_with("show dlv_") {
            assert_eq!(daemon.command(&["affiliate", "resume", "acme", "--reason", "they are done"]).code, 0);
            typed = format!("show {}", accept(&daemon, event("dep-88121", "c-77f3"), "held").await);
        }
        let words: Vec<String> = typed
            .split('\'')
            .enumerate()
            .flat_map(|(number, part)| {
                let quoted = number % 2 == 1;
                if quoted { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let finished = daemon.command(&words);
        let all = format!("{}{}", finished.stderr, finished.stdout);
        // Words and data come by two ways, so that their order among each other is the terminal's.
        let mut lines: Vec<String> = all.lines().map(plain).filter(|line| !line.is_empty()).collect();
        for expected in printed.lines().map(plain).filter(|line| !line.is_empty() && line != "…") {
            let found = lines.iter().position(|line| *line == expected);
            let Some(found) = found else {
                panic!("{expected:?} of the page is not what `postbackd {typed}` prints:\n{all}")
            };
            lines.remove(found);
        }
        let whole = !printed.starts_with('…');
        assert!(!whole || lines.is_empty(), "`postbackd {typed}` prints more: {lines:#?}");
    }
}
