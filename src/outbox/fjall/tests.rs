//! What is written here behind fjall's back is what a power cut or a failing disk leaves: batches that are torn, bytes that
//! flip, files that are gone.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::ops::clock::monotonic;
use crate::outbox::MemoryEngine;
use crate::outbox::engine::Pair;

const CACHE_BYTES: u64 = 16 << 20;
const UNFINISHED: &str = "fjall.unfinished";

fn open(directory: &Path) -> FjallEngine {
    FjallEngine::open(directory, CACHE_BYTES).unwrap()
}

fn numbered(number: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    (format!("key-{number:06}").into_bytes(), Some(vec![b'v'; 700]))
}

/// Applies a batch of five pairs.
fn put_five(engine: &FjallEngine, batch: u32) {
    engine.apply(Batch { writes: (0..5).map(|pair| numbered(batch * 5 + pair)).collect() }).unwrap();
}

fn all(engine: &dyn Engine) -> Result<Vec<Pair>, EngineError> {
    engine.scan(Bound::Unbounded, Bound::Unbounded).collect()
}

fn journal_of(directory: &Path) -> PathBuf {
    journal::paths(&directory.join(DATA)).unwrap().pop().unwrap()
}

/// Where the batches of a journal end.
fn content_bytes(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            // Journals are sparse: their zeros are not copied, which is what they are after a recovery, too.
            let bytes = fs::read(entry.path()).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let is_journal = to.extension().is_some_and(|extension| extension == "jnl");
            fs::write(to, if is_journal { &bytes[..end] } else { &bytes }).unwrap();
        }
    }
}

fn refusal(directory: &Path) -> String {
    let error = FjallEngine::open(directory, CACHE_BYTES).unwrap_err();
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[test]
fn the_last_write_of_a_key_in_a_batch_counts_also_behind_a_recovery() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, value) = (b"a".to_vec(), b"b".to_vec(), b"x".to_vec());
    let last = [(b.clone(), value.clone())];
    let engine = open(directory.path());
    let writes = vec![(a.clone(), Some(value.clone())), (a, None), (b.clone(), None), (b, Some(value))];
    engine.apply(Batch { writes }).unwrap();
    assert_eq!(all(&engine).unwrap(), last);
    drop(engine);
    assert_eq!(all(&open(directory.path())).unwrap(), last);
}

#[test]
fn scans_of_any_range_are_as_of_the_engine_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, model) = (open(directory.path()), MemoryEngine::default());
    // More than one snapshot is good for, twice, and every third pair gone.
    let batch = |writes| Batch { writes };
    for engine in [&engine as &dyn Engine, &model] {
        engine.apply(batch((0..9_000).map(numbered).collect())).unwrap();
        engine.apply(batch((0..9_000).step_by(3).map(|number| (numbered(number).0, None)).collect())).unwrap();
    }
    let key = |number| numbered(number).0;
    let bounds = |number| [Bound::Included(key(number)), Bound::Excluded(key(number))];
    let low = [Bound::Unbounded].into_iter().chain(bounds(0)).chain(bounds(100)).chain(bounds(6_143));
    for from in low {
        for to in [Bound::Unbounded].into_iter().chain(bounds(6_144)).chain(bounds(8_999)).chain(bounds(9_999)) {
            let found = |engine: &dyn Engine| {
                let up: Vec<Pair> = engine.scan(from.clone(), to.clone()).map(Result::unwrap).collect();
                let mut down: Vec<Pair> = engine.scan_back(from.clone(), to.clone()).map(Result::unwrap).collect();
                down.reverse();
                assert_eq!(up.len(), down.len());
                assert!(up == down, "both ways are the same");
                up
            };
            assert!(found(&engine) == found(&model), "{from:?} to {to:?}");
        }
    }
    assert_eq!(engine.get(&key(1)).unwrap(), numbered(1).1);
    assert_eq!(engine.get(&key(3)).unwrap(), None);
}

