//! Finds a text however a receiver spells it.
//!
//! Each character may stand as it is, in the other case, percent-encoded (also twice), as `+` for a space, escaped
//! as in JSON or in a program's string (also twice), or as an entity of HTML; each independently of its neighbours,
//! so that no mixture slips through. All spellings are followed at once: a list of the places that the text could
//! have come to.

/// Most times that `%` is encoded over again.
const MAX_PERCENT_ROUNDS: usize = 3;
/// Most backslashes before an escaped character.
const MAX_BACKSLASHES: usize = 8;
/// Most bytes of an entity of HTML.
const MAX_ENTITY: usize = 10;
/// Characters that must have been met before the end of a broken text counts as the beginning of a value.
const LEAST_MET: usize = 4;

/// Where a spelling of `wanted` ends that begins at a place; the longest. Where the text is not whole, its end counts
/// as one when enough of `wanted` stands before it.
pub(super) fn end(text: &[u8], at: usize, wanted: &str, is_whole: bool) -> Option<usize> {
    if !is_likely(text.get(at..).unwrap_or_default(), wanted) {
        return None;
    }
    let mut places = vec![at];
    let mut next = Vec::new();
    for (met, c) in wanted.chars().enumerate() {
        next.clear();
        for place in &places {
            if !is_whole && met >= LEAST_MET && is_cut_short(text, *place) {
                return Some(text.len());
            }
            push_ends(text, *place, c, &mut next);
        }
        next.sort_unstable();
        next.dedup();
        std::mem::swap(&mut places, &mut next);
        if places.is_empty() {
            return None;
        }
    }
    places.last().copied()
}

/// Whether a spelling may begin here, by its first character: turns most places down before anything is allocated.
fn is_likely(rest: &[u8], wanted: &str) -> bool {
    let mut wanted = wanted.chars();
    let Some(first) = wanted.next() else { return false };
    let mut encoded = [0; 4];
    let [byte] = first.encode_utf8(&mut encoded).as_bytes() else { return true };
    if rest.first().is_some_and(|found| found.eq_ignore_ascii_case(byte)) && !is_escape(*byte) {
        let next = wanted.next().and_then(|next| u8::try_from(next).ok()).filter(u8::is_ascii);
        let (Some(found), Some(next)) = (rest.get(1), next) else { return true };
        return is_escape(*found) || found.eq_ignore_ascii_case(&next);
    }
    byte_lengths(rest, *byte).iter().any(Option::is_some)
        || escaped_character(rest, first).is_some()
        || entity(rest, first).is_some()
}

/// Whether a byte stands for others behind it, or for another than itself.
pub(super) fn is_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'+' | b'\\' | b'&')
}

/// Whether nothing more stands there than the beginning of an escape.
fn is_cut_short(text: &[u8], at: usize) -> bool {
    match text.get(at..).unwrap_or_default() {
        [] => true,
        [b'%' | b'\\' | b'&', rest @ ..] => rest.len() < 5,
        [0x80..=0xff, rest @ ..] => rest.len() < 3,
        _ => false,
    }
}

/// Appends where a spelling of one character ends.
fn push_ends(text: &[u8], at: usize, c: char, ends: &mut Vec<usize>) {
    let rest = text.get(at..).unwrap_or_default();
    ends.extend(escaped_character(rest, c).map(|length| at + length));
    ends.extend(entity(rest, c).map(|length| at + length));
    let mut places = vec![at];
    let mut encoded = [0; 4];
    for byte in c.encode_utf8(&mut encoded).bytes() {
        let reached = places.iter().flat_map(|place| {
            let rest = text.get(*place..).unwrap_or_default();
            byte_lengths(rest, byte).into_iter().flatten().map(move |length| place + length)
        });
        places = reached.collect();
    }
    ends.extend(places);
}

/// How long each spelling of a byte is that stands here.
fn byte_lengths(rest: &[u8], byte: u8) -> [Option<usize>; 5] {
    let first = rest.first().copied();
    let plain = first.filter(|found| found.eq_ignore_ascii_case(&byte) || (*found == b'+' && byte == b' '));
    let twice = (byte == b'\\' && backslashes(rest) >= Some(4)).then_some(4);
    [plain.map(|_| 1), percent_encoded(rest, byte), doubly_encoded(rest, byte), backslashed(rest, byte), twice]
}

/// `%XX`.
fn percent_encoded(rest: &[u8], byte: u8) -> Option<usize> {
    let digits = rest.strip_prefix(b"%")?;
    is_hex_of(digits, byte).then_some(3)
}

/// `%25XX`, and so on.
fn doubly_encoded(rest: &[u8], byte: u8) -> Option<usize> {
    let mut digits = rest.strip_prefix(b"%")?;
    let mut length = 3;
    for _ in 0..MAX_PERCENT_ROUNDS {
        digits = digits.strip_prefix(b"25")?;
        length += 2;
        if is_hex_of(digits, byte) {
            return Some(length);
        }
    }
    None
}

/// `\/`, `\"`, `\n`, `\x2f`, with any number of backslashes before it.
fn backslashed(rest: &[u8], byte: u8) -> Option<usize> {
    let run = backslashes(rest)?;
    if byte == b'\\' {
        return (run >= 2).then_some(2);
    }
    let (found, digits) = rest.get(run..)?.split_first()?;
    let control = match found {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'x' => return is_hex_of(digits, byte).then_some(run + 3),
        _ => *found,
    };
    (control == byte && (byte.is_ascii_punctuation() || byte.is_ascii_control())).then_some(run + 1)
}

/// `\u00fc`, in two parts where a character needs them.
fn escaped_character(rest: &[u8], c: char) -> Option<usize> {
    let mut length = 0;
    let mut units = [0; 2];
    let is_cased = c.is_ascii_alphabetic();
    for unit in c.encode_utf16(&mut units) {
        let rest = rest.get(length..)?;
        let run = backslashes(rest)?;
        let digits = rest.get(run..)?.strip_prefix(b"u")?.get(..4)?;
        let found = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        // The cases of a letter differ in one bit.
        let same = found == *unit || (is_cased && found ^ 0x20 == *unit);
        length += same.then_some(run + 5)?;
    }
    Some(length)
}

/// `&amp;`, `&#38;`, `&#x26;`.
fn entity(rest: &[u8], c: char) -> Option<usize> {
    let body = rest.strip_prefix(b"&")?;
    let length = body.iter().take(MAX_ENTITY).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(body.get(..length)?).ok()?;
    let found = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let hexadecimal = number.strip_prefix(['x', 'X']).map(|digits| u32::from_str_radix(digits, 16));
            char::from_u32(hexadecimal.unwrap_or_else(|| number.parse()).ok()?)?
        }
    };
    found.eq_ignore_ascii_case(&c).then_some(length + 2)
}

fn backslashes(rest: &[u8]) -> Option<usize> {
    let run = rest.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    (run > 0).then_some(run)
}

/// Whether two hexadecimal digits stand for a byte; the case of a letter does not count.
fn is_hex_of(digits: &[u8], byte: u8) -> bool {
    let found = digits.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
    let found = found.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    found.is_some_and(|found| found.eq_ignore_ascii_case(&byte))
}
