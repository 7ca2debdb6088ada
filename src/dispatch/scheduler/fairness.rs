//! How fair the scheduler is, in numbers from a simulated world.

use std::time::Duration;

use jiff::Timestamp;

use super::simulation::{Mood, UNLIMITED, World, ms, secs};
use crate::domain::affiliate::Limits;
use crate::outbox::SendClass;

fn wide(concurrency: u32) -> Limits {
    Limits { concurrency, ..UNLIMITED }
}

/// Adds an affiliate whose receiver hangs on every request, with so much due.
fn hang(world: &mut World, concurrency: u32, due: u64) {
    let postback = world.partner(wide(concurrency), secs(15));
    world.plan(postback, SendClass::First, due);
    let partner = world.partners.last_mut().unwrap();
    partner.mood = Mood::Fails;
    partner.retry_after = secs(60);
}

/// Adds an affiliate that is told of one event every so often.
fn trickle(world: &mut World, service: Duration, every: Duration, count: u32) -> usize {
    let postback = world.partner(UNLIMITED, service);
    for number in 1..=count {
        world.plan_in(every * number + ms(u64::from(postback % 7)), postback, 1);
    }
    world.partners.len() - 1
}

fn longest_wait(world: &World, partners: impl IntoIterator<Item = usize>) -> Duration {
    partners.into_iter().flat_map(|partner| &world.partners[partner].waits).max().copied().unwrap()
}

/// How long 49 affiliates take for what is due to them, with or without one that hangs.
fn finished(each: u64, service: Duration, hanging: bool) -> Vec<Duration> {
    let mut world = World::new(256, 1_024, 1);
    if hanging {
        hang(&mut world, 8, 20_000);
    }
    let healthy = world.partners.len();
    for _ in 0..49 {
        let postback = world.partner(UNLIMITED, service);
        world.plan(postback, SendClass::First, each);
    }
    let begun = world.time;
    world.configure();
    while world.partners[healthy..].iter().any(|partner| partner.delivered < each) {
        world.run(secs(5));
    }
    let took = |end: Timestamp| Duration::try_from(end.duration_since(begun)).unwrap();
    world.partners[healthy..].iter().map(|partner| took(partner.last_delivered)).collect()
}

#[test]
fn one_that_hangs_with_twenty_thousand_due_costs_the_others_less_than_a_tenth() {
    for (each, service) in [(1_000, ms(100)), (1_000, ms(10)), (100, ms(1_000))] {
        let without = finished(each, service, false);
        let with = finished(each, service, true);
        for (with, without) in with.iter().zip(&without) {
            assert!(with.as_secs_f64() <= without.as_secs_f64() * 1.1, "{with:?} instead of {without:?}");
        }
    }
}

#[test]
fn with_forty_of_fifty_hanging_the_others_start_at_once() {
    let mut world = World::new(256, 1_024, 1);
    for _ in 0..40 {
        hang(&mut world, 8, 1_000);
    }
    let healthy: Vec<usize> = (0..10).map(|_| trickle(&mut world, ms(100), ms(200), 300)).collect();
    world.configure();
    world.run(secs(60));
    assert!(healthy.iter().all(|partner| world.partners[*partner].delivered >= 299));
    let wait = longest_wait(&world, healthy);
    assert!(wait <= ms(10), "{wait:?}");
}

#[test]
fn a_backlog_of_a_million_does_not_delay_a_fresh_event_of_another() {
    let mut world = World::new(256, 1_024, 1);
    let heavy = world.partner(wide(1_000), secs(2));
    world.plan(heavy, SendClass::First, 1_000_000);
    let light = trickle(&mut world, ms(50), ms(300), 100);
    world.configure();
    world.run(secs(40));
    assert_eq!(world.partners[light].delivered, 100);
    let wait = longest_wait(&world, [light]);
    assert!(wait <= ms(10), "{wait:?}");
    let taken = world.partners[0].slot_time.as_secs_f64() / 40.0;
    assert!(taken > 180.0, "the backlog goes on in {taken} of 256 slots");
}

#[test]
fn a_backlog_of_retries_does_not_delay_first_sends() {
    let mut world = World::new(64, 1_024, 1);
    for _ in 0..20 {
        let postback = world.partner(UNLIMITED, secs(1));
        world.plan(postback, SendClass::Retry, 5_000);
    }
    let other = trickle(&mut world, ms(100), ms(100), 300);
    let own = u32::try_from(world.partners.len()).unwrap();
    world.partner(wide(4), ms(200));
    world.plan(own, SendClass::Retry, 5_000);
    for number in 1..100 {
        world.plan_in(ms(300) * number, own, 1);
    }
    world.configure();
    world.run(secs(31));
    assert!(longest_wait(&world, [other]) <= ms(10), "{:?}", longest_wait(&world, [other]));
    let own = usize::try_from(own).unwrap();
    assert!(longest_wait(&world, [own]) <= ms(10), "{:?}", longest_wait(&world, [own]));
    assert_eq!(world.partners[own].waits.len(), 99);
    assert!(world.partners[own].delivered > 300, "its retries go on, too: {}", world.partners[own].delivered);
}

