//! What the disk of the store has room for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::OutboxError;
use crate::ops::clock::monotonic;

/// The part of the disk kept free below which nothing is sent any more.
const RESERVE_FOR_RECORDS: u64 = 4;
/// How long a look at the disk holds: every event and every attempt asks, and little is written meanwhile.
const LOOK_HOLDS: Duration = Duration::from_millis(10);
/// How soon another change is told: a disk at its bound goes back and forth.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// The disk of the store, of which some is kept free.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    least: u64,
    /// When it was looked at last, and what it said.
    looked: Mutex<Option<(Instant, Option<u64>)>>,
    /// When it was told last what it has room for.
    told: Mutex<Option<(Instant, Room)>>,
}

impl Disk {
    /// The disk of a path; so many bytes of it are kept free.
    pub(super) fn new(path: PathBuf, least: u64) -> Self {
        Self { path, least, looked: Mutex::default(), told: Mutex::default() }
    }

    /// What it has room for.
    pub(super) fn room(&self) -> Room {
        self.free().map_or(Room::Enough, |free| Room::of(free, self.least))
    }

    /// Whether new events may come.
    ///
    /// # Errors
    /// When it is nearly full.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        match self.free() {
            Some(free) if free < self.least => Err(OutboxError::DiskFull { free, least: self.least }),
            Some(_) | None => Ok(()),
        }
    }

    /// Free bytes as of a moment ago; `None` where it does not tell.
    fn free(&self) -> Option<u64> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = monotonic();
        match *looked {
            Some((at, free)) if now.duration_since(at) < LOOK_HOLDS => free,
            _ => {
                let free = free_bytes(&self.path).ok();
                *looked = Some((now, free));
                if let Some(free) = free {
                    self.tell(free, now);
                }
                free
            }
        }
    }

    /// Tells in the log what it has room for, where that has changed.
    fn tell(&self, free: u64, now: Instant) {
        let (least, room) = (self.least, Room::of(free, self.least));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_news(*told, room, now) {
            return;
        }
        *told = Some((now, room));
        match room {
            Room::Enough => tracing::info!(free, least, "outbox.disk_has_room: new events are accepted again"),
            Room::Reserve => {
                tracing::warn!(free, least, "outbox.disk_full: no new events are accepted; what is stored is sent");
            }
            Room::Exhausted => tracing::error!(
                free,
                least,
                "outbox.disk_full: nothing is accepted and nothing is sent, since what is sent has to be recorded"
            ),
        }
    }
}

/// Whether it is to be told what the disk has room for, behind what was told last and when.
fn is_news(told: Option<(Instant, Room)>, room: Room, now: Instant) -> bool {
    match told {
        None => room != Room::Enough,
        Some((at, before)) => room != before && now.duration_since(at) >= TELL_AGAIN,
    }
}

/// What the disk of the store has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// Everything.
    Enough,
    /// Records of attempts; no new events.
    Reserve,
    /// Nothing. Nothing is sent, either: what cannot be written down would be sent again.
    Exhausted,
}

impl Room {
    /// What so many free bytes have room for, where so many are to stay free.
    fn of(free: u64, least: u64) -> Self {
        match free {
            free if free < least / RESERVE_FOR_RECORDS => Self::Exhausted,
            free if free < least => Self::Reserve,
            _ => Self::Enough,
        }
    }
}

/// Bytes that an unprivileged process may still write on the file system of a path.
///
/// # Errors
/// When the file system does not tell.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_what_stays_free_is_for_records_of_attempts() {
        let rooms = [24, 25, 99, 100].map(|free| Room::of(free, 100));
        assert_eq!(rooms, [Room::Exhausted, Room::Reserve, Room::Reserve, Room::Enough]);
    }

    #[test]
    fn each_change_of_a_disks_room_is_told_and_none_twice_within_seconds() {
        let now = monotonic();
        let later = now + TELL_AGAIN;
        assert!(!is_news(None, Room::Enough, now));
        assert!(is_news(None, Room::Reserve, now));
        let told = Some((now, Room::Reserve));
        assert!(!is_news(told, Room::Reserve, later));
        assert!(is_news(told, Room::Enough, later) && is_news(told, Room::Exhausted, later));
        assert!(!is_news(told, Room::Enough, later.checked_sub(Duration::from_nanos(1)).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_is_looked_at_again_once_a_look_no_longer_holds() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path().to_path_buf(), u64::MAX);
        assert!(matches!(disk.check(), Err(OutboxError::DiskFull { .. })));
        assert_eq!(disk.room(), Room::Exhausted);
        let full = Some(0);
        *disk.looked.lock().unwrap() = Some((monotonic(), full));
        assert_eq!(disk.free(), full);
        tokio::time::advance(LOOK_HOLDS).await;
        assert_ne!(disk.free(), full);
    }
}
