//! Telephone numbers: with a plus sign, or in the spellings that countries use at home.
//!
//! A number without a plus sign needs separators: mere digits are an id.

use super::words::{Gap, Number};
use super::{Finding, Kind, Place};

/// Fewest and most digits behind a plus sign (ITU-T E.164).
const INTERNATIONAL: std::ops::RangeInclusive<usize> = 8..=15;

/// Finds telephone numbers; at home-grown spellings only where numbers with hyphens are no ids.
pub(super) fn phones(text: &str, numbers: &[Number], place: Place, found: &mut Vec<Finding>) {
    let mut taken = 0;
    for number in numbers {
        if number.range.start < taken {
            continue;
        }
        let national = || match place {
            Place::Id => false,
            Place::Marker | Place::Parameter => number.alone && is_national(text, number),
        };
        if is_international(text, number) || national() {
            taken = number.range.end;
            let start = start(text, number);
            found.push(Finding { range: start..number.range.end, kind: Kind::Phone });
        }
    }
}

/// What stands right before a number.
fn before<'t>(text: &'t str, number: &Number) -> &'t str {
    text.get(..number.range.start).unwrap_or_default()
}

/// The beginning of a number with the signs that belong to it.
fn start(text: &str, number: &Number) -> usize {
    before(text, number).trim_end_matches(['(', '+']).len()
}

/// A plus sign that nothing is joined to, and digits of which the first is not 0.
fn is_international(text: &str, number: &Number) -> bool {
    let before = before(text, number);
    let before = before.strip_suffix('(').unwrap_or(before);
    let Some(ahead) = before.strip_suffix('+') else { return false };
    let joined = ahead.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '_'));
    !joined && number.digits.first() != Some(&0) && INTERNATIONAL.contains(&number.digits.len())
}

fn is_national(text: &str, number: &Number) -> bool {
    let groups = number.groups.as_slice();
    let digits = number.digits.as_slice();
    let total = digits.len();
    let parenthesis = before(text, number).ends_with('(') && number.gaps.first() == Some(&Gap::Other);
    match digits {
        _ if groups.len() < 2 || is_date(number) => false,
        // (212) 555-0123, (0151) 234567
        _ if parenthesis => matches!(groups, [2..=5, ..]) && (9..=12).contains(&total),
        // 0049 151 23456789
        [0, 0, next, ..] => *next != 0 && matches!(groups, [3..=6, ..]) && (10..=17).contains(&total),
        // 0151 23456789, 020 7946 0958, 06 12 34 56 78, 070-123 45 67
        [0, ..] => {
            matches!(groups, [2..=6, rest @ ..] if rest.iter().all(|group| (2..=8).contains(group)))
                && (9..=12).contains(&total)
        }
        _ => is_without_trunk_prefix(number),
    }
}

/// The spellings of countries whose numbers begin with no 0; the fewer digits tell them apart, the stricter the form.
fn is_without_trunk_prefix(number: &Number) -> bool {
    let digits = number.digits.as_slice();
    let tail_of_zeros = digits.ends_with(&[0, 0, 0]);
    match (number.groups.as_slice(), digits) {
        // North America: area code and exchange begin with 2 to 9.
        ([3, 3, 4], [area, _, _, exchange, ..]) | ([1, 3, 3, 4], [1, area, _, _, exchange, ..]) => {
            *area >= 2 && *exchange >= 2 && number.evenly()
        }
        // Spain: 612 34 56 78; India: 98765 43210
        ([3, 2, 2, 2] | [5, 5], [first, ..]) => *first >= 6 && number.evenly(),
        // Poland, Portugal, the Czech Republic; an amount in thousands ends in zeros.
        ([3, 3, 3], [first, ..]) => *first >= 4 && !tail_of_zeros && number.joined_by(Gap::Space),
        // Italy: 333 1234567
        ([3, 7], [3, ..]) => number.joined_by(Gap::Space),
        // Brazil: 11 91234-5678
        ([2, 5, 4], [area, _, 9, ..]) => *area >= 1 && number.gaps.first() == Some(&Gap::Space),
        _ => false,
    }
}

/// Day, month and year, with what may follow.
fn is_date(number: &Number) -> bool {
    let year = |digits: &[u8]| matches!(digits, [1, 9, ..] | [2, 0, ..]);
    match (number.groups.as_slice(), number.digits.as_slice()) {
        ([2, 2, 4, ..], [_, _, _, _, rest @ ..]) => year(rest),
        ([4, 2, 2, ..], digits) => year(digits),
        _ => false,
    }
}
