//! How often ids are taken for something else: never where they hold letters, seldom where they are mere digits.
//!
//! The ids are drawn from a fixed seed, so that the figures are the same on every run.

use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::{Formats, IdFormat, Kind, Place, find};

const LOWER_36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const UPPER_36: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const BASE_62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE_64_URL: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const CROCKFORD: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HEX: &[u8] = b"0123456789abcdef";
const DIGITS: &[u8] = b"0123456789";

struct Draw(SmallRng);

impl Draw {
    fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.0.random_range(0..alphabet.len())])).collect()
    }

    /// A text with at least one letter: what has none is a decimal id, which is measured apart.
    fn lettered(&mut self, alphabet: &[u8], length: usize) -> String {
        loop {
            let text = self.text(alphabet, length);
            if text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                return text;
            }
        }
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        self.0.random_range(least..=most)
    }

    fn uuid(&mut self, version: u8) -> String {
        let mut hex = String::new();
        // A time of 2026 in milliseconds, as version 7 has it in front.
        let head = if version == 7 {
            1_790_000_000_000 + self.0.random_range(0..9_000_000_000_u64)
        } else {
            self.0.random::<u64>() >> 16
        };
        write!(hex, "{head:012x}").unwrap();
        hex.push_str(&self.text(HEX, 20));
        let variant = self.text(b"89ab", 1);
        format!("{}-{}-{version}{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }
}

/// Each format: its name, the name that the configuration has for it, and how an id of it is drawn.
type Generator = (&'static str, Option<&'static str>, fn(&mut Draw) -> String);

const LETTERED: [Generator; 21] = [
    ("UUID v4", Some("uuid"), |d| d.uuid(4)),
    ("UUID v7", Some("uuid"), |d| d.uuid(7)),
    ("ULID", Some("ulid"), |d| format!("01K{}", d.text(CROCKFORD, 23))),
    ("hex 16", Some("hex"), |d| d.lettered(HEX, 16)),
    ("hex 24", Some("redtrack"), |d| d.lettered(HEX, 24)),
    ("hex 32", Some("everflow"), |d| d.lettered(HEX, 32)),
    ("hex 40", Some("hex"), |d| d.lettered(HEX, 40)),
    ("HEX 24", Some("hex"), |d| d.lettered(HEX, 24).to_uppercase()),
    ("base62", Some("base62"), |d| {
        let length = d.between(12, 32);
        d.lettered(BASE_62, length)
    }),
    ("BASE36", None, |d| {
        let length = d.between(12, 32);
        d.lettered(UPPER_36, length)
    }),
    ("Keitaro", Some("keitaro"), |d| {
        let length = d.between(10, 20);
        d.lettered(LOWER_36, length)
    }),
    ("Voluum", Some("voluum"), |d| format!("w{}", d.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 23))),
    ("Voluum lower", Some("voluum"), |d| format!("w{}", d.text(LOWER_36, 23))),
    ("Binom", Some("binom"), |d| {
        let length = d.between(16, 32);
        d.lettered(LOWER_36, length)
    }),
    ("nanoid", Some("nanoid"), |d| d.text(BASE_64_URL, 21)),
    ("gclid", Some("gclid"), |d| {
        let length = d.between(55, 95);
        format!("Cj0KCQ{}_BwE", d.text(BASE_64_URL, length))
    }),
    ("fbclid", None, |d| format!("IwAR{}", d.text(BASE_64_URL, 57))),
    ("two parts", None, |d| format!("{}-{}", d.lettered(BASE_62, 8), d.text(DIGITS, 10))),
    ("prefixed number", None, |d| format!("dep_{}", d.text(DIGITS, 16))),
    ("letter and number", None, |d| format!("c{}", d.text(DIGITS, 16))),
    ("base64", None, |d| {
        format!("{}=", d.text(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/", 43))
    }),
];

const EACH: usize = 50_000;

#[test]
fn no_id_with_letters_is_ever_mistaken() {
    let mut draw = Draw(SmallRng::seed_from_u64(20_261_120));
    let mut mistaken = Vec::new();
    for (name, known, generate) in LETTERED {
        let formats = Formats::new(known.and_then(IdFormat::named).into_iter().collect());
        for _ in 0..EACH {
            let id = generate(&mut draw);
            assert!(known.is_none() || formats.fit(&id), "{name}: {id}");
            mistaken.extend(find(&id, Place::Id).map(|kind| format!("{name}: {id} as {kind:?}")));
        }
    }
    assert!(LETTERED.len() * EACH >= 1_000_000);
    assert!(mistaken.is_empty(), "{mistaken:#?}");
}

#[test]
fn markers_hold_ids_that_are_not_mistaken_either() {
    let mut draw = Draw(SmallRng::seed_from_u64(20_261_121));
    // A card number behind a prefix is found in a marker, so that this format is measured with the decimal ones.
    for (name, _, generate) in
        LETTERED.into_iter().filter(|(name, ..)| !matches!(*name, "prefixed number" | "two parts"))
    {
        for _ in 0..5_000 {
            let id = generate(&mut draw);
            assert_eq!(find(&id, Place::Marker), None, "{name}: {id}");
        }
    }
}

/// How many of twenty thousand ids of each length are taken for a card, as docs/dictionary.md tells it.
#[test]
fn decimal_ids_are_mistaken_for_cards_at_a_known_rate() {
    let mut draw = Draw(SmallRng::seed_from_u64(20_261_122));
    let decimal = Formats::new(IdFormat::named("decimal").into_iter().collect());
    let mut rates = Vec::new();
    for length in 8..=20 {
        let ids: Vec<_> = (0..20_000).map(|_| draw.text(DIGITS, length)).collect();
        let kinds: Vec<_> = ids.iter().filter_map(|id| find(id, Place::Id)).collect();
        assert!(kinds.iter().all(|kind| *kind == Kind::Card));
        assert!(ids.iter().all(|id| decimal.fit(id)), "an operator who says that ids are decimal has none mistaken");
        rates.push((length, kinds.len()));
    }
    let expected = [0, 0, 0, 0, 0, 168, 89, 41, 521, 112, 108, 329, 0];
    assert_eq!(rates, (8..=20).zip(expected).collect::<Vec<_>>());
}

/// How many of twenty thousand numbers in a parameter are taken for a person's, as docs/dictionary.md tells it.
#[test]
fn decimal_parameters_are_mistaken_for_national_numbers_at_a_known_rate() {
    let mut draw = Draw(SmallRng::seed_from_u64(20_261_124));
    let mut mistaken = |length: usize| {
        let ids = (0..20_000).map(|_| draw.text(DIGITS, length));
        ids.filter_map(|id| find(&id, Place::Parameter)).filter(|kind| *kind != Kind::Card).count()
    };
    assert_eq!([8, 9, 10, 11, 12, 13].map(&mut mistaken), [0, 0, 0, 646, 4, 0]);
}

/// Snowflakes of this decade begin with 1 or 2 and have 18 or 19 digits: no issuer has such cards.
#[test]
fn snowflakes_of_today_are_no_cards() {
    let mut draw = Draw(SmallRng::seed_from_u64(20_261_123));
    for _ in 0..20_000 {
        let id = draw.0.random_range(1_000_000_000_000_000_000_u64..2_199_999_999_999_999_999);
        assert_eq!(find(&id.to_string(), Place::Marker), None, "{id}");
        let id = draw.0.random_range(100_000_000_000_000_000_u64..199_999_999_999_999_999);
        assert_eq!(find(&id.to_string(), Place::Marker), None, "{id}");
    }
}
