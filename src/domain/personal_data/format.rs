//! Formats of ids that an operator knows, so that none of them is mistaken for a number that it is not.

use std::fmt;

use regex::Regex;

/// Longest pattern that is read.
const MAX_PATTERN: usize = 1024;

/// The formats that ids have; with none, every id is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Formats(Vec<IdFormat>);

impl Formats {
    /// Makes a set of formats.
    pub fn new(formats: Vec<IdFormat>) -> Self {
        Self(formats)
    }

    /// Whether an id has one of the formats.
    pub fn fit(&self, id: &str) -> bool {
        self.0.iter().any(|format| format.fits(id))
    }
}

/// One format of ids.
#[derive(Debug, Clone)]
pub struct IdFormat {
    /// What the operator wrote: a name, or a pattern.
    written: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Named(fn(&str) -> bool),
    Pattern(Regex),
}

/// Why a text is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFormat {
    /// The pattern is not a regular expression, or too large a one.
    #[error("is not a regular expression: {0}")]
    Pattern(String),
    /// The pattern takes e-mail addresses, or whatever there is.
    #[error("fits everything, and would switch the guard off")]
    Everything,
}

impl PartialEq for IdFormat {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for IdFormat {}

impl fmt::Display for IdFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl IdFormat {
    /// The formats that have a name.
    pub const NAMES: [&'static str; 13] = [
        "uuid", "ulid", "hex", "decimal", "base36", "base62", "nanoid", "keitaro", "voluum", "binom", "redtrack",
        "everflow", "gclid",
    ];

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        let test: fn(&str) -> bool = match name {
            "uuid" => is_uuid,
            "ulid" => |id| id.len() == 26 && id.starts_with(|c| matches!(c, '0'..='7')) && all(id, is_crockford),
            "hex" => |id| within(id, 8, 128) && all(id, |b| b.is_ascii_hexdigit()),
            "decimal" => |id| within(id, 1, 20) && all(id, |b| b.is_ascii_digit()),
            "base36" => |id| within(id, 8, 64) && all(id, is_base36),
            "base62" => |id| within(id, 8, 64) && all(id, |b| b.is_ascii_alphanumeric()),
            "nanoid" => |id| within(id, 10, 36) && all(id, is_base64url),
            "keitaro" => |id| within(id, 10, 20) && all(id, is_base36),
            "voluum" => |id| within(id, 21, 32) && id.starts_with('w') && all(id, |b| b.is_ascii_alphanumeric()),
            "binom" => |id| within(id, 10, 48) && all(id, is_base36),
            "redtrack" => |id| id.len() == 24 && all(id, |b| b.is_ascii_hexdigit()),
            "everflow" => |id| id.len() == 32 && all(id, |b| b.is_ascii_hexdigit()),
            "gclid" => |id| within(id, 20, 200) && all(id, is_base64url),
            _ => return None,
        };
        Some(Self { written: name.into(), test: Test::Named(test) })
    }

    /// A format by a regular expression, which must fit the whole id.
    ///
    /// # Errors
    /// When it is no regular expression, or fits everything.
    pub fn pattern(pattern: &str) -> Result<Self, InvalidFormat> {
        if pattern.len() > MAX_PATTERN {
            return Err(InvalidFormat::Pattern(format!("it has more than {MAX_PATTERN} characters")));
        }
        let anchored = format!("^(?:{pattern})$");
        let regex = Regex::new(pattern).and_then(|_| Regex::new(&anchored));
        let regex = regex.map_err(|error| InvalidFormat::Pattern(last_line(&error.to_string())))?;
        if ["Jo Doe, +49 151 23456789", "4111 1111 1111 1111/~!"].iter().all(|text| regex.is_match(text)) {
            return Err(InvalidFormat::Everything);
        }
        Ok(Self { written: pattern.into(), test: Test::Pattern(regex) })
    }

    fn fits(&self, id: &str) -> bool {
        match &self.test {
            Test::Named(fits) => fits(id),
            Test::Pattern(regex) => regex.is_match(id),
        }
    }
}

/// The last line of a message that shows the pattern first.
fn last_line(message: &str) -> String {
    message.lines().next_back().unwrap_or_default().trim_start_matches("error: ").into()
}

fn all(id: &str, fits: fn(u8) -> bool) -> bool {
    id.bytes().all(fits)
}

fn within(id: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&id.len())
}

fn is_base36(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_crockford(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() && !b"ILOUilou".contains(&byte)
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && all(id, |b| b.is_ascii_hexdigit() || b == b'-')
}
