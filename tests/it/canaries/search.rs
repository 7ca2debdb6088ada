//! Finds canaries in bytes, however they are spelled.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex::bytes::{Regex, RegexBuilder};

/// Everything that is looked for, with what it is.
pub(super) struct Search {
    regex: Regex,
    meanings: BTreeMap<Vec<u8>, String>,
}

impl Search {
    /// A search for canaries, each with a name.
    pub(super) fn new<'c>(canaries: impl Iterator<Item = (&'c str, &'c str)>) -> Self {
        let mut meanings = BTreeMap::new();
        for (name, canary) in canaries {
            for (how, spelling) in spellings(canary) {
                meanings.insert(spelling.into_bytes(), format!("{name} {how}"));
            }
        }
        let any: Vec<_> = meanings.keys().map(|text| regex::escape(std::str::from_utf8(text).unwrap())).collect();
        let regex = RegexBuilder::new(&any.join("|")).unicode(false).size_limit(1 << 30).build().unwrap();
        Self { regex, meanings }
    }

    /// What is found.
    pub(super) fn found(&self, bytes: &[u8]) -> Vec<&str> {
        self.regex.find_iter(bytes).map(|found| self.meanings[found.as_bytes()].as_str()).collect()
    }
}

/// A canary in every spelling, with what it is called.
pub(super) fn spellings(canary: &str) -> Vec<(String, String)> {
    let percent = utf8_percent_encode(canary, NON_ALPHANUMERIC).to_string();
    let mut spellings = vec![
        ("raw".to_owned(), canary.to_owned()),
        ("percent-encoded".into(), percent.clone()),
        ("percent-encoded in lower case".into(), lower_escapes(&percent)),
        ("percent-encoded twice".into(), percent.replace('%', "%25")),
        ("escaped as JSON".into(), canary.replace('/', "\\/")),
        ("backwards".into(), canary.chars().rev().collect()),
        // Half of one tells too much, too.
        ("raw, its beginning".into(), canary[..canary.len() / 2].to_owned()),
        ("raw, its end".into(), canary[canary.len() / 2..].to_owned()),
    ];
    for (of, text) in [("", canary), (" of percent-encoded", &percent)] {
        spellings.push((format!("hex{of}"), hex::encode(text)));
        spellings.push((format!("HEX{of}"), hex::encode_upper(text)));
        for (alphabet, engine) in [("base64", STANDARD_NO_PAD), ("base64url", URL_SAFE_NO_PAD)] {
            for before in 0..3 {
                let encoded = engine.encode([&[0; 2][..before], text.as_bytes()].concat());
                // Without the characters that also hold bits of what is next to it.
                let piece = &encoded[[0, 2, 3][before]..(before + text.len()) * 8 / 6];
                spellings.push((format!("{alphabet}{of} behind {before}"), piece.to_owned()));
            }
        }
    }
    spellings
}

/// `%2F` as `%2f`.
fn lower_escapes(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| format!("{text}%{}{}", part[..2].to_ascii_lowercase(), &part[2..]))
}
