//! The lexical half of the script language: quotes, words, durations and sizes.
//!
//! Knows no answer and no rule; those give the words their meaning.

use std::time::Duration;

/// The longest wait that a script may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// The largest body that a script may ask for.
const LARGEST_SIZE: u64 = 16 << 30;

/// Why a word of a script has no meaning as text, duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// A quote was opened and never closed.
    #[error("a quote is not closed")]
    OpenQuote,
    /// A quoted text has a backslash before a character that needs none.
    #[error("\\{0} is not an escape; known are \\n, \\r, \\t, \\\" and \\\\")]
    Escape(char),
    /// A duration is not written as one.
    #[error("{0:?} is not a duration such as 50ms, 2s or 1m (at most 24h)")]
    Duration(String),
    /// A size is not written as one.
    #[error("{0:?} is not a size such as 512, 64KiB or 10MiB (at most 16GiB)")]
    Size(String),
}

/// The characters that stand outside quotes, with their byte offsets.
fn unquoted(text: &str) -> Result<Vec<(usize, char)>, NotationError> {
    let mut outside = Vec::new();
    let mut quoted = false;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if quoted {
            match character {
                '"' => quoted = false,
                '\\' => escaped = true,
                _ => {}
            }
        } else if character == '"' {
            quoted = true;
        } else {
            outside.push((at, character));
        }
    }
    if quoted { Err(NotationError::OpenQuote) } else { Ok(outside) }
}

/// Splits at each unquoted character that `separates`; the parts are trimmed.
pub(super) fn split(text: &str, separates: impl Fn(char) -> bool) -> Result<Vec<&str>, NotationError> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, character) in unquoted(text)? {
        if separates(character) {
            parts.push(text.get(start..at).unwrap_or_default().trim());
            start = at + character.len_utf8();
        }
    }
    parts.push(text.get(start..).unwrap_or_default().trim());
    Ok(parts)
}

/// The words of a text: what white space outside quotes divides.
pub(super) fn words(text: &str) -> Result<Vec<&str>, NotationError> {
    Ok(split(text, char::is_whitespace)?.into_iter().filter(|word| !word.is_empty()).collect())
}

/// Divides a text at its first unquoted `mark`.
pub(super) fn split_once<'t>(text: &'t str, mark: &str) -> Result<Option<(&'t str, &'t str)>, NotationError> {
    let found = unquoted(text)?.into_iter().find(|(at, _)| text.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
    let Some((at, _)) = found else { return Ok(None) };
    let before = text.get(..at).unwrap_or_default().trim();
    let after = text.get(at + mark.len()..).unwrap_or_default().trim();
    Ok(Some((before, after)))
}

/// The text before a comment: an unquoted `#` at the start or behind white space.
pub(super) fn without_comment(line: &str) -> Result<&str, NotationError> {
    if line.trim_start().starts_with('#') {
        return Ok("");
    }
    let mut after_space = true;
    let mut end_of_last = 0;
    for (at, character) in unquoted(line)? {
        after_space = after_space && at == end_of_last;
        if character == '#' && after_space {
            return Ok(line.get(..at).unwrap_or_default().trim());
        }
        after_space = character.is_whitespace();
        end_of_last = at + character.len_utf8();
    }
    Ok(line.trim())
}

/// What a word stands for: itself, or the text between its quotes.
pub(super) fn unquote(word: &str) -> Result<String, NotationError> {
    let Some(inner) = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return if word.contains('"') { Err(NotationError::OpenQuote) } else { Ok(word.to_owned()) };
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match characters.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(plain @ ('"' | '\\')) => plain,
            Some(other) => return Err(NotationError::Escape(other)),
            None => return Err(NotationError::OpenQuote),
        });
    }
    Ok(text)
}

/// Writes a text so that [`unquote`] gives it back.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads `50ms`, `2s`, `5m`, `1h` or `200us`.
pub(super) fn duration(word: &str) -> Result<Duration, NotationError> {
    let wrong = || NotationError::Duration(word.to_owned());
    let digits = word.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = word.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err(wrong()),
    };
    let duration = Duration::from_micros(number.checked_mul(micros).ok_or_else(wrong)?);
    if duration > LONGEST_WAIT { Err(wrong()) } else { Ok(duration) }
}

/// Reads a number of bytes: `512`, `64KiB`, `10MiB`, `1GiB`.
pub(super) fn size(word: &str) -> Result<u64, NotationError> {
    let wrong = || NotationError::Size(word.to_owned());
    let digits = word.find(|character: char| !character.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).filter(|bytes| *bytes <= LARGEST_SIZE).ok_or_else(wrong)
}

/// Writes a duration in the largest unit that shows it whole.
pub(super) fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    for (unit, factor) in [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)] {
        if micros > 0 && micros.is_multiple_of(factor) {
            return format!("{}{unit}", micros / factor);
        }
    }
    format!("{micros}us")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_separators_and_comments() {
        assert_eq!(split(r#"500, 200 body="a,b""#, |c| c == ',').unwrap(), ["500", r#"200 body="a,b""#]);
        assert_eq!(words(r#"200  body="a \" b" x"#).unwrap(), ["200", r#"body="a \" b""#, "x"]);
        assert_eq!(without_comment(r##"200 body="# no" # yes"##).unwrap(), r##"200 body="# no""##);
        assert_eq!(without_comment("302 location=http://a/#top").unwrap(), "302 location=http://a/#top");
        assert_eq!(without_comment(r#"200 body="x"#).unwrap_err(), NotationError::OpenQuote);
        assert_eq!(without_comment(r#"# an open " quote"#).unwrap(), "");
        assert_eq!(split_once(r#"200 body="a => b""#, "=>").unwrap(), None);
    }

    #[test]
    fn quoting_is_undone_by_unquoting() {
        let text = "a \"b\" \\ \r\n\t,=> #";
        assert_eq!(unquote(&quote(text)).unwrap(), text);
        assert_eq!(unquote(r#""\x""#).unwrap_err(), NotationError::Escape('x'));
    }

    #[test]
    fn durations_and_sizes_need_known_units_and_stay_in_bounds() {
        assert_eq!(duration("50ms").unwrap(), Duration::from_millis(50));
        assert_eq!(duration("2m").unwrap(), Duration::from_mins(2));
        for wrong in ["50", "ms", "1d", "25h", "99999999999999999999s", "-1s"] {
            assert_eq!(duration(wrong).unwrap_err(), NotationError::Duration(wrong.to_owned()));
        }
        assert_eq!(size("10MiB").unwrap(), 10 << 20);
        assert_eq!(size("7").unwrap(), 7);
        for wrong in ["", "x", "10MB", "17GiB"] {
            assert_eq!(size(wrong).unwrap_err(), NotationError::Size(wrong.to_owned()));
        }
    }
}
