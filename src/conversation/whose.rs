//! Whose runs somebody sees.

use super::run::RunId;

/// Which runs a caller sees and may act on; all others are not there for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// All runs.
    Everybodys,
    /// Those of that owner.
    Of(String),
    /// That run alone.
    Run(RunId),
}
