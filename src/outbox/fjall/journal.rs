//! fjall's journals, looked at before fjall opens them.
//!
//! A journal is a row of batches: a start (1, count of items, sequence number), the items (2, or 4 for a cleared key space),
//! and an end (3, XXH3 of the items' bytes, four magic bytes), little-endian; behind the last one it is zeros, or ends. A
//! batch that is not whole ends what can be read. In the newest journal that is what a power cut leaves of batches that
//! nobody was told of, unless their number says that they were durable; all others were synced whole before the next
//! was begun, and can only be damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::{Cause, NUMBER_KEY};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: [u8; 4] = *b"FJL\x03";
/// The extension of a journal that is set aside; fjall looks at none but its own.
const ASIDE: &str = "aside";
const READ_BYTES: usize = 256 << 10;

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
enum BadJournal {
    #[error(
        "the journal {} is damaged at byte {at}, in or before batch {batch}, which was durable; keep a copy of the directory, then \
         restore a backup", path.display()
    )]
    Damaged { path: PathBuf, at: u64, batch: u64 },
    #[error(
        "batch {found} follows batch {before} in the journal {}: what was between them is missing; keep a copy of the directory, then \
         restore a backup", path.display()
    )]
    Gap { path: PathBuf, before: u64, found: u64 },
}

/// The journals of a store, the oldest first.
pub(super) fn paths(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| is_journal) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Takes away what a crash has left of the last batches, and returns the number of the last one in the journals.
///
/// # Errors
/// When a journal cannot be read, or anything is damaged that was durable; nothing is changed then.
pub(super) fn settle(data: &Path, synced: u64) -> Result<u64, Cause> {
    let journals = paths(data)?;
    let mut last: Option<u64> = None;
    for (index, path) in journals.iter().enumerate() {
        let mut batches = Batches::open(path)?;
        while let Some(number) = batches.next()? {
            if let Some(before) = last.filter(|before| before + 1 != number) {
                return Err(BadJournal::Gap { path: path.clone(), before, found: number }.into());
            }
            last = Some(number);
        }
        let (at, whole) = (batches.whole, batches.ends_in_zeros()?);
        let is_newest = index + 1 == journals.len();
        match last {
            _ if whole && !is_newest => {}
            Some(last) if is_newest && last >= synced && whole => {}
            Some(last) if is_newest && last >= synced => cut(path, at)?,
            None if is_newest && whole => {}
            // What came before is in tables. These are read first, and tell whether anything is missing.
            None if is_newest => set_aside(path)?,
            _ => {
                let batch = last.unwrap_or(0) + 1;
                return Err(BadJournal::Damaged { path: path.clone(), at, batch }.into());
            }
        }
    }
    Ok(last.unwrap_or(0))
}

/// Forgets what was set aside, once it is known that nothing is missing.
pub(super) fn discard_aside(data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == ASIDE) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn cut(path: &Path, at: u64) -> io::Result<()> {
    tracing::warn!(journal = %path.display(), at, "outbox.torn_batch_discarded");
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

fn set_aside(path: &Path) -> io::Result<()> {
    tracing::warn!(journal = %path.display(), "outbox.torn_journal_set_aside");
    fs::rename(path, path.with_extension(ASIDE))?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// The whole batches at the beginning of a journal.
struct Batches {
    reader: BufReader<File>,
    length: u64,
    at: u64,
    /// Where the last whole batch ends.
    whole: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Batches {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let reader = BufReader::with_capacity(READ_BYTES, file);
        Ok(Self { reader, length, at: 0, whole: 0, key: Vec::new(), value: Vec::new() })
    }

    /// The number of the next batch; `None` where no whole one follows.
    fn next(&mut self) -> io::Result<Option<u64>> {
        let number = self.batch()?;
        if number.is_some() {
            self.whole = self.at;
        }
        Ok(number)
    }

    fn batch(&mut self) -> io::Result<Option<u64>> {
        let Some([START]) = self.take()? else { return Ok(None) };
        let (Some(count), Some(_sequence)) = (self.take()?.map(u32::from_le_bytes), self.take::<8>()?) else {
            return Ok(None);
        };
        let mut checksum = Xxh3Default::new();
        let mut number = None;
        for _ in 0..count {
            match self.take()? {
                Some([ITEM]) if self.item(&mut checksum)? => {}
                Some([CLEAR]) => {
                    let Some(keyspace) = self.take::<8>()? else { return Ok(None) };
                    checksum.update(&[CLEAR]);
                    checksum.update(&keyspace);
                    continue;
                }
                _ => return Ok(None),
            }
            if self.key == NUMBER_KEY {
                number = self.value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            }
        }
        let (Some([END]), Some(told), Some(MAGIC)) = (self.take()?, self.take()?, self.take()?) else {
            return Ok(None);
        };
        Ok(number.filter(|_| u64::from_le_bytes(told) == checksum.digest()))
    }

    /// Reads an item behind its first byte; whether all of it is there.
    fn item(&mut self, checksum: &mut Xxh3Default) -> io::Result<bool> {
        // Kind and compression, key space, and the lengths of the key, the value and the value as it is stored.
        let Some(kinds) = self.take::<10>()? else { return Ok(false) };
        let (Some(key), Some(value), Some(stored)) = (self.take()?, self.take::<4>()?, self.take()?) else {
            return Ok(false);
        };
        for part in [&[ITEM][..], &kinds, &key, &value, &stored] {
            checksum.update(part);
        }
        let key_bytes = u64::from(u16::from_le_bytes(key));
        let value_bytes = u64::from(u32::from_le_bytes(stored));
        if self.length - self.at < key_bytes + value_bytes {
            return Ok(false);
        }
        fill(&mut self.reader, &mut self.key, key_bytes)?;
        fill(&mut self.reader, &mut self.value, value_bytes)?;
        self.at += key_bytes + value_bytes;
        checksum.update(&self.key);
        checksum.update(&self.value);
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.length - self.at < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(Some(bytes))
    }

    /// Whether nothing but zeros is behind the last whole batch.
    fn ends_in_zeros(&mut self) -> io::Result<bool> {
        self.reader.seek(SeekFrom::Start(self.whole))?;
        let zeros = vec![0; READ_BYTES];
        let mut found = vec![0; READ_BYTES];
        loop {
            let count = self.reader.read(&mut found)?;
            if count == 0 {
                return Ok(true);
            }
            if found.get(..count) != zeros.get(..count) {
                return Ok(false);
            }
        }
    }
}

fn fill(reader: &mut impl Read, bytes: &mut Vec<u8>, length: u64) -> io::Result<()> {
    bytes.clear();
    reader.take(length).read_to_end(bytes)?;
    if bytes.len() as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
