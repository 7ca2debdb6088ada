//! The configuration: from files to settings.

mod settings;

pub use settings::*;
