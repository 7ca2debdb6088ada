//! The configuration: from files to settings.

mod settings;

pub use settings::*;

/// stub
pub fn parse_rate(_t: &str) -> Option<crate::domain::affiliate::Rate> {
    None
}
