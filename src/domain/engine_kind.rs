//! Which storage engine keeps the outbox.

/// A storage engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// sled 0.34, in process.
    Sled,
}

impl EngineKind {
    /// All there are.
    pub const ALL: [Self; 1] = [Self::Sled];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
        }
    }
}
