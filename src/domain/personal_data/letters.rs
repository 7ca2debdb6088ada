//! National numbers that hold letters.

use super::words::Words;
use super::{Finding, Kind};

/// Digits of the number with the fewest, the Indian one; an Italian one may have letters for all of them.
pub(super) const FEWEST_DIGITS: usize = 4;
/// Characters of the shortest numbers, the British and the Spanish ones.
pub(super) const SHORTEST: usize = 9;
/// Characters of the longest number, the Italian one.
pub(super) const LONGEST: usize = 16;

/// The check letters of the Spanish DNI and NIE, by the rest of the number divided by 23.
const DNI_LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
/// What a character at an odd place of a codice fiscale counts: 0 or A, 1 or B, and so on.
const ODD_VALUES: [u32; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
/// The letters that stand for months in a codice fiscale.
const MONTHS: &[u8] = b"ABCDEHLMPRST";
/// The letters that replace digits where two people would have the same codice fiscale.
const REPLACED_DIGITS: &[u8] = b"LMNPQRSTUV";

/// Prefixes of British numbers that are not given out.
const RESERVED_NINO: [&[u8; 2]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];

/// Tells whether characters, written in so many words, are those of one kind.
type Check = fn(&[u8], usize) -> bool;

/// Finds the British, Spanish, Italian and Indian numbers that hold letters.
pub(super) fn numbers_with_letters(words: &Words<'_>, found: &mut Vec<Finding>) {
    const FORMS: [(usize, Check, Kind); 4] = [
        (SHORTEST, is_nino, Kind::UkNino),
        (SHORTEST, is_dni, Kind::SpainDni),
        (10, is_pan, Kind::IndiaPan),
        (LONGEST, is_codice_fiscale, Kind::ItalyCodiceFiscale),
    ];
    for (index, word) in words.each() {
        if word.len() > LONGEST {
            continue;
        }
        for (length, fits, kind) in FORMS {
            let Some((compact, range, count)) = words.collected(index, length) else { continue };
            if fits(compact.as_bytes(), count) && words.alone(index, count, false) {
                found.push(Finding { range, kind });
            }
        }
    }
}

fn digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Two letters, six digits and a letter from A to D, without the prefixes that are not given out.
fn is_nino(compact: &[u8], _: usize) -> bool {
    let [first, second, number @ .., suffix] = compact else { return false };
    let letters = first.is_ascii_alphabetic() && second.is_ascii_alphabetic();
    let given = !b"DFIQUV".contains(first) && !b"DFIOQUV".contains(second);
    let reserved = RESERVED_NINO.contains(&&[*first, *second]);
    letters && given && !reserved && digits(number) && (b'A'..=b'D').contains(suffix)
}

/// Eight digits, or X, Y or Z and seven, and the check letter.
fn is_dni(compact: &[u8], _: usize) -> bool {
    let [first, rest @ .., letter] = compact else { return false };
    let first = match first {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    if !digits(rest) {
        return false;
    }
    let number = rest.iter().fold(first, |number, digit| number * 10 + u32::from(digit - b'0'));
    usize::try_from(number % 23).ok().and_then(|index| DNI_LETTERS.get(index)) == Some(letter)
}

/// Five letters of which the fourth is that of persons, four digits and a letter; written in one word.
fn is_pan(compact: &[u8], words: usize) -> bool {
    let [one, two, three, b'P', five, number @ .., last] = compact else { return false };
    words == 1 && [one, two, three, five, last].iter().all(|byte| byte.is_ascii_alphabetic()) && digits(number)
}

/// Six letters for the name, year, month, day, place, and the check letter of the decree of 23 December 1976.
fn is_codice_fiscale(compact: &[u8], _: usize) -> bool {
    let form = |(place, byte): (usize, &u8)| match place {
        6 | 7 | 9 | 10 | 12..=14 => byte.is_ascii_digit() || REPLACED_DIGITS.contains(byte),
        8 => MONTHS.contains(byte),
        _ => byte.is_ascii_alphabetic(),
    };
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.saturating_sub(b'A') });
    let weight = |(place, byte): (usize, &u8)| {
        let value = value(*byte);
        // Places count from one, so that the first of them is odd.
        let odd = usize::try_from(value).ok().and_then(|value| ODD_VALUES.get(value)).copied();
        if place % 2 == 0 { odd.unwrap_or_default() } else { value }
    };
    let Some((check, rest)) = compact.split_last() else { return false };
    compact.iter().enumerate().all(form) && rest.iter().enumerate().map(weight).sum::<u32>() % 26 == value(*check)
}
