//! Secrets are references, and their values show up nowhere.

use secrecy::ExposeSecret as _;

use super::{Shop, affiliate_with, postback};

const VALUE: &str = "s3cr3t-Value-9f86d081";

fn signed(secret: &str) -> String {
    affiliate_with(&format!(
        "[postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = {secret}\nmessage = \"{{body}}\"\n\
         place = {{ query = \"sig\" }}\n"
    ))
}

fn resolved(shop: &Shop) -> Vec<String> {
    let loaded = shop.sound();
    assert!(!format!("{loaded:?}").contains(VALUE));
    let secrets = &postback(&loaded, "acme", "p").secrets;
    let name = secrets.names().next().unwrap();
    secrets.get(name).unwrap().iter().map(|value| value.expose_secret().to_owned()).collect()
}

#[test]
fn a_secret_comes_from_a_file_a_credential_or_a_variable() {
    let shop = Shop::new().private("keys/a", &format!("{VALUE}\n"), 0o600);
    let credentials = shop.path("keys").to_str().unwrap().to_owned();
    let mut shop = shop.variable("CREDENTIALS_DIRECTORY", &credentials).variable("KEY", VALUE);
    for reference in ["{ file = \"../keys/a\" }", "{ credential = \"a\" }", "{ env = \"KEY\" }"] {
        shop = shop.file("affiliates/acme.toml", &signed(reference));
        assert_eq!(resolved(&shop), [VALUE], "{reference}");
    }
}

#[test]
fn two_secrets_can_be_live() {
    let shop = Shop::new().variable("NEW", VALUE).variable("OLD", "old");
    let shop = shop.file("affiliates/acme.toml", &signed("[{ env = \"NEW\" }, { env = \"OLD\" }]"));
    assert_eq!(resolved(&shop), [VALUE, "old"]);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    for mode in [0o640, 0o604, 0o644, 0o660] {
        let shop = Shop::new().private("affiliates/key", VALUE, mode);
        let errors = shop.file("affiliates/acme.toml", &signed("{ file = \"key\" }")).errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("affiliates/acme.toml:11: postback[0].signature.secret: refers to "),
            "{errors:?}"
        );
        assert!(errors[0].ends_with("run: chmod 600 affiliates/key"), "{errors:?}");
        assert!(errors[0].contains(&format!("{mode:04o}")) && !errors[0].contains(VALUE));
    }
}

#[test]
fn what_cannot_be_resolved_says_why_and_nothing_more() {
    let cases = [
        ("{ file = \"none\" }", "which cannot be read"),
        ("{ file = \".\" }", "which is not a file"),
        ("{ credential = \"none\" }", "CREDENTIALS_DIRECTORY is not set"),
        ("{ env = \"NONE\" }", "the environment variable \"NONE\""),
        ("{ env = \"BLANK\" }", "a secret that is empty"),
        ("{ env = \"KEY\", file = \"x\" }", "several places at once"),
        ("{ }", "refers to no secret"),
        ("[]", "is an empty list"),
        ("[{ env = \"KEY\" }, { env = \"KEY\" }, { env = \"KEY\" }]", "at most 2 are live"),
        ("{ envv = \"KEY\" }", "did you mean \"env\"?"),
        ("{ credential = \"../../etc/shadow\" }", "is not a name"),
        ("12", "a value where a reference"),
    ];
    for (reference, expected) in cases {
        let shop = Shop::new().variable("KEY", VALUE).variable("BLANK", "\n");
        let errors = shop.file("affiliates/acme.toml", &signed(reference)).errors();
        assert!(errors.iter().any(|error| error.contains(expected)), "{reference}: {errors:?}");
        assert!(errors.iter().all(|error| error.starts_with("affiliates/acme.toml:11: ")), "{errors:?}");
    }
}

#[test]
fn a_secret_written_into_the_configuration_is_refused_and_not_repeated() {
    let texts = [
        signed(&format!("\"{VALUE}\"")),
        signed(&format!("[\"{VALUE}\"]")),
        signed(&format!("{{ env = \"{VALUE}\" }}")),
        format!("{}[secrets]\nhmac = \"{VALUE}\"\n", signed("\"hmac\"")),
        format!("{}[secrets]\nhmac = {{ value = \"{VALUE}\" }}\n", signed("\"hmac\"")),
        format!("{}[secrets]\nhmac = {{ credential = \"{VALUE} /\" }}\n", signed("\"hmac\"")),
    ];
    for text in texts {
        let errors = Shop::new().file("affiliates/acme.toml", &text).errors();
        assert!(!errors.is_empty() && errors.iter().all(|error| !error.contains(VALUE)), "{errors:?}");
        assert!(
            errors.iter().any(|error| error.contains("file = \"path\"")
                || error.contains("keep")
                || error.contains("not the secret")),
            "{errors:?}"
        );
    }
}

#[test]
fn a_token_in_the_place_of_its_hash_is_not_repeated() {
    let daemon =
        format!("[api]\nsocket = \"s\"\n[[api.token]]\nname = \"a\"\nsha256 = \"{VALUE}\"\nscopes = [\"read\"]\n");
    let errors = Shop::new().file("postbackd.toml", &daemon).errors();
    assert!(errors.len() == 1 && errors[0].starts_with("postbackd.toml:5: api.token[0].sha256: "), "{errors:?}");
    assert!(!errors[0].contains(VALUE));
}

#[test]
fn a_secret_that_is_not_in_its_encoding_is_found() {
    let text = signed("{ env = \"KEY\" }\nsecret_encoding = \"hex\"");
    let errors = Shop::new().variable("KEY", VALUE).file("affiliates/acme.toml", &text).errors();
    assert!(errors.len() == 1 && errors[0].contains("is not valid hex"), "{errors:?}");
    assert!(!errors[0].contains(VALUE));
}

#[test]
fn a_postback_that_is_switched_off_needs_no_secret() {
    let text = signed("{ env = \"NONE\" }").replace("name = \"p\"", "name = \"p\"\nenabled = false");
    let loaded = Shop::new().file("affiliates/acme.toml", &text).sound();
    assert!(super::affiliate(&loaded, "acme").postbacks.is_empty());
}
