//! Stories of damage: whatever is changed behind the outbox's back is found and named, and what is whole is left in peace.

use std::ops::Bound;

use super::bulk::record;
use super::*;
use crate::domain::export_mark::MarkRequest;
use crate::outbox::ahead;
use crate::outbox::opening::load_mirror;
use crate::outbox::soon::Soon;

/// Collects what is found.
#[derive(Default)]
struct Found(Vec<Damage>);

impl VerifyObserver for Found {
    fn damage(&mut self, damage: Damage) {
        self.0.push(damage);
    }

    fn progress(&mut self, _pairs: u64) {}
}

impl Story {
    pub(super) fn damages(&self) -> Vec<Damage> {
        let mut found = Found::default();
        let seen = verify(&**self.engine.as_ref().unwrap(), &mut found).unwrap();
        assert_eq!(seen.damaged, found.0.len() as u64);
        found.0
    }

    /// Something in every key space.
    async fn fill(&self) {
        let plan = |names: &[&str]| to(names, OrderPolicy::default());
        let ftd = |name: &str| event(name, "ftd", Status::Approved);
        let dead = self.accept(ftd("t1"), plan(&["a", "b"])).await;
        self.send(dead, DEAD).await;
        let delivered = self.accept(ftd("t2"), plan(&["a"])).await;
        self.send(delivered, again(60)).await;
        self.send(delivered, DELIVERED).await;
        self.accept(ftd("t3"), plan(&["a"])).await;
        self.accept(reversal("r3", "t3"), plan(&["a"])).await;
        let held = self.accept(ftd("t4"), plan(&["b"])).await;
        self.order(held, Order::Hold).await.unwrap();
        self.ingest(ftd("t5"), Vec::new()).await;
        let ambiguous = self.accept(ftd("t6"), plan(&["b"])).await;
        let mut lease = self.outbox().begin(ambiguous).unwrap().leased().unwrap();
        assert!(self.outbox().intend(&mut lease).await.unwrap());
        let pause = Pause { at: now(), by: "ops".into(), reason: "theirs".into() };
        self.outbox().pause(postback("b"), Some(pause)).await.unwrap();
        let flagged = self.accept(ftd("t7"), plan(&["b"])).await;
        let lease = self.outbox().begin(flagged).unwrap().leased().unwrap();
        let attempt = attempt(&lease, Outcome::Misconfigured);
        let settlement = Settlement { lease, attempt, conclusion: DEAD, at: now(), pause: None };
        self.outbox().settle(settlement).await.unwrap();
        let targets = [Target::Delivery(dead), Target::Delivery(flagged)];
        self.outbox().give(record(Verb::Replay { force: false }), &targets).await.unwrap();
        let mark = MarkRequest {
            consumer: "finance".parse().unwrap(),
            since: None,
            until: now() - Duration::from_hours(1),
            rows: 1,
            by: "ops".into(),
            force: false,
        };
        self.outbox().mark_exported(mark).await.unwrap().unwrap();
    }

    fn pairs_of(&self, space: u8) -> Vec<Pair> {
        let engine = self.engine.as_ref().unwrap();
        let prefix = keys::space(space);
        engine.scan(Bound::Included(prefix.clone()), keys::prefix_end(&prefix)).map(Result::unwrap).collect()
    }

    fn put(&self, key: &[u8], value: Option<Vec<u8>>) {
        self.engine.as_ref().unwrap().apply(Batch { writes: vec![(key.to_vec(), value)] }).unwrap();
    }

    /// Writes out what is ahead of its own records.
    fn catch_up(&self) {
        let engine = self.engine.as_ref().unwrap();
        let mut mirror = load_mirror(&**engine).unwrap();
        let mut soon = std::mem::take(&mut mirror.soon);
        engine.apply(Batch { writes: ahead::caught_up(&mut mirror, &mut soon).unwrap() }).unwrap();
    }

    /// The kinds of damage that are found while a key has another value.
    fn while_changed(&self, key: &[u8], value: Option<Vec<u8>>) -> Vec<&'static str> {
        let before = self.engine.as_ref().unwrap().get(key).unwrap();
        self.put(key, value);
        let found = self.damages().into_iter().map(|damage| damage.space).collect();
        self.put(key, before);
        found
    }
}

/// The key spaces, each with its name, and whether it is seen that a pair of it is missing: nothing else tells of an
/// intent, a pause, a flag or a mark that there was one.
const SPACES: [(u8, &str, bool); 19] = [
    (keys::EVENTS, "event", true),
    (keys::IDENTITIES, "dedupe key", true),
    (keys::CLICKS, "click", true),
    (keys::SCHEDULED, "index of scheduled deliveries", true),
    (keys::WAITING, "index of waiting deliveries", true),
    (keys::HELD, "index of held deliveries", true),
    (keys::DEAD, "index of dead letters", true),
    (keys::HISTORY, "history", true),
    (keys::INTENTS, "intent", false),
    (keys::UNROUTED, "index of unrouted events", true),
    (keys::POSTBACKS, "name of a postback", true),
    (keys::COUNTS, "counts of a postback", true),
    (keys::TALLIES, "tally of a postback", true),
    (keys::PAUSES, "pause", false),
    (keys::FLAGS, "flag", false),
    (keys::BULKS, "bulk order", true),
    (keys::TARGETS, "target of a bulk order", true),
    (keys::MARKS, "mark of exports", false),
    (keys::META, "totals", true),
];

