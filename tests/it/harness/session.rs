//! Recorded terminal sessions: a page of the documentation shows them, and a test runs them.
//!
//! A page holds sessions under its headings, in blocks of `text`: `$ command`, then what it prints. Each command is run in a shell
//! and must print what the page shows, but for what differs from run to run: ids, times, durations, sizes. With
//! `POSTBACKD_RECORD_SESSIONS` set, what is printed is written into the page instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use regex::Regex;

use super::Daemon;

/// Where the daemon's files are in what the pages show.
const SHOWN_DIRECTORY: &str = "/etc/postbackd";
/// One test at a time writes into a page.
static RECORDING: Mutex<()> = Mutex::new(());

/// One command with what it prints.
#[derive(Debug, Clone)]
struct Step {
    typed: String,
    printed: String,
}

/// The session below a heading of a page.
pub(crate) struct Session {
    page: PathBuf,
    heading: String,
    steps: Vec<Step>,
    done: Vec<Step>,
    /// Ids of the page, and what they are in this run.
    ids: BTreeMap<String, String>,
}

impl Session {
    /// The session below a heading of a page, named from the project's root.
    pub(crate) fn of(page: &str, heading: &str) -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(&page).unwrap();
        let steps = steps(section(&text, heading).1);
        assert!(!steps.is_empty(), "there is no session below {heading:?}");
        Self { page, heading: heading.into(), steps, done: Vec::new(), ids: BTreeMap::new() }
    }

    /// Runs the next command, which must begin with these words, and end with this exit code. Returns what it prints.
    pub(crate) fn next(&mut self, daemon: &Daemon, begins: &str, code: i32) -> String {
        let step = self.steps.get(self.done.len()).unwrap_or_else(|| panic!("the page ends before {begins:?}")).clone();
        assert!(step.typed.starts_with(begins), "the page has {:?} where {begins:?} is expected", step.typed);
        if recording() {
            self.guess(&step.typed);
        }
        let typed = self.now(&step.typed).replace("\\\n", " ");
        let (found, printed) = run(daemon.directory(), &typed);
        assert_eq!(found, code, "{typed}: {printed}");
        if recording() {
            self.learn(&step.printed, &printed);
            self.done.push(Step { typed: self.now(&step.typed), printed: printed.clone() });
        } else {
            self.compare(&step, &printed);
            self.done.push(step);
        }
        printed
    }

    /// What is typed, with the ids of this run.
    fn now(&self, typed: &str) -> String {
        self.ids.iter().fold(typed.to_owned(), |typed, (shown, here)| typed.replace(shown, here))
    }

    /// Takes an id that nothing printed so far for the last one of its kind that was printed.
    fn guess(&mut self, typed: &str) {
        let ids = Regex::new(r"\b(dlv|evt|ord)_[0-9a-z]+\b").unwrap();
        let printed = self.done.last().map(|step| step.printed.clone()).unwrap_or_default();
        for shown in ids.find_iter(typed).map(|found| found.as_str()) {
            let last = ids.find_iter(&printed).filter(|here| here.as_str()[..4] == shown[..4]).last();
            if let Some(here) = last.filter(|_| !self.ids.contains_key(shown)) {
                self.ids.insert(shown.into(), here.as_str().into());
            }
        }
    }

    /// Takes ids that a command prints for those that the page has in the same places.
    fn learn(&mut self, shown: &str, here: &str) {
        let ids = Regex::new(r"\b(dlv|evt|ord)_[0-9a-z]+\b").unwrap();
        for (shown, here) in ids.find_iter(shown).zip(ids.find_iter(here)) {
            self.ids.entry(shown.as_str().into()).or_insert_with(|| here.as_str().into());
        }
    }

    fn compare(&mut self, step: &Step, printed: &str) {
        let (expected, found) = (lines(&step.printed), lines(printed));
        let plain_of = |lines: &[String]| lines.iter().map(|line| plain(line)).collect::<Vec<_>>();
        assert_eq!(plain_of(&found), plain_of(&expected), "\n$ {}\n{printed}", step.typed);
        self.learn(&step.printed, printed);
    }

    /// All of the session was run; it is written into the page where it is recorded.
    pub(crate) fn finish(self) {
        assert_eq!(self.done.len(), self.steps.len(), "the page has more commands below {:?}", self.heading);
        if !recording() {
            return;
        }
        let _guard = RECORDING.lock().unwrap();
        let text = std::fs::read_to_string(&self.page).unwrap();
        let (before, session, after) = {
            let (before, session) = section(&text, &self.heading);
            (before, session, &text[before.len() + session.len()..])
        };
        let mut written = String::new();
        let mut done = self.done.into_iter();
        for (number, part) in session.split("```").enumerate() {
            if number > 0 {
                written.push_str("```");
            }
            let Some(block) = part.strip_prefix("text\n").filter(|_| number % 2 == 1) else {
                written.push_str(part);
                continue;
            };
            let count = block.lines().filter(|line| line.starts_with("$ ")).count();
            written.push_str("text\n");
            let recorded: Vec<String> =
                done.by_ref().take(count).map(|step| format!("$ {}\n{}", step.typed, step.printed)).collect();
            written.push_str(&recorded.join("\n"));
        }
        std::fs::write(&self.page, format!("{before}{written}{after}")).unwrap();
    }
}

