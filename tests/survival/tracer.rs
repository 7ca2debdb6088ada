//! `strace` below the daemon: counts its calls on the store's files, kills it at one, or has one fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

/// The calls that change the store or make it durable.
const CALLS: &str = "pwrite64,write,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,\
                     ftruncate,fallocate,fchmod,chmod,fchmodat,openat";

/// A call of the daemon on the store: the so-manieth of its kind that some thread makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) number: u64,
}

/// The calls of a run, and the files of the store that they were about.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) points: Vec<Point>,
    pub(crate) files: BTreeSet<String>,
}

impl Seen {
    /// How many calls of each kind there are.
    pub(crate) fn summary(&self) -> String {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for point in &self.points {
            *kinds.entry(&point.call).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.into_iter().map(|(call, count)| format!("{call} {count}")).collect();
        kinds.join(", ")
    }
}

/// Whether this machine has a tracer that works.
pub(crate) fn usable() -> Result<(), String> {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::piped()).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("strace does not work: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("strace: {error}")),
    }
}

/// The words that stand before a command whose calls are to be written down.
pub(crate) fn counting(to: &Path) -> Vec<String> {
    [&before(), &words(&["-y", "-o", to.to_str().unwrap(), "-e", &format!("trace={CALLS}")])[..]].concat()
}

/// The words that stand before a command that is to be killed at a call.
pub(crate) fn killing(at: &Point, files: &BTreeSet<String>) -> Vec<String> {
    injecting(&format!("{}:signal=SIGKILL:when={}", at.call, at.number), &at.call, files, Path::new("/dev/null"))
}

/// The words that stand before a command one of whose calls is to fail; that it did is written down.
pub(crate) fn failing(at: &Point, error: &str, files: &BTreeSet<String>, to: &Path) -> Vec<String> {
    injecting(&format!("{}:error={error}:when={}", at.call, at.number), &at.call, files, to)
}

fn injecting(what: &str, call: &str, files: &BTreeSet<String>, to: &Path) -> Vec<String> {
    let paths = files.iter().flat_map(|file| words(&["-P", file]));
    let rest = words(&["-o", to.to_str().unwrap(), "-e", &format!("trace={call}"), "-e", &format!("inject={what}")]);
    before().into_iter().chain(paths).chain(rest).collect()
}

/// The tracer is nobody's parent: whoever starts the command can kill it, and the tracer ends with it.
fn before() -> Vec<String> {
    words(&["strace", "-D", "-f", "-qq"])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Reads what a counting tracer has written down about files below a directory.
pub(crate) fn read(trace: &str, directory: &Path) -> Seen {
    let directory = directory.to_str().unwrap();
    let mut most: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut seen = Seen::default();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        let known = CALLS.split(',').any(|known| known == call);
        if !known || !rest.contains(directory) {
            continue;
        }
        for found in rest.split(directory).skip(1) {
            let name = found.split(['"', '>']).next().unwrap_or_default();
            seen.files.insert(format!("{directory}{name}"));
        }
        *most.entry(call.to_owned()).or_default().entry(thread).or_default() += 1;
    }
    for (call, threads) in most {
        let most = threads.values().max().copied().unwrap_or(0);
        seen.points.extend((1..=most).map(|number| Point { call: call.clone(), number }));
    }
    seen
}
