//! Every fault of every file is found in one run, with its line.

use super::{DAEMON, EVENTS, Shop, affiliate_with};

/// Behind each faulty line, `# !key` names the keys that are reported there.
const BROKEN_DAEMON: &str = r#"evnts = "events.toml"            # !evnts

[outbox]
engine = "rocks"                                                # !outbox.engine
cache = "lots"                                                   # !outbox.cache
retain = { delivered = "90", dead = 400, until_exported = ["fin ance"], size = { delivered = "1B", live = "1GiB" } }  # !outbox.retain.delivered !outbox.retain.dead !outbox.retain.until_exported[0] !outbox.retain.size.delivered !outbox.retain.size.live

[api]
listen = "localhost"                                             # !api.listen
max_connections = 0                                              # !api.max_connections
stalled_after = "10ms"                                           # !api.stalled_after

[[api.token]]
name = "casino"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
scopes = ["ingest", "raed"]                                      # !api.token[0].scopes[1]
affiliates = ["acmee"]                                           # !api.token[0].affiliates[0]

[[api.token]]                                                    # !api.token[1].scopes
name = "casino"                                                  # !api.token[1].name
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" # !api.token[1].sha256

[[api.socket_user]]                                              # !api.socket_user[0].name
uid = -1                                                         # !api.socket_user[0].uid
scopes = []                                                      # !api.socket_user[0].scopes

[ingest]
unknown_affiliate = "drop"                                       # !ingest.unknown_affiliate
max_batch = 0                                                    # !ingest.max_batch
max_buffered = "1MiB"                                            # !ingest.max_buffered

[egress]
allow = [
  "10.0.0.0/8",
  "10.0.0.1/8",                                                  # !egress.allow[1]
]
ports = [0, "443"]                                               # !egress.ports[0] !egress.ports[1]

[dispatch]
in_flight = 20_000                                               # !dispatch.in_flight
shutdown = "1ms"                                                 # !dispatch.shutdown

[log]
format = "yaml"                                                  # !log.format
level = "info,,=="                                               # !log.level

[telemetry]
otlp = "https://user:secret@collector.example"                   # !telemetry.otlp
"#;

const BROKEN_EVENTS: &str = r#"[ftd]                             # !ftd.description
required = ["click_id", "payuot", "currency"]                    # !ftd.required[1] !ftd.required[2]

[deposit]
description = "Deposit."
billable = "yes"                                                 # !deposit.billable
reverses = "sometimes"                                           # !deposit.reverses
params.country = { type = "string", max_lenght = 2 }             # !deposit.params.country.type !deposit.params.country.max_lenght

[refund]
description = "Refund."
personal_data = "allow"                                          # !refund.personal_data
params.a = { type = "integer", one_of = ["x"], min = 0.5 }       # !refund.params.a.one_of !refund.params.a.min
params.b = { type = "decimal", min = 2, max = "1.5" }            # !refund.params.b.max
params.c = { type = "text", max = 1, one_of = [] }               # !refund.params.c.max !refund.params.c.one_of
params.d = { type = "text", max_length = 1, one_of = ["ab"] }    # !refund.params.d.one_of[0]
params.e = { type = "text", personal_data = "yes" }              # !refund.params.e.personal_data

[click_ids]
formats = ["uuidd", "uuid", { pattern = "(" }, { pattern = ".*" }] # !click_ids.formats[0] !click_ids.formats[2].pattern !click_ids.formats[3].pattern

[transaction_ids]                                                # !transaction_ids.formats
format = "decimal"                                               # !transaction_ids.format

["bad name"]                                                     # !"bad name"
description = "x"
"#;

const BROKEN_AFFILIATE: &str = r#"id = "acme"                   # !name
colour = "red"                                                   # !colour

[limits]
concurrency = 0                                                  # !limits.concurrency
rate = "50/d"                                                    # !limits.rate

[limits.breaker]
open = "1h"                                                      # !limits.breaker.open
max_open = "10m"