fn recording() -> bool {
    std::env::var_os("POSTBACKD_RECORD_SESSIONS").is_some()
}

/// What stands before a section's text, and that text.
fn section<'t>(text: &'t str, heading: &str) -> (&'t str, &'t str) {
    let heading = format!("\n## {heading}\n");
    let begin = text.find(&heading).unwrap_or_else(|| panic!("the page has no heading {heading:?}")) + heading.len();
    let end = text[begin..].find("\n## ").map_or(text.len(), |end| begin + end);
    (&text[..begin], &text[begin..end])
}

fn steps(section: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```text\n").skip(1) {
        let mut continues = false;
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(typed), _) => steps.push(Step { typed: typed.into(), printed: String::new() }),
                (None, Some(step)) if continues => {
                    step.typed.push('\n');
                    step.typed.push_str(line);
                }
                (None, Some(step)) => {
                    step.printed.push_str(line);
                    step.printed.push('\n');
                }
                (None, None) => panic!("a session begins with a command, not {line:?}"),
            }
            continues = line.ends_with('\\') && (continues || line.starts_with("$ "));
        }
    }
    steps
}

fn run(directory: &Path, typed: &str) -> (i32, String) {
    let binary = Path::new(env!("CARGO_BIN_EXE_postbackd"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 2>&1\n{typed}")]).current_dir(directory).stdin(Stdio::null());
    shell.env("PATH", path).env("NO_COLOR", "1").env("POSTBACKD_CONFIG", directory.join("postbackd.toml"));
    for variable in ["POSTBACKD_URL", "POSTBACKD_TOKEN_FILE"] {
        shell.env_remove(variable);
    }
    let finished = shell.output().unwrap();
    let printed = String::from_utf8_lossy(&finished.stdout).replace(directory.to_str().unwrap(), SHOWN_DIRECTORY);
    let printed = printed.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let printed = if printed.is_empty() { printed } else { printed + "\n" };
    (finished.status.code().unwrap_or(-1), printed)
}

/// What a command says only where it takes a while.
const WHILE_WAITING: &str = "it runs in the daemon; to halt it:";

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(WHILE_WAITING));
    lines.map(str::to_owned).collect()
}

/// A line without what differs from run to run.
fn plain(line: &str) -> String {
    let rules = [
        (r"\b(dlv|evt|ord)_[0-9a-z]{13,}\b", "$1_#"),
        (r"\b\d{4}-\d\d-\d\d([T ][0-9:.]+Z?)?", "#time"),
        (r"\b[0-9a-f]{64}\b", "#digest"),
        (r"\b127\.0\.0\.1:\d+\b", "#address"),
        (r"(?i)\b[a-z]{3}, \d\d [a-z]{3} \d{4} [0-9:]{8} GMT\b", "#time"),
        (r"\+?\b\d[\d.]* ?(ms|µs|s|min|h|d|seconds?|minutes?|hours?|KiB|MiB|GiB|B)\b", "#"),
        // Whether a connection was made for it, or an earlier one was used.
        (r"\b(dns|connect|tls) #, ", ""),
        (r"\s+", " "),
    ];
    let mut line = line.to_owned();
    for (pattern, with) in rules {
        line = Regex::new(pattern).unwrap().replace_all(&line, with).into_owned();
    }
    line.trim().to_owned()
}
