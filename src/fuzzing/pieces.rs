//! Cuts an input into the pieces that a target takes.

use std::borrow::Cow;

/// What stands between two pieces: a line of its own, so that inputs can be read and written by hand.
const DIVIDER: &[u8] = b"\n--\n";

/// The pieces of an input; those that it lacks are empty.
pub(crate) struct Pieces<'i>(Vec<&'i [u8]>);

impl<'i> Pieces<'i> {
    /// Cuts an input.
    pub(crate) fn of(input: &'i [u8]) -> Self {
        let mut pieces = Vec::new();
        let mut rest = input;
        while let Some(at) = rest.windows(DIVIDER.len()).position(|window| window == DIVIDER) {
            let (piece, behind) = rest.split_at(at);
            pieces.push(piece);
            rest = behind.get(DIVIDER.len()..).unwrap_or_default();
        }
        pieces.push(rest);
        Self(pieces)
    }

    /// A piece as it stands.
    pub(crate) fn bytes(&self, index: usize) -> &'i [u8] {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// A piece as text; what is no UTF-8 is replaced.
    pub(crate) fn text(&self, index: usize) -> Cow<'i, str> {
        String::from_utf8_lossy(self.bytes(index))
    }
}
