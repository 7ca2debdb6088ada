//! Every input of the corpus still does what it should: whatever was found once is not found again.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{TARGETS, now, run};

/// Most bytes of the corpus: it is cloned by everybody.
const MAX_CORPUS_BYTES: u64 = 1 << 20;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// The inputs of a target, in the order of their names.
fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = corpus().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

#[test]
fn nothing_is_found_in_the_corpus() {
    let mut found = Vec::new();
    for target in TARGETS {
        let inputs = inputs(target.name);
        assert!(!inputs.is_empty(), "the target {} has no corpus", target.name);
        for path in inputs {
            let input = fs::read(&path).unwrap();
            if catch_unwind(AssertUnwindSafe(|| run(target.name, &input))).is_err() {
                found.push(path);
            }
        }
    }
    assert!(found.is_empty(), "what was found stands above: {found:#?}");
}

#[test]
fn each_folder_of_the_corpus_has_a_target_and_each_target_a_program() {
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(corpus()), targets);
    assert_eq!(names(corpus().join("../targets")), targets);
}

#[test]
fn the_corpus_stays_small() {
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let bytes: u64 = TARGETS.iter().flat_map(|target| inputs(target.name)).map(|path| size(&path)).sum();
    assert!(bytes <= MAX_CORPUS_BYTES, "{bytes} bytes; minimise it, as docs/reliability.md says");
}

#[test]
fn targets_take_place_when_they_say() {
    assert_eq!(now(), "2026-11-20T10:00:00Z".parse().unwrap());
}
