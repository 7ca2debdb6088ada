//! Payment cards, and national numbers that are digits alone.

use super::checksum::{luhn, mod_11_10, verhoeff, weighted};
use super::words::{Gap, Number};
use super::{Finding, Kind, Place};

/// Fewest digits of anything that is digits alone: those of a telephone behind a plus sign.
pub(super) const FEWEST_DIGITS: usize = 8;

/// The last year of birth that a Swedish number is believed to have: what is younger is the date of an order.
const LAST_YEAR_OF_BIRTH: u32 = 2012;

/// Tells whether digits are those of one kind.
type Check = fn(&[u8]) -> bool;

/// Finds payment cards: in one piece, or in groups as cards show them.
pub(super) fn cards(numbers: &[Number], place: Place, found: &mut Vec<Finding>) {
    for number in numbers {
        let written = match (number.groups.as_slice(), place) {
            ([_], Place::Id) => number.alone,
            ([_], Place::Marker | Place::Parameter) => true,
            (groups, _) => number.evenly() && is_grouped_like_a_card(groups),
        };
        if written && is_issued(&number.digits) && luhn(&number.digits) {
            found.push(Finding { range: number.range.clone(), kind: Kind::Card });
        }
    }
}

/// Groups of four with a shorter rest, or those of American Express and Diners Club.
fn is_grouped_like_a_card(groups: &[usize]) -> bool {
    match groups {
        [4, 6, 4 | 5] | [4, 4, 5] | [6, 13] => true,
        [fours @ .., last] => fours.len() >= 3 && fours.iter().all(|group| *group == 4) && (1..=4).contains(last),
        [] => false,
    }
}

/// Whether an issuer gives out numbers that begin so, of this length.
fn is_issued(digits: &[u8]) -> bool {
    let prefix = |count: usize| digits.iter().take(count).fold(0_u32, |prefix, digit| prefix * 10 + u32::from(*digit));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    match digits.len() {
        // Visa
        13 | 16 | 19 if prefix(1) == 4 => true,
        // American Express
        15 => matches!(two, 34 | 37),
        // Diners Club
        14 => matches!(three, 300..=305 | 309) || matches!(two, 36 | 38 | 39),
        // Mastercard, Troy
        16 if matches!(two, 51..=55) || matches!(four, 2221..=2720 | 9792) => true,
        // JCB, UnionPay, Discover, Mir, RuPay
        16..=19
            if matches!(four, 3528..=3589 | 6011 | 2200..=2204)
                || matches!(two, 62 | 65 | 81 | 82)
                || matches!(three, 644..=649 | 508) =>
        {
            true
        }
        // Maestro
        13 | 16..=19 => matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763),
        _ => false,
    }
}

/// Finds national numbers: as they are written for people everywhere, as mere digits in parameters.
pub(super) fn national(numbers: &[Number], place: Place, found: &mut Vec<Finding>) {
    for number in numbers.iter().filter(|number| number.alone) {
        let kind = match (number.groups.as_slice(), place) {
            ([_], Place::Id | Place::Marker) => None,
            ([_], Place::Parameter) => in_one_piece(&number.digits),
            _ => in_groups(number),
        };
        found.extend(kind.map(|kind| Finding { range: number.range.clone(), kind }));
    }
}

fn in_groups(number: &Number) -> Option<Kind> {
    use Gap::{Dot, Hyphen, Space};
    let digits = number.digits.as_slice();
    match (number.groups.as_slice(), number.gaps.as_slice()) {
        ([3, 2, 4], [Hyphen, Hyphen] | [Space, Space]) => is_ssn(digits).then_some(Kind::UsSsn),
        ([3, 3, 3, 2], [Dot, Dot, Hyphen]) => is_cpf(digits).then_some(Kind::BrazilCpf),
        ([2, 3, 3, 3], [Space, Space, Space]) => is_steuer_id(digits).then_some(Kind::GermanySteuerId),
        ([4, 2, 3], [Dot, Dot]) => is_bsn(digits).then_some(Kind::NetherlandsBsn),
        ([4, 4, 4], [Space, Space]) => is_aadhaar(digits).then_some(Kind::IndiaAadhaar),
        ([6 | 8, 4], [Hyphen]) => is_personnummer(digits).then_some(Kind::SwedenPersonnummer),
        _ => None,
    }
}

