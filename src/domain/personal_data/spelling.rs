//! Spellings: what a text says once it is decoded, and where each part of that stands in the text itself.
//!
//! Only what decodes to printable text counts, so that ids do not turn into findings by accident.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Fewest characters of base64 that are looked into: what six bytes need, as `a@b.co` does.
const MIN_BASE64: usize = 8;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A text decoded from another, or from a part of it.
pub(super) struct Spelling {
    /// What it says.
    pub(super) text: String,
    origin: Origin,
}

/// Where the bytes of a spelling come from.
enum Origin {
    /// For each byte, and for the end, where it begins in the original.
    Bytes(Vec<usize>),
    /// All of it from one part of the original.
    Whole(Range<usize>),
}

impl Spelling {
    /// Where a part of the spelling stands in the original.
    pub(super) fn original(&self, part: &Range<usize>) -> Range<usize> {
        match &self.origin {
            Origin::Whole(range) => range.clone(),
            Origin::Bytes(starts) => {
                let at = |index: usize| starts.get(index).or(starts.last()).copied().unwrap_or_default();
                at(part.start)..at(part.end)
            }
        }
    }
}

/// Gives each other spelling of a text.
pub(super) fn of(text: &str, mut take: impl FnMut(&Spelling)) {
    if let Some(spelling) = plain_typography(text).or_else(|| percent_decoded(text)) {
        take(&spelling);
    }
    for part in runs(text, 0..text.len(), is_base64).filter(|part| part.len() >= MIN_BASE64) {
        for spelling in base64_decoded(text, part) {
            take(&spelling);
        }
    }
}

/// The text with typographic spaces, hyphens and full-width characters made plain, where it has any.
fn plain_typography(text: &str) -> Option<Spelling> {
    if text.is_ascii() {
        return None;
    }
    let plain = |c: char| match c {
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{ff01}'..='\u{ff5e}' => u32::from(c).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(c),
        _ => c,
    };
    let mut starts = Vec::with_capacity(text.len() + 1);
    let mut folded = String::with_capacity(text.len());
    for (start, c) in text.char_indices() {
        let c = plain(c);
        starts.extend((0..c.len_utf8()).map(|_| start));
        folded.push(c);
    }
    starts.push(text.len());
    (folded != text).then_some(Spelling { text: folded, origin: Origin::Bytes(starts) })
}

/// The percent-decoded text, where anything in it is encoded; bytes above ASCII stay encoded where they are no UTF-8.
fn percent_decoded(text: &str) -> Option<Spelling> {
    if !text.contains('%') {
        return None;
    }
    let decode = |above_ascii: bool| {
        let (mut bytes, mut starts) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        let mut rest = text.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            starts.push(text.len() - rest.len());
            let escaped = escape(rest).filter(|byte| above_ascii || byte.is_ascii());
            bytes.push(escaped.unwrap_or(first));
            rest = if escaped.is_some() { rest.get(3..).unwrap_or_default() } else { tail };
        }
        starts.push(text.len());
        Some(Spelling { text: String::from_utf8(bytes).ok()?, origin: Origin::Bytes(starts) })
    };
    decode(true).or_else(|| decode(false)).filter(|spelling| spelling.text != text)
}

/// The byte that an escape such as `%40` at the beginning stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// What a part says in base64: as a whole, or else between its slashes, or else between its hyphens.
fn base64_decoded(text: &str, part: Range<usize>) -> Vec<Spelling> {
    let whole = decoded(text, part.clone());
    let has_separators = || text.get(part.clone()).is_some_and(|text| text.contains(['+', '/', '-', '_']));
    if whole.is_some() || !has_separators() {
        return whole.into_iter().collect();
    }
    let separated: [fn(u8) -> bool; 2] = [|byte| !matches!(byte, b'+' | b'/'), |byte| !matches!(byte, b'-' | b'_')];
    let attempts = separated.into_iter().map(|inside| {
        let parts = runs(text, part.clone(), inside);
        parts.filter(|range| *range != part).filter_map(|range| decoded(text, range)).collect::<Vec<_>>()
    });
    attempts.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

fn decoded(text: &str, range: Range<usize>) -> Option<Spelling> {
    let encoded = text.get(range.clone()).filter(|encoded| encoded.len() >= MIN_BASE64)?;
    let engine = if encoded.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    if is_no_text(engine, encoded.as_bytes()) {
        return None;
    }
    let decoded = String::from_utf8(engine.decode(encoded).ok()?).ok()?;
    let padding = text.get(range.end..)?.bytes().take(2).take_while(|byte| *byte == b'=').count();
    let printable = !decoded.trim_end().chars().any(char::is_control);
    printable.then_some(Spelling { text: decoded, origin: Origin::Whole(range.start..range.end + padding) })
}

/// Whether the beginning alone shows that this decodes to nothing that could be printed: most ids are so.
fn is_no_text(engine: &GeneralPurpose, encoded: &[u8]) -> bool {
    // Groups of four characters stand for three bytes each, whatever follows.
    const GROUPS: usize = 4;
    let beginning = encoded.get(..encoded.len().min(GROUPS * 4) / 4 * 4).unwrap_or_default();
    let mut bytes = [0; GROUPS * 3];
    let Ok(length) = engine.decode_slice(beginning, &mut bytes) else { return true };
    let bytes = bytes.get(..length).unwrap_or_default();
    // A character that is cut off may go on; white space at the end of a text counts for nothing.
    let is_text = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    !is_text || bytes.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace() && *byte != 0x0b)
}

/// The longest parts of a range that hold only bytes that are inside of them.
fn runs(text: &str, range: Range<usize>, inside: fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    let parts = text.as_bytes().get(range).unwrap_or_default().split(move |byte| !inside(*byte)).map(move |part| {
        let run = start..start + part.len();
        start = run.end + 1;
        run
    });
    parts.filter(|run| !run.is_empty())
}