[[postback]]
name = "a"
events = ["ftd", "depsit"]                                       # !postback[0].events[1]
statuses = ["aproved"]                                           # !postback[0].statuses[0]
method = "GETT"                                                  # !postback[0].method
url = "https://t.example/p?c={clickid}&t={payout|fixd(2)}"       # !postback[0].url !postback[0].url
headers = { X-A = "{payot}", X-B = "{params.cuntry}" }           # !postback[0].headers.X-A !postback[0].headers.X-B

[postback.timeout]
connect = "20s"                                                  # !postback[0].timeout.connect
total = "10s"

[postback.retry]
initial = "5s"                                                   # !postback[0].retry.initial
schedule = ["5s", "soon"]                                        # !postback[0].retry.schedule[1]
jitter = "120%"                                                  # !postback[0].retry.jitter

[[postback.response]]
when = { status = "2000", body_matches = "(" }                   # !postback[0].response[0].when.status !postback[0].response[0].when.body_matches
then = "delivred"                                                # !postback[0].response[0].then

[[postback]]
name = "a"                                                       # !postback[1].name
events = []                                                      # !postback[1].events
method = "POST"
url = "https://t.example/p?k={secret.nope}"                      # !postback[1].url

[postback.body]                                                  # !postback[1].body
form = { a = "{click_id}" }
text = "b"

[postback.signature]
scheme = "standard-webhooks"
algorithm = "md5"                                                # !postback[1].signature.algorithm
secret = "nope"                                                  # !postback[1].signature.secret

[[postback]]
name = "c"
events = "ftd"                                                   # !postback[2].events
method = "GET"
url = "https://t.example/p"
delimiters = "<< >>"                                             # !postback[2].delimiters

[[postback]]                                                     # !postback[3].url
name = "d"
events = "*"
method = "POST"
body.json = { a = { b = "{click}" }, c = [{ d = "{nope}" }] }    # !postback[3].body.json.a.b !postback[3].body.json.c[0].d

[[postback]]
name = "e"
events = "*"
method = "GET"
url = "http://t.example/p?c={click_id}"                          # !postback[4].url
on_empty = { q = "omit" }

[postback.signature]
scheme = "custom"
algorithm = "hmac-sha256"
secret = { env = "KEY" }
message = "{boddy}"                                              # !postback[4].signature.message
place = { header = "X-Sig", encoding = "hexx" }                  # !postback[4].signature.place.encoding
"#;

/// What the markers of a file announce.
fn announced(file: &str, text: &str) -> Vec<String> {
    let marked = |(index, line): (usize, &str)| {
        let (_, markers) = line.split_once("# !")?;
        Some(markers.split(" !").map(|key| format!("{file}:{}: {}", index + 1, key.trim())).collect::<Vec<_>>())
    };
    text.lines().enumerate().filter_map(marked).flatten().collect()
}

#[test]
fn every_fault_of_three_files_is_reported_in_one_run() {
    let files =
        [("affiliates/acme.toml", BROKEN_AFFILIATE), ("events.toml", BROKEN_EVENTS), ("postbackd.toml", BROKEN_DAEMON)];
    let shop = files.iter().fold(Shop::new(), |shop, (name, text)| shop.file(name, text));
    let problems = shop.variable("KEY", "x").load().expect_err("the configuration is broken").0;
    let mut found: Vec<_> = problems
        .iter()
        .map(|problem| {
            let file = if problem.file.ends_with("acme.toml") {
                "affiliates/acme.toml".into()
            } else {
                problem.file.file_name().unwrap().to_string_lossy()
            };
            format!("{file}:{}: {}", problem.line.unwrap(), problem.key)
        })
        .collect();
    let mut expected: Vec<_> = files.iter().flat_map(|(name, text)| announced(name, text)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.message.is_empty() && !problem.remedy.is_empty()));
}

