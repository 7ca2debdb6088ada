//! Recognises what looks like personal data, so that it is refused or masked before it leaves the house.
//!
//! A text is read as it stands and in its other [spellings](spelling): percent-decoded, base64-decoded, with typographic
//! spaces and hyphens made plain. Each spelling is taken apart into words, and each kind is looked for where it stands
//! alone: digits inside a longer id are no telephone. What has a check digit is found only where that is right.
//!
//! How much a bare number proves depends on its [`Place`]: ids and affiliates' markers are often numbers by themselves.
//!
//! The work is bounded: a text of n bytes has at most 11 n bytes of spellings, each read once by each kind.
//!
//! This module refuses to know what an event is, and what follows from a finding.

mod checksum;
mod format;
mod iban;
mod internet;
mod key;
mod letters;
mod numbers;
mod phone;
mod spelling;
#[cfg(test)]
mod tests;
mod words;

use std::ops::Range;

pub use format::{Formats, IdFormat, InvalidFormat};
pub use key::named;

use spelling::Spelling;
use words::Words;

/// What stands in a text instead of personal data.
pub const MASK: &str = "***";

/// How many spellings may lie inside each other.
const MAX_DEPTH: usize = 3;

/// What a text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A payment card number whose issuer, length and Luhn digit are right.
    Card,
    /// An international bank account number whose country, form and mod-97 check are right.
    Iban,
    /// A telephone number.
    Phone,
    /// An IPv4 or IPv6 address of a host.
    IpAddress,
    /// A social security number of the United States.
    UsSsn,
    /// A National Insurance number of the United Kingdom.
    UkNino,
    /// A CPF of Brazil.
    BrazilCpf,
    /// A DNI or NIE of Spain.
    SpainDni,
    /// A codice fiscale of Italy.
    ItalyCodiceFiscale,
    /// A tax identification number of Germany.
    GermanySteuerId,
    /// A BSN of the Netherlands.
    NetherlandsBsn,
    /// A PESEL of Poland.
    PolandPesel,
    /// A personnummer or samordningsnummer of Sweden.
    SwedenPersonnummer,
    /// An Aadhaar number of India.
    IndiaAadhaar,
    /// A permanent account number of a person in India.
    IndiaPan,
    /// A date of birth, as its name says.
    BirthDate,
    /// A person's name, as its name says.
    PersonName,
    /// A postal address, as its name says.
    PostalAddress,
    /// The number of a passport or another document, as its name says.
    Document,
    /// A password or a card's security code, as its name says.
    Credential,
}

impl Kind {
    /// The kind for a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "an e-mail address",
            Self::Card => "a payment card number",
            Self::Iban => "a bank account number (IBAN)",
            Self::Phone => "a telephone number",
            Self::IpAddress => "an IP address",
            Self::UsSsn => "a US social security number",
            Self::UkNino => "a UK National Insurance number",
            Self::BrazilCpf => "a Brazilian CPF",
            Self::SpainDni => "a Spanish DNI or NIE",
            Self::ItalyCodiceFiscale => "an Italian codice fiscale",
            Self::GermanySteuerId => "a German tax number (Steuer-ID)",
            Self::NetherlandsBsn => "a Dutch BSN",
            Self::PolandPesel => "a Polish PESEL",
            Self::SwedenPersonnummer => "a Swedish personnummer",
            Self::IndiaAadhaar => "an Indian Aadhaar number",
            Self::IndiaPan => "an Indian PAN",
            Self::BirthDate => "a date of birth",
            Self::PersonName => "a person's name",
            Self::PostalAddress => "a postal address",
            Self::Document => "the number of a personal document",
            Self::Credential => "a password or a security code",
        }
    }
}

/// Where a text stands, which decides how much a bare number proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An id: a transaction, a click, an offer. Often a number with hyphens, so that telephones need a plus sign, and
    /// a card number must be the whole of it.
    Id,
    /// An affiliate's marker: may be the number of a campaign, so that national numbers without separators pass, whose
    /// check digits are right by chance in three of a hundred.
    Marker,
    /// A parameter that the operator declared: national numbers are found without separators, too.
    Parameter,
}

/// A part of a text, in bytes, and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    range: Range<usize>,
    kind: Kind,
}

/// Finds what kind of personal data a text holds, if any.
pub fn find(text: &str, place: Place) -> Option<Kind> {
    findings(text, place).first().map(|finding| finding.kind)
}

/// Finds an e-mail address alone, for ids of a known format.
pub fn find_email(text: &str) -> Option<Kind> {
    let mut found = Vec::new();
    in_spellings(text, MAX_DEPTH, &mut found, &|text, found| internet::emails(text, found));
    found.first().map(|finding| finding.kind)
}

/// Replaces each part that looks like personal data by [`MASK`], an encoded part as a whole.
///
/// The result is the same for the same text, and [`find`] finds nothing more in it; `None` where that cannot be had.
pub fn masked(text: &str, place: Place) -> Option<String> {
    let mut found = findings(text, place);
    found.sort_by_key(|finding| (finding.range.start, finding.range.end));
    let mut masked = String::with_capacity(text.len());
    let mut end = 0;
    for Finding { range, .. } in found {
        if range.start >= end {
            masked.push_str(text.get(end..range.start)?);
            masked.push_str(MASK);
        }
        end = end.max(range.end);
    }
    masked.push_str(text.get(end..)?);
    find(&masked, place).is_none().then_some(masked)
}

fn findings(text: &str, place: Place) -> Vec<Finding> {
    let mut found = Vec::new();
    in_spellings(text, MAX_DEPTH, &mut found, &|text, found| in_plain(text, place, found));
    found
}

/// Looks through a text and its spellings; what is found in one of them is found where that stands in the text.
fn in_spellings(text: &str, depth: usize, found: &mut Vec<Finding>, look: &dyn Fn(&str, &mut Vec<Finding>)) {
    look(text, found);
    let Some(depth) = depth.checked_sub(1) else { return };
    spelling::of(text, |spelling: &Spelling| {
        let mut inside = Vec::new();
        in_spellings(&spelling.text, depth, &mut inside, look);
        found.extend(
            inside.into_iter().map(|finding| Finding { range: spelling.original(&finding.range), kind: finding.kind }),
        );
    });
}

fn in_plain(text: &str, place: Place, found: &mut Vec<Finding>) {
    if !may_hold_any(text) {
        return;
    }
    internet::emails(text, found);
    let words = Words::of(text);
    iban::ibans(&words, found);
    letters::numbers_with_letters(&words, found);
    let runs = words.numbers();
    internet::v4_addresses(text, &runs, found);
    internet::v6_addresses(text, found);
    numbers::cards(&runs, place, found);
    numbers::national(&runs, place, found);
    phone::phones(text, &runs, place, found);
    key::named_parts(text, found);
}

/// Whether a text has the characters for anything that is looked for. Most texts are short and have not: they need not be
/// taken apart.
fn may_hold_any(text: &str) -> bool {
    let (mut digits, mut characters, mut dots) = (0, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'z' | b'A'..=b'Z' => characters += 1,
            b'.' => dots += 1,
            // An e-mail address, an IPv6 address, a name with its value.
            b'@' | b':' | b'=' => return true,
            _ => {}
        }
    }
    characters += digits;
    let iban = digits >= 2 && characters >= iban::SHORTEST;
    let address = digits >= 4 && dots >= 3;
    let letters = digits >= letters::FEWEST_DIGITS && characters >= letters::SHORTEST || characters >= letters::LONGEST;
    iban || address || letters || digits >= numbers::FEWEST_DIGITS
}
