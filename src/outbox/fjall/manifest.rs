//! fjall's manifests: which tables a tree is made of.
//!
//! Each tree has a file `current` that names its manifest and has the checksum of its bytes (XXH3, 128 bits). fjall 3.1
//! does not compare that, and throws a tree away that has no `current`.

use std::fs;
use std::path::Path;

use super::Cause;

/// fjall's own tree, which names the others, and the one that we have.
const TREES: [&str; 2] = ["keyspaces/0", "keyspaces/1"];
const CURRENT_BYTES: usize = 8 + 16 + 1;

/// Why a store is not whole.
#[derive(Debug, thiserror::Error)]
enum BadManifest {
    #[error("{0} is missing; keep a copy of the directory, then restore a backup")]
    Missing(String),
    #[error("{0} is damaged; keep a copy of the directory, then restore a backup")]
    Damaged(String),
}

/// Checks the manifests of a store.
pub(super) fn check(data: &Path) -> Result<(), Cause> {
    TREES.iter().try_for_each(|tree| check_tree(data, tree))
}

fn check_tree(data: &Path, tree: &str) -> Result<(), Cause> {
    let read = |name: &str| {
        fs::read(data.join(name)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Cause::from(BadManifest::Missing(name.into())),
            _ => error.into(),
        })
    };
    let name = format!("{tree}/current");
    let current = read(&name)?;
    let damaged = || BadManifest::Damaged(name.clone());
    let (id, rest) = current.split_first_chunk().ok_or_else(damaged)?;
    let (checksum, _) = rest.split_first_chunk().ok_or_else(damaged)?;
    if current.len() != CURRENT_BYTES {
        return Err(damaged().into());
    }
    let manifest = format!("{tree}/v{}", u64::from_le_bytes(*id));
    if xxhash_rust::xxh3::xxh3_128(&read(&manifest)?) != u128::from_le_bytes(*checksum) {
        return Err(BadManifest::Damaged(manifest).into());
    }
    Ok(())
}
