//! A thousand canaries, each at a place where a secret may be kept and used.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::echo::WAYS;

/// Affiliates, each with [`EACH`] canaries.
pub(super) const AFFILIATES: usize = 125;
const EACH: usize = 8;

/// Names of an affiliate's secrets: by what they are used for.
const USES: [&str; EACH] = ["path", "query", "header", "json", "form", "hmac", "webhooks", "digest"];

/// Where secrets are kept, in turns.
const PLACES: [&str; 3] = ["file", "credential", "env"];

/// One secret.
pub(super) struct Canary {
    pub(super) name: String,
    pub(super) value: String,
    place: &'static str,
}

/// A text that occurs nowhere else, by its number.
pub(super) fn text(number: usize) -> String {
    let random = STANDARD.encode(Sha256::digest(format!("canary {number}")));
    let plain: String = random.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    format!("{}/{}+={}", &plain[..8], &plain[8..16], &plain[16..])
}

/// All of them, in the order of affiliates and their uses.
pub(super) fn all() -> Vec<Canary> {
    let canary = |number: usize| {
        let used = USES[number % EACH];
        let value = match used {
            "webhooks" => format!("whsec_{}", STANDARD.encode(&Sha256::digest(text(number))[..24])),
            _ => text(number),
        };
        let place = PLACES[(number / EACH + number) % PLACES.len()];
        Canary { name: format!("A{}_{}", number / EACH, used.to_ascii_uppercase()), value, place }
    };
    (0..AFFILIATES * EACH).map(canary).collect()
}

/// Puts them where they are kept below a directory; returns the variables of the daemon's environment.
pub(super) fn plant(directory: &Path, canaries: &[Canary]) -> Vec<(String, String)> {
    let [files, credentials] = ["files", "credentials"].map(|name| directory.join(name));
    std::fs::create_dir(&files).unwrap();
    std::fs::create_dir(&credentials).unwrap();
    let mut variables = vec![("CREDENTIALS_DIRECTORY".to_owned(), credentials.to_str().unwrap().to_owned())];
    for Canary { name, value, place } in canaries {
        match *place {
            "env" => variables.push((name.clone(), value.clone())),
            "file" => write_private(&files.join(name), value),
            _ => write_private(&credentials.join(name), value),
        }
    }
    variables
}

pub(super) fn write_private(path: &Path, text: &str) {
    std::fs::write(path, format!("{text}\n")).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Writes the affiliates that use them.
pub(super) fn write_affiliates(directory: &Path, canaries: &[Canary], receiver: SocketAddr) {
    for (number, canaries) in canaries.chunks(EACH).enumerate() {
        let mut secrets = String::new();
        for (used, Canary { name, place, .. }) in USES.iter().zip(canaries) {
            let kept = if *place == "file" { format!("../files/{name}") } else { name.clone() };
            writeln!(secrets, "{used} = {{ {place} = \"{kept}\" }}").unwrap();
        }
        let url = format!("http://{receiver}/{}", number % WAYS);
        let postback = |name: &str, method: &str, rest: &str| {
            format!(
                "[[postback]]\nname = \"{name}\"\nevents = \"*\"\nlane = \"{name}\"\nmethod = \"{method}\"\ninsecure_http = true\n{rest}\n"
            )
        };
        let file = [
            format!(
                "id = \"a{number}\"\nname = \"A {number}\"\n[limits]\nbreaker = {{ failures = 0 }}\n[secrets]\n{secrets}"
            ),
            postback(
                "get",
                "GET",
                &format!(
                    "url = \"{url}/{{secret.path}}/pb?key={{secret.query}}&cid={{click_id}}\"\n\
                     headers = {{ X-Key = \"{{secret.header}}\" }}\n\
                     [postback.signature]\nscheme = \"custom\"\nalgorithm = \"hmac-sha256\"\nsecret = \"hmac\"\n\
                     message = \"{{timestamp}}.{{path_and_query}}\"\nplace = {{ query = \"sig\", encoding = \"hex\" }}"
                ),
            ),
            postback(
                "json",
                "POST",
                &format!(
                    "url = \"{url}/json\"\n[postback.body]\njson = {{ key = \"{{secret.json}}\", cid = \"{{click_id}}\" }}\n\
                     [postback.signature]\nscheme = \"standard-webhooks\"\nsecret = \"webhooks\""
                ),
            ),
            postback(
                "form",
                "POST",
                &format!(
                    "url = \"{url}/form\"\nheaders = {{ Authorization = \"Bearer {{secret.form}}\" }}\n[postback.body]\n\
                     form = {{ key = \"{{secret.form}}\", cid = \"{{click_id}}\" }}\n\
                     [postback.signature]\nscheme = \"custom\"\nalgorithm = \"md5\"\nsecret = \"digest\"\n\
                     message = \"{{transaction_id}}{{secret}}\"\nplace = {{ query = \"sig\", encoding = \"hex\" }}"
                ),
            ),
        ];
        std::fs::write(directory.join(format!("affiliates/a{number}.toml")), file.join("\n")).unwrap();
    }
}
