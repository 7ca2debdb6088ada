//! Words: the runs of ASCII letters and digits of a text, and what joins them.

use std::ops::Range;

/// Most digits of a number that is looked at: those of the longest card.
pub(super) const MAX_DIGITS: usize = 19;
/// Most groups that a number is written in.
const MAX_GROUPS: usize = 7;
/// Most characters between two groups of one number, as in `(0) - 151`.
const MAX_GAP: usize = 3;

/// A text taken apart.
pub(super) struct Words<'t> {
    /// The text itself.
    pub(super) text: &'t str,
    words: Vec<Word>,
}

struct Word {
    range: Range<usize>,
    digits: bool,
}

/// What stands between two groups of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// One space, or the plus sign that a form writes for it.
    Space,
    /// One hyphen.
    Hyphen,
    /// One full stop.
    Dot,
    /// Anything else that numbers are written with: slashes, parentheses.
    Other,
}

/// Neighbouring groups of digits, read as one number.
pub(super) struct Number {
    /// The digits without what separates them.
    pub(super) digits: Vec<u8>,
    /// How many digits each group has.
    pub(super) groups: Vec<usize>,
    /// What stands between the groups.
    pub(super) gaps: Vec<Gap>,
    /// Where it stands.
    pub(super) range: Range<usize>,
    /// Whether a longer number, or an id, may be around it.
    pub(super) alone: bool,
}

impl Number {
    /// Whether all groups are joined by the same sign.
    pub(super) fn joined_by(&self, gap: Gap) -> bool {
        self.gaps.iter().all(|found| *found == gap)
    }

    /// Whether all groups are joined by one and the same sign.
    pub(super) fn evenly(&self) -> bool {
        self.gaps.first().is_none_or(|gap| *gap != Gap::Other && self.joined_by(*gap))
    }
}

impl<'t> Words<'t> {
    /// Takes a text apart.
    pub(super) fn of(text: &'t str) -> Self {
        let mut words = Vec::new();
        let mut start = None;
        let mut digits = true;
        for (index, byte) in text.bytes().chain([b' ']).enumerate() {
            if byte.is_ascii_alphanumeric() {
                start.get_or_insert(index);
                digits &= byte.is_ascii_digit();
            } else if let Some(start) = start.take() {
                words.push(Word { range: start..index, digits: std::mem::replace(&mut digits, true) });
            }
        }
        Self { text, words }
    }

    /// Every word with its place among them.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, &'t str)> {
        self.words.iter().enumerate().filter_map(|(index, word)| Some((index, self.text.get(word.range.clone())?)))
    }

    /// Every number that neighbouring groups of digits make, from the longest to the shortest of each beginning.
    pub(super) fn numbers(&self) -> Vec<Number> {
        let from = |first: usize| (1..=self.groups_from(first)).rev().map(move |count| (first, count));
        (0..self.words.len()).flat_map(from).filter_map(|(first, count)| self.number(first, count)).collect()
    }

    /// How many groups of digits belong together from a word on.
    fn groups_from(&self, first: usize) -> usize {
        let mut count = 0;
        let mut total = 0;
        for word in self.words.iter().skip(first).take(MAX_GROUPS) {
            total += word.range.len();
            if !word.digits || total > MAX_DIGITS || (count > 0 && self.gap(first + count).is_none()) {
                break;
            }
            count += 1;
        }
        count
    }

    fn number(&self, first: usize, count: usize) -> Option<Number> {
        let words = self.words.get(first..first + count)?;
        let range = words.first()?.range.start..words.last()?.range.end;
        let gaps: Vec<_> = (first + 1..first + count).filter_map(|word| self.gap(word)).collect();
        Some(Number {
            digits: self.text.get(range.clone())?.bytes().filter_map(digit).collect(),
            groups: words.iter().map(|word| word.range.len()).collect(),
            alone: self.alone(first, count, gaps.contains(&Gap::Space)),
            gaps,
            range,
        })
    }

    /// What stands between a word and the one before it, if a number may be written so.
    fn gap(&self, word: usize) -> Option<Gap> {
        let before = self.words.get(word.checked_sub(1)?)?.range.end;
        let between = self.text.get(before..self.words.get(word)?.range.start)?;
        match between {
            " " | "+" => Some(Gap::Space),
            "-" => Some(Gap::Hyphen),
            "." => Some(Gap::Dot),
            _ if between.len() <= MAX_GAP && between.bytes().all(|byte| b" -./()".contains(&byte)) => Some(Gap::Other),
            _ => None,
        }
    }

    /// Whether nothing is joined to some neighbouring words: no letter or digit, not even across `-`, `_` or `.`; and no
    /// group of digits across a space, where the words have spaces between them.
    pub(super) fn alone(&self, first: usize, count: usize, spaced: bool) -> bool {
        let digits = |word: Option<usize>| word.and_then(|word| self.words.get(word)).is_some_and(|word| word.digits);
        let touches = |word: Option<usize>, gap: usize| digits(word) && self.gap(gap) == Some(Gap::Space);
        let last = first + count;
        if spaced && (touches(first.checked_sub(1), first) || touches(Some(last), last)) {
            return false;
        }
        let range = |word: usize| self.words.get(word).map(|word| word.range.clone());
        let before = range(first).and_then(|range| self.text.get(..range.start)).unwrap_or_default();
        let after = range(last - 1).and_then(|range| self.text.get(range.end..)).unwrap_or_default();
        !joined(before.bytes().rev()) && !joined(after.bytes())
    }

    /// The letters and digits of as many words from one on as make up a length, in upper case; their place, and how
    /// many words they are. Words may be joined by single spaces, hyphens or full stops.
    pub(super) fn collected(&self, first: usize, length: usize) -> Option<(String, Range<usize>, usize)> {
        // Few words make up the length: nothing is copied before that is known.
        let count = self.words_of(first, length)?;
        let words = self.words.get(first..first + count)?;
        let range = words.first()?.range.start..words.last()?.range.end;
        let mut compact = String::with_capacity(length);
        compact.extend(words.iter().filter_map(|word| self.text.get(word.range.clone())));
        let one_case = !compact.bytes().any(|byte| byte.is_ascii_lowercase())
            || !compact.bytes().any(|byte| byte.is_ascii_uppercase());
        compact.make_ascii_uppercase();
        one_case.then_some((compact, range, count))
    }

    /// How many words from one on make up a length.
    fn words_of(&self, first: usize, length: usize) -> Option<usize> {
        let mut total = 0;
        for (count, word) in self.words.iter().skip(first).enumerate() {
            total += word.range.len();
            let joined = || matches!(self.gap(first + count), Some(Gap::Space | Gap::Hyphen | Gap::Dot));
            if total > length || (count > 0 && !joined()) {
                return None;
            }
            if total == length {
                return Some(count + 1);
            }
        }
        None
    }
}

/// Whether what begins beside a word belongs to the same id as the word.
fn joined(mut beside: impl Iterator<Item = u8>) -> bool {
    match beside.next() {
        Some(b'-' | b'_' | b'.' | b'~') => beside.next().is_some_and(|byte| byte.is_ascii_alphanumeric()),
        Some(_) | None => false,
    }
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}
