//! Whose runs somebody sees.

/// Whose runs a caller sees and may act on; all others are not there for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// All runs.
    Everybodys,
    /// Those of that owner.
    Of(String),
}

impl Whose {
    /// The only owner whose runs are seen; `None`: all are.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Everybodys => None,
            Self::Of(owner) => Some(owner),
        }
    }
}