async fn damage_of_every_kind_is_found_and_named(story: Story) {
    story.fill().await;
    assert_eq!(story.damages(), []);
    let ahead = ahead::key();
    let mut torn = story.engine.as_ref().unwrap().get(&ahead).unwrap().unwrap();
    torn.pop();
    assert!(story.while_changed(&ahead, Some(torn)).contains(&"totals"));
    assert!(story.while_changed(&ahead, None).contains(&"counts of a postback"));
    story.catch_up();
    assert_eq!(story.damages(), []);
    for (space, name, is_missed) in SPACES {
        let pairs = story.pairs_of(space);
        assert!(!pairs.is_empty(), "{name}");
        for (key, value) in &pairs {
            let mut flipped = value.clone();
            if let Some(last) = flipped.last_mut() {
                *last ^= 1;
                let found = story.while_changed(key, Some(flipped));
                assert!(found.contains(&name), "a changed {name}: {found:?}");
            }
            let found = story.while_changed(key, None);
            assert_eq!(!found.is_empty(), is_missed, "a missing {name} {}: {found:?}", key.escape_ascii());
            // A key of the same kind that nobody wrote: the value is another's.
            let mut stray = key.clone();
            *stray.last_mut().unwrap() ^= 0x40;
            let found = story.while_changed(&stray, Some(value.clone()));
            let is_free = space == keys::TARGETS;
            assert!(is_free || found.contains(&name), "a stray {name} {}: {found:?}", stray.escape_ascii());
        }
    }
    let found = story.while_changed(b"?", Some(Vec::new()));
    assert_eq!(found, ["unknown"]);
    assert_eq!(story.damages(), []);
}

async fn counters_that_lie_are_found_though_they_check_out(story: Story) {
    story.fill().await;
    let number = story.outbox().reader().number(&postback("a")).unwrap();
    let counts = Counts::default().with_one_more(StateKind::Dead);
    let lie: ahead::Record = (vec![(number, counts, Tally::default())], Soon::default());
    let found = story.while_changed(&ahead::key(), Some(codec::encode(&ahead::key(), &lie).unwrap()));
    let in_it = found.iter().filter(|space| **space == "totals").count();
    assert!(in_it >= 2, "counts and a tally: {found:?}");
    let stray: ahead::Record = (vec![(number + 100, Counts::default(), Tally::default())], Soon::default());
    let found = story.while_changed(&ahead::key(), Some(codec::encode(&ahead::key(), &stray).unwrap()));
    assert!(found.contains(&"totals"), "{found:?}");
    story.catch_up();
    let key = keys::counts(number);
    let lie = Counts::default().with_one_more(StateKind::Dead);
    let found = story.while_changed(&key, Some(codec::encode(&key, &lie).unwrap()));
    assert!(!found.is_empty() && found.iter().all(|space| *space == "counts of a postback"), "{found:?}");
    let key = keys::tally(number);
    let found = story.while_changed(&key, Some(codec::encode(&key, &Tally::default()).unwrap()));
    assert_eq!(found, ["tally of a postback"]);
    let key = keys::meta("totals");
    let lie = Totals { unrouted: 7, ..story.outbox().reader().totals() };
    let found = story.while_changed(&key, Some(codec::encode(&key, &lie).unwrap()));
    assert_eq!(found, ["totals"]);
}

async fn what_is_scheduled_without_a_key_is_verified_as_if_it_had_one(story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    assert_eq!((story.damages(), story.pairs_of(keys::SCHEDULED)), (Vec::new(), Vec::new()));
    let engine = story.engine.as_ref().unwrap();
    let (counted, soon) = ahead::load(&**engine).unwrap();
    let key = soon.keys().next().unwrap();
    let with = |soon: &Soon| Some(codec::encode(&ahead::key(), &(&counted, soon)).unwrap());
    let index = "index of scheduled deliveries";
    assert_eq!(story.while_changed(&ahead::key(), with(&Soon::default())), [index], "it is missing");
    assert_eq!(story.while_changed(&key, Some(Vec::new())), [index], "it stands in both");
    story.send(id, DELIVERED).await;
    let (counted, none) = ahead::load(&**engine).unwrap();
    assert_eq!((story.damages(), none), (Vec::new(), Soon::default()));
    let stale = Some(codec::encode(&ahead::key(), &(&counted, &soon)).unwrap());
    assert_eq!(story.while_changed(&ahead::key(), stale), ["totals"], "it has been sent");
    story.accept(event("t2", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let mut torn = engine.get(&ahead::key()).unwrap().unwrap();
    torn.pop();
    let found = story.while_changed(&ahead::key(), Some(torn));
    assert!(found.contains(&"totals") && !found.contains(&index), "nobody can tell what stood in it: {found:?}");
}

async fn an_empty_store_is_whole(story: Story) {
    assert_eq!(story.damages(), []);
}

contract!(
    an_empty_store_is_whole,
    damage_of_every_kind_is_found_and_named,
    counters_that_lie_are_found_though_they_check_out,
    what_is_scheduled_without_a_key_is_verified_as_if_it_had_one,
);
