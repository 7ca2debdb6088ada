//! Sorts more records than memory holds: in runs on disk, merged as they are read.
//!
//! Knows nothing of what is sorted but its order and its size. A run is a file without a name, so that nothing is left
//! behind however the command ends.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most runs that are merged at once; each has a file and a buffer.
const FAN_IN: usize = 64;
/// Bytes read or written of a run at once.
const BUFFER: usize = 64 << 10;
/// Longest record that a run can have.
const LONGEST_RECORD: usize = 64 << 20;

/// What can be sorted.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// Which of two comes first.
    fn order(&self, other: &Self) -> Ordering;

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize;
}

impl Record for u64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

/// Where runs are written, and how large they are.
#[derive(Debug, Clone)]
pub(super) struct Room {
    /// The directory of the runs.
    pub(super) directory: PathBuf,
    /// Bytes of memory that one run takes before it is written.
    pub(super) run_bytes: usize,
}

/// Takes records in any order.
pub(super) struct Sorter<T> {
    room: Room,
    held: Vec<T>,
    weight: usize,
    runs: Vec<File>,
    count: u64,
}

/// Gives records in their order.
pub(super) struct Merge<T> {
    heads: BinaryHeap<Reverse<Head<T>>>,
    runs: Vec<BufReader<File>>,
    /// What was never written, the last first.
    held: Vec<T>,
}

struct Head<T> {
    record: T,
    run: usize,
}

impl<T: Record> PartialEq for Head<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Record> Eq for Head<T> {}

impl<T: Record> PartialOrd for Head<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Record> Ord for Head<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.record.order(&other.record).then(self.run.cmp(&other.run))
    }
}

impl<T: Record> Sorter<T> {
    /// Nothing to sort yet.
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), held: Vec::new(), weight: 0, runs: Vec::new(), count: 0 }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// When a run cannot be written.
    pub(super) fn push(&mut self, record: T) -> io::Result<()> {
        self.weight += record.weight();
        self.count += 1;
        self.held.push(record);
        if self.weight < self.room.run_bytes {
            return Ok(());
        }
        self.held.sort_unstable_by(T::order);
        let run = write(&self.room, self.held.drain(..).map(Ok))?;
        self.runs.push(run);
        self.weight = 0;
        if self.runs.len() == FAN_IN {
            let merged: Merge<T> = Merge::of(std::mem::take(&mut self.runs), Vec::new())?;
            self.runs.push(write(&self.room, merged)?);
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// All of them, in their order.
    ///
    /// # Errors
    /// When a run cannot be read.
    pub(super) fn finish(mut self) -> io::Result<Merge<T>> {
        self.held.sort_unstable_by(|one, other| other.order(one));
        Merge::of(self.runs, self.held)
    }
}

impl<T: Record> Merge<T> {
    fn of(files: Vec<File>, held: Vec<T>) -> io::Result<Self> {
        let mut merge = Self { heads: BinaryHeap::new(), runs: Vec::with_capacity(files.len()), held };
        for (run, mut file) in files.into_iter().enumerate() {
            file.rewind()?;
            merge.runs.push(BufReader::with_capacity(BUFFER, file));
            merge.refill(run)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, run: usize) -> io::Result<()> {
        if let Some(reader) = self.runs.get_mut(run)
            && let Some(record) = read(reader)?
        {
            self.heads.push(Reverse(Head { record, run }));
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<T>> {
        let held_is_first = match (self.held.last(), self.heads.peek()) {
            (Some(held), Some(Reverse(written))) => held.order(&written.record) == Ordering::Less,
            (held, _) => held.is_some(),
        };
        if held_is_first {
            return Ok(self.held.pop());
        }
        let Some(Reverse(Head { record, run })) = self.heads.pop() else { return Ok(None) };
        self.refill(run)?;
        Ok(Some(record))
    }
}

impl<T: Record> Iterator for Merge<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<io::Result<T>> {
        self.take().transpose()
    }
}

fn write<T: Serialize>(room: &Room, records: impl Iterator<Item = io::Result<T>>) -> io::Result<File> {
    let mut to = BufWriter::with_capacity(BUFFER, tempfile::tempfile_in(&room.directory)?);
    let mut bytes = Vec::new();
    for record in records {
        bytes.clear();
        bytes = postcard::to_extend(&record?, bytes).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(&bytes)?;
    }
    to.into_inner().map_err(io::IntoInnerError::into_error)
}

fn read<T: DeserializeOwned>(from: &mut BufReader<File>) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > LONGEST_RECORD {
        return Err(io::Error::other("a run of the sort is damaged"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_runs_give_the_same_order_as_memory() {
        let directory = tempfile::tempdir().unwrap();
        // A hundred records a run, so that runs are merged into runs, and some are never written.
        let room = Room { directory: directory.path().to_path_buf(), run_bytes: 800 };
        let numbers: Vec<u64> =
            (0..13_337_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44).collect();
        let mut sorter = Sorter::new(&room);
        for number in &numbers {
            sorter.push(*number).unwrap();
        }
        assert!(sorter.runs.len() > 1 && !sorter.held.is_empty(), "{} runs", sorter.runs.len());
        assert_eq!(sorter.count(), 13_337);
        let found: Vec<u64> = sorter.finish().unwrap().collect::<io::Result<_>>().unwrap();
        let mut expected = numbers;
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
