//! The operations of a disk under power, as a file system asks for them.

use std::ffi::{OsStr, OsString};

use fuser::Errno;

use super::{Change, Disk, File, Node, ROOT, State, set};

/// A file or directory as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    pub(super) id: u64,
    pub(super) is_directory: bool,
    pub(super) mode: u16,
    pub(super) length: u64,
}

/// Room that the disk claims to have, in blocks.
pub(super) const BLOCKS: u64 = 64 << 20;

impl State {
    fn alive(&self) -> Result<(), Errno> {
        if self.survivor.is_some() { Err(Errno::EIO) } else { Ok(()) }
    }

    fn entry(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        match self.nodes.get(&parent) {
            Some(Node::Directory { now, .. }) => now.get(name).copied().ok_or(Errno::ENOENT),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn looked(&self, id: u64) -> Result<Looked, Errno> {
        Ok(match self.nodes.get(&id).ok_or(Errno::ENOENT)? {
            Node::File(file) => Looked { id, is_directory: false, mode: file.mode, length: file.now.len() as u64 },
            Node::Directory { mode, .. } => Looked { id, is_directory: true, mode: *mode, length: 0 },
        })
    }

    fn file(&mut self, id: u64) -> Result<&mut File, Errno> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory { .. }) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    /// Runs an operation that counts. What it did stays open when it is the last: nobody is told that it went well.
    fn change<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Errno>) -> Result<T, Errno> {
        if !self.begin() {
            return Err(Errno::EIO);
        }
        let done = run(self);
        if self.is_last() { Err(Errno::EIO) } else { done }
    }

    /// Counts a sync; whether it is to be carried out. One that is the last is not.
    fn begin_sync(&mut self) -> Result<bool, Errno> {
        if !self.begin() || self.is_last() {
            return Err(Errno::EIO);
        }
        Ok(!self.fate.lies)
    }
}

impl Disk {
    pub(super) fn look(&self, id: u64) -> Result<Looked, Errno> {
        let state = self.state();
        state.alive()?;
        state.looked(id)
    }

    pub(super) fn find(&self, parent: u64, name: &OsStr) -> Result<Looked, Errno> {
        let state = self.state();
        state.alive()?;
        state.looked(state.entry(parent, name)?)
    }

    pub(super) fn list(&self, id: u64) -> Result<Vec<(OsString, Looked)>, Errno> {
        let state = self.state();
        state.alive()?;
        let Some(Node::Directory { now, .. }) = state.nodes.get(&id) else { return Err(Errno::ENOTDIR) };
        now.iter().map(|(name, node)| Ok((name.clone(), state.looked(*node)?))).collect()
    }

    pub(super) fn read(&self, id: u64, at: u64, length: u32) -> Result<Vec<u8>, Errno> {
        let mut state = self.state();
        state.alive()?;
        let content = &state.file(id)?.now;
        let from = usize::try_from(at).unwrap().min(content.len());
        let end = (from + length as usize).min(content.len());
        Ok(content[from..end].to_vec())
    }

    pub(super) fn write(&self, id: u64, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.alter(id, Change::Write { at: usize::try_from(at).unwrap(), bytes: bytes.to_vec() })
    }

    pub(super) fn resize(&self, id: u64, length: u64) -> Result<(), Errno> {
        self.alter(id, Change::Resize(usize::try_from(length).unwrap()))
    }

    fn alter(&self, id: u64, change: Change) -> Result<(), Errno> {
        self.state().change(|state| {
            let operation = state.operations;
            if let Some(error) = state.is_refused(false) {
                return Err(error);
            }
            let file = state.file(id)?;
            change.apply(&mut file.now);
            file.unsynced.push((operation, change));
            Ok(())
        })
    }

    pub(super) fn set_mode(&self, id: u64, new: u16) -> Result<(), Errno> {
        let mut state = self.state();
        state.alive()?;
        match state.nodes.get_mut(&id).ok_or(Errno::ENOENT)? {
            Node::File(file) => file.mode = new,
            Node::Directory { mode, .. } => *mode = new,
        }
        Ok(())
    }

    pub(super) fn make(&self, parent: u64, name: &OsStr, mode: u16, is_directory: bool) -> Result<Looked, Errno> {
        self.state().change(|state| {
            if state.entry(parent, name).is_ok() {
                return Err(Errno::EEXIST);
            }
            let id = state.next_node;
            state.next_node += 1;
            let node = if is_directory {
                Node::Directory {
                    mode,
                    now: std::collections::BTreeMap::new(),
                    durable: std::collections::BTreeMap::new(),
                }
            } else {
                Node::File(File { mode, ..File::default() })
            };
            state.nodes.insert(id, node);
            state.rename_entries(vec![(parent, name.to_owned(), Some(id))]);
            state.looked(id)
        })
    }

    pub(super) fn remove(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.state().change(|state| {
            let id = state.entry(parent, name)?;
            if let Some(Node::Directory { now, .. }) = state.nodes.get(&id)
                && !now.is_empty()
            {
                return Err(Errno::ENOTEMPTY);
            }
            state.rename_entries(vec![(parent, name.to_owned(), None)]);
            Ok(())
        })
    }

    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        self.state().change(|state| {
            let id = state.entry(from.0, from.1)?;
            state.rename_entries(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(id))]);
            Ok(())
        })
    }

    pub(super) fn sync_file(&self, id: u64) -> Result<(), Errno> {
        let mut state = self.state();
        if !state.begin_sync()? {
            return Ok(());
        }
        let refused = state.is_refused(true);
        let file = state.file(id)?;
        let unsynced = std::mem::take(&mut file.unsynced);
        if let Some(error) = refused {
            return Err(error);
        }
        for (_, change) in unsynced {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    pub(super) fn sync_directory(&self, id: u64) -> Result<(), Errno> {
        let mut state = self.state();
        if !state.begin_sync()? {
            return Ok(());
        }
        let refused = state.is_refused(true);
        let concerns = |(directory, _, _): &(u64, OsString, Option<u64>)| *directory == id;
        let (synced, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.names).into_iter().partition(|change| change.sets.iter().any(concerns));
        state.names = open;
        if let Some(error) = refused {
            return Err(error);
        }
        for (directory, name, node) in synced.into_iter().flat_map(|change| change.sets) {
            if let Some(Node::Directory { durable, .. }) = state.nodes.get_mut(&directory) {
                set(durable, &name, node);
            }
        }
        Ok(())
    }

    /// The parent of everything.
    pub(super) fn root() -> u64 {
        ROOT
    }
}
