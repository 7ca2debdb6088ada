//! Every line of the corpus is found: as it is, percent-encoded, and in both alphabets of base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::super::{Place, find, findings, masked};

const CORPUS: &str = include_str!("corpus.tsv");

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    CORPUS.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once('\t').unwrap())
}

fn percent_encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn every_line_is_found_in_every_spelling() {
    let mut missed = Vec::new();
    for (kind, text) in lines() {
        let every_byte = text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"));
        let encoded = percent_encoded(text);
        let spellings = [
            text.to_owned(),
            format!("before {text}, after"),
            STANDARD.encode(text),
            URL_SAFE_NO_PAD.encode(text),
            format!("d={}&x=1", STANDARD.encode(&encoded)),
            percent_encoded(&encoded),
            encoded,
            every_byte,
        ];
        for spelling in spellings {
            let kinds: Vec<_> = findings(&spelling, Place::Parameter).iter().map(|f| format!("{:?}", f.kind)).collect();
            if !kinds.iter().any(|found| found == kind) {
                missed.push(format!("{kind} in {spelling:?} ({text}): {kinds:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
    assert!(lines().count() >= 200);
}

#[test]
fn every_line_is_masked() {
    for (_, text) in lines() {
        let masked = masked(text, Place::Parameter).unwrap_or_else(|| panic!("{text} is not masked"));
        assert!(masked.contains("***") && find(&masked, Place::Parameter).is_none(), "{text}: {masked}");
    }
}

#[test]
fn a_wrong_check_digit_is_no_finding() {
    let checked =
        ["Card", "Iban", "BrazilCpf", "SpainDni", "GermanySteuerId", "PolandPesel", "IndiaAadhaar", "NetherlandsBsn"];
    for (kind, text) in lines().filter(|(kind, text)| checked.contains(kind) && !text.contains(['=', ':', ',', '/'])) {
        let Some(at) = text.rfind(|c: char| c.is_ascii_digit()) else { continue };
        let digit = text.as_bytes()[at] - b'0';
        let others = (1..10).map(|step| (digit + step) % 10);
        let found = others.filter(|other| {
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            findings(&changed, Place::Parameter).iter().any(|finding| format!("{:?}", finding.kind) == kind)
        });
        // Two letters in a hundred, and one remainder in eleven, are the same for another digit.
        assert!(found.count() <= 1, "{kind} {text}");
    }
}
