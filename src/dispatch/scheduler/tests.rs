//! What the scheduler promises, tried out in a simulated world.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::simulation::{Mood, Random, UNLIMITED, World, ms, secs};
use super::{Route, Scheduler, Step};
use crate::dispatch::window::WINDOW;
use crate::domain::affiliate::{BreakerPolicy, Limits, Rate};
use crate::domain::id::{AffiliateId, DeliveryId, EventId};
use crate::outbox::{Due, SendClass};

const HOUR: i64 = 3_600;

fn some_limits(random: &mut Random) -> Limits {
    let concurrency = 1 + u32::try_from(random.below(5)).unwrap();
    let count = 1 + u32::try_from(random.below(9)).unwrap();
    let rate = random.one_in(3).then_some(Rate { count, per: secs([1, 1, 60][usize::try_from(count % 3).unwrap()]) });
    let breaker = random.one_in(2).then_some(BreakerPolicy { failures: 3, open: secs(2), max_open: secs(30) });
    Limits { concurrency, rate, breaker }
}

fn some_mood(random: &mut Random) -> Mood {
    [Mood::Works, Mood::Works, Mood::Fails, Mood::Fickle][usize::try_from(random.below(4)).unwrap()]
}

/// Whatever an operator, a receiver, a disk or a clock may do, once.
fn disturb(world: &mut World) {
    let partner = usize::try_from(world.random.below(world.partners.len() as u64)).unwrap();
    let postback = u32::try_from(world.random.below(world.postbacks.len() as u64)).unwrap();
    match world.random.below(12) {
        0 | 1 => {
            let count = 1 + world.random.below(60);
            world.plan(postback, SendClass::First, count);
        }
        2 => world.partners[partner].mood = some_mood(&mut world.random),
        3 => {
            let service = [1, 20, 800, 15_000][usize::try_from(world.random.below(4)).unwrap()];
            world.partners[partner].service = ms(service);
        }
        4 => {
            let entry = world.postbacks.get_mut(&postback).unwrap();
            entry.1 = !entry.1;
            world.learn(postback);
        }
        5 => {
            world.partners[partner].limits = some_limits(&mut world.random);
            // What is in flight already is not taken back.
            let in_flight = world.partners[partner].in_flight;
            world.partners[partner].limits.concurrency = world.partners[partner].limits.concurrency.max(in_flight);
            world.configure();
        }
        6 => {
            world.slots = world.scheduler.in_flight() + 1 + usize::try_from(world.random.below(12)).unwrap();
            world.configure();
        }
        7 => world.scheduler.incomplete(),
        8 => {
            for _ in 0..world.random.below(20) {
                if let Some(id) = world.some_delivery() {
                    world.hold(id);
                }
            }
        }
        9 => world.release_all(),
        10 => {
            for _ in 0..world.random.below(20) {
                if let Some(id) = world.some_delivery() {
                    if world.random.one_in(2) {
                        world.cancel(id);
                    } else {
                        let wait = ms(world.random.below(50));
                        world.touch(id, wait);
                    }
                }
            }
        }
        _ => {
            let hours = i64::try_from(world.random.below(4)).unwrap();
            world.clock_error = world.clock_error.checked_sub(SignedDuration::from_secs(hours * HOUR)).unwrap();
        }
    }
    let wait = ms(world.random.below(3_000));
    world.disturb_in(wait);
}

fn some_world(seed: u64) -> World {
    let mut random = Random(seed);
    let slots = 1 + usize::try_from(random.below(12)).unwrap();
    let mut world = World::new(slots, 8, seed.wrapping_add(1));
    for _ in 0..=random.below(6) {
        let limits = some_limits(&mut random);
        let partner = world.partner(limits, ms(1 + random.below(200)));
        if random.one_in(3) {
            let other = world.postback();
            world.plan(other, SendClass::First, random.below(50));
        }
        world.plan(partner, SendClass::First, random.below(50));
        world.partners.last_mut().unwrap().mood = some_mood(&mut random);
    }
    world.configure();
    world
}

