//! Check digits: the arithmetic that tells a number from one that only looks like it.

/// The multiplication of the dihedral group of order 10.
const DIHEDRAL: [[u8; 10]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
];
/// Verhoeff's permutation; applied once more with each place.
const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

/// Whether the last digit is that of Luhn (ISO/IEC 7812-1).
pub(super) fn luhn(digits: &[u8]) -> bool {
    let doubled = |(place, digit): (usize, &u8)| {
        let value = u32::from(*digit) * if place % 2 == 1 { 2 } else { 1 };
        if value > 9 { value - 9 } else { value }
    };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

/// Whether the last digit is that of Verhoeff.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    let permuted = |digit: u8, times: usize| {
        (0..times % 8).fold(digit, |digit, _| PERMUTATION.get(usize::from(digit)).copied().unwrap_or_default())
    };
    let product = |left: u8, right: u8| {
        DIHEDRAL.get(usize::from(left)).and_then(|row| row.get(usize::from(right))).copied().unwrap_or_default()
    };
    digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| product(sum, permuted(*digit, place))) == 0
}

/// Whether the last digit is that of ISO/IEC 7064, MOD 11,10.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10, |product, digit| {
        let sum = match (product + u32::from(*digit)) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// Whether letters and digits leave 1 when they are read as a number and divided by 97 (ISO/IEC 7064, MOD 97-10).
pub(super) fn mod_97(characters: impl Iterator<Item = char>) -> bool {
    characters.filter_map(|c| c.to_digit(36)).fold(0_u32, |rest, digit| {
        let shifted = if digit > 9 { rest * 100 } else { rest * 10 };
        (shifted + digit) % 97
    }) == 1
}

/// The sum of the digits, each times its weight.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}
