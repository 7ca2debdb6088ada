//! Stories of backups: what is put back is the store as it stood at one moment, whatever went on meanwhile.

use std::io::Cursor;
use std::ops::Bound;

use super::*;
use crate::ops::clock::SharedClock;

/// Enough that a walk takes more than one look.
const EVENTS: usize = 2_500;
/// Parts of a backup that are longer than this hold pairs that were found.
const FOUND: usize = 40_000;

struct Silent;

impl RestoreObserver for Silent {
    fn progress(&mut self, _bytes: u64) {}
}

fn pairs(engine: &dyn Engine) -> Vec<Pair> {
    engine.scan(Bound::Unbounded, Bound::Unbounded).map(Result::unwrap).collect()
}

impl Story {
    fn shared_clock(&self) -> SharedClock {
        Arc::clone(&self.clock) as SharedClock
    }

    async fn accept_many(&self) -> Vec<DeliveryId> {
        let requests = (0..EVENTS)
            .map(|number| {
                let plan = to(&["a"], OrderPolicy::default());
                request(event(&format!("t{number}"), "ftd", Status::Approved), plan)
            })
            .collect();
        let taken = self.outbox().accept(requests).await.unwrap();
        let id = |ingested: Result<Ingested, _>| match ingested.unwrap() {
            Ingested::Accepted(accepted) => accepted.deliveries[0],
            other => panic!("not accepted: {other:?}"),
        };
        taken.into_iter().map(id).collect()
    }

    /// A backup, with something done whenever some of what was found is on its way: at the first of it, the second, …
    async fn back_up(self, meanwhile: impl Fn(&Self, usize) + Send + 'static) -> (Self, Vec<u8>, Taken) {
        tokio::task::spawn_blocking(move || {
            let (mut bytes, mut parts) = (Vec::new(), 0);
            let mut sink = |part: Vec<u8>| {
                if part.len() > FOUND {
                    parts += 1;
                    meanwhile(&self, parts);
                }
                bytes.extend(part);
                true
            };
            let taken = self.outbox().back_up(&self.shared_clock(), &mut sink).unwrap();
            (self, bytes, taken)
        })
        .await
        .unwrap()
    }

    /// A story that goes on from a backup, on another engine.
    fn restored(&self, bytes: Vec<u8>) -> (Self, Restored) {
        let directory = tempfile::tempdir().unwrap();
        let place = match self.place {
            Place::Memory(_) | Place::Fjall(_) => Place::Sled(directory),
            Place::Sled(_) => Place::Fjall(directory),
        };
        let restored = restore(&mut Cursor::new(bytes), &*place.engine(), &mut Silent).unwrap();
        (Self::on(place), restored)
    }
}

async fn a_backup_in_use_is_the_store_as_it_stood_at_its_end(story: Story) {
    let ids = story.accept_many().await;
    let runtime = tokio::runtime::Handle::current();
    let (first, last) = (ids[0], *ids.last().unwrap());
    let meanwhile = move |story: &Story, part| {
        runtime.block_on(async {
            let name = format!("meanwhile-{part}");
            let plan = to(&["a", "b"], OrderPolicy::default());
            match part {
                // Changes in front of and behind where the walk is, and new keys everywhere.
                1 => story.send(first, DELIVERED).await,
                2 => story.send(last, DEAD).await,
                3 => {
                    story.pass(Duration::from_hours(24 * 1_000));
                    let policy = crate::domain::retention::RetentionPolicy {
                        delivered: Duration::from_hours(1),
                        dead: Duration::from_hours(1),
                        exported: crate::domain::retention::Exported::NotAsked,
                        sizes: crate::domain::retention::SizeLimits::default(),
                        pressure: crate::domain::retention::Pressure::default(),
                    };
                    assert_eq!(story.outbox().retire(vec![first.event, last.event], policy).await.unwrap(), 2);
                }
                // The last of them while the last that was found is on its way.
                _ => drop(story.accept(event(&name, "ftd", Status::Approved), plan).await),
            }
        });
    };
    let (mut story, bytes, taken) = story.back_up(meanwhile).await;
    assert!(taken.writes > 0 && taken.pairs > EVENTS as u64, "{taken:?}");
    // What is restored is opened, too, which writes out what is ahead.
    story.reopen().await;
    let source = pairs(&**story.engine.as_ref().unwrap());
    let mut check = BackupCheck::default();
    bytes.chunks(999).for_each(|part| check.look(part).unwrap());
    assert_eq!(check.finish().unwrap(), taken);

    let (restored, told) = story.restored(bytes);
    assert_eq!((told.pairs, told.writes, told.stood), (taken.pairs, taken.writes, taken.stood));
    assert!(pairs(&**restored.engine.as_ref().unwrap()) == source, "the same pairs");
    restored.check_counts();
    assert!(!restored.is_event(first) && !restored.is_event(last));
}

