//! The whole dispatcher in a made-up world: a clock that may be wrong, a disk that may lose power, receivers in moods.
//!
//! The real outbox, dispatcher, intake, bulk orders and retention run on one thread over a time that moves only when all
//! of them wait, so that a story follows from its seed and from nothing else. A seed makes a random schedule of events,
//! moods, operators' orders, reloads, clocks set and crashes; the promises are looked at whenever a request leaves the
//! daemon, after each step, behind each crash, and in the end, when the world has calmed down.
//!
//! `POSTBACKD_TEST_SIMULATIONS` says how many seeds are tried, `POSTBACKD_TEST_SEED` names one to be told step by step.
//! With `CARGO_PROFILE_TEST_OPT_LEVEL=1` a seed takes a sixth of the time, for a build that takes several times as long:
//! that pays from some ten thousand seeds.

mod books;
mod cast;
mod clock;
mod daemon;
mod dice;
mod disk;
mod ending;
mod network;
mod promises;
mod story;
mod trace;
mod world;

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use story::{Ending, Story};

use crate::ops::environment;
use crate::ops::random::seeded;

/// Seeds tried where nobody says how many: about half a minute of two cores without optimisation.
const DEFAULT_SIMULATIONS: u64 = 1_000;
/// Most lives in a story: a disk that never works again is not one.
const MAX_LIVES: u32 = 100;

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts panics of this thread: a runtime keeps those of its tasks to itself.
fn count_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.set(0);
}

/// Tells the story of a seed; returns its digest, or which promises were broken.
fn tell(seed: u64, told: bool) -> Result<u64, Vec<String>> {
    count_panics();
    let _seeded = seeded::with(seed);
    let mut story = Story::new(seed, told);
    for _ in 0..MAX_LIVES {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ending = runtime.block_on(story.live());
        drop(runtime);
        if PANICS.get() > 0 {
            story.world.with_books(|books| books.broken("something has panicked"));
        }
        if ending == Ending::Crash {
            let (kept, all) = story.world.disk.cut_power();
            story
                .world
                .with_books(|books| books.note(format_args!("{kept} of {all} unsynced commits are still there")));
        }
        promises::check_disk(&story.world);
        if story.is_broken() {
            promises::tell_store(&story.world);
            return Err(story.world.with_books(|books| std::mem::take(&mut books.violations)));
        }
        if ending == Ending::Told {
            return Ok(story.world.with_books(|books| books.trace.digest()));
        }
    }
    Err(vec!["the story does not end".into()])
}

fn number(name: &str) -> Option<u64> {
    environment::variable(name).and_then(|text| text.parse().ok())
}

fn replay(seed: u64) -> String {
    format!("POSTBACKD_TEST_SEED={seed} cargo test --lib simulation::every_promise -- --nocapture")
}

#[test]
fn every_promise_holds_whatever_happens() {
    if let Some(seed) = number("POSTBACKD_TEST_SEED") {
        let ended = tell(seed, true);
        assert!(ended.is_ok(), "seed {seed}: {ended:#?}");
        return;
    }
    let simulations = number("POSTBACKD_TEST_SIMULATIONS").unwrap_or(DEFAULT_SIMULATIONS);
    let (next, broken) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let tell_all = || {
        while !broken.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= simulations {
                return None;
            }
            // A check may panic itself: whoever reads of it has to know the seed.
            let told = std::panic::catch_unwind(|| tell(seed, false));
            if let Err(violations) = told.unwrap_or_else(|_| Err(vec!["it has panicked".into()])) {
                broken.store(true, Ordering::Relaxed);
                return Some(format!("seed {seed} breaks promises: {violations:#?}\nreplay it: {}", replay(seed)));
            }
        }
        None
    };
    let found: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(tell_all)).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in [1, 7, 4_711, 31_337, 271_828] {
        let (first, second) = (tell(seed, false), tell(seed, false));
        assert!(first.is_ok(), "{first:?}; replay it: {}", replay(seed));
        assert_eq!(first, second, "seed {seed}");
    }
}
