//! The bytes of a backup: a first line that names the form, then frames.
//!
//! A frame is its length in four bytes, its content in postcard, and a checksum over all that came since the first line:
//! a frame that is damaged, missing, repeated or in another place is noticed, and so is a backup that ends early.

use serde::{Deserialize, Serialize};

use crate::outbox::engine::Pair;

/// The first bytes of every backup.
pub(super) const FIRST_LINE: &[u8] = b"postbackd backup 1\n";
/// Longest content of a frame. Writers keep far below it.
pub(super) const MAX_FRAME_BYTES: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// How it stands with the store when the backup begins.
    Begin {
        /// Microseconds since 1970 at which it began.
        begun_us: i64,
        /// The version of the program.
        version: String,
    },
    /// Pairs that were found in the store.
    Pairs(Vec<Pair>),
    /// What was written meanwhile, in its order.
    Writes(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// The end of a whole backup.
    End {
        /// Microseconds since 1970 at which the store stood as in the backup.
        stood_us: i64,
        /// How many pairs it has.
        pairs: u64,
        /// How many writes.
        writes: u64,
    },
}

/// Why bytes are no whole backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It begins otherwise.
    #[error("this is no backup that this version of postbackd has made: it begins otherwise")]
    Foreign,
    /// A frame does not check out.
    #[error("the backup is damaged at byte {at}: {why}")]
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// It ends early.
    #[error("the backup is not whole: it ends at byte {at}, in the middle")]
    Torn {
        /// Where it ends.
        at: u64,
    },
}

/// Frames to bytes.
#[derive(Debug)]
pub(super) struct FrameWriter {
    checksum: crc32fast::Hasher,
}

impl FrameWriter {
    /// The first line, and who writes what follows.
    pub(super) fn begin() -> (Self, Vec<u8>) {
        (Self { checksum: crc32fast::Hasher::new() }, FIRST_LINE.to_vec())
    }

    /// The bytes of the next frame.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(super) fn write(&mut self, frame: &Frame) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = postcard::to_extend(frame, vec![0; LENGTH_BYTES])?;
        let length = u32::try_from(bytes.len() - LENGTH_BYTES).map_err(|_| postcard::Error::SerializeBufferFull)?;
        if let Some(place) = bytes.first_chunk_mut::<LENGTH_BYTES>() {
            *place = length.to_be_bytes();
        }
        self.checksum.update(&bytes);
        bytes.extend(self.checksum.clone().finalize().to_be_bytes());
        Ok(bytes)
    }
}

/// Bytes to frames, however the bytes are cut.
#[derive(Debug, Default)]
pub(super) struct FrameParser {
    bytes: Vec<u8>,
    /// How much of `bytes` has been read.
    read: usize,
    /// Where `bytes` begins in the backup.
    at: u64,
    checksum: crc32fast::Hasher,
    begun: bool,
}

impl FrameParser {
    /// Takes what comes next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.at += self.read as u64;
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, once all of it is there.
    ///
    /// # Errors
    /// When the bytes are no backup, or do not check out.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BackupError> {
        if !self.begun {
            let Some(rest) = self.rest().strip_prefix(FIRST_LINE) else {
                let so_far = self.rest();
                return if FIRST_LINE.starts_with(so_far) { Ok(None) } else { Err(BackupError::Foreign) };
            };
            self.read = self.bytes.len() - rest.len();
            self.begun = true;
        }
        let Some((head, rest)) = self.rest().split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(self.damaged(format!("a part of {length} bytes is longer than any that is written")));
        }
        let Some((content, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some((told, _)) = rest.split_first_chunk::<CHECKSUM_BYTES>() else { return Ok(None) };
        let mut checksum = self.checksum.clone();
        checksum.update(head);
        checksum.update(content);
        if checksum.clone().finalize().to_be_bytes() != *told {
            return Err(self.damaged("its checksum does not match".into()));
        }
        let frame = postcard::from_bytes(content).map_err(|error| self.damaged(error.to_string()))?;
        self.read += LENGTH_BYTES + length + CHECKSUM_BYTES;
        self.checksum = checksum;
        Ok(Some(frame))
    }

    /// Where the next frame begins.
    pub(super) fn place(&self) -> u64 {
        self.at + self.read as u64
    }

    /// Whether everything that was taken has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.read..).unwrap_or_default()
    }

    fn damaged(&self, why: String) -> BackupError {
        BackupError::Damaged { at: self.place(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (Vec<Frame>, Vec<u8>) {
        let frames = vec![
            Frame::Begin { begun_us: 5, version: "0.1.0".into() },
            Frame::Pairs(vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())]),
            Frame::Writes(vec![(b"a".to_vec(), None), (b"c".to_vec(), Some(vec![7; 300]))]),
            Frame::End { stood_us: 6, pairs: 2, writes: 2 },
        ];
        let (mut writer, mut bytes) = FrameWriter::begin();
        for frame in &frames {
            bytes.extend(writer.write(frame).unwrap());
        }
        (frames, bytes)
    }

    fn read(bytes: &[u8], at_once: usize) -> Result<Vec<Frame>, BackupError> {
        let (mut parser, mut frames) = (FrameParser::default(), Vec::new());
        for part in bytes.chunks(at_once) {
            parser.push(part);
            while let Some(frame) = parser.next()? {
                frames.push(frame);
            }
        }
        if parser.is_empty() { Ok(frames) } else { Err(BackupError::Torn { at: parser.place() }) }
    }

    #[test]
    fn frames_are_read_back_however_they_are_cut() {
        let (frames, bytes) = written();
        for at_once in [1, 3, 17, bytes.len()] {
            assert_eq!(read(&bytes, at_once).unwrap(), frames);
        }
        assert!(read(&bytes[..bytes.len() - 1], 64).is_err());
    }

    #[test]
    fn no_byte_can_change_unseen() {
        let (_, bytes) = written();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(read(&damaged, 64).is_err(), "byte {index}");
        }
    }

    #[test]
    fn no_frame_can_go_come_twice_or_change_places_unseen() {
        let (frames, _) = written();
        let whole = |order: &[usize]| {
            // Each frame as it was written in its own place.
            let (mut writer, mut bytes) = FrameWriter::begin();
            let parts: Vec<Vec<u8>> = frames.iter().map(|frame| writer.write(frame).unwrap()).collect();
            for index in order {
                bytes.extend(&parts[*index]);
            }
            bytes
        };
        assert!(read(&whole(&[0, 1, 2, 3]), 64).is_ok());
        for wrong in [&[0, 2, 3][..], &[0, 1, 1, 2, 3], &[0, 2, 1, 3]] {
            assert!(matches!(read(&whole(wrong), 64), Err(BackupError::Damaged { .. })), "{wrong:?}");
        }
    }
}