/// The worlds that are always looked at; `POSTBACKD_TEST_SEED` begins elsewhere.
const WORLDS: u64 = 200;

/// Whatever happens, no promise about starts is broken, and once the world is at peace everything goes out.
#[test]
#[allow(clippy::print_stdout, reason = "the seed of a failure reproduces it")]
fn every_delivery_is_settled_in_the_end_and_no_limit_is_ever_passed() {
    let first = crate::ops::environment::variable("POSTBACKD_TEST_SEED").map_or(0, |seed| seed.parse().unwrap());
    for seed in first..first + WORLDS {
        // Shown where the test fails.
        println!("world of seed {seed}");
        peace_follows(seed);
    }
}

fn peace_follows(seed: u64) {
    let mut world = some_world(seed);
    world.unreliable = true;
    world.disturb = Some(disturb);
    world.disturb_in(Duration::ZERO);
    world.run(secs(300));
    world.disturb = None;
    world.unreliable = false;
    world.release_all();
    world.slots = world.slots.max(1);
    for partner in &mut world.partners {
        partner.mood = Mood::Works;
        partner.service = ms(10);
    }
    for (_, paused) in world.postbacks.values_mut() {
        *paused = false;
    }
    world.configure();
    world.run(secs(30 * 24 * 3_600));
    assert_eq!(world.settled, world.planned);
    assert_eq!(world.scheduler.in_flight(), 0);
}

/// One affiliate that answers in 10 ms, the clock at rest.
fn alone(limits: Limits) -> World {
    let mut world = World::new(4, 1_024, 1);
    world.partner(limits, ms(10));
    world.configure();
    world
}

fn a_minute(count: u32) -> Limits {
    Limits { rate: Some(Rate { count, per: secs(60) }), ..UNLIMITED }
}

#[test]
fn a_rate_spaces_sends_and_a_faster_one_holds_at_once() {
    let mut world = alone(Limits { rate: Some(Rate { count: 1, per: secs(3_600) }), ..UNLIMITED });
    world.plan(0, SendClass::First, 10);
    world.run(secs(3_590));
    assert_eq!(world.settled, 1);
    world.run(secs(3_600));
    assert_eq!(world.settled, 2);
    world.partners[0].limits = a_minute(60);
    world.configure();
    world.run(secs(4));
    assert!(world.settled >= 5, "the wait of the old rate goes on: {}", world.settled);
    world.partners[0].limits = UNLIMITED;
    world.configure();
    world.run(ms(100));
    assert_eq!(world.settled, 10);
}

#[test]
fn what_was_not_attempted_does_not_count_for_the_rate() {
    let mut world = alone(a_minute(1));
    world.plan(0, SendClass::First, 101);
    world.run(secs(1));
    for _ in 0..5_000 {
        if let Some(id) = world.some_delivery() {
            world.cancel(id);
        }
    }
    world.plan(0, SendClass::First, 1);
    world.run(secs(130));
    assert_eq!(world.settled, 102);
}

/// A scheduler with a rate of two a second, and the deliveries that are due to its one affiliate.
fn two_a_second(count: u64, now: Timestamp) -> (Scheduler, Vec<DeliveryId>) {
    let mut scheduler = Scheduler::new(8, WINDOW);
    let route = Route { postback: 1, affiliate: AffiliateId::parse("acme").unwrap(), paused: false };
    let limits = Limits { rate: Some(Rate { count: 2, per: secs(1) }), concurrency: 8, breaker: None };
    scheduler.configure(8, &[route], |_| limits, now);
    while let Step::Fill { postback, class, .. } = scheduler.next(now) {
        scheduler.filled(postback, class, Vec::new(), true, now);
    }
    let ids: Vec<_> = (0..count).map(|event| DeliveryId { event: EventId::from_u64(event), ordinal: 0 }).collect();
    for id in &ids {
        scheduler.arrived(Due { at: now, id: *id, postback: 1, class: SendClass::First }, now);
    }
    (scheduler, ids)
}