#[test]
fn a_slow_and_a_fast_receiver_get_the_same_slot_time() {
    for slots in 1..=6 {
        let mut world = World::new(slots, 1_024, 1);
        for service in [secs(1), ms(10)] {
            let postback = world.partner(UNLIMITED, service);
            world.plan(postback, SendClass::First, 80_000);
        }
        world.configure();
        world.run(secs(120));
        let [slow, fast] = [0, 1].map(|partner| world.partners[partner].slot_time.as_secs_f64());
        let ratio = slow / fast;
        assert!((0.85..1.15).contains(&ratio), "{slow} s and {fast} s in {slots} slots");
    }
}

#[test]
fn more_affiliates_than_slots_take_turns_by_slot_time() {
    let mut world = World::new(8, 1_024, 1);
    for number in 0..40 {
        let postback = world.partner(UNLIMITED, if number % 2 == 0 { secs(1) } else { ms(50) });
        world.plan(postback, SendClass::First, 2_000);
    }
    world.configure();
    world.run(secs(200));
    for (number, partner) in world.partners.iter().enumerate() {
        let taken = partner.slot_time.as_secs_f64();
        assert!((35.0..45.0).contains(&taken), "affiliate {number} had {taken} s instead of 40 s");
    }
}

#[test]
fn in_one_slot_retries_and_first_sends_take_turns() {
    let mut world = World::new(64, 1_024, 1);
    let postback = world.partner(wide(1), ms(100));
    world.plan(postback, SendClass::Retry, 5_000);
    for number in 1..100 {
        world.plan_in(ms(510) * number, postback, 1);
    }
    world.configure();
    world.run(secs(60));
    assert_eq!(world.partners[0].waits.len(), 99);
    assert!(longest_wait(&world, [0]) <= ms(110), "{:?}", longest_wait(&world, [0]));
}

#[test]
fn slot_time_that_nobody_else_wanted_is_not_held_against_its_user_for_long() {
    let mut world = World::new(8, 1_024, 1);
    for concurrency in [8, 1] {
        let postback = world.partner(wide(concurrency), secs(10));
        world.plan(postback, SendClass::First, 5_000);
    }
    let others: Vec<u32> = (0..20).map(|_| world.partner(UNLIMITED, ms(100))).collect();
    world.configure();
    world.run(secs(3_600));
    for postback in others {
        world.plan(postback, SendClass::First, 10_000);
    }
    let before = world.partners[0].slot_time;
    world.run(secs(300));
    let gained = world.partners[0].slot_time.checked_sub(before).unwrap().as_secs_f64();
    // What it had in flight when the others came ends in the first ten seconds.
    assert!(gained > 100.0, "the one that had the slots for an hour gets {gained} s of 2400 s, with 21 others");
}

#[test]
fn who_was_asleep_does_not_save_up_turns() {
    let mut world = World::new(2, 1_024, 1);
    let busy = world.partner(UNLIMITED, ms(100));
    world.plan(busy, SendClass::First, 40_000);
    let sleeper = world.partner(UNLIMITED, ms(100));
    world.partners[1].mood = Mood::Fails;
    world.partners[1].retry_after = secs(100_000);
    world.plan(sleeper, SendClass::First, 1);
    world.configure();
    world.run(secs(600));
    world.partners[1].mood = Mood::Works;
    world.plan(sleeper, SendClass::First, 40_000);
    let before = world.partners[0].slot_time;
    world.run(secs(60));
    let had = world.partners[0].slot_time.checked_sub(before).unwrap().as_secs_f64();
    assert!((50.0..70.0).contains(&had), "the busy one had {had} s of 120 s");
}

/// Not a test of anything: shows what a turn costs. `cargo test --release --lib turn_costs -- --ignored --nocapture`
#[test]
#[ignore = "shows a time"]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn turn_costs() {
    let mut world = World::new(10_000, 1_024, 1);
    for _ in 0..1_000 {
        let postback = world.partner(wide(20), ms(100));
        world.plan(postback, SendClass::First, 1_000);
    }
    world.configure();
    let begun = crate::ops::clock::monotonic();
    world.run(secs(3_600));
    let took = begun.elapsed();
    println!("{} deliveries of 1,000 affiliates, {} questions in {took:?}", world.settled, world.calls);
}
