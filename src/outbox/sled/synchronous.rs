//! Files each of whose writes is durable: what `chattr +S` asks of a file system.
//!
//! On such a file the kernel does behind each write what `fdatasync` does for its range (`generic_write_sync`), and the write fails where
//! that does.

use std::fs::File;

use rustix::fs::{FsWord, IFlags, fstatfs, ioctl_getflags, ioctl_setflags};

use crate::planted::{Bug, planted};

/// File systems whose writes ask for the mark, by their magic number: ext2 to ext4, XFS, Btrfs. Others may take it and do nothing.
const HONOURED_BY: [FsWord; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// Marks a file; false where its writes are not durable for all that. The mark stays with the file, and is durable with its next sync.
pub(super) fn mark(file: &File) -> bool {
    if planted(Bug::MarkForgotten) {
        return true;
    }
    let marked = || {
        let flags = ioctl_getflags(file)?;
        if !flags.contains(IFlags::SYNC) {
            ioctl_setflags(file, flags | IFlags::SYNC)?;
        }
        Ok::<_, rustix::io::Errno>(is_marked(file))
    };
    let honoured = fstatfs(file).is_ok_and(|found| HONOURED_BY.contains(&found.f_type));
    honoured && marked().unwrap_or(false)
}

/// Whether a file is marked.
fn is_marked(file: &File) -> bool {
    ioctl_getflags(file).is_ok_and(|flags| flags.contains(IFlags::SYNC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_marked_where_that_is_honoured_and_left_as_it_is_elsewhere() {
        let file = tempfile::tempfile().unwrap();
        let honoured = HONOURED_BY.contains(&fstatfs(&file).unwrap().f_type);
        assert_eq!((mark(&file), is_marked(&file)), (honoured, honoured));
        assert_eq!(mark(&file), honoured, "again");
        assert!(!mark(&File::open("/proc/version").unwrap()));
    }
}
