//! What targets work with: the configuration that the repository ships, at a fixed time.

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;

use crate::config::{Settings, load};

/// The time at which targets take place: 2026-11-20T10:00:00Z.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_795_168_800).unwrap_or_default()
}

/// The shipped configuration, read once.
pub(crate) fn shipped() -> &'static Settings {
    static SHIPPED: LazyLock<Settings> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/postbackd.toml");
        load(&path).unwrap_or_else(|problems| panic!("{problems}")).settings
    });
    &SHIPPED
}