fn in_one_piece(digits: &[u8]) -> Option<Kind> {
    let checks: [(Check, Kind); 4] = [
        (is_cpf, Kind::BrazilCpf),
        (is_pesel, Kind::PolandPesel),
        (is_steuer_id, Kind::GermanySteuerId),
        (|digits| digits.len() == 12 && is_personnummer(digits), Kind::SwedenPersonnummer),
    ];
    checks.into_iter().find(|(fits, _)| fits(digits)).map(|(_, kind)| kind)
}

fn value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value, digit| value * 10 + u32::from(*digit))
}

fn is_ssn(digits: &[u8]) -> bool {
    let Some((area, rest)) = digits.split_at_checked(3) else { return false };
    let Some((group, serial)) = rest.split_at_checked(2) else { return false };
    let area = value(area);
    (1..900).contains(&area) && area != 666 && value(group) != 0 && value(serial) != 0
}

fn is_cpf(digits: &[u8]) -> bool {
    let [number @ .., first, second] = digits else { return false };
    let check = |sum: u32| sum * 10 % 11 % 10;
    let repeated = digits.iter().all(|digit| digits.first() == Some(digit));
    let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    let last = weighted(number, &weights) + u32::from(*first) * 2;
    let plain = weighted(number, weights.get(1..).unwrap_or_default());
    digits.len() == 11 && !repeated && check(plain) == u32::from(*first) && check(last) == u32::from(*second)
}

/// Of the first ten digits one is there twice or three times, and each other at most once.
fn is_steuer_id(digits: &[u8]) -> bool {
    let Some(number) = digits.get(..10).filter(|_| digits.len() == 11) else { return false };
    let mut times = [0_u8; 10];
    for digit in number {
        if let Some(times) = times.get_mut(usize::from(*digit)) {
            *times += 1;
        }
    }
    let repeated: Vec<_> = times.into_iter().filter(|times| *times > 1).collect();
    digits.first() != Some(&0) && matches!(repeated.as_slice(), [2 | 3]) && mod_11_10(digits)
}

fn is_bsn(digits: &[u8]) -> bool {
    let [number @ .., check] = digits else { return false };
    let sum = weighted(number, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum > 0 && sum % 11 == u32::from(*check)
}

fn is_pesel(digits: &[u8]) -> bool {
    let [y1, y2, m1, m2, d1, d2, serial @ .., check] = digits else { return false };
    // The century is added to the month: 80 for the 19th, 0, 20, 40 and 60 for the next ones.
    let month = value(&[*m1, *m2]) % 20;
    let sum = weighted(&[*y1, *y2, *m1, *m2, *d1, *d2], &[1, 3, 7, 9, 1, 3]) + weighted(serial, &[7, 9, 1, 3]);
    digits.len() == 11
        && (1..=12).contains(&month)
        && (1..=31).contains(&value(&[*d1, *d2]))
        && (10 - sum % 10) % 10 == u32::from(*check)
}

/// Aadhaar numbers do not begin with 0 or 1.
fn is_aadhaar(digits: &[u8]) -> bool {
    digits.first().is_some_and(|first| *first >= 2) && verhoeff(digits)
}

/// With the century or without; days are raised by 60 for those who are not registered.
fn is_personnummer(digits: &[u8]) -> bool {
    let Some(at) = digits.len().checked_sub(10) else { return false };
    let (century, [y1, y2, m1, m2, d1, d2, ..]) = digits.split_at(at) else { return false };
    let year = value(&[*y1, *y2]);
    let born = match value(century) {
        19 => true,
        20 => 2000 + year <= LAST_YEAR_OF_BIRTH,
        0 if century.is_empty() => year >= 30 || 2000 + year <= LAST_YEAR_OF_BIRTH,
        _ => false,
    };
    born && (1..=12).contains(&value(&[*m1, *m2]))
        && matches!(value(&[*d1, *d2]), 1..=31 | 61..=91)
        && luhn(digits.get(at..).unwrap_or_default())
}