/// A number that looks as if it were drawn.
fn drawn(number: u64, below: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % below
}

#[test]
fn what_is_learnt_of_empty_ranges_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut engine, model) = (open(directory.path()), MemoryEngine::default());
    // Each step leaves word, however quick it was.
    engine.slow_step = Duration::ZERO;
    let key = |number: u64| vec![b's', u8::try_from(number % 64).unwrap()];
    for round in 0..3_000_u64 {
        let write = |nth: u64| {
            let drawn = drawn(round * 8 + nth, 1 << 20);
            (key(drawn), (drawn & 0xc0 == 0).then(|| round.to_be_bytes().to_vec()))
        };
        let batch = Batch { writes: (0..=(round % 4)).map(write).collect() };
        engine.apply(batch.clone()).unwrap();
        model.apply(batch).unwrap();
        let (one, other) = (key(drawn(round * 8 + 5, 1 << 20)), key(drawn(round * 8 + 6, 1 << 20)));
        let (from, to) = (one.clone().min(other.clone()), one.max(other));
        let ranges = [
            (Bound::Included(from.clone()), Bound::Included(to.clone())),
            (Bound::Included(vec![b's']), Bound::Excluded(vec![b't'])),
            (Bound::Excluded(from), Bound::Unbounded),
            (Bound::Unbounded, Bound::Included(to)),
        ];
        for (from, to) in ranges {
            let few = |engine: &dyn Engine| -> Vec<Pair> {
                engine.scan(from.clone(), to.clone()).take(3).map(Result::unwrap).collect()
            };
            assert!(few(&engine) == few(&model), "round {round}: {from:?} to {to:?}");
        }
    }
}

#[test]
fn a_queue_whose_front_was_worked_off_is_looked_at_without_passing_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let put = |number: u32, value| (number.to_be_bytes().to_vec(), value);
    let worked_off = 200_000;
    engine.apply(Batch { writes: (0..=worked_off).map(|number| put(number, Some(Vec::new()))).collect() }).unwrap();
    engine.apply(Batch { writes: (0..worked_off).map(|number| put(number, None)).collect() }).unwrap();
    let first = || engine.scan(Bound::Unbounded, Bound::Unbounded).next().unwrap().unwrap().0;
    assert_eq!(first(), worked_off.to_be_bytes());
    assert_eq!(engine.gaps().skip(&[0], u64::MAX), None, "the number of the last batch is found first");
    let from_front = || engine.scan(Bound::Included(vec![0, 0]), Bound::Unbounded).next().unwrap().unwrap().0;
    assert_eq!(from_front(), worked_off.to_be_bytes());
    assert_eq!(engine.gaps().skip(&[0, 0], u64::MAX), Some(Some(worked_off.to_be_bytes().to_vec())));
    let begun = monotonic();
    assert_eq!(from_front(), worked_off.to_be_bytes());
    let again = begun.elapsed();
    engine.apply(Batch { writes: vec![put(7, Some(Vec::new()))] }).unwrap();
    assert_eq!(from_front(), 7_u32.to_be_bytes(), "what comes in front is found");
    assert!(again < Duration::from_millis(50), "{again:?}");
}

#[test]
fn nobody_sees_a_part_of_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let batch = |round: u32| Batch {
        writes: (0..400_u32).map(|key| (key.to_be_bytes().to_vec(), Some(round.to_be_bytes().to_vec()))).collect(),
    };
    engine.apply(batch(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                let found = all(&engine).unwrap();
                let (first, last) = (&found[0].1, &found[399].1);
                assert_eq!(first, last, "the first pair and the last are of the same batch");
                *rounds.entry(first.clone()).or_insert(0) += 1;
            }
            rounds.len()
        });
        for round in 1..300 {
            engine.apply(batch(round)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 1, "it has seen several");
    });
}

