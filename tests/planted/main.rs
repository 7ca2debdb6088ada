//! Do the tests catch what they are for? Bugs are planted one at a time, and each has to be caught.
//!
//! `cargo test --features planted --test planted` builds the other test programs with the bugs of `src/planted.rs` in them,
//! all asleep; runs the tests that have to notice, which must pass; then wakes each bug, and they must fail. Tests that have to
//! notice several are run without a bug once. A name, or part of one, picks some of the bugs.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures and prints")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod catalogue;

use catalogue::CATALOGUE;

/// How long tests may take before they count as hanging, which is a way of noticing, too.
const PATIENCE: Duration = Duration::from_mins(3);
/// Stories that the simulation tells to catch a bug.
const SIMULATIONS: &str = "100";
const PAUSE: Duration = Duration::from_millis(20);

/// How a run of tests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    Hung,
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let programs = match build() {
        Ok(programs) => programs,
        Err(why) => {
            println!("the test programs could not be built: {why}");
            return ExitCode::FAILURE;
        }
    };
    let (mut caught, mut all) = (0, 0);
    let mut without = BTreeMap::new();
    println!("{:26} {:8} {:>6}  caught by", "planted bug", "", "s");
    for (bug, program, arguments) in CATALOGUE.iter().filter(|(bug, ..)| chosen(bug)) {
        all += 1;
        let Some(path) = programs.get(program.name()) else {
            println!("{bug:26} the program {} was not built", program.name());
            continue;
        };
        let sound = *without.entry((path, *arguments)).or_insert_with(|| run(path, arguments, "").0);
        let (ended, took) = run(path, arguments, bug);
        let verdict = match (sound, ended) {
            (Ended::Passed, Ended::Failed | Ended::Hung) => "caught",
            (Ended::Passed, Ended::Passed) => "MISSED",
            (Ended::Failed | Ended::Hung, _) => "UNSOUND",
        };
        caught += u32::from(verdict == "caught");
        println!("{bug:26} {verdict:8} {:>6.1}  {} {}", took.as_secs_f64(), program.name(), arguments.join(" "));
    }
    println!("{caught} of {all} planted bugs were caught");
    if caught == all && all > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds all test programs with the bugs in them; by name.
fn build() -> Result<BTreeMap<String, PathBuf>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    // What the cargo that runs this says of this package would have the scripts of others run anew, and with them much be built again.
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    {
        command.env_remove(name);
    }
    let build = command
        .args(["test", "--locked", "--no-run", "--features", "planted", "--message-format", "json"])
        .args(["--lib", "--test", "it", "--test", "survival"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !build.status.success() {
        return Err(format!("cargo ended with {}", build.status));
    }
    let messages = String::from_utf8_lossy(&build.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = |message: Value| {
        let path = message.get("executable")?.as_str().map(PathBuf::from)?;
        let is_test = message.get("profile")?.get("test")?.as_bool()?;
        let target = message.get("target")?;
        let kind = target.get("kind")?.get(0)?.as_str()?;
        let name = if kind == "lib" { "lib" } else { target.get("name")?.as_str()? };
        is_test.then(|| (name.to_owned(), path))
    };
    Ok(messages.filter_map(program).collect())
}

/// Runs some tests with a bug awake, or none.
fn run(program: &Path, arguments: &[&str], bug: &str) -> (Ended, Duration) {
    let begun = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .env("POSTBACKD_PLANTED", bug)
        .env("RUST_BACKTRACE", "0")
        .env("POSTBACKD_TEST_SIMULATIONS", SIMULATIONS)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return (Ended::Failed, begun.elapsed()) };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return (if status.success() { Ended::Passed } else { Ended::Failed }, begun.elapsed());
            }
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return (Ended::Hung, begun.elapsed());
            }
        }
    }
}
