//! A disk whose power can be cut: what is durable, what is only written, and what survives.
//!
//! Content becomes durable by a sync of its file, and names by a sync of their directory; nothing else makes anything
//! durable. That is less than file systems promise in practice and all that POSIX does. The rights of files are not
//! modelled: they are durable at once.

mod files;
mod mount;
mod survivor;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard};

use fuser::Errno;
use tokio::sync::watch;

pub(crate) use mount::Mount;
pub(crate) use survivor::Policy;

use crate::dice::Dice;

/// The node of the root directory.
const ROOT: u64 = 1;

/// What stands on a disk without power.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    nodes: BTreeMap<u64, Saved>,
}

#[derive(Debug, Clone)]
enum Saved {
    File { mode: u16, content: Vec<u8> },
    Directory { mode: u16, entries: BTreeMap<OsString, u64> },
}

impl Image {
    /// An empty disk.
    pub(crate) fn empty() -> Self {
        let root = Saved::Directory { mode: 0o755, entries: BTreeMap::new() };
        Self { nodes: BTreeMap::from([(ROOT, root)]) }
    }
}

/// When the power goes, and what chance makes of what was not durable.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// The operation that is the last to begin, counted from when the disk is switched on.
    pub(crate) after: u64,
    /// What survives.
    pub(crate) policy: Policy,
    /// Decides the rest.
    pub(crate) dice: Dice,
}

/// What a disk does to those who trust it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// When its power goes.
    pub(crate) cut: Option<Cut>,
    /// Whether it answers syncs without carrying them out.
    pub(crate) lies: bool,
    /// What it refuses.
    pub(crate) refusal: Option<Refusal>,
}

/// An operation that fails. A sync that fails is as on Linux: what it should have made durable never will be, and the
/// next sync knows nothing of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    /// Syncs are refused, or writes to files.
    pub(crate) syncs: bool,
    /// The so-manieth of them is.
    pub(crate) after: u64,
    /// There is no room, instead of a fault.
    pub(crate) full: bool,
}

/// A disk under power. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    dark: watch::Receiver<bool>,
}

#[derive(Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    /// Changes of names that no sync of a directory has made durable, in their order.
    names: Vec<NameChange>,
    /// Writes, creations, renames, removals and syncs so far.
    operations: u64,
    fate: Fate,
    /// Whether the refusal has come.
    refused: bool,
    survivor: Option<Image>,
    darken: watch::Sender<bool>,
}

#[derive(Debug)]
enum Node {
    File(File),
    Directory { mode: u16, now: BTreeMap<OsString, u64>, durable: BTreeMap<OsString, u64> },
}

#[derive(Debug, Default)]
struct File {
    mode: u16,
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync, each with its place among all operations.
    unsynced: Vec<(u64, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

/// One change of names: a creation, a removal, or a rename as a whole.
#[derive(Debug, Clone)]
struct NameChange {
    operation: u64,
    sets: Vec<(u64, OsString, Option<u64>)>,
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Resize(length) => content.resize(*length, 0),
        }
    }
}

impl Disk {
    /// Switches a disk on.
    pub(crate) fn on(image: Image, fate: Fate) -> Self {
        let nodes: BTreeMap<u64, Node> = image.nodes.into_iter().map(|(id, saved)| (id, Node::from(saved))).collect();
        let next_node = nodes.keys().max().copied().unwrap_or(ROOT) + 1;
        let (darken, dark) = watch::channel(false);
        let state =
            State { nodes, next_node, names: Vec::new(), operations: 0, fate, refused: false, survivor: None, darken };
        Self { state: Arc::new(Mutex::new(state)), dark }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Whether it has refused what it was to refuse.
    pub(crate) fn has_refused(&self) -> bool {
        self.state().refused
    }

    /// Waits until the power is cut.
    pub(crate) async fn dark(&self) {
        let mut dark = self.dark.clone();
        // The sender lives as long as the disk.
        let _ = dark.wait_for(|dark| *dark).await;
    }

    /// Whether the power is cut.
    pub(crate) fn is_dark(&self) -> bool {
        *self.dark.borrow()
    }

    /// Cuts the power now, if it is not cut.
    pub(crate) fn cut_now(&self) {
        self.state().go_dark();
    }

    /// What survived the cut; everything as it is where there was none.
    pub(crate) fn survivor(&self) -> Image {
        let state = self.state();
        state.survivor.clone().unwrap_or_else(|| survivor::all_of(&state))
    }
}

impl State {
    /// Counts an operation that changes the disk or makes it durable; false once the power is cut.
    fn begin(&mut self) -> bool {
        if self.survivor.is_some() {
            return false;
        }
        self.operations += 1;
        true
    }

    /// Whether the operation under way is the last. What it did is not durable yet, whatever it was.
    fn is_last(&mut self) -> bool {
        let last = self.fate.cut.as_ref().is_some_and(|cut| self.operations >= cut.after);
        if last {
            self.go_dark();
        }
        last
    }

    /// Whether an operation is refused. A sync is once, since nobody may trust the next; a write is from then on, since
    /// the kernel makes a short write of one that fails in the middle, and its rest is written again.
    fn is_refused(&mut self, is_sync: bool) -> Option<Errno> {
        let refusal = self.fate.refusal.as_mut().filter(|refusal| refusal.syncs == is_sync)?;
        refusal.after = refusal.after.saturating_sub(1);
        if refusal.after > 0 {
            return None;
        }
        let error = if refusal.full { Errno::ENOSPC } else { Errno::EIO };
        if is_sync {
            self.fate.refusal = None;
        }
        self.refused = true;
        Some(error)
    }

    fn go_dark(&mut self) {
        if self.survivor.is_some() {
            return;
        }
        let without = Cut { after: 0, policy: Policy::Nothing, dice: Dice::new(self.operations) };
        let mut cut = self.fate.cut.clone().unwrap_or(without);
        self.survivor = Some(survivor::choose(self, cut.policy, &mut cut.dice));
        let _ = self.darken.send(true);
    }

    fn rename_entries(&mut self, sets: Vec<(u64, OsString, Option<u64>)>) {
        for (directory, name, node) in &sets {
            if let Some(Node::Directory { now, .. }) = self.nodes.get_mut(directory) {
                set(now, name, *node);
            }
        }
        self.names.push(NameChange { operation: self.operations, sets });
    }
}

/// Gives a name to a node, or takes it away.
fn set(entries: &mut BTreeMap<OsString, u64>, name: &OsStr, node: Option<u64>) {
    match node {
        Some(node) => drop(entries.insert(name.to_owned(), node)),
        None => drop(entries.remove(name)),
    }
}

impl From<Saved> for Node {
    fn from(saved: Saved) -> Self {
        match saved {
            Saved::File { mode, content } => {
                Self::File(File { mode, now: content.clone(), durable: content, unsynced: Vec::new() })
            }
            Saved::Directory { mode, entries } => Self::Directory { mode, now: entries.clone(), durable: entries },
        }
    }
}
