//! Where the outbox is kept: whose it is, how much room there is, and what kind of file system it stands on.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{About, Finding, bytes};

/// The check.
pub const ABOUT: About = About {
    name: "disk",
    looks_at: "the outbox's directory: fails where it is somebody else's, open to others, or has less free than `keep_free`; \
               warns where less than twice that is free, inodes run out, or the file system may forget what was synced (tmpfs, overlay, NFS)",
    remedy: "make room or move `[outbox] path`; `chown` and `chmod 700` the directory; use a local ext4, XFS or Btrfs",
};

/// With fewer free inodes than this, files that the engine needs may soon be missing.
const FEW_INODES: u64 = 1_000;

/// What is known of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// The directory.
    pub path: PathBuf,
    /// What it is; `None` where there is none yet.
    pub found: Option<Found>,
    /// The room where it is, or would be.
    pub room: Room,
}

/// The directory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// The room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that we may still write.
    pub free: u64,
    /// Files that may still be made; `None` where the file system does not count them.
    pub inodes: Option<u64>,
    /// Its kind, by the number that the kernel gives it.
    pub kind: u64,
}

/// Measures a directory, or the nearest one above it that there is.
///
/// # Errors
/// When the system does not tell, for lack of rights above all.
pub fn measure(path: &Path) -> io::Result<Directory> {
    let found = match std::fs::metadata(path) {
        Ok(found) => {
            let mode = found.mode() & 0o7777;
            Some(Found { owner: found.uid(), mode, is_directory: found.is_dir() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let there = nearest(path);
    let (room, kind) = (rustix::fs::statvfs(there)?, rustix::fs::statfs(there)?);
    let room = Room {
        free: room.f_bavail.saturating_mul(room.f_frsize),
        inodes: (room.f_files > 0).then_some(room.f_favail),
        kind: u64::try_from(kind.f_type).unwrap_or_default(),
    };
    Ok(Directory { path: path.into(), found, room })
}

/// The path, or the nearest directory above it that there is.
pub(super) fn nearest(path: &Path) -> &Path {
    let above = path.ancestors().find(|path| path.is_dir());
    above.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a file system is called, and whether what was synced to it survives a power cut (statfs(2)).
fn kind(number: u64) -> (&'static str, Option<&'static str>) {
    match number {
        0xEF53 => ("ext4", None),
        0x5846_5342 => ("xfs", None),
        0x9123_683E => ("btrfs", None),
        0x2FC1_2FC1 => ("zfs", None),
        0xF2F5_2010 => ("f2fs", None),
        0x0102_1994 | 0x8584_58F6 => {
            ("tmpfs", Some("it lives in memory: a restart of the machine loses every acknowledged event"))
        }
        0x794C_7630 => ("overlay", Some("it belongs to a container: removing that loses every acknowledged event")),
        0x6969 => ("nfs", Some("locks and fdatasync depend on the server: what was acknowledged may be lost with it")),
        0xFF53_4D42 | 0xFE53_4D42 => {
            ("smb", Some("locks and fdatasync depend on the server: what was acknowledged may be lost with it"))
        }
        0x6573_5546 => ("fuse", Some("whether fdatasync reaches a disk depends on what is behind it")),
        _ => ("of an unknown kind", Some("whether fdatasync reaches a disk is not known")),
    }
}

/// Judges a directory; `owner` is whose it has to be, where that is known.
pub fn judge(directory: &Directory, keep_free: u64, owner: Option<u32>) -> Vec<Finding> {
    let path = directory.path.display();
    let Room { free, inodes, kind: number } = directory.room;
    let (kind, doubt) = kind(number);
    let mut findings = Vec::new();
    match directory.found {
        None => findings.push(Finding::warning(
            ABOUT.name,
            format!("{path} is not there yet"),
            "the daemon makes it; its user must be allowed to, as StateDirectory= of the unit sees to",
        )),
        Some(Found { is_directory: false, .. }) => findings.push(Finding::failure(
            ABOUT.name,
            format!("{path} is not a directory"),
            "name a directory under [outbox] path",
        )),
        Some(found) => findings.extend(judge_rights(&path.to_string(), found, owner)),
    }
    if free < keep_free {
        findings.push(Finding::failure(
            ABOUT.name,
            format!("{} free at {path}, {} are kept free: new events get 507", bytes(free), bytes(keep_free)),
            "make room on that disk, or shorten [outbox] retain; nothing that was accepted is lost",
        ));
    } else if free < keep_free.saturating_mul(2) {
        findings.push(Finding::warning(
            ABOUT.name,
            format!("{} free at {path}; below {} new events get 507", bytes(free), bytes(keep_free)),
            "make room on that disk soon, or shorten [outbox] retain",
        ));
    }
    if let Some(left) = inodes.filter(|left| *left < FEW_INODES) {
        findings.push(Finding::warning(
            ABOUT.name,
            format!("{left} inodes left at {path}"),
            "delete small files that nobody needs on that file system",
        ));
    }
    if let Some(doubt) = doubt {
        let remedy = "keep the outbox on a local ext4, XFS or Btrfs: set [outbox] path";
        findings.push(Finding::warning(ABOUT.name, format!("{path} is {kind}: {doubt}"), remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT.name, format!("{path} is {kind}, {} free", bytes(free))));
    }
    findings
}

fn judge_rights(path: &str, found: Found, owner: Option<u32>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(owner) = owner.filter(|owner| *owner != found.owner) {
        findings.push(Finding::failure(
            ABOUT.name,
            format!("{path} belongs to user {}, the store in it to user {owner}", found.owner),
            format!("run: chown -R {owner} {path}"),
        ));
    }
    if found.mode & 0o077 != 0 {
        findings.push(Finding::failure(
            ABOUT.name,
            format!("{path} has mode {:04o}: others can get at events and requests", found.mode),
            format!("run: chmod 700 {path}"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::Level::{self, Failure, Ok, Warning};

    const EXT4: u64 = 0xEF53;
    const GIB: u64 = 1 << 30;

    fn directory(found: Option<(u32, u32)>, free: u64, inodes: Option<u64>, kind: u64) -> Directory {
        let found = found.map(|(owner, mode)| Found { owner, mode, is_directory: true });
        Directory { path: "/var/lib/postbackd".into(), found, room: Room { free, inodes, kind } }
    }

    #[test]
    fn rights_room_and_file_system_are_judged() {
        let own = Some((7, 0o700));
        let table: [(Directory, &[(Level, &str)]); 9] = [
            (directory(own, 9 * GIB, Some(5_000), EXT4), &[(Ok, "ext4, 9.0 GiB free")]),
            (directory(own, 9 * GIB, None, EXT4), &[(Ok, "ext4")]),
            (directory(None, 9 * GIB, None, EXT4), &[(Warning, "not there yet")]),
            (directory(Some((8, 0o750)), 9 * GIB, None, EXT4), &[(Failure, "user 8"), (Failure, "mode 0750")]),
            (directory(own, GIB - 1, None, EXT4), &[(Failure, "507")]),
            (directory(own, 2 * GIB - 1, None, EXT4), &[(Warning, "below 1.0 GiB")]),
            (directory(own, 9 * GIB, Some(999), EXT4), &[(Warning, "999 inodes")]),
            (directory(own, 9 * GIB, None, 0x0102_1994), &[(Warning, "tmpfs")]),
            (directory(own, 9 * GIB, None, 0x4242), &[(Warning, "unknown kind")]),
        ];
        for (directory, expected) in table {
            let findings = judge(&directory, GIB, Some(7));
            assert_eq!(findings.len(), expected.len(), "{findings:?}");
            for (finding, (level, words)) in findings.iter().zip(expected) {
                assert!(finding.level == *level && finding.found.contains(words), "{finding:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_measured_where_it_would_be() {
        let place = tempfile::tempdir().unwrap();
        let measured = measure(&place.path().join("a/b")).unwrap();
        assert_eq!(measured.found, None);
        assert!(measured.room.free > 0);
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(judge(&measure(&file).unwrap(), 0, None)[0].level, Failure);
    }
}
