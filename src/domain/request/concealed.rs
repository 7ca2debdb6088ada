//! What a receiver must not put on record: the secrets and signatures of one request, found in its answer.
//!
//! A receiver may echo what it was sent: in an error page, in a `Location`, in a log line that it answers with. Each
//! value is found however it is spelled (see [`echo`](super::echo)), and also in hexadecimal digits and in base64, on
//! its own or within a longer text, whatever stands before it.
//!
//! What is not found: values shorter than [`LEAST_BYTES`], which would hide half of every answer; what an earlier
//! attempt was signed with, or a secret that is live no more; a value that is hashed, encrypted or cut by the
//! receiver. Of a value within longer base64, the first and last character may stay: they also hold bits of what is
//! next to it.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::echo;
use crate::domain::template::MASK;
use crate::domain::template::encode::RESERVED;
use crate::planted::{Bug, planted};

/// Shortest value that is masked in an answer.
pub const LEAST_BYTES: usize = 4;
/// Fewest bytes that a value must stand for before it counts as hexadecimal or base64.
const LEAST_DECODED: usize = 8;
/// Shortest piece of base64 that is looked for within a longer one.
const LEAST_PIECE: usize = 5;

/// The values that must not come back. Shows only how many there are when printed.
#[derive(Clone, Default)]
pub struct Concealed(Vec<SecretString>);

impl Concealed {
    /// Takes the values; what is too short to be masked is left out.
    pub fn new(values: impl IntoIterator<Item = SecretString>) -> Self {
        Self(values.into_iter().filter(|value| value.expose_secret().len() >= LEAST_BYTES).collect())
    }

    /// The mask over these values, to be laid over every text of an answer.
    pub fn mask(&self) -> Mask {
        let mut spellings = BTreeSet::new();
        for value in &self.0 {
            spell(value.expose_secret(), &mut spellings);
        }
        let mut starts = [false; 256];
        let texts = spellings.into_iter().filter(|text| text.len() >= LEAST_BYTES);
        let texts: Vec<_> = texts.map(SecretString::from).collect();
        for text in &texts {
            echo::mark_starts(text.expose_secret(), &mut starts);
        }
        Mask { texts, starts }
    }
}

impl fmt::Debug for Concealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Concealed({})", self.0.len())
    }
}

impl PartialEq for Concealed {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(ExposeSecret::expose_secret).eq(other.0.iter().map(ExposeSecret::expose_secret))
    }
}

impl Eq for Concealed {}

/// Everything that is to be found, spelled out.
pub struct Mask {
    texts: Vec<SecretString>,
    /// The bytes that anything to be found can begin with.
    starts: [bool; 256],
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({})", self.texts.len())
    }
}

/// Bytes searched for each byte that may be kept.
const SEARCHED_FOR_EACH_KEPT: usize = 4;

impl Mask {
    /// Masks a text, to a little more than so many bytes: whoever cuts it must cut behind this.
    pub fn over(&self, text: &str, most_bytes: usize) -> String {
        String::from_utf8_lossy(&self.over_start(text.as_bytes(), most_bytes, true)).into_owned()
    }

    /// Whether a text is longer than what is searched of it, and its end therefore not kept.
    pub fn searches_less_than(&self, text: &[u8], most_bytes: usize) -> bool {
        text.len() > most_bytes.saturating_mul(SEARCHED_FOR_EACH_KEPT)
    }

    /// Masks bytes in the same way.
    ///
    /// Where the text is not whole, the beginning of a value at its end is masked, too.
    pub fn over_start(&self, text: &[u8], most_bytes: usize, is_whole: bool) -> Vec<u8> {
        let mut masked = Vec::with_capacity(text.len().min(most_bytes));
        let mut hidden_to = 0;
        // A text of nothing but values keeps few bytes of many: what is searched has a bound of its own.
        for (at, byte) in text.iter().enumerate().take(most_bytes.saturating_mul(SEARCHED_FOR_EACH_KEPT)) {
            if let Some(end) = self.found(text, at, is_whole) {
                if at >= hidden_to {
                    masked.extend_from_slice(MASK.as_bytes());
                }
                hidden_to = hidden_to.max(end);
            }
            if at >= hidden_to {
                masked.push(*byte);
            }
            if masked.len() > most_bytes {
                break;
            }
        }
        masked
    }

    /// Where the longest value ends that begins here.
    fn found(&self, text: &[u8], at: usize, is_whole: bool) -> Option<usize> {
        if planted(Bug::EchoUnmasked) {
            return None;
        }
        let may_begin = text.get(at).and_then(|byte| self.starts.get(usize::from(*byte)));
        may_begin.filter(|may_begin| **may_begin)?;
        self.texts.iter().filter_map(|value| echo::end(text, at, value.expose_secret(), is_whole)).max()
    }
}

/// Spells a value in every way that is looked for.
fn spell(value: &str, out: &mut BTreeSet<String>) {
    let bare = value.strip_prefix("whsec_").unwrap_or(value);
    for text in [value, bare] {
        spell_bytes(text.as_bytes(), out);
        // Where a whole URL is put into base64 or hexadecimal digits, the value in it is percent-encoded first.
        for set in [NON_ALPHANUMERIC, RESERVED] {
            spell_bytes(utf8_percent_encode(text, set).to_string().as_bytes(), out);
        }
        out.insert(text.to_owned());
    }
    let unpadded = bare.trim_end_matches('=');
    let decoded =
        [hex::decode(bare).ok(), STANDARD_NO_PAD.decode(unpadded).ok(), URL_SAFE_NO_PAD.decode(unpadded).ok()];
    for bytes in decoded.into_iter().flatten().filter(|bytes| bytes.len() >= LEAST_DECODED) {
        spell_bytes(&bytes, out);
        out.extend(String::from_utf8(bytes));
    }
}

fn spell_bytes(bytes: &[u8], out: &mut BTreeSet<String>) {
    out.insert(hex::encode(bytes));
    spell_base64(bytes, out);
}

/// Base64 of the bytes alone, and what is the same in the base64 of every text that holds them.
fn spell_base64(bytes: &[u8], out: &mut BTreeSet<String>) {
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        out.insert(engine.encode(bytes));
        // With 0, 1 or 2 bytes before it in its group of three; characters that hold bits of those are left out.
        for (before, shared) in [(&[][..], 0), (&[0], 2), (&[0, 0], 3)] {
            let text = engine.encode([before, bytes].concat());
            let whole = (before.len() + bytes.len()) * 8 / 6;
            out.extend(text.get(shared..whole).filter(|piece| piece.len() >= LEAST_PIECE).map(str::to_owned));
        }
    }
}

#[cfg(test)]
mod tests;
