//! Breaks the world below the real daemon, and proves that nothing acknowledged is lost.
//!
//! Each campaign injects faults of one kind while events are handed in and orders given, and looks after each fault at
//! everything that was acknowledged. `cargo test` runs a small version of every campaign; by hand, they are as large as
//! wanted: `docs/reliability.md`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a campaign fails by panicking, measures with the real clock, and prints what came of it"
)]

mod asked;
mod check;
mod daemon;
mod dice;
mod disk;
mod faults;
mod full;
mod images;
mod kill;
mod load;
mod partition;
mod past;
mod points;
mod power;
mod siege;
mod tally;
mod tracer;
mod volume;
mod world;

use std::process::ExitCode;

use asked::Asked;
use power::Power;
use tally::Tally;
use tokio::signal::unix::{SignalKind, signal};
use volume::Format;

/// Which campaigns must be run: what cannot be run fails. Names divided by commas, or `all`.
const REQUIRE: &str = "POSTBACKD_SURVIVAL_REQUIRE";

/// The campaigns, in the order in which they are run.
const CAMPAIGNS: [&str; 7] = ["power", "device", "liar", "images", "kill", "points", "faults"];

fn main() -> ExitCode {
    let asked = match Asked::parse(std::env::args().skip(1)) {
        Ok(mut asked) => {
            asked.required = std::env::var(REQUIRE).unwrap_or_default();
            asked
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if asked.list {
        for campaign in CAMPAIGNS {
            println!("{campaign}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(engine) = asked.engine {
        world::keep_in(engine);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bad = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            bad = run(&asked) => bad,
            // What is mounted or running goes with what is dropped here.
            _ = tokio::signal::ctrl_c() => true,
            _ = terminate.recv() => true,
        }
    });
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs what was asked for; true where something went wrong.
async fn run(asked: &Asked) -> bool {
    let wanted: Vec<&str> = CAMPAIGNS.into_iter().filter(|campaign| asked.wants(campaign)).collect();
    if wanted.is_empty() {
        return false;
    }
    println!("{}", Tally::heads());
    let mut tallies = Vec::new();
    let mut bad = false;
    for campaign in wanted {
        let tally = campaign_of(campaign, asked).await;
        println!("{}", tally.line());
        bad |= tally.is_bad() || (tally.not_run.is_some() && asked.requires(campaign));
        tallies.push(tally);
    }
    for tally in tallies.iter().filter(|tally| tally.is_bad()) {
        eprintln!("{}", tally.complaint());
    }
    let lines: Vec<_> = tallies.iter().map(Tally::to_json).collect();
    println!("{}", serde_json::json!({ "campaigns": lines, "ok": !bad }));
    bad
}

async fn campaign_of(campaign: &str, asked: &Asked) -> Tally {
    match campaign {
        "power" => power::run("power", cuts(asked, Format::Ours, [16, 200], [1_600, 100_000]), asked).await,
        "device" => power::run("device", cuts(asked, Format::Ext4, [6, 100], [900, 20_000]), asked).await,
        "images" => images::run(asked).await,
        "kill" => kill::run(asked).await,
        "points" => points::run(asked).await,
        "faults" => faults::run(asked).await,
        _ => liar(asked).await,
    }
}

/// Power cuts as they were asked for; so many, over so many events, in small runs and by hand.
fn cuts(asked: &Asked, format: Format, [few, many]: [u64; 2], [least, most]: [u64; 2]) -> Power {
    let (cuts, events) = (asked.size("--cuts", few, many), asked.size("--events", least, most));
    Power { cuts, events, lies: false, format }
}

/// The harness's own test: on a disk that does not sync, losses must be seen.
async fn liar(asked: &Asked) -> Tally {
    let power = Power { cuts: 10, events: 2_000, lies: true, format: Format::Ours };
    let mut seen = power::run("liar", power, asked).await;
    if seen.not_run.is_some() {
        return seen;
    }
    let mut tally = Tally::new("liar", asked.seed);
    tally.faults = seen.faults;
    tally.recoveries = std::mem::take(&mut seen.recoveries);
    if seen.saw_loss() {
        tally.remark = "a lying disk is noticed".into();
    } else {
        tally.fail("a disk that ignores every sync was not noticed".into());
    }
    tally
}