#[test]
fn a_store_is_private_and_one_that_was_not_finished_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let unfinished = directory.path().join(UNFINISHED);
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("0.jnl"), "only begun").unwrap();
    put_five(&open(directory.path()), 0);
    assert!(!unfinished.exists());
    assert_eq!(all(&open(directory.path())).unwrap().len(), 5);
    let mut looked_at = 0;
    let mut left = vec![directory.path().join(DATA)];
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        looked_at += 1;
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(looked_at > 10, "{looked_at}");
}

#[test]
fn a_store_that_another_has_open_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let _other = open(directory.path());
    let error = FjallEngine::open(directory.path(), CACHE_BYTES).unwrap_err();
    assert!(matches!(error, EngineError::InUse { .. }), "{error}");
}

/// A store with three durable batches, and three that are not.
fn half_durable() -> (tempfile::TempDir, u64) {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    (0..3).for_each(|batch| put_five(&engine, batch));
    engine.sync().unwrap();
    let durable = content_bytes(&journal_of(directory.path()));
    (3..6).for_each(|batch| put_five(&engine, batch));
    drop(engine);
    (directory, durable)
}

#[test]
fn what_was_not_durable_may_be_torn_anywhere_and_goes_batch_by_batch() {
    let (original, durable) = half_durable();
    let end = content_bytes(&journal_of(original.path()));
    let torn = |at: u64, to: u64, how: &dyn Fn(&File, u64, u64)| {
        let directory = tempfile::tempdir().unwrap();
        copy(&original.path().join(DATA), &directory.path().join(DATA));
        let file = fs::OpenOptions::new().write(true).open(journal_of(directory.path())).unwrap();
        how(&file, at, to);
        for _ in 0..2 {
            let engine = open(directory.path());
            let found = all(&engine).unwrap();
            assert!(found.len() >= 15 && found.len().is_multiple_of(5), "{at}..{to}: {} pairs", found.len());
            assert!(found.len() < 30, "{at}..{to}: what is torn is gone");
            // It goes on from there.
            put_five(&engine, 9);
            assert_eq!(all(&engine).unwrap().len(), found.len() + 5);
            engine.apply(Batch { writes: (45..50).map(|number| (numbered(number).0, None)).collect() }).unwrap();
        }
    };
    let zeros = |file: &File, at: u64, to: u64| {
        file.write_all_at(&vec![0; usize::try_from(to - at).unwrap()], at).unwrap();
    };
    let cut = |file: &File, at: u64, _: u64| file.set_len(at).unwrap();
    for at in (durable..end).step_by(397) {
        torn(at, end, &cut);
        // A sector that was not written, with later ones that were.
        torn(at, (at + 512).min(end), &zeros);
    }
}

