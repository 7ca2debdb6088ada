//! Where nothing may be sent: however an affiliate spells it, whoever leads there, no connection is begun.

mod spellings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use postbackd::receiver::{Receiver, ReceiverOptions, Script};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Daemon, command, ftd, write_daemon_file};

/// A listener at every address of this machine, IPv4 and IPv6. Nobody may come.
struct Canary(TcpListener);

impl Canary {
    async fn new() -> Self {
        Self(TcpListener::bind("[::]:0").await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Asserts that nobody has come, but a visitor of the test who is still seen to.
    async fn expect_nobody(self) {
        let address = format!("127.0.0.1:{}", self.port());
        let visitor = TcpStream::connect(address).await.unwrap();
        let (_, from) = self.0.accept().await.unwrap();
        assert_eq!(from.port(), visitor.local_addr().unwrap().port(), "somebody else came first");
    }
}

const ONCE: &str = "[defaults.retry]\nmax_attempts = 1\n[defaults.timeout]\nconnect = \"2s\"\ntotal = \"3s\"\n";

/// The daemon's file, with these exceptions from the block list.
fn write_daemon(directory: &Path, ports: &[u16], allow: &str) {
    write_daemon_file(directory, ports, "", ONCE);
    let path = directory.join("postbackd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace("allow = [\"127.0.0.0/8\"]", &format!("allow = [{allow}]"))).unwrap();
}

fn write_affiliate(directory: &Path, id: &str, url: &str) {
    let url = serde_json::to_string(url).unwrap();
    let file = format!(
        "id = \"{id}\"\nname = \"{id}\"\n[[postback]]\nname = \"conversions\"\nevents = \"*\"\nmethod = \"GET\"\nurl = {url}\n\
         insecure_http = true\n"
    );
    std::fs::write(directory.join(format!("affiliates/{id}.toml")), file).unwrap();
}

/// Takes the affiliates away that are refused when the configuration is checked; returns their ids.
fn without_refused(directory: &Path) -> BTreeSet<String> {
    let checked = command(directory, &["--config", "postbackd.toml", "check", "--json"]);
    let document: Value = serde_json::from_str(&checked.stdout).unwrap();
    let errors = document["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] == "error");
    let mut refused = BTreeSet::new();
    for finding in errors {
        let file = Path::new(finding["file"].as_str().unwrap());
        assert_eq!(file.parent().and_then(Path::file_name).unwrap(), "affiliates", "{finding}");
        if refused.insert(file.file_stem().unwrap().to_str().unwrap().to_owned()) {
            std::fs::remove_file(directory.join(file)).unwrap();
        }
    }
    refused
}

/// Tells each affiliate of an event; returns what the attempts came to.
async fn outcomes<'i>(daemon: &Daemon, ids: impl Iterator<Item = &'i String>) -> BTreeMap<String, Value> {
    let events = ids.map(|id| ftd(id, "dep-1")).collect();
    let taken = daemon.post("/v1/events/batch", &Value::Array(events)).await;
    assert_eq!(taken.body["rejected"], 0, "{}", taken.body);
    let open = |stats: &Value, state: &str| stats["deliveries"][state].as_u64().unwrap_or(0);
    daemon.poll("/v1/stats", |stats| open(stats, "scheduled") + open(stats, "waiting") == 0).await;
    let exported = daemon.command(&["export", "attempts"]).stdout;
    let attempts = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    attempts.map(|attempt| (attempt["affiliate"].as_str().unwrap().to_owned(), attempt)).collect()
}

/// URLs that hide where they lead, or lead nowhere: none of them is a configuration.
fn tricks(port: u16) -> Vec<String> {
    let at = |text: &str| text.replace("HERE", &format!("127.0.0.1:{port}"));
    let tricks = [
        "http://track.example@HERE/a",
        "http://track.example:80@HERE/a",
        "http://user:secret@HERE/a",
        "http://@HERE/a",
        "http://%40HERE/a",
        "http://HERE#@track.example/a",
        "http://HERE\\@track.example/a",
        "http:\\\\HERE\\a",
        "http:HERE/a",
        "http:/HERE/a",
        "http:///HERE/a",
        "//HERE/a",
        "HERE/a",
        " http://HERE/a",
        "http://HERE/a\u{1}",
        "\u{1}http://HERE/a",
        "ht\ttp://HERE/a",
        "http://127.0.\n0.1/a",
        "http://HE\rRE/a",
        "http://HERE/a\tb",
        "http://HERE/a b",
        "http://{click_id}/a",
        "http://{click_id}@HERE/a",
        "http://HERE{click_id}/a",
        "{click_id}://HERE/a",
        "http://[::1/a",
        "http://127.0.0.1:port/a",
        "http://127.0.0.1:99999/a",
        "ftp://HERE/a",
        "file:///etc/passwd",
        "gopher://HERE/a",
        "unix:///run/a.sock",
        "javascript:alert(1)",
        "http://",
        "http:///",
    ];
    tricks.iter().map(|text| at(text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_forbidden_address_is_connected_to() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let canary = Canary::new().await;
    let port = canary.port();
    let spellings = spellings::all();
    assert!(spellings.len() >= 500, "{} spellings", spellings.len());
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    for (number, spelling) in spellings.iter().enumerate() {
        let scheme = ["http", "https"][number % 2];
        urls.insert(format!("s{number}"), format!("{scheme}://{spelling}:{port}/a"));
    }
    let tricks = tricks(port);
    urls.extend(tricks.iter().enumerate().map(|(number, url)| (format!("t{number}"), url.clone())));
    for (number, other) in [1, 22, 25, 79, 81, 6_379, 8_080, 65_535].into_iter().enumerate() {
        urls.insert(format!("p{number}"), format!("http://93.184.215.14:{other}/a"));
    }
    for (id, url) in &urls {
        write_affiliate(directory.path(), id, url);
    }
    write_daemon(directory.path(), &[port], "");
    let refused = without_refused(directory.path());
    let proxy = format!("http://127.0.0.1:{port}");
    let names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let daemon = Daemon::start_in(directory.path(), &names.map(|name| (name, proxy.as_str())));
    let attempts = outcomes(&daemon, urls.keys().filter(|id| !refused.contains(*id))).await;
    let mut wrong = Vec::new();
    let mut blocked = 0;
    for (id, url) in &urls {
        let outcome = attempts.get(id).map(|attempt| attempt["outcome"].as_str().unwrap());
        // A name that nobody knows on this machine leads nowhere.
        let is_name = url.chars().any(|c| c.is_alphabetic() && "lcahostp\u{24db}".contains(c)) && id.starts_with('s');
        match (refused.contains(id), outcome) {
            (true, None) => {}
            (false, Some("blocked")) if !id.starts_with('t') => blocked += 1,
            (false, Some("unreachable")) if is_name => {}
            other => wrong.push(format!("{url}: {other:?}: {}", attempts.get(id).unwrap_or(&Value::Null)["error"])),
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    assert!(blocked >= 300 && refused.len() > tricks.len(), "both ways are taken: {blocked}, {}", refused.len());
    canary.expect_nobody().await;
}

#[tokio::test]
async fn the_same_spellings_lead_there_where_it_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let receiver =
        Receiver::start(ReceiverOptions { listen: "[::]:0".parse().unwrap(), ..Default::default() }).await.unwrap();
    let port = receiver.address().port();
    let spelled = ["127.0.0.1", "2130706433", "0x7f.1", "0177.1", "127.1.", "%31%32%37.0.0.1", "\u{ff11}27\u{3002}1"];
    let spelled = spelled.iter().chain(&["[::1]", "[0:0::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost"]);
    let ids: Vec<String> = (0..spelled.clone().count()).map(|number| format!("s{number}")).collect();
    for (id, spelling) in ids.iter().zip(spelled) {
        write_affiliate(directory.path(), id, &format!("http://{spelling}:{port}/a"));
    }
    write_daemon(directory.path(), &[port], "\"127.0.0.0/8\", \"::1/128\"");
    let daemon = Daemon::start_in(directory.path(), &[]);
    for (id, attempt) in outcomes(&daemon, ids.iter()).await {
        assert_eq!(attempt["outcome"], "delivered", "{id}: {attempt}");
    }
    assert_eq!(receiver.ledger().requests, ids.len() as u64);
}

#[tokio::test]
async fn nobody_is_led_elsewhere_by_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    let canary = Canary::new().await;
    let here = format!("http://127.0.0.1:{}/", canary.port());
    let answers = [301, 302, 303, 307, 308].map(|status| format!("{status} location={here}"));
    let others = [
        format!("200 header=\"Refresh: 0; url={here}\""),
        format!("201 location={here}"),
        format!("305 location={here}"),
        format!("200 header=\"Alt-Svc: http/1.1=\\\":{}\\\"\"", canary.port()),
    ];
    let mut ports = vec![canary.port()];
    let mut receivers = BTreeMap::new();
    for (number, answer) in answers.iter().chain(&others).enumerate() {
        let script = Script::parse(answer).unwrap();
        let listen = "127.0.0.9:0".parse().unwrap();
        let receiver = Receiver::start(ReceiverOptions { listen, script, ..Default::default() }).await.unwrap();
        ports.push(receiver.address().port());
        write_affiliate(directory.path(), &format!("r{number}"), &receiver.url("/a"));
        receivers.insert(format!("r{number}"), receiver);
    }
    write_daemon(directory.path(), &ports, "\"127.0.0.9/32\"");
    let daemon = Daemon::start_in(directory.path(), &[]);
    for round in 0..2 {
        for id in receivers.keys() {
            let taken = daemon.post("/v1/events", &ftd(id, &format!("again-{round}"))).await;
            assert_eq!(taken.status, 202);
        }
    }
    let attempts = outcomes(&daemon, receivers.keys()).await;
    assert!(attempts.values().all(|attempt| ["retry", "delivered"].iter().any(|name| attempt["outcome"] == *name)));
    assert!(receivers.values().all(|receiver| receiver.ledger().requests == 3), "each once for each event");
    canary.expect_nobody().await;
}