#[test]
fn syntax_errors_do_not_hide_other_faults() {
    let text = "id = \"acme\"\nname = \nglobal = \"yes\"\n[limits\nconcurrency = 5\n[[postback]]\nname = \"a\nmethod = \"GET\"\n";
    let errors =
        Shop::new().file("affiliates/acme.toml", text).file("events.toml", "[ftd\ndescription = \"x\"\n").errors();
    let places: Vec<_> = errors.iter().map(|error| error.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        places,
        [
            "affiliates/acme.toml:2: is not TOML here",
            "affiliates/acme.toml:3: global",
            "affiliates/acme.toml:4: is not TOML here",
            "affiliates/acme.toml:7: is not TOML here",
            "events.toml:1: is not TOML here",
        ],
        "{errors:#?}"
    );
}

#[test]
fn syntax_errors_do_not_repeat_what_may_be_a_secret() {
    let text = format!("{}[secrets]\na = s3cr3t-Value\nb = 's3cr3t-Value\n", affiliate_with(""));
    let errors = Shop::new().file("affiliates/acme.toml", &text).errors();
    assert!(errors.len() >= 2 && errors.iter().all(|error| !error.contains("s3cr3t")), "{errors:?}");
}

#[test]
fn files_that_are_not_there_are_reported_together() {
    let shop = Shop::new().file("postbackd.toml", "events = \"e.toml\"\naffiliates = \"a\"\n[api]\nsocket = \"s\"\n");
    let errors = shop.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("a: cannot be read") && errors[1].starts_with("e.toml: cannot be read"),
        "{errors:?}"
    );
}

#[test]
fn an_affiliate_is_named_after_its_file() {
    let shop =
        Shop::new().file("affiliates/acme.toml", &affiliate_with("")).file("affiliates/beta.toml", &affiliate_with(""));
    assert_eq!(
        shop.errors(),
        [
            "affiliates/beta.toml:1: id: \"acme\" does not match the file's name \"beta.toml\"; rename the file to acme.toml, or correct the id",
            "affiliates/beta.toml:1: id: \"acme\" is the id of another file's affiliate; give each affiliate its own id and one file",
        ]
    );
}

#[test]
fn faulty_conditions_on_a_body_are_found() {
    let table = [
        ("json = { pointer = \"/a\", equals = 1, absent = true }", "json.absent: has equals and absent at once"),
        ("json = { pointer = \"a\" }", "json.pointer: \"a\" is not a JSON pointer"),
        ("json = [{ pointer = \"/a\" }, { pointr = \"/b\" }]", "json[1].pointr: is not a known key"),
        ("json = []", "json: is an empty list"),
        ("json = { pointer = \"/a\", one_of = [] }", "json.one_of: is an empty list"),
        ("xml = { tag = \"<bad>\" }", "xml.tag: \"<bad>\" is not a tag's name"),
        ("xml = { equals = \"0\" }", "xml.tag: is missing"),
        ("xml = { tag = \"bad\", equals = 0 }", "xml.equals: must be a text"),
        ("xml = { tag = \"bad\", absent = \"yes\" }", "xml.absent: must be true or false"),
    ];
    for (condition, expected) in table {
        let rule = format!("[[postback.response]]\nwhen = {{ {condition} }}\nthen = \"rejected\"\n");
        let errors = Shop::new().file("affiliates/acme.toml", &affiliate_with(&rule)).errors();
        assert!(errors.iter().any(|error| error.contains(expected)), "{condition}: {errors:#?}");
    }
}

#[test]
fn more_postbacks_than_one_event_may_have_deliveries_are_refused() {
    let many = |id: &str, global: bool, count: usize| {
        let text = affiliate_with("");
        let postback = &text[text.find("[[postback]]").unwrap()..];
        let postbacks: Vec<_> = (0..count).map(|index| postback.replace("\"p\"", &format!("\"p{index}\""))).collect();
        format!("id = \"{id}\"\nname = \"x\"\nglobal = {global}\n{}", postbacks.join("\n"))
    };
    let shop = Shop::new()
        .file("affiliates/all.toml", &many("all", true, 200))
        .file("affiliates/own.toml", &many("own", false, 57));
    let errors = shop.errors();
    assert!(errors.len() == 1 && errors[0].contains("257 deliveries"), "{errors:?}");
}

