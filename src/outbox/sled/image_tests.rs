//! What a power cut may leave of sled's files where no write is durable by itself: whether one batch may be ahead of the disk, as
//! `apply` has it.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::path::Path;

use super::{DATA, SledEngine};
use crate::outbox::commit::MAX_GROUP_WRITES;
use crate::outbox::engine::{Batch, Engine as _};

const CACHE_BYTES: u64 = 4 << 20;
/// Events of a batch: with eight writes each, there are twice as many as a group has.
const EVENTS: u64 = MAX_GROUP_WRITES as u64 / 4;
/// Events that the store has at once.
const KEPT: usize = 10 * MAX_GROUP_WRITES / 4;
/// Batches that are not durable when the power goes; with three of them one image of four is bad, with six two of three.
const AHEAD: usize = 1;
const IMAGES: usize = 10;

/// Events that come, are settled with the next batch, and are deleted again.
#[derive(Debug, Default)]
struct Traffic {
    next: u64,
    kept: VecDeque<u64>,
}

impl Traffic {
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut put = |key, value| batch.writes.push((key, value));
        for id in self.next..self.next + EVENTS {
            put(key(b'e', id), Some(vec![7; 550]));
            put(key(b's', id), Some(Vec::new()));
            put(key(b'k', mixed(id)), Some(id.to_be_bytes().to_vec()));
            put(key(b'c', mixed(!id)), Some(Vec::new()));
            if let Some(before) = id.checked_sub(EVENTS) {
                put(key(b's', before), None);
                put(key(b'h', before), Some(vec![8; 1_200]));
            }
            self.kept.push_back(id);
            if self.kept.len() > KEPT {
                let old = self.kept.pop_front().unwrap();
                put(key(b'e', old), None);
                put(key(b'h', old), None);
            }
        }
        self.next += EVENTS;
        batch
    }
}

fn key(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// All that was written over is there, and nothing of what the file has grown by since it was `durable` bytes long.
fn image(store: &Path, copy: &Path, durable: u64) {
    fs::create_dir_all(copy).unwrap();
    for entry in fs::read_dir(store).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    OpenOptions::new().write(true).open(copy.join("db")).unwrap().set_len(durable).unwrap();
}

#[test]
fn what_is_durable_outlives_a_batch_that_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = SledEngine::open(&directory.path().join("store"), CACHE_BYTES).unwrap();
    engine.marked = false;
    let mut traffic = Traffic::default();
    for number in 0..IMAGES {
        engine.apply(traffic.batch()).unwrap();
        engine.sync().unwrap();
        let (durable, length) = (traffic.kept.clone(), engine.file.metadata().unwrap().len());
        for _ in 0..AHEAD {
            engine.apply(traffic.batch()).unwrap();
        }
        engine.db.flush().unwrap();
        let copy = directory.path().join("copy");
        image(&directory.path().join("store").join(DATA), &copy.join(DATA), length);
        let copy = SledEngine::open(&copy, CACHE_BYTES).unwrap_or_else(|error| panic!("image {number}: {error:?}"));
        for id in durable.iter().filter(|id| traffic.kept.contains(id)) {
            assert!(copy.get(&key(b'e', *id)).unwrap().is_some(), "image {number}: event {id} is lost");
        }
        drop(copy);
        fs::remove_dir_all(directory.path().join("copy")).unwrap();
    }
}
