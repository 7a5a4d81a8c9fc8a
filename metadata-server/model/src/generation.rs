//! The number that orders snapshots of the control plane's state.
//!
//! It only goes forward: a receiver ignores a snapshot that is not newer than its own.

use serde::{Deserialize, Serialize};

/// A snapshot's number. Each write to the store adds one.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// Before anything was written.
    pub const ZERO: Self = Self(0);

    /// The generation after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}
