//! What a receiver must not put on record: the secrets and signatures of one request, found in its answer.
//!
//! A receiver may echo what it was sent: in an error page, in a `Location`, in a log line that it answers with. Each
//! value is found however it is spelled (see `echo`), and also in hexadecimal digits and in base64, on
//! its own or within a longer text, whatever stands before it.
//!
//! What is not found: values shorter than [`LEAST_BYTES`], which would hide half of every answer; what an earlier
//! attempt was signed with, or a secret that is live no more; a value that is hashed, encrypted or cut by the
//! receiver. Of a value within longer base64, the first and last character may stay: they also hold bits of what is
//! next to it.

mod echo;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::template::MASK;
use super::template::encode::RESERVED;
use crate::planted::{Bug, planted};

/// Shortest value that is masked in an answer.
pub const LEAST_BYTES: usize = 4;
/// Fewest bytes that a value must stand for before it counts as hexadecimal or base64.
const LEAST_DECODED: usize = 8;
/// Shortest piece of base64 that is looked for within a longer one.
const LEAST_PIECE: usize = 5;
/// Bytes searched for each byte that may be kept.
const SEARCHED_FOR_EACH_KEPT: usize = 4;

/// The values that must not come back, and the mask over them. Shows only how many there are when printed; cheap to
/// clone.
#[derive(Clone, Default)]
pub struct Concealed(Vec<Arc<Hidden>>);

/// One of these values. It is spelled out once, when a text comes that is long enough to hold it, or that broke off.
struct Hidden {
    value: SecretString,
    /// A bound of what is searched for: no spelling has fewer bytes.
    least_bytes: usize,
    spellings: OnceLock<Spellings>,
}

/// Everything that is to be found of a value, in the order of its first byte in lower case.
struct Spellings {
    texts: Vec<SecretString>,
    /// Where the texts stand whose first byte, in lower case, is the index.
    by_first: Box<[Range<usize>; 256]>,
}

impl Concealed {
    /// Takes the values; what is too short to be masked is left out.
    pub fn new(values: impl IntoIterator<Item = SecretString>) -> Self {
        let values = values.into_iter().filter(|value| value.expose_secret().len() >= LEAST_BYTES);
        Self(values.map(|value| Arc::new(Hidden::new(value))).collect())
    }

    /// These values and others.
    #[must_use]
    pub fn and(&self, others: Self) -> Self {
        Self(self.0.iter().cloned().chain(others.0).collect())
    }

    /// Masks a text, to a little more than so many bytes: whoever cuts it must cut behind this.
    pub fn over(&self, text: impl Into<String>, most_bytes: usize) -> String {
        let text = text.into();
        if text.len() <= most_bytes && !self.may_stand_in(text.len(), true) {
            return text;
        }
        String::from_utf8_lossy(&self.over_start(text.as_bytes(), most_bytes, true)).into_owned()
    }

    /// Whether a text of so many bytes is long enough to hold one of the values, or the beginning of one where it is not whole.
    fn may_stand_in(&self, bytes: usize, is_whole: bool) -> bool {
        self.0.iter().any(|hidden| !is_whole || bytes >= hidden.least_bytes)
    }

    /// Whether a text is longer than what is searched of it, and its end therefore not kept.
    pub fn searches_less_than(&self, text: &[u8], most_bytes: usize) -> bool {
        text.len() > most_bytes.saturating_mul(SEARCHED_FOR_EACH_KEPT)
    }