#[test]
fn what_was_durable_is_not_given_up_silently() {
    let (original, durable) = half_durable();
    for (at, how) in (0..durable).step_by(211).flat_map(|at| [(at, "flip"), (at, "cut")]) {
        let directory = tempfile::tempdir().unwrap();
        copy(&original.path().join(DATA), &directory.path().join(DATA));
        let path = journal_of(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        if how == "cut" {
            bytes.truncate(usize::try_from(at).unwrap());
        } else {
            bytes[usize::try_from(at).unwrap()] ^= 0x10;
        }
        fs::write(&path, &bytes).unwrap();
        let why = refusal(directory.path());
        assert!(why.contains("restore a backup"), "{how} at {at}: {why}");
        let kept = [path.clone(), path.with_extension("aside")]
            .iter()
            .any(|path| fs::read(path).ok().as_ref() == Some(&bytes));
        assert!(kept, "{how} at {at}: the journal is kept as it is");
        assert!(refusal(directory.path()).contains("restore a backup"), "the second time, too");
    }
}

/// A store that is kept in tables, with a little in its journal.
fn in_tables() -> (tempfile::TempDir, Vec<Pair>) {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    (0..20).for_each(|batch| put_five(&engine, batch));
    engine.keyspace.rotate_memtable_and_wait().unwrap();
    (20..23).for_each(|batch| put_five(&engine, batch));
    engine.sync().unwrap();
    let pairs = all(&engine).unwrap();
    drop(engine);
    (directory, pairs)
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Opens a store and reads all of it.
fn read(directory: &Path) -> Result<Vec<Pair>, EngineError> {
    all(&FjallEngine::open(directory, CACHE_BYTES)?)
}

#[test]
fn a_byte_that_flips_is_found_or_does_not_matter() {
    let (original, pairs) = in_tables();
    let (mut found, mut harmless) = (BTreeMap::new(), 0);
    let data = original.path().join(DATA);
    for path in files_below(&data) {
        let name = path.strip_prefix(&data).unwrap();
        let length = if name.extension().is_some_and(|extension| extension == "jnl") {
            content_bytes(&path)
        } else {
            fs::metadata(&path).unwrap().len()
        };
        for at in (0..length).step_by(usize::try_from(length / 40).unwrap().max(1)) {
            let directory = tempfile::tempdir().unwrap();
            copy(&data, &directory.path().join(DATA));
            let mut bytes = fs::read(directory.path().join(DATA).join(name)).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 0x04;
            fs::write(directory.path().join(DATA).join(name), bytes).unwrap();
            match read(directory.path()) {
                Err(_) => *found.entry(name.to_path_buf()).or_insert(0) += 1,
                Ok(read) => {
                    assert!(read == pairs, "byte {at} of {} is wrong, and nobody says so", name.display());
                    harmless += 1;
                }
            }
        }
    }
    // What flips in "synced" leaves its other place to be read.
    for name in ["0.jnl", "version", "keyspaces/1/current", "keyspaces/0/current", "keyspaces/1/v2"] {
        assert!(found.get(Path::new(name)).is_some_and(|found| *found > 0), "{name}: {found:?}");
    }
    assert!(found.values().sum::<i32>() > harmless, "{found:?}, {harmless} did not matter");
}

#[test]
fn a_file_that_is_gone_is_missed() {
    let (original, pairs) = in_tables();
    let data = original.path().join(DATA);
    let mut missed = Vec::new();
    for path in files_below(&data) {
        let directory = tempfile::tempdir().unwrap();
        copy(&data, &directory.path().join(DATA));
        let name = path.strip_prefix(&data).unwrap().to_path_buf();
        fs::remove_file(directory.path().join(DATA).join(&name)).unwrap();
        match read(directory.path()) {
            Err(_) => missed.push(name),
            Ok(read) => assert!(read == pairs, "{} is gone, and nobody says so", name.display()),
        }
    }
    for name in ["0.jnl", "synced", "keyspaces/0/current", "keyspaces/1/current"] {
        assert!(missed.contains(&PathBuf::from(name)), "{name}: {missed:?}");
    }
}

#[test]
fn a_table_that_cannot_be_written_is_reported_to_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    engine.check().unwrap();
    let tables = directory.path().join("fjall/keyspaces/1/tables");
    fs::rename(&tables, tables.with_extension("away")).unwrap();
    let value = vec![7; 24 << 10];
    // Somewhere behind the first table that should be written it refuses more; `check` has to say so also without that.
    let enough = 0..=(MEMTABLE_BYTES / (24 << 10));
    let apply =
        |number: u64| engine.apply(Batch { writes: vec![(number.to_be_bytes().to_vec(), Some(value.clone()))] });
    let _ = enough.map(apply).collect::<Result<Vec<_>, _>>();
    let until = monotonic() + Duration::from_secs(20);
    while engine.check().is_ok() {
        assert!(monotonic() < until, "nobody is told");
        std::thread::yield_now();
    }
    assert!(engine.sync().is_err());
    assert!(engine.apply(Batch { writes: vec![numbered(1)] }).is_err());
}