/// On a slow disk it takes until something is written down to know that there is nothing to attempt.
#[test]
fn a_turn_that_is_given_back_late_does_not_send_two_together() {
    let start = Timestamp::from_second(1_000).unwrap();
    let at = |millis: u64| start + ms(millis);
    let (mut scheduler, ids) = two_a_second(4, start);
    let starts = |step: Step| matches!(step, Step::Start(_));
    assert!(starts(scheduler.next(at(0))));
    assert!(starts(scheduler.next(at(400))), "a tenth of a second may be caught up");
    assert!(starts(scheduler.next(at(900))));
    scheduler.ended(ids[1], None, at(950));
    assert_eq!(scheduler.next(at(950)), Step::Wait(Some(at(1_300))), "the third was sent at 900");
    scheduler.ended(ids[0], None, at(1_000));
    assert_eq!(scheduler.next(at(1_000)), Step::Wait(Some(at(1_300))), "the third was sent at 900");
    assert!(starts(scheduler.next(at(1_300))));
}

/// Nothing has gone out behind them: whoever is next has their turns.
#[test]
fn turns_that_are_given_back_last_first_let_the_next_go_out_at_once() {
    let start = Timestamp::from_second(1_000).unwrap();
    let at = |millis: u64| start + ms(millis);
    let (mut scheduler, ids) = two_a_second(5, start);
    for millis in [0, 400, 900, 1_400] {
        assert!(matches!(scheduler.next(at(millis)), Step::Start(_)));
    }
    scheduler.ended(ids[3], None, at(1_410));
    scheduler.ended(ids[2], None, at(1_420));
    scheduler.ended(ids[1], None, at(1_430));
    assert!(matches!(scheduler.next(at(1_430)), Step::Start(_)));
}

#[test]
fn a_clock_set_back_holds_nothing_up_but_retries() {
    let breaker = Some(BreakerPolicy { failures: 1, open: secs(10), max_open: secs(10) });
    let cases = [
        (a_minute(1), Mood::Works, 61, 2),
        (Limits { breaker, ..UNLIMITED }, Mood::Fails, 11, 1),
        (UNLIMITED, Mood::Throttles(secs(20)), 301, 1),
    ];
    for (limits, mood, wait, settled) in cases {
        let mut world = alone(limits);
        world.partners[0].mood = mood;
        world.plan(0, SendClass::First, 1);
        world.run(secs(1));
        world.partners[0].mood = Mood::Works;
        world.plan(0, SendClass::First, 1);
        world.run(Duration::ZERO);
        world.clock_error = SignedDuration::from_hours(-5);
        world.run(secs(wait));
        assert_eq!(world.settled, settled, "{mood:?}: a first send waits for the clock");
        world.run(secs(6 * 3_600));
        assert_eq!(world.settled, 2, "{mood:?}");
    }
}

#[test]
fn a_breaker_that_is_configured_away_stops_nothing() {
    let breaker = Some(BreakerPolicy { failures: 1, open: secs(3_600), max_open: secs(3_600) });
    let mut world = alone(Limits { breaker, concurrency: 1, ..UNLIMITED });
    world.partners[0].mood = Mood::Fails;
    world.plan(0, SendClass::First, 3);
    world.run(secs(60));
    assert_eq!(world.partners[0].waits.len(), 1);
    world.partners[0].mood = Mood::Works;
    world.partners[0].limits = UNLIMITED;
    world.configure();
    world.run(secs(1));
    assert_eq!(world.settled, 3);
}