    /// Masks bytes in the same way.
    ///
    /// Where the text is not whole, the beginning of a value at its end is masked, too.
    pub fn over_start(&self, text: &[u8], most_bytes: usize, is_whole: bool) -> Vec<u8> {
        // A text of nothing but values keeps few bytes of many: what is searched has a bound of its own.
        let searched = most_bytes.saturating_mul(SEARCHED_FOR_EACH_KEPT);
        if !self.may_stand_in(text.len(), is_whole) || planted(Bug::EchoUnmasked) {
            let kept = searched.min(most_bytes.saturating_add(1));
            return text.get(..kept).unwrap_or(text).to_vec();
        }
        let hidden = self.0.iter().filter(|hidden| !is_whole || text.len() >= hidden.least_bytes);
        let hidden: Vec<&Spellings> = hidden.map(|hidden| hidden.spellings()).collect();
        let mut masked = Vec::with_capacity(text.len().min(most_bytes));
        let mut hidden_to = 0;
        for (at, byte) in text.iter().enumerate().take(searched) {
            if let Some(end) = hidden.iter().filter_map(|spellings| spellings.end(text, at, is_whole)).max() {
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
}

impl fmt::Debug for Concealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Concealed({})", self.0.len())
    }
}

impl PartialEq for Concealed {
    fn eq(&self, other: &Self) -> bool {
        let own = self.0.iter().map(|hidden| hidden.value.expose_secret());
        own.eq(other.0.iter().map(|hidden| hidden.value.expose_secret()))
    }
}

impl Eq for Concealed {}

impl Hidden {
    fn new(value: SecretString) -> Self {
        // Hexadecimal digits stand for the fewest bytes that are looked for by themselves.
        let (_, unpadded) = bare(value.expose_secret());
        let least_bytes = (unpadded.len() / 2).max(LEAST_BYTES);
        Self { value, least_bytes, spellings: OnceLock::new() }
    }

    fn spellings(&self) -> &Spellings {
        self.spellings.get_or_init(|| Spellings::of(self.value.expose_secret()))
    }
}

impl Spellings {
    fn of(value: &str) -> Self {
        let mut spelled = BTreeSet::new();
        spell(value, &mut spelled);
        let mut texts: Vec<String> = spelled.into_iter().filter(|text| text.len() >= LEAST_BYTES).collect();
        texts.sort_by_key(|text| first_byte(text));
        let mut by_first = Box::new([const { 0..0 }; 256]);
        for (at, text) in texts.iter().enumerate() {
            if let Some(place) = by_first.get_mut(usize::from(first_byte(text))) {
                *place = if place.start == place.end { at..at + 1 } else { place.start..at + 1 };
            }
        }
        Self { texts: texts.into_iter().map(SecretString::from).collect(), by_first }
    }

    /// Where the longest spelling ends that begins at a place.
    fn end(&self, text: &[u8], at: usize, is_whole: bool) -> Option<usize> {
        let (byte, left) = (text.get(at)?, text.len() - at);
        let may_begin = match *byte {
            byte if echo::is_escape(byte) => Some(&*self.texts),
            byte => self.texts.get(self.by_first.get(usize::from(byte.to_ascii_lowercase()))?.clone()),
        };
        // No character is spelled in fewer bytes than its own.
        let fits = |wanted: &&SecretString| !is_whole || wanted.expose_secret().len() <= left;
        let wanted = may_begin?.iter().filter(fits);
        wanted.filter_map(|wanted| echo::end(text, at, wanted.expose_secret(), is_whole)).max()
    }
}

fn first_byte(text: &str) -> u8 {
    text.as_bytes().first().map(u8::to_ascii_lowercase).unwrap_or_default()
}

/// A value without the mark of a webhook's secret, and that without the end of base64.
fn bare(value: &str) -> (&str, &str) {
    let bare = value.strip_prefix("whsec_").unwrap_or(value);
    (bare, bare.trim_end_matches('='))
}

/// Spells a value in every way that is looked for.
fn spell(value: &str, out: &mut BTreeSet<String>) {
    let (bare, unpadded) = bare(value);
    for text in [value, bare] {
        spell_bytes(text.as_bytes(), out);
        // Where a whole URL is put into base64 or hexadecimal digits, the value in it is percent-encoded first.
        for set in [NON_ALPHANUMERIC, RESERVED] {
            spell_bytes(utf8_percent_encode(text, set).to_string().as_bytes(), out);
        }
        out.insert(text.to_owned());
    }
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