#[test]
fn a_postback_in_single_brackets_is_explained() {
    let text = affiliate_with("").replace("[[postback]]", "[postback]").replace("GET", "GETT");
    let errors = Shop::new().file("affiliates/acme.toml", &text).errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("affiliates/acme.toml:3: postback: ") && errors[0].contains("[[postback]]"));
    assert!(errors[1].starts_with("affiliates/acme.toml:6: postback.method: "), "{errors:?}");
}

#[test]
fn other_files_of_the_directory_are_left_alone() {
    let shop = Shop::new()
        .file("affiliates/.acme.toml", "?")
        .file("affiliates/acme.toml~", "?")
        .file("affiliates/README", "?");
    assert_eq!(
        shop.warnings(),
        ["affiliates: holds no affiliate: every event will be refused; add a file such as acme.toml"]
    );
}

#[test]
fn what_is_most_likely_a_mistake_is_a_warning() {
    let cases = [
        (
            "url = \"http://t.example/p?c={click_id}&t={transaction_id}\"\ninsecure_http = true",
            "postback[0].url: is plain http",
        ),
        ("url = \"https://t.example/p?c={click_id}\"", "postback[0].url: sends no {transaction_id}"),
        ("url = \"https://t.example/p?c={sub_ids.a}\"", "postback[0].url: sends neither click_id nor"),
        (
            "url = \"https://t.example/p?c={click_id}&t={transaction_id}&cur=eur\"",
            "postback[0].url: sends the currency \"eur\"",
        ),
        (
            "url = \"https://t.example/p?c={click_id}&t={transaction_id}&a=REPLACE\"",
            "postback[0].url: still holds REPLACE",
        ),
        (
            "URL\nheaders = { X-Api-Key = \"0123456789abcdef\" }",
            "postback[0].headers.X-Api-Key: seems to hold a secret",
        ),
        ("URL\nretry = { max_attempts = 1 }", "postback[0].retry: allows one attempt"),
        (
            "URL\nretry = { schedule = [\"7d\", \"7d\", \"7d\", \"7d\", \"7d\"] }",
            "postback[0].retry: goes on for 35 days",
        ),
        ("URL\nreceiver_dedupes = false\ntimeout = { total = \"2s\" }", "postback[0].timeout.total: is short"),
        ("URL\nevents = [\"ftd\", \"ftd_reversed\"]", "postback[0].events: wants ftd_reversed too"),
        (
            "URL\nresponse = [{ when = {}, then = \"retry\" }, { when = { status = \"200\" }, then = \"delivered\" }]",
            "postback[0].response[0].when: matches every answer",
        ),
        ("URL\n[secrets]\na = { env = \"A\" }", "secrets.a: is a secret that no postback uses"),
    ];
    for (lines, expected) in cases {
        let mut lines = lines.replace("URL", "url = \"https://t.example/p?c={click_id}&t={transaction_id}\"");
        if !lines.contains("events = ") {
            lines = format!("events = [\"ftd\"]\n{lines}");
        }
        let text = format!("id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"p\"\nmethod = \"GET\"\n{lines}\n");
        let mut warnings = Shop::new().file("affiliates/acme.toml", &text).warnings();
        warnings.retain(|warning| warning.starts_with("affiliates/"));
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{expected}: {warnings:#?}");
    }
}

#[test]
fn a_dictionary_that_lets_personal_data_through_is_warned_about() {
    let text = format!(
        "{EVENTS}\n[lead]\ndescription = \"x\"\nparams.email = {{ type = \"text\" }}\nparams.phone = {{ type = \"text\", personal_data = true }}\nparams.dob = {{ type = \"text\", personal_data = \"mask\" }}\n"
    );
    let mut warnings =
        Shop::new().file("affiliates/acme.toml", &affiliate_with("")).file("events.toml", &text).warnings();
    warnings.retain(|warning| !warning.contains("no postback wants"));
    let expected = [
        "lead.params.email: says by its name that it holds an e-mail address, and every event with it is refused",
        "lead.params.phone.personal_data: lets personal data into events",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    assert!(warnings.iter().zip(expected).all(|(warning, expected)| warning.contains(expected)), "{warnings:#?}");
}

#[test]
fn the_dictionary_may_be_used_in_templates_and_nothing_else() {
    let text = affiliate_with("headers = { a = \"{params.country}\", b = \"{params.contry}\" }\n");
    let errors = Shop::new().file("events.toml", EVENTS).file("affiliates/acme.toml", &text).errors();
    assert_eq!(
        errors,
        [
            "affiliates/acme.toml:8: postback[0].headers.b: \"params.contry\" is a parameter that no event type has; did you mean \"params.country\"?"
        ]
    );
}

#[test]
fn a_file_cut_off_anywhere_is_read_without_panic() {
    let whole = std::fs::read_to_string(super::shipped_directory().join("affiliates/acme.toml")).unwrap();
    let mut shop = Shop::new();
    let cuts = (0..whole.len()).step_by(97).filter(|cut| whole.is_char_boundary(*cut));
    for cut in cuts {
        shop = shop.file("affiliates/acme.toml", &whole[..cut]);
        if let Err(problems) = shop.load() {
            assert!(!problems.0.is_empty());
        }
    }
}

#[test]
fn where_traces_go_is_taken_by_programs_that_can_send_them_and_is_a_clear_error_in_others() {
    let shop = |url: &str| {
        let telemetry = format!("[api]\nsocket = \"s\"\n[telemetry]\notlp = \"{url}\"\n");
        Shop::new().file("postbackd.toml", &telemetry).file("events.toml", EVENTS)
    };
    let good = shop("http://127.0.0.1:4318").file("affiliates/acme.toml", &affiliate_with(""));
    if cfg!(feature = "otel") {
        assert_eq!(good.sound().settings.telemetry.otlp.unwrap().as_str(), "http://127.0.0.1:4318/");
        for wrong in ["collector:4317", "ftp://collector.example", "http://c.example/?key=x", "http://k:x@c.example"] {
            let errors = shop(wrong).file("affiliates/acme.toml", &affiliate_with("")).errors();
            assert!(errors[0].contains("telemetry.otlp") && errors.len() == 1, "{errors:?}");
            assert!(!errors[0].contains("k:x") && !errors[0].contains("key=x"), "{errors:?}");
        }
    } else {
        let errors = good.errors();
        assert!(errors[0].contains("telemetry.otlp: needs a build with the feature \"otel\""), "{errors:?}");
        assert!(errors[0].contains("cargo build --release --features otel"), "{errors:?}");
    }
}

/// Dead letters go last: a smaller limit for them would take them all, and make no room.
#[test]
fn dead_letters_have_no_smaller_size_than_delivered_ones() {
    for (size, faulty) in [
        ("{ delivered = \"2GiB\", dead = \"1GiB\" }", true),
        ("{ dead = \"1GiB\" }", true),
        ("{ delivered = \"1GiB\", dead = \"1GiB\" }", false),
        ("{ delivered = \"1GiB\" }", false),
    ] {
        let daemon = format!("{DAEMON}\n[outbox]\nretain = {{ size = {size} }}\n");
        let loaded = Shop::new().file("postbackd.toml", &daemon).load();
        assert_eq!(loaded.is_err(), faulty, "{size}");
    }
}

#[test]
fn a_file_without_an_end_is_refused() {
    let shop = Shop::new().file("postbackd.toml", &format!("events = \"/dev/zero\"\n{DAEMON}"));
    let errors = shop.errors();
    assert!(errors.iter().any(|error| error.starts_with("/dev/zero: has more than 4194304 bytes")), "{errors:#?}");
}
