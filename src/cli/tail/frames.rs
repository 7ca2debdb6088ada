//! Server-sent events out of the bytes of a stream, as far as the daemon makes use of them
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

/// Longest line that is taken.
const MAX_LINE: usize = 1 << 20;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// Its kind.
    pub(super) event: String,
    /// The place in the stream that it ends at.
    pub(super) id: Option<String>,
    /// What it says.
    pub(super) data: String,
}

/// A line is longer than any that the daemon makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than 1 MiB")]
pub(super) struct TooLong;

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub(super) struct Frames {
    line: Vec<u8>,
    frame: Frame,
}

impl Frames {
    /// Takes bytes; returns the events that they complete.
    ///
    /// # Errors
    /// When a line, or what an event says, is too long.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, TooLong> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.frame.data.len() + part.len() > MAX_LINE {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                whole.extend(self.end_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(whole)
    }

    fn end_line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            return Some(std::mem::take(&mut self.frame)).filter(|frame| *frame != Frame::default());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.frame.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                if !self.frame.data.is_empty() {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            // A comment, or a field of another version.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(event: &str, id: Option<&str>, data: &str) -> Frame {
        Frame { event: event.into(), id: id.map(Into::into), data: data.into() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_come() {
        let stream = "id: 7\nevent: attempt\ndata: {\"a\": 1}\n\n: still there\n\nid: 8\n\r\nevent:missed\ndata: x\ndata: y\n\n\
                      data: cut o";
        let expected =
            [frame("attempt", Some("7"), "{\"a\": 1}"), frame("", Some("8"), ""), frame("missed", None, "x\ny")];
        for size in [1, 2, 7, stream.len()] {
            let mut frames = Frames::default();
            let found: Vec<_> = stream.as_bytes().chunks(size).flat_map(|chunk| frames.take(chunk).unwrap()).collect();
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_gathered_for_ever() {
        let mut frames = Frames::default();
        let taken = (0..2 * MAX_LINE / 1_024).map(|_| frames.take(&[b'x'; 1_024]));
        assert!(taken.filter(Result::is_err).count() > 0);
        let mut frames = Frames::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1_024], b"\n"].concat();
        assert!((0..2_000).any(|_| frames.take(&line).is_err()), "nor are many lines of one event");
    }
}
