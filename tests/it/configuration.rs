//! What a bad configuration is answered with, and a bare clone's good one.

use crate::harness::command;

#[test]
fn the_shipped_configuration_is_fine() {
    let checked = command(env!("CARGO_MANIFEST_DIR").as_ref(), &["check", "--config", "config/postbackd.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

#[test]
fn all_errors_of_all_files_come_in_one_run_with_file_line_key_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    write("events.toml", "[ftd]\ndescription = \"x\"\nrequired = [\"payuot\"]\n");
    write(
        "postbackd.toml",
        "events = \"events.toml\"\naffiliates = \"affiliates\"\n[outbox]\npath = \"data\"\nengine = \"rocksdb\"\n\
         [api]\nlisten = \"nowhere\"\n[dispatch]\nin_flght = 5\n",
    );
    write(
        "affiliates/acme.toml",
        "id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"a\"\nevents = [\"fdt\"]\n\
         url = \"http://track.example/?cid={clickid}\"\n[postback.retry]\ninitial = \"fast\"\n",
    );
    for arguments in [["check"], ["run"]] {
        let finished = command(directory.path(), &[&["--config", "postbackd.toml"][..], &arguments].concat());
        assert_eq!(finished.code, 7, "{}", finished.stderr);
        let told = format!("{}{}", finished.stdout, finished.stderr);
        for expected in [
            "events.toml:3:",
            "postbackd.toml:5:",
            "postbackd.toml:7:",
            "postbackd.toml:9:",
            "in_flight",
            "acme.toml:5:",
            "acme.toml:6:",
            "click_id",
            "acme.toml:8:",
        ] {
            assert!(told.contains(expected), "{expected} is missing in:\n{told}");
        }
    }
    assert!(!directory.path().join("data").exists());
}

/// What a partner's mail makes of a template, and what else is most likely a mistake.
const DOUBTFUL: &str = "id = \"acme\"
name = \"Acme\"
[[postback]]
name = \"a\"
events = [\"ftd\", \"adjustment\"]
method = \"GET\"
url = \"http://track.example/?cid={offer_id}&t={transaction_id}¤cy={currency|lower}?goal=REPLACE&ts_ms={timestamp}&api_token=9f86d081884c7d659a2feaa0c55ad015\"
insecure_http = true
retry = { schedule = [\"7d\", \"7d\", \"7d\", \"7d\", \"7d\"] }
[[postback.response]]
when = { status = \"2xx\" }
then = \"delivered\"
[[postback.response]]
when = { status = \"200\", body_contains = \"no\" }
then = \"rejected\"
";

/// A directory with the shipped dictionary and one affiliate.
fn shop(affiliate: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    write("events.toml", include_str!("../../config/events.toml"));
    write("postbackd.toml", "events = \"events.toml\"\naffiliates = \"affiliates\"\n[api]\nsocket = \"s\"\n");
    write("affiliates/acme.toml", affiliate);
    directory
}

#[test]
fn every_lint_is_told_in_one_run_and_fails_where_one_asks_for_it() {
    let directory = shop(DOUBTFUL);
    let check = |more: &[&str]| command(directory.path(), &[&["check", "--config", "postbackd.toml"], more].concat());
    let lax = check(&[]);
    assert_eq!(lax.code, 0, "{}{}", lax.stdout, lax.stderr);
    for expected in [
        "acme.toml:7: postback[0].url: is plain http",
        "acme.toml:7: postback[0].url: holds a second \"?\"",
        "acme.toml:7: postback[0].url: still holds REPLACE",
        "acme.toml:7: postback[0].url: holds \"¤\"",
        "acme.toml:7: postback[0].url: parameter \"api_token\" seems to hold a secret",
        "acme.toml:7: postback[0].url: has the parameter \"cid\", which is for the click",
        "acme.toml:7: postback[0].url: sends seconds in \"ts_ms\"",
        "acme.toml:9: postback[0].retry: goes on for 35 days",
        "acme.toml:14: postback[0].response[1].when: can never match",
        "events.toml:",
        "no postback wants",
    ] {
        assert!(lax.stdout.contains(expected), "{expected} is missing in:\n{}", lax.stdout);
    }
    assert!(lax.stdout.lines().all(|line| line.starts_with("warning: ")), "{}", lax.stdout);
    assert_eq!(check(&["--strict"]).code, 7);
    let json = check(&["--strict", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &document["ok"]), (7, &serde_json::json!(false)));
    assert_eq!(document["findings"].as_array().unwrap().len(), lax.stdout.lines().count());
    assert_eq!(document["findings"][0]["severity"], "warning");
    let broken = DOUBTFUL.replace("{transaction_id}", "{transactionid}");
    let broken = shop(&broken);
    let both = command(broken.path(), &["check", "--config", "postbackd.toml"]);
    assert_eq!(both.code, 7);
    for expected in ["error: ", "did you mean \"transaction_id\"", "warning: ", "can never match"] {
        assert!(both.stdout.contains(expected), "{expected} is missing in:\n{}", both.stdout);
    }
}
