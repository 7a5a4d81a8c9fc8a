//! Where links and maps are pinned.

use std::path::{Path, PathBuf};

/// A directory of bpffs, such as `/sys/fs/bpf/mezame`. Everything lies in a subdirectory of the
/// maps' layout version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinRoot(PathBuf);

impl PinRoot {
    /// Names the directory; nothing is made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
