//! What is left of a disk whose power was cut.

use std::collections::BTreeMap;

use super::{Change, Image, NameChange, Node, Saved, State, set};
use crate::dice::Dice;

/// What a disk reads or writes as a whole.
const SECTOR: usize = 512;

/// What survives of that which was not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// What was done up to some moment; the last write may be torn.
    Prefix,
    /// Any of the operations; the last write may be torn.
    Subset,
    /// Any of the sectors of each write, and any of the changes of names.
    Sectors,
}

impl Policy {
    /// Every policy.
    pub(crate) const ALL: [Self; 5] = [Self::Nothing, Self::Everything, Self::Prefix, Self::Subset, Self::Sectors];
}

/// Everything as it stands, durable or not.
pub(super) fn all_of(state: &State) -> Image {
    build(state, |_| true, |_, change| vec![change.clone()])
}

/// What survives by this policy.
pub(super) fn choose(state: &State, policy: Policy, dice: &mut Dice) -> Image {
    match policy {
        Policy::Nothing => build(state, |_| false, |_, _| Vec::new()),
        Policy::Everything => all_of(state),
        Policy::Prefix => {
            let unsynced = operations(state);
            let end = unsynced.get(dice.place(unsynced.len() + 1)).copied().unwrap_or(u64::MAX);
            let last = unsynced.iter().copied().filter(|operation| *operation < end).max();
            let tear = dice.percent(70);
            let mut dice = dice.clone();
            let survives = |operation, change: &Change| match operation < end {
                true if tear && Some(operation) == last => vec![torn(change, &mut dice)],
                true => vec![change.clone()],
                false => Vec::new(),
            };
            build(state, |change| change.operation < end, survives)
        }
        Policy::Subset => {
            let chance = 10 + dice.below(81);
            let last = operations(state).into_iter().max();
            let (mut names, mut writes) = (dice.clone(), Dice::new(dice.next()));
            let survives = |operation, change: &Change| {
                if !writes.percent(chance) {
                    return Vec::new();
                }
                let tear = Some(operation) == last || writes.percent(5);
                vec![if tear { torn(change, &mut writes) } else { change.clone() }]
            };
            build(state, |_| names.percent(chance), survives)
        }
        Policy::Sectors => {
            let chance = 10 + dice.below(81);
            let (mut names, mut writes) = (dice.clone(), Dice::new(dice.next()));
            build(state, |_| names.percent(chance), |_, change| sectors(change, chance, &mut writes))
        }
    }
}

/// The operations that nothing has made durable, in their order.
fn operations(state: &State) -> Vec<u64> {
    let mut operations: Vec<u64> = state.names.iter().map(|change| change.operation).collect();
    for node in state.nodes.values() {
        if let Node::File(file) = node {
            operations.extend(file.unsynced.iter().map(|(operation, _)| *operation));
        }
    }
    operations.sort_unstable();
    operations
}

/// A write that ends before its end: at a sector's bound, or anywhere.
fn torn(change: &Change, dice: &mut Dice) -> Change {
    let Change::Write { at, bytes } = change else { return change.clone() };
    let any = dice.place(bytes.len() + 1);
    let length = if dice.percent(50) { any } else { ((at + any) / SECTOR * SECTOR).saturating_sub(*at) };
    Change::Write { at: *at, bytes: bytes[..length].to_vec() }
}

fn sectors(change: &Change, share: u64, dice: &mut Dice) -> Vec<Change> {
    let Change::Write { at, bytes } = change else {
        return if dice.percent(share) { vec![change.clone()] } else { Vec::new() };
    };
    let mut survived = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let end = (((at + from) / SECTOR + 1) * SECTOR - at).min(bytes.len());
        if dice.percent(share) {
            survived.push(Change::Write { at: at + from, bytes: bytes[from..end].to_vec() });
        }
        from = end;
    }
    survived
}

fn build(
    state: &State,
    mut name_survives: impl FnMut(&NameChange) -> bool,
    mut left_of: impl FnMut(u64, &Change) -> Vec<Change>,
) -> Image {
    let mut nodes = BTreeMap::new();
    for (id, node) in &state.nodes {
        let saved = match node {
            Node::File(file) => {
                let mut content = file.durable.clone();
                for (operation, change) in &file.unsynced {
                    for change in left_of(*operation, change) {
                        change.apply(&mut content);
                    }
                }
                Saved::File { mode: file.mode, content }
            }
            Node::Directory { mode, durable, .. } => Saved::Directory { mode: *mode, entries: durable.clone() },
        };
        nodes.insert(*id, saved);
    }
    for change in &state.names {
        if name_survives(change) {
            for (directory, name, node) in &change.sets {
                if let Some(Saved::Directory { entries, .. }) = nodes.get_mut(directory) {
                    set(entries, name, *node);
                }
            }
        }
    }
    sweep(&mut nodes);
    Image { nodes }
}

/// Drops what no name leads to.
fn sweep(nodes: &mut BTreeMap<u64, Saved>) {
    let mut reached = std::collections::BTreeSet::from([super::ROOT]);
    let mut open = vec![super::ROOT];
    while let Some(id) = open.pop() {
        if let Some(Saved::Directory { entries, .. }) = nodes.get(&id) {
            open.extend(entries.values().copied().filter(|node| reached.insert(*node)));
        }
    }
    nodes.retain(|id, _| reached.contains(id));
}
