//! Values that are echoed in every spelling are found, and nothing else is.

use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, percent_encode};
use proptest::prelude::*;

use super::*;
use crate::domain::template::encode::push_json;

fn mask(values: &[&str]) -> Concealed {
    Concealed::new(values.iter().map(|value| SecretString::from(*value)))
}

fn json(text: &str) -> String {
    let mut out = String::new();
    push_json(text, &mut out);
    out
}

/// Every character as `\uXXXX`.
fn escaped(text: &str) -> String {
    text.encode_utf16().fold(String::new(), |out, unit| format!("{out}\\u{unit:04X}"))
}

fn percent(text: &str) -> String {
    percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
}

fn lower_digits(encoded: &str) -> String {
    let mut digits = 0;
    let lower = |c: char| {
        digits = if c == '%' { 2 } else { i32::max(digits - 1, -1) };
        if digits >= 0 { c.to_ascii_lowercase() } else { c }
    };
    encoded.chars().map(lower).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// The spellings of a value whose text is to be found whole.
fn spellings(value: &str) -> Vec<String> {
    const EVERYTHING: &AsciiSet = &NON_ALPHANUMERIC.remove(b'\0');
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mixed: String =
        value.chars().enumerate().map(|(at, c)| if at % 2 == 0 { percent(&c.to_string()) } else { c.into() }).collect();
    vec![
        value.into(),
        value.to_ascii_uppercase(),
        percent(value),
        lower_digits(&percent(value)),
        percent(&percent(value)),
        percent_encode(value.as_bytes(), EVERYTHING).to_string(),
        form,
        mixed,
        json(value),
        json(&json(value)),
        json(value).replace('/', "\\/"),
        escaped(value),
        html(value),
        value.as_bytes().escape_ascii().to_string(),
        hex::encode(value),
        hex::encode_upper(value),
        STANDARD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        percent(STANDARD.encode(value).trim_end_matches('=')),
    ]
}

/// Secrets of every kind, without what the base64 of its neighbours would hide anyway.
fn secret() -> impl Strategy<Value = String> {
    let special = proptest::sample::select("abAB019 &=?#%/\\\"'<>+-._~ü€😀{}\n".chars().collect::<Vec<_>>());
    prop_oneof![
        "[a-zA-Z0-9]{8,40}",
        proptest::collection::vec(special, 8..30).prop_map(|chars| chars.into_iter().collect::<String>()),
        proptest::collection::vec(any::<u8>(), 12..40).prop_map(|bytes| format!("whsec_{}", STANDARD.encode(bytes))),
        proptest::collection::vec(any::<u8>(), 12..40).prop_map(hex::encode),
        "[a-z]{8,20}".prop_map(hex::encode),
        "[a-z]{8,20}".prop_map(|text| STANDARD.encode(text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_echoed_is_masked_however_it_is_spelled(value in secret(), other in secret(), before in "[ -~]{0,9}") {
        prop_assume!(!value.contains(&other) && !other.contains(&value));
        let mask = mask(&[&value, &other]);
        for spelled in spellings(&value).into_iter().chain(spellings(&other)) {
            // Digits before a value could be taken for its own escape; a space could not.
            let masked = mask.over(format!("{before} <{spelled}> behind"), usize::MAX);
            prop_assert!(masked.contains("***") && masked.ends_with("> behind"), "{spelled:?} became {masked:?}");
            prop_assert!(!masked.contains(&spelled), "{spelled:?} became {masked:?}");
            let hidden = masked.replace('*', "");
            prop_assert!(hidden.len() <= before.len() + " <> behind=====".len(), "{spelled:?} became {masked:?}");
        }
    }

    #[test]
    fn a_text_that_is_nothing_but_a_value_is_long_enough_to_be_searched(value in secret(), before in "[ -~]{0,2}") {
        for spelled in spellings(&value) {
            prop_assert!(mask(&[&value]).over(&spelled, usize::MAX).contains("***"), "{spelled:?}");
        }
        let (_, unpadded) = bare(&value);
        let decoded = [hex::decode(unpadded).ok(), STANDARD_NO_PAD.decode(unpadded).ok()].into_iter().flatten();
        // What stands for less is not looked for.
        for decoded in decoded.filter(|decoded| decoded.len() >= LEAST_DECODED) {
            let spelled = STANDARD_NO_PAD.encode([before.as_bytes(), &decoded].concat());
            prop_assert!(mask(&[&value]).over(&spelled, usize::MAX).contains("***"), "{spelled:?}");
            let Ok(text) = String::from_utf8(decoded) else { continue };
            prop_assert!(mask(&[&value]).over(&text, usize::MAX).contains("***"), "{text:?}");
        }
    }

    #[test]
    fn in_the_base64_of_a_longer_text_no_more_than_its_edges_stay(
        value in "[a-zA-Z0-9/&=]{8,40}", before in "[ -~]{0,9}", behind in "[ -~]{0,9}",
    ) {
        for text in [format!("{before}{value}{behind}"), format!("{before}{}{behind}", percent(&value))] {
            let encoded = STANDARD.encode(&text);
            let masked = mask(&[&value]).over(&encoded, usize::MAX);
            prop_assert!(masked.contains("***"), "{encoded} became {masked}");
            let kept = masked.replace('*', "").len() * 3 / 4;
            prop_assert!(kept <= before.len() + behind.len() + 6, "{encoded} became {masked}");
        }
    }

    #[test]
    fn no_cut_leaves_a_part_of_a_value(value in "[a-z]{20,30}", filler in 0_usize..40, most in 1_usize..60) {
        let text = format!("{}{value}{}", "-".repeat(filler), "-".repeat(40));
        let masked = mask(&[&value]).over_start(text.as_bytes(), most, true);
        prop_assert!(masked.iter().all(|byte| b"-*".contains(byte)));
        for end in filler + 4..text.len() {
            let broken = mask(&[&value]).over_start(&text.as_bytes()[..end], usize::MAX, false);
            prop_assert!(broken.iter().all(|byte| b"-*".contains(byte)), "cut at {end}");
        }
    }

    #[test]
    fn what_is_not_secret_stays_as_it_came(text in "[ -~\n]{0,200}") {
        prop_assert_eq!(mask(&["ünheard-of"]).over(&text, usize::MAX), text);
    }
}

#[test]
fn values_that_overlap_are_masked_to_the_end_of_the_last() {
    let mask = mask(&["abcdefgh", "efghijkl", "ijklm"]);
    assert_eq!(mask.over("<abcdefghijklm>", 100), "<***>");
    assert_eq!(mask.over("<abcdefgh><ijklm>", 100), "<***><***>");
}

#[test]
fn a_value_too_short_to_be_told_from_chance_is_left_alone() {
    assert_eq!(mask(&["abc"]).over("abc", 100), "abc");
    assert_eq!(mask(&["abcd"]).over("abcd", 100), "***");
}

#[test]
fn what_a_value_stands_for_is_masked_too() {
    let mask = mask(&["dXNlcjpwYXNzd29yZA==", "whsec_Zmlyc3Qta2V5LW9mLWFsbA=="]);
    for text in ["user:password", "first-key-of-all", "Zmlyc3Qta2V5LW9mLWFsbA=="] {
        assert_eq!(mask.over(format!("<{text}>"), 100).replace('=', ""), "<***>", "{text}");
    }
}

#[test]
fn a_value_in_a_url_that_is_spelled_in_digits_is_masked() {
    let value = "a-key/of_ours+=~";
    let url = format!("/postback?key={}&cid=c-1", utf8_percent_encode(value, RESERVED));
    for text in [hex::encode(&url), hex::encode_upper(&url)] {
        let masked = mask(&[value]).over(&text, 4_096);
        let expected = [hex::encode("/postback?key="), "***".into(), hex::encode("&cid=c-1")].concat();
        assert!(masked.eq_ignore_ascii_case(&expected), "{masked}");
    }
}

#[test]
fn nothing_shows_when_it_is_printed() {
    let concealed = Concealed::new([SecretString::from("canary-5f2a")]);
    assert_eq!(format!("{concealed:?} {:?}", concealed.clone()), "Concealed(1) Concealed(1)");
}

#[test]
fn a_text_of_nothing_but_values_is_searched_no_further_than_its_bound() {
    let value = "a-signature-as-long-as-most-of-them-are-0123456789-0123456789abcd";
    let mask = mask(&[value]);
    let text = value.repeat(1_000);
    assert_eq!(mask.over(&text, 40), "***".repeat((40 * 4_usize).div_ceil(value.len())));
    assert!(mask.searches_less_than(text.as_bytes(), 40) && !mask.searches_less_than(value.as_bytes(), 40));
}