#[test]
fn a_probe_waits_for_a_slot_where_a_reload_took_slots_away() {
    let breaker = Some(BreakerPolicy { failures: 1, open: secs(1), max_open: secs(1) });
    let mut world = alone(Limits { breaker, concurrency: 4, ..UNLIMITED });
    world.partners[0].mood = Mood::Fails;
    world.partners[0].service = secs(15);
    world.plan(0, SendClass::First, 3);
    world.run(secs(1));
    world.partners[0].service = ms(10);
    world.plan(0, SendClass::First, 2);
    world.run(ms(500));
    world.partners[0].limits.concurrency = 1;
    world.configure();
    world.run(secs(10));
    assert_eq!((world.scheduler.in_flight(), world.partners[0].waits.len()), (3, 4));
    world.partners[0].mood = Mood::Works;
    world.run(secs(60));
    assert_eq!(world.settled, 5);
}

#[test]
fn an_open_breaker_with_nothing_to_send_probes_with_what_comes_next() {
    let breaker = Some(BreakerPolicy { failures: 1, open: secs(1), max_open: secs(1) });
    let mut world = alone(Limits { breaker, ..UNLIMITED });
    world.partners[0].mood = Mood::Fails;
    world.partners[0].retry_after = secs(3_600);
    world.plan(0, SendClass::First, 1);
    world.run(secs(60));
    world.partners[0].mood = Mood::Works;
    world.plan(0, SendClass::First, 5);
    world.run(secs(1));
    assert_eq!(world.settled, 5);
}

#[test]
fn a_delivery_that_somebody_had_in_hand_goes_out_later() {
    let mut world = alone(UNLIMITED);
    world.plan(0, SendClass::First, 2);
    let id = std::iter::repeat_with(|| world.some_delivery()).flatten().next().unwrap();
    world.touch(id, ms(50));
    world.run(secs(60));
    assert_eq!(world.settled, 2);
}

#[test]
fn a_disk_that_cannot_be_read_is_read_again_after_a_while() {
    let mut scheduler = Scheduler::new(4, WINDOW);
    let affiliate = AffiliateId::parse("acme").unwrap();
    let now = Timestamp::from_second(1_000).unwrap();
    scheduler.configure(4, &[Route { postback: 7, affiliate, paused: false }], |_| UNLIMITED, now);
    for _ in 0..2 {
        let Step::Fill { postback, class, .. } = scheduler.next(now) else { panic!("nothing is read") };
        scheduler.filling_failed(postback, class);
    }
    let later = Timestamp::from_second(1_001).unwrap();
    assert_eq!(scheduler.next(now), Step::Wait(Some(later)));
    assert!(matches!(scheduler.next(later), Step::Fill { .. }));
}

/// Held and released while its postback was paused: two entries of one delivery, of which only the later is
/// right. Wherever the first one's turn leads, the second has a turn of its own, and at once.
#[test]
fn a_delivery_scheduled_twice_has_a_turn_for_each_entry() {
    let (affiliate, now): (AffiliateId, _) = ("acme".parse().unwrap(), Timestamp::from_second(1_000).unwrap());
    let mut scheduler = Scheduler::new(4, WINDOW);
    let route = Route { postback: 1, affiliate, paused: false };
    scheduler.configure(4, &[route], |_| UNLIMITED, now);
    while let Step::Fill { postback, class, .. } = scheduler.next(now) {
        scheduler.filled(postback, class, Vec::new(), true, now);
    }
    let id = DeliveryId { event: EventId::from_u64(7), ordinal: 0 };
    let planned = Due { at: Timestamp::from_second(900).unwrap(), id, postback: 1, class: SendClass::First };
    let released = Due { at: Timestamp::from_second(950).unwrap(), ..planned };
    scheduler.arrived(planned, now);
    scheduler.arrived(released, now);
    assert_eq!(scheduler.next(now), Step::Start(planned));
    assert!(matches!(scheduler.next(now), Step::Wait(_)), "never twice at once");
    scheduler.ended(id, None, now);
    assert_eq!(scheduler.next(now), Step::Start(released));
}
