//! A receiver that loses conversions, a report of its ledger with more faults in it, and what `reconcile` says of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use regex::Regex;
use serde_json::{Value, json};

use crate::harness::{Partner, World, ftd, partner, reversal};

const ZONE: &str = "Europe/Malta";
const MAP: &str = "transaction_id=tx,click_id=click,amount=payout,currency=cur,status=state,time=when";

/// An affiliate that answers 500 to one conversion until it is sent again.
fn acme() -> Partner {
    partner("acme", "?txid=dep-3 => 500*4,200\n200").affiliate("[limits.breaker]\nfailures = 0")
}

/// What their clock says.
fn when() -> String {
    let now = Timestamp::now().to_zoned(TimeZone::get(ZONE).unwrap());
    now.strftime("%d.%m.%Y %H:%M:%S").to_string()
}

/// How often their ledger has each transaction.
fn accepted(world: &World) -> BTreeMap<String, usize> {
    let transaction = Regex::new("txid=([^&]+)").unwrap();
    let mut accepted = BTreeMap::new();
    for seen in world.receiver("acme").ledger().entries() {
        if seen.answer.starts_with("200") {
            let name = transaction.captures(&seen.path_and_query).unwrap()[1].to_owned();
            *accepted.entry(name).or_default() += 1;
        }
    }
    accepted
}

fn row(transaction: &str, amount: &str, state: &str) -> String {
    format!("{transaction};click-{transaction};{amount};EUR;{state};{}", when())
}

/// Their report: a row for all that they took, but for dep-5, which they lose the first time.
fn report(world: &World, change: impl Fn(&str) -> Vec<String>) {
    let mut text = String::from("\u{feff}Tx;Click;Payout;Cur;State;When\r\n");
    for (transaction, times) in accepted(world) {
        if transaction.starts_with("dep-") && (transaction != "dep-5" || times > 1) {
            for row in change(&transaction) {
                write!(text, "{row}\r\n").unwrap();
            }
        }
    }
    std::fs::write(world.path("their.csv"), text).unwrap();
}

fn reconcile(world: &World, more: &[&str]) -> (i32, Value, String) {
    let report = world.path("their.csv");
    let fixed = ["reconcile", "--affiliate", "acme", "--report", report.to_str().unwrap(), "--map", MAP];
    let said = [
        "--statuses",
        "approved=A,rejected=D",
        "--time-zone",
        ZONE,
        "--since",
        "1d",
        "--until",
        "2099-01-01",
        "--json",
    ];
    let finished = world.daemon.command(&[&fixed[..], &said[..], more].concat());
    let document = serde_json::from_str(&finished.stdout).unwrap_or(Value::Null);
    (finished.code, document, finished.stderr)
}

async fn told() -> World {
    let world = World::with(vec![acme(), partner("beta", "200")]).await;
    for number in 0..10 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
    }
    world.accept(ftd("beta", "dep-0")).await;
    world.accept(reversal("acme", "back-9", "dep-9")).await;
    world.at_rest().await;
    world
}

fn faulty(transaction: &str) -> Vec<String> {
    match transaction {
        "dep-6" => vec![row(transaction, "1.100,00", "A")],
        "dep-7" => vec![row(transaction, "120,00", "D")],
        "dep-8" => vec![
            row(transaction, "120,00", "A"),
            row("<script>ghost</script>", "50,00", "A"),
            row(transaction, "120,00", "A"),
        ],
        _ => vec![row(transaction, "120,00", "A")],
    }
}

fn right(transaction: &str) -> Vec<String> {
    vec![row(transaction, "120,00", if transaction == "dep-9" { "D" } else { "A" })]
}

