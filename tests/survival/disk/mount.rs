//! The disk as a file system that the kernel mounts (FUSE).
//!
//! Nothing is cached for writing: every write reaches the disk before the caller goes on. `sync_file_range` never gets
//! here, so that it makes nothing durable.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::Disk;
use super::files::{BLOCKS, Looked};

/// How long the kernel may believe what it was told; nobody but the kernel changes the disk.
const BELIEF: Duration = Duration::from_mins(1);
const BLOCK: u32 = 4_096;

/// A mounted disk; unmounted when dropped.
pub(crate) struct Mount {
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mount {
    /// Mounts a disk on an empty directory.
    pub(crate) fn new(disk: &Disk, path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("survival".into()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Mounted(disk.clone()), path, &config)?;
        Ok(Self { path: path.to_owned(), session: Some(session) })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if session.umount_and_join().is_err() {
            // Somebody still has a file open: the name goes at once, the rest with him.
            let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.path).status();
        }
    }
}

#[derive(Debug)]
struct Mounted(Disk);

fn attributes(looked: Looked) -> FileAttr {
    let time = UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(looked.id),
        size: looked.length,
        blocks: looked.length.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(looked),
        perm: looked.mode,
        nlink: 1,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn kind(looked: Looked) -> FileType {
    if looked.is_directory { FileType::Directory } else { FileType::RegularFile }
}

fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or_default()
}

fn entered(reply: ReplyEntry, looked: Result<Looked, Errno>) {
    match looked {
        Ok(looked) => reply.entry(&BELIEF, &attributes(looked), Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn done(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entered(reply, self.0.find(parent.0, name));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.look(node.0) {
            Ok(looked) => reply.attr(&BELIEF, &attributes(looked)),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = mode
            .map_or(Ok(()), |mode| self.0.set_mode(node.0, permissions(mode)))
            .and_then(|()| size.map_or(Ok(()), |size| self.0.resize(node.0, size)))
            .and_then(|()| self.0.look(node.0));
        match changed {
            Ok(looked) => reply.attr(&BELIEF, &attributes(looked)),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entered(reply, self.0.make(parent.0, name, permissions(mode & !umask), true));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        match self.0.make(parent.0, name, permissions(mode & !umask), false) {
            Ok(looked) => {
                reply.created(&BELIEF, &attributes(looked), Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.0.remove(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.0.remove(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(reply, self.0.rename((parent.0, name), (new_parent.0, new_name)));
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(node.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(node.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or_default()),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.0.sync_file(node.0));
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(reply, self.0.sync_directory(node.0));
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = match self.0.list(node.0) {
            Ok(listed) => listed,
            Err(error) => return reply.error(error),
        };
        let dots = [(".", node.0), ("..", Disk::root())];
        let dots = dots.map(|(name, id)| (name.into(), id, FileType::Directory));
        let rest = listed.into_iter().map(|(name, looked)| (name, looked.id, kind(looked)));
        let place = usize::try_from(offset).unwrap_or_default();
        for (at, (name, id, kind)) in dots.into_iter().chain(rest).enumerate().skip(place) {
            if reply.add(INodeNo(id), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK, 255, BLOCK);
    }
}