async fn what_is_written_behind_the_end_is_not_in_a_backup(story: Story) {
    let before = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let (story, bytes, _) = story.back_up(|_, _| {}).await;
    let after = story.accept(event("t2", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let (restored, _) = story.restored(bytes);
    assert_eq!((restored.is_event(before), restored.is_event(after)), (true, false));
    restored.check_counts();
}

async fn one_backup_is_taken_at_a_time_and_one_that_is_given_up_is_in_nobodys_way(story: Story) {
    story.accept_many().await;
    let busy = |story: &Story| {
        let mut none = |_| true;
        matches!(story.outbox().back_up(&story.shared_clock(), &mut none), Err(TakeError::Busy))
    };
    let seen = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&seen);
    let meanwhile = move |story: &Story, part| {
        if part == 1 {
            counted.store(i64::from(busy(story)), Ordering::SeqCst);
        }
    };
    let (story, ..) = story.back_up(meanwhile).await;
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let given_up = move || {
        let mut parts = 0;
        let mut sink = |_| {
            parts += 1;
            parts < 3
        };
        let gone = story.outbox().back_up(&story.shared_clock(), &mut sink);
        assert!(matches!(gone, Err(TakeError::Gone)), "{gone:?}");
        story
    };
    let story = tokio::task::spawn_blocking(given_up).await.unwrap();
    let (story, bytes, _) = story.back_up(|_, _| {}).await;
    story.restored(bytes).0.check_counts();
}

async fn a_part_of_a_backup_is_not_put_back(story: Story) {
    story.accept_many().await;
    let (story, bytes, _) = story.back_up(|_, _| {}).await;
    let fresh = || Place::Memory(Arc::default()).engine();
    for cut in [0, 10, 19, 20, 1_000, bytes.len() / 2, bytes.len() - 1] {
        let torn = restore(&mut Cursor::new(&bytes[..cut]), &*fresh(), &mut Silent);
        assert!(matches!(torn, Err(RestoreError::Backup(BackupError::Torn { .. }))), "{cut}: {torn:?}");
    }
    let more = [&bytes[..], b"more"].concat();
    let more = restore(&mut Cursor::new(more), &*fresh(), &mut Silent);
    assert!(matches!(more, Err(RestoreError::Backup(_))), "{more:?}");
    let foreign = restore(&mut Cursor::new(b"PK\x03\x04 something else altogether"), &*fresh(), &mut Silent);
    assert!(matches!(foreign, Err(RestoreError::Backup(BackupError::Foreign))), "{foreign:?}");
    let used = restore(&mut Cursor::new(&bytes), &**story.engine.as_ref().unwrap(), &mut Silent);
    assert!(matches!(used, Err(RestoreError::NotEmpty)), "{used:?}");
}

async fn a_store_at_rest_is_backed_up_without_its_daemon(mut story: Story) {
    let id = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    story.outbox.take().unwrap().close().await;
    let mut bytes = Vec::new();
    let mut sink = |part: Vec<u8>| {
        bytes.extend(part);
        true
    };
    take_at_rest(&**story.engine.as_ref().unwrap(), &story.shared_clock(), &mut sink).unwrap();
    let (restored, _) = story.restored(bytes);
    assert!(restored.is_event(id));
    restored.check_counts();
}

impl Story {
    fn is_event(&self, id: DeliveryId) -> bool {
        self.outbox().reader().event(id.event).unwrap().is_some()
    }
}

contract!(
    a_backup_in_use_is_the_store_as_it_stood_at_its_end,
    what_is_written_behind_the_end_is_not_in_a_backup,
    one_backup_is_taken_at_a_time_and_one_that_is_given_up_is_in_nobodys_way,
    a_part_of_a_backup_is_not_put_back,
    a_store_at_rest_is_backed_up_without_its_daemon,
);
