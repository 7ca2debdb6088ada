//! Names that betray what they hold: `email`, `player_phone`, `dateOfBirth`.

use std::ops::Range;

use super::{Finding, Kind, MASK};

/// Most words of a name that are read as one, as in `date_of_birth`.
const MAX_JOINED: usize = 4;

/// Names by what they hold, without separators and in lower case.
const NAMES: [(Kind, &[&str]); 11] = [
    (Kind::Email, &["email", "mailaddress", "emailaddress", "correo", "useremail", "playeremail"]),
    (
        Kind::Phone,
        &[
            "phone",
            "telephone",
            "phonenumber",
            "mobilenumber",
            "mobilephone",
            "cellphone",
            "msisdn",
            "whatsapp",
            "tel",
            "telefon",
            "telefono",
        ],
    ),
    (Kind::Iban, &["iban", "bankaccount"]),
    (Kind::Card, &["cardnumber", "cardno", "ccnumber", "creditcard", "creditcardnumber", "debitcard"]),
    (Kind::UsSsn, &["ssn", "socialsecurity", "socialsecuritynumber"]),
    (
        Kind::PersonName,
        &[
            "firstname",
            "lastname",
            "fullname",
            "surname",
            "givenname",
            "familyname",
            "middlename",
            "maidenname",
            "realname",
            "fname",
            "lname",
            "vorname",
            "nachname",
            "apellido",
            "apellidos",
            "sobrenome",
            "cognome",
        ],
    ),
    (Kind::BirthDate, &["dob", "birthdate", "birthday", "dateofbirth", "birthdt", "geburtsdatum"]),
    (Kind::PostalAddress, &["address", "street", "streetaddress", "postaladdress", "homeaddress"]),
    (Kind::IpAddress, &["ip", "ipaddress", "ipaddr", "userip", "clientip", "playerip", "remoteaddr"]),
    (
        Kind::Document,
        &[
            "passport",
            "passportnumber",
            "passportno",
            "nationalid",
            "idcard",
            "taxid",
            "taxnumber",
            "cpf",
            "dni",
            "nie",
            "nif",
            "pesel",
            "bsn",
            "nino",
            "aadhaar",
            "aadhar",
            "personnummer",
            "steuerid",
            "codicefiscale",
            "driverlicense",
            "drivinglicence",
        ],
    ),
    (Kind::Credential, &["password", "passwd", "cvv", "cvc", "cvv2"]),
];

/// Words that make a name say something about the data instead of holding it.
const ABOUT: [&str; 28] = [
    "brand",
    "campaign",
    "confirmed",
    "consent",
    "country",
    "domain",
    "has",
    "hash",
    "hashed",
    "is",
    "md5",
    "model",
    "optin",
    "os",
    "provider",
    "sha1",
    "sha256",
    "status",
    "template",
    "type",
    "valid",
    "validated",
    "verification",
    "verified",
    "version",
    "wallet",
    "marketing",
    "prefix",
];

/// Finds what a key says that its value is. Some keys say so of dates alone.
pub fn named(key: &str, value: &str) -> Option<Kind> {
    let words = split(key);
    if matches!(value, "" | MASK) || words.iter().any(|word| ABOUT.contains(&word.as_str())) {
        return None;
    }
    let joined = |start: usize, count: usize| words.get(start..start + count).map(<[String]>::concat);
    let candidates = (0..words.len()).flat_map(|start| (1..=MAX_JOINED).filter_map(move |count| joined(start, count)));
    let kind = candidates.into_iter().find_map(|candidate| {
        NAMES.iter().find(|(_, names)| names.contains(&candidate.as_str())).map(|(kind, _)| *kind)
    });
    kind.or_else(|| {
        let birth = words.iter().any(|word| matches!(word.as_str(), "birth" | "born" | "nascimento" | "naissance"));
        (birth && holds_date(value)).then_some(Kind::BirthDate)
    })
}

/// The words of a name: parts between separators, and between a small and a capital letter.
fn split(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in key.chars() {
        if !c.is_ascii_alphanumeric() || (small && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        small = c.is_ascii_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Finds parts such as `firstname=Jo` whose name says what they hold, where the value bears it out.
pub(super) fn named_parts(text: &str, found: &mut Vec<Finding>) {
    for (at, _) in text.match_indices(['=', ':']) {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        let before = before.trim_end_matches(['"', '\'', ' ']);
        let key = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')).next();
        let value = after.trim_start_matches(['"', '\'', ' ']);
        let start = text.len() - value.len();
        let value =
            value.split(['&', ';', ',', '|', '"', '\'', '}', ')', '<', '>']).next().unwrap_or_default().trim_end();
        let key = key.filter(|key| (2..=64).contains(&key.len()));
        let Some(kind) = key.and_then(|key| named(key, value)).filter(|kind| bears_out(*kind, value)) else { continue };
        let range = start..start + value.len();
        if !found.iter().any(|finding| overlap(&finding.range, &range)) {
            found.push(Finding { range, kind });
        }
    }
}

/// Whether a value can be what its name says: `email:summer` is a campaign.
fn bears_out(kind: Kind, value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    match kind {
        Kind::PersonName => value.chars().next().is_some_and(char::is_alphabetic),
        Kind::BirthDate => holds_date(value),
        Kind::Phone | Kind::Card | Kind::Document | Kind::UsSsn => digits >= 6,
        Kind::Credential => true,
        // What these look like is looked for by itself.
        Kind::Email
        | Kind::Iban
        | Kind::IpAddress
        | Kind::PostalAddress
        | Kind::UkNino
        | Kind::BrazilCpf
        | Kind::SpainDni
        | Kind::ItalyCodiceFiscale
        | Kind::GermanySteuerId
        | Kind::NetherlandsBsn
        | Kind::PolandPesel
        | Kind::SwedenPersonnummer
        | Kind::IndiaAadhaar
        | Kind::IndiaPan => false,
    }
}

/// Whether a text holds a date such as 1990-01-31.
fn holds_date(text: &str) -> bool {
    text.as_bytes().windows(10).any(|window| {
        let [year @ .., b'-', m1, m2, b'-', d1, d2] = window else { return false };
        let digits = year.iter().chain([m1, m2, d1, d2]).all(u8::is_ascii_digit);
        digits && (year.starts_with(b"19") || year.starts_with(b"20")) && *m1 <= b'1' && *d1 <= b'3'
    })
}

fn overlap(left: &Range<usize>, right: &Range<usize>) -> bool {
    left.start < right.end && right.start < left.end
}
