//! What the guard finds, and above all what it leaves alone.

mod corpus;
mod ids;

use super::{Kind, MASK, Place, find, masked, named};

const PLACES: [Place; 3] = [Place::Id, Place::Marker, Place::Parameter];

#[test]
fn texts_of_every_day_are_left_alone() {
    let texts = [
        "banner-3",
        "welcome-100",
        "2026-11-20",
        "20.11.2026 10:00",
        "2026-11-20T10:00:00+02:00",
        "01.12.2026 10",
        "20261120-0042",
        "2026-1120-0042",
        "261120-0042",
        "INV-2026-001234",
        "order 2026/11/20",
        "1.2.3",
        "10.0.0.0",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36",
        "120210987654321098",
        "17421093456",
        "EUR 1 250 000",
        "750 000 000",
        "+120.00",
        "12:34:56",
        "ad::cafe",
        "std::fmt",
        "aa:bb:cc:dd:ee:ff",
        "banner@2x.png",
        "user@localhost",
        "@handle",
        "a@b",
        "email:summer-sale",
        "utm_medium=email&utm_source=x",
        "utm_campaign=phone:launch",
        "4111111111111112",
        "4111 1111 1111 1112",
        "9876543210987654",
        "SUMMER2026A",
        "DE89370400440532013001",
        "DE8937040044053201300",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "529.982.247-26",
        "111.111.111-11",
        "12345678A",
        "BG123456A",
        "GB123456C",
        "TN123456A",
        "RSSMRA85T10A562T",
        "c-77f3",
        "***",
        "click:ftd:c-1",
        "EURUSD",
        "iPhone 15 Pro",
        "5-4-3-2-1",
        "100 200 300 400",
        "3.141592653589793",
        "00012345678",
        "0.000.000.001",
        "9223372036854775807",
        "1763632800123",
        "1763632800",
        "{\"a\":[1,2,3]}",
        "%zz%4",
        "====",
        "",
        " ",
    ];
    for text in texts {
        for place in PLACES {
            assert_eq!(find(text, place), None, "{text} as {place:?}");
        }
    }
}

#[test]
fn a_bare_number_proves_as_much_as_its_place_allows() {
    let cases = [
        ("52998224725", [None, None, Some(Kind::BrazilCpf)]),
        ("44051401359", [None, None, Some(Kind::PolandPesel)]),
        ("0151-23456789", [None, Some(Kind::Phone), Some(Kind::Phone)]),
        ("txn-4111111111111111", [None, Some(Kind::Card), Some(Kind::Card)]),
        ("4111111111111111", [Some(Kind::Card); 3]),
        ("529.982.247-25", [Some(Kind::BrazilCpf); 3]),
        ("+4915123456789", [Some(Kind::Phone); 3]),
    ];
    for (text, expected) in cases {
        assert_eq!(PLACES.map(|place| find(text, place)), expected, "{text}");
    }
}

#[test]
fn encodings_are_looked_through_inside_each_other_and_inside_longer_texts() {
    let texts = [
        "jo%2540example.com",
        "jo%252540example.com",
        "x=am9AZXhhbXBsZS5jb20=&y=1",
        "id/am9AZXhhbXBsZS5jb20/2",
        "u-am9AZXhhbXBsZS5jb20",
        "am9AZXhhbXBsZS5jb20%3D",
        "WVcwNVFHVjRZVzF3YkdVdVkyOXQ=",
        "am8lNDBleGFtcGxlLmNvbQ",
        "eyJhbGciOiJub25lIn0.eyJlIjoiam9AZXhhbXBsZS5jb20ifQ.",
        "jo＠example.com",
        "%6a%6f%40%65%78%61%6d%70%6c%65%2e%63%6f%6d",
        "jo%40example.com%ff",
    ];
    for text in texts {
        assert_eq!(find(text, Place::Marker), Some(Kind::Email), "{text}");
    }
    assert_eq!(find("4111\u{a0}1111\u{2011}1111 1111", Place::Marker), None, "mixed separators");
    assert_eq!(find("4111\u{a0}1111\u{a0}1111\u{a0}1111", Place::Marker), Some(Kind::Card));
    assert_eq!(find("%2B49%20151%2023456789", Place::Id), Some(Kind::Phone));
}

#[test]
fn a_mask_takes_the_place_of_what_was_found_and_of_nothing_else() {
    let cases = [
        ("x=jo@example.com&y=2", "x=***&y=2"),
        ("x=jo%40example.com&y=%20", "x=***&y=%20"),
        ("d=am9AZXhhbXBsZS5jb20=&y", "d=***&y"),
        ("a@b.co, c@d.eu", "***, ***"),
        ("4111-1111-1111-1111 and +49 151 23456789.", "*** and ***."),
        ("+49 151 23456789, 4111-1111-1111-1111, jo@example.com", "***, ***, ***"),
        ("firstname=Jo&n=2", "firstname=***&n=2"),
        ("jürgen@beispiel.example für Größe", "*** für Größe"),
        ("banner-3", "banner-3"),
        ("jo%40example.com", MASK),
    ];
    for (text, expected) in cases {
        assert_eq!(masked(text, Place::Parameter).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn names_betray_what_they_hold() {
    let betraying = [
        ("email", Kind::Email),
        ("player_email", Kind::Email),
        ("e-mail", Kind::Email),
        ("phoneNumber", Kind::Phone),
        ("Phone", Kind::Phone),
        ("iban", Kind::Iban),
        ("SSN", Kind::UsSsn),
        ("first_name", Kind::PersonName),
        ("lastName", Kind::PersonName),
        ("firstname", Kind::PersonName),
        ("dob", Kind::BirthDate),
        ("date_of_birth", Kind::BirthDate),
        ("card-number", Kind::Card),
        ("ip", Kind::IpAddress),
        ("home.address", Kind::PostalAddress),
        ("passport_no", Kind::Document),
        ("cvv", Kind::Credential),
    ];
    for (key, kind) in betraying {
        assert_eq!(named(key, "x"), Some(kind), "{key}");
    }
    for key in [
        "email_hash",
        "phone_model",
        "has_phone",
        "card_type",
        "country",
        "name",
        "iphone",
        "sub1",
        "shipment",
        "birth_year",
    ] {
        assert_eq!(named(key, "1990"), None, "{key}");
    }
    assert_eq!(named("birth", "1990-01-31"), Some(Kind::BirthDate));
    assert_eq!(named("email", ""), None, "nothing is there");
}

#[test]
fn hostile_texts_take_bounded_work() {
    let nested = (0..12).fold("jo@example.com".to_owned(), |text, _| text.replace('%', "%25").replace('@', "%40"));
    assert_eq!(find(&nested, Place::Marker), None, "deeper than anybody encodes");
    for unit in ["%25", "1 ", "4111 ", "@a.", "a=", "::", "QUFB", "+1(", "DE89", "é＠", "%", "-", "1.1.1.1."] {
        let text = unit.repeat(1024 / unit.len());
        for place in PLACES {
            assert!(masked(&text, place).is_none_or(|masked| masked.len() <= 2 * text.len()), "{unit}");
        }
    }
}
