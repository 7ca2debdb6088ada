//! The shipped files are sound, and show every key.

use std::fs;
use std::time::Duration;

use super::{Shop, affiliate, postback, shipped_directory};
use crate::config::{Problem, Scope, load};
use crate::domain::dictionary::Reverses;

/// The repository's configuration in a directory of its own, each file changed by a function of its name and text.
fn copy(change: impl Fn(&str, &str) -> String) -> Shop {
    let mut shop = Shop::new();
    for directory in ["", "affiliates/"] {
        for entry in fs::read_dir(shipped_directory().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let name = format!("{directory}{}", path.file_name().unwrap().to_str().unwrap());
                let text = change(&name, &fs::read_to_string(&path).unwrap());
                shop = shop.file(&name, &text);
            }
        }
    }
    shop
}

#[test]
fn the_shipped_files_are_sound_from_a_bare_clone() {
    let loaded = load(&shipped_directory().join("postbackd.toml")).unwrap_or_else(|problems| panic!("{problems}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(loaded.settings.affiliates.len(), 4);
    assert_eq!(affiliate(&loaded, "acme").postbacks.len(), 3, "those whose secrets need not be there");
    assert_eq!(postback(&loaded, "acme", "conversion").timeouts.total, Duration::from_secs(10));
}

#[test]
fn the_shipped_dictionary_tells_conversions_from_reversals() {
    let loaded = load(&shipped_directory().join("postbackd.toml")).unwrap();
    let types = &loaded.settings.dictionary.types;
    let rule = |name: &str| &types[&name.parse().unwrap()];
    assert!(rule("ftd").billable && rule("ftd").reverses == Reverses::Never);
    assert_eq!(rule("ftd_reversed").reverses, Reverses::Must);
    assert_eq!(rule("ftd").params["country"].max_length, 2);
    assert!(rule("adjustment").required.iter().all(|field| field.name() != "click_id"));
}

#[test]
fn every_example_that_is_commented_out_works() {
    let switched_on = |name: &str, text: &str| {
        let example =
            |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c == '[' || c.is_lowercase());
        let lines = text.lines().map(|line| if example(line) { &line[1..] } else { line });
        if name == "postbackd.toml" { lines.collect::<Vec<_>>().join("\n") } else { text.to_owned() }
    };
    let loaded = copy(switched_on).sound();
    assert_eq!(loaded.settings.api.tokens[0].name, "casino-backend");
    assert_eq!(loaded.settings.api.tokens[0].affiliates.as_ref().map(|ids| ids.len()), Some(1));
    assert_eq!(
        loaded.settings.api.socket_users[0].scopes.iter().copied().collect::<Vec<_>>(),
        [Scope::Ingest, Scope::Read]
    );
}

#[test]
fn every_shipped_postback_works_once_its_secrets_are_there() {
    let shop = copy(|_, text| text.replace("enabled = false", "enabled = true"));
    let errors = shop.errors();
    assert!(errors.iter().all(|error| error.contains("secrets.")), "{errors:#?}");
    let directory = shop.path("credentials").to_str().unwrap().to_owned();
    let shop = shop
        .variable("CREDENTIALS_DIRECTORY", &directory)
        .variable("ACME_API_KEY", "key")
        .file("credentials/acme-hmac", "hmac\n")
        .file("credentials/lumen-measurement", "measurement")
        .private("secrets/acme-ledger", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", 0o600)
        .private("secrets/acme-ledger-old", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", 0o400);
    let loaded = shop.sound();
    assert_eq!(affiliate(&loaded, "acme").postbacks.len(), 6);
    let secrets = &postback(&loaded, "acme", "ledger").secrets;
    assert_eq!((secrets.names().collect::<Vec<_>>(), secrets.get("ledger").map(<[_]>::len)), (vec!["ledger"], Some(2)));
}
