//! The shipped files are sound, and show every key.

use std::path::Path;

use crate::config::{Loaded, Problem, load};

fn shipped() -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/postbackd.toml");
    load(&path).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_shipped_files_are_sound_from_a_bare_clone() {
    let loaded = shipped();
    let warnings: Vec<_> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
    assert!(loaded.settings.affiliates.len() >= 4);
}
