//! A block device of a test's own, out of a file.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A file as a block device; gone when it is dropped.
pub(crate) struct Loop(pub(crate) PathBuf);

impl Loop {
    /// Needs root.
    pub(crate) fn of(file: &Path) -> Self {
        let out = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "a loop device is needed, and so root: {said}");
        Self(String::from_utf8(out.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}