fn counts(document: &Value) -> Value {
    let names = ["ours", "theirs", "matched", "missing_there", "unknown_to_us", "currency_differs", "amount_differs"];
    let names = names.into_iter().chain(["status_differs", "duplicate", "late"]);
    names.map(|name| document[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_lost_is_found_sent_again_and_then_all_agree() {
    let mut world = told().await;
    report(&world, faulty);
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (missing, csv, html) = (path("missing.ndjson"), path("all.csv"), path("page.html"));
    let (code, found, words) = reconcile(&world, &["--missing", &missing, "--csv", &csv, "--html", &html]);
    assert_eq!(code, 6, "{words}");
    assert_eq!(counts(&found), json!([10, 10, 5, 2, 1, 0, 1, 2, 1, 0]), "{found:#}");
    assert_eq!(found["to_send_again"], json!({ "undelivered": 1, "delivered": 1, "held": 0, "open": 0 }));
    assert_eq!((&found["completion_rate"], &found["duplicate_rate"]), (&json!("0.7778"), &json!("0.1")));
    assert_eq!(found["sums"]["EUR"], json!({ "ours": "1080.00", "theirs": "1990.00", "difference": "910.00" }));

    let lost = found["examples"]["missing_there"].as_array().unwrap();
    let shown: Vec<_> =
        lost.iter().map(|line| (&line["transaction_id"], &line["state"], &line["http_status"])).collect();
    let (dead, dropped) = ((json!("dep-3"), json!("dead")), (json!("dep-5"), json!("delivered")));
    assert_eq!(shown, [(&dead.0, &dead.1, &json!(500)), (&dropped.0, &dropped.1, &json!(200))]);
    assert_eq!(std::fs::read_to_string(&missing).unwrap().lines().count(), 2);
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), 1 + 12, "a line for each finding");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("dep-3") && page.contains("default-src 'none'"), "{page}");
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{page}");

    // The daemon's store says the same while it is down.
    world.daemon.kill();
    let (code, down, words) = reconcile(&world, &[]);
    assert_eq!((code, counts(&down)), (6, counts(&found)), "{words}");
    world.daemon.start_again();

    let replay =
        |more: &[&str]| world.daemon.command(&[&["replay", "--ids", &missing, "--affiliate", "acme"], more].concat());
    let dry = replay(&["--dry-run", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&dry.stdout).unwrap()["matched"],
        1,
        "what arrived takes force: {}",
        dry.stderr
    );
    let sent = replay(&["--force", "--yes", "--reason", "missing in their report"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    world.at_rest().await;

    report(&world, right);
    let (code, clean, words) = reconcile(&world, &[]);
    assert_eq!((code, counts(&clean)), (0, json!([10, 10, 10, 0, 0, 0, 0, 0, 0, 0])), "{words}{clean:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_behind_the_end_of_a_period_is_owed_in_it_all_the_same() {
    let world = World::with(vec![partner("acme", "200")]).await;
    for number in 0..5 {
        world.accept(ftd("acme", &format!("dep-{number}"))).await;
    }
    world.at_rest().await;
    let until = Timestamp::now().to_string();
    let rows: Vec<_> = (0..3).map(|number| row(&format!("dep-{number}"), "120,00", "A")).collect();
    std::fs::write(world.path("their.csv"), format!("tx;click;payout;cur;state;when\n{}\n", rows.join("\n"))).unwrap();
    let missing = world.path("missing.ndjson").to_str().unwrap().to_owned();
    let (report, map) = (world.path("their.csv"), "transaction_id=tx,click_id=click,amount=payout,currency=cur");
    let month = |more: &[&str]| {
        let fixed = ["reconcile", "--affiliate", "acme", "--report", report.to_str().unwrap(), "--map", map, "--json"];
        let finished = world.daemon.command(&[&fixed[..], more].concat());
        (finished.code, serde_json::from_str::<Value>(&finished.stdout).unwrap_or_default(), finished.stderr)
    };
    let (code, before, words) = month(&["--since", "1d", "--until", &until, "--missing", &missing]);
    assert_eq!((code, counts(&before)), (6, json!([5, 3, 3, 2, 0, 0, 0, 0, 0, 0])), "{words}");
    let force = ["replay", "--ids", &missing, "--force", "--yes", "--reason", "missing in their report"];
    let sent = world.daemon.command(&force);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    world.at_rest().await;
    assert_eq!(world.receiver("acme").ledger().entries().len(), 7, "two were sent again");

    let (code, after, words) = month(&["--since", "1d", "--until", &until]);
    assert_eq!((code, counts(&after)), (6, counts(&before)), "they lack them still: {words}");
    let arrived = |found: &Value| -> Vec<Value> {
        let lines = found["examples"]["missing_there"].as_array().unwrap();
        lines.iter().map(|line| line["delivered_at"].clone()).collect()
    };
    assert_eq!(arrived(&after), arrived(&before), "what counts is when it arrived first");
    assert_eq!(after["median_time_to_post_us"], before["median_time_to_post_us"]);
    let (_, next, words) = month(&["--since", &until, "--until", "2099-01-01"]);
    assert_eq!(counts(&next), json!([3, 3, 3, 0, 0, 0, 0, 0, 0, 0]), "owed once: {words}");
    assert_eq!(next["ours_accepted_outside"], json!(3), "rows without times are of every period");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_are_missing_at_an_end_of_their_report_are_told_with_the_way_out() {
    let world = told().await;
    let yesterday = Timestamp::now().to_zoned(TimeZone::get(ZONE).unwrap()).date().yesterday().unwrap();
    let day = yesterday.strftime("%d.%m.%Y").to_string();
    std::fs::write(world.path("their.csv"), format!("tx;when\ndep-0;{day}\n")).unwrap();
    let report = world.path("their.csv");
    let run = |more: &[&str]| {
        let fixed = ["reconcile", "--affiliate", "acme", "--report", report.to_str().unwrap(), "--json"];
        let map = ["--map", "transaction_id=tx,time=when", "--time-zone", ZONE];
        let finished = world.daemon.command(&[&fixed[..], &map[..], more].concat());
        let found = serde_json::from_str::<Value>(&finished.stdout).unwrap_or_default();
        (found["outside"].clone(), format!("{}{}", found["next"], finished.stderr))
    };
    let (outside, words) = run(&[]);
    assert_eq!(outside, json!({ "before": 0, "behind": 8 }), "dep-0 has its row and dep-9 was reversed: {words}");
    assert!(words.contains("8 just behind it") && words.contains("--since and --until"), "{words}");
    assert_eq!(run(&["--margin", "0s"]).0, json!({ "before": 0, "behind": 10 }), "a day is looked at in any case");
    let (outside, words) = run(&["--until", "2099-01-01"]);
    assert_eq!(outside, json!({ "before": 0, "behind": 0 }), "{words}");
    assert!(!words.contains("just behind"), "what was said is meant: {words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_there_are_overwritten_on_demand_only() {
    let world = told().await;
    report(&world, right);
    for option in ["--csv", "--html", "--missing"] {
        let path = world.path("there");
        std::fs::write(&path, "of last month").unwrap();
        let name = path.to_str().unwrap();
        let (code, _, words) = reconcile(&world, &[option, name]);
        assert_eq!((code, std::fs::read_to_string(&path).unwrap().as_str()), (8, "of last month"), "{words}");
        assert!(words.contains("--yes"), "{words}");
        let (code, found, words) = reconcile(&world, &[option, name, "--yes"]);
        assert_eq!(code, 6, "{words}{found:#}");
        assert_ne!(std::fs::read_to_string(&path).unwrap(), "of last month");
        assert!(!world.path("there.partial").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_rows_are_told_and_the_rest_is_reconciled() {
    let world = told().await;
    let click = |number: usize| format!(";click-dep-{number};120,00;EUR;A;{}", when());
    let rows: Vec<String> =
        (0..9).map(click).chain([row("dep-9", "zero", "A"), row("dep-9", "1,00", "chargeback")]).collect();
    std::fs::write(world.path("their.csv"), format!("tx;click;payout;cur;state;when\n{}\n", rows.join("\n"))).unwrap();
    let (code, found, words) = reconcile(&world, &[]);
    assert_eq!((code, counts(&found)), (6, json!([9, 9, 9, 0, 0, 0, 0, 0, 0, 0])), "by clicks alone: {words}");
    assert_eq!((&found["bad_rows"]["count"], &found["bad_rows"]["first"][0]["line"]), (&json!(2), &json!(11)));
    assert!(words.contains("line 12") && words.contains("--statuses"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_knows_is_not_found_and_nothing_is_guessed() {
    let world = told().await;
    let report = world.path("their.csv");
    std::fs::write(&report, "tx,payout\ndep-1,\"1,200\"\n").unwrap();
    let run = |more: &[&str]| {
        let fixed = ["reconcile", "--report", report.to_str().unwrap()];
        let finished = world.daemon.command(&[&fixed[..], more].concat());
        (finished.code, finished.stderr)
    };
    let map = ["--map", "transaction_id=tx", "--since", "1d", "--until", "2099-01-01"];
    let unknown = run(&[&map[..], &["--affiliate", "acmee"]].concat());
    assert!(unknown.0 == 3 && unknown.1.contains("did you mean \"acme\"?"), "{unknown:?}");
    assert_eq!(run(&[&map[..], &["--affiliate", "acme", "--postback", "other"]].concat()).0, 3);
    let before = std::fs::read(&report).unwrap();
    let over = run(&[&map[..], &["--affiliate", "acme", "--csv", report.to_str().unwrap()]].concat());
    assert_eq!((over.0, std::fs::read(&report).unwrap()), (2, before), "their report is not written over");
    let open = run(&["--affiliate", "acme", "--map", "transaction_id=tx,amount=payout", "--since", "1d"]);
    assert!(open.0 == 2 && open.1.contains("line 2") && open.1.contains("--decimal"), "{open:?}");
    let timeless = run(&["--affiliate", "acme", "--map", "transaction_id=tx"]);
    assert!(timeless.0 == 2 && timeless.1.contains("--since"), "{timeless:?}");
}

const PAGE: &str = include_str!("../../docs/reconcile.md");

fn block(language: &str) -> &'static str {
    let (_, behind) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    behind.split_once("```").unwrap().0
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let rules = [
        (r"\bdlv_[0-9a-z]+", "dlv_#"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "#"),
        (r"\d[\d.]* (µs|ms|s)\b", "#"),
        (r"\s+", " "),
    ];
    let mut line = line.to_owned();
    for (pattern, with) in rules {
        line = Regex::new(pattern).unwrap().replace_all(&line, with).into_owned();
    }
    line.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_the_page_prints_what_the_page_shows() {
    let world = told().await;
    let malta = Timestamp::now().to_zoned(TimeZone::get(ZONE).unwrap()).date();
    let (day, end) = (malta.yesterday().unwrap(), malta + 2.days());
    let today = malta.strftime("%d.%m.%Y").to_string();
    let clock = Timestamp::now().to_zoned(TimeZone::get(ZONE).unwrap()).strftime("%H:%M").to_string();
    let report = block("csv").replace("20.11.2026", &today);
    let report = Regex::new(r"\b\d\d:\d\d\b").unwrap().replace_all(&report, clock.as_str()).into_owned();
    std::fs::write(world.path("acme-november.csv"), report).unwrap();
    let (typed, printed) = block("text").strip_prefix("$ postbackd ").unwrap().split_once("\n\n").unwrap();
    let typed =
        typed.replace("\\\n", " ").replace("2026-11-01", &day.to_string()).replace("2026-12-01", &end.to_string());
    let words: Vec<&str> = typed.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let finished = world.daemon.command(&words);
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    let all = format!("{}{}", finished.stdout, finished.stderr);
    let lines = |text: &str| text.lines().map(plain).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    let (mut expected, mut found) = (lines(printed), lines(&all));
    // Words and data come by two ways, so that their order among each other is the terminal's.
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{all}");
}
