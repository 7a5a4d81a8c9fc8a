//! A block device of a test's own, out of a file.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A file as a block device; gone when it is dropped.
pub(crate) struct Loop(pub(crate) PathBuf);

impl Loop {
    /// None, with the reason told, where none can be made.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let out = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        if !out.status.success() {
            eprintln!("skipped, no loop device: {}", String::from_utf8_lossy(&out.stderr));
            return None;
        }
        Some(Self(String::from_utf8(out.stdout).unwrap().trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}
