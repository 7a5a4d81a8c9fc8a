//! Mounts that only this thread and its children see, so that files and pins leave with them.
//!
//! A tmpfs hides `/run` and a BPF file system of its own hides `/sys/fs/bpf`. The kernel takes
//! both away with the last process that sees them, after a SIGKILL too (mount_namespaces(7)).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// The private mounts of the thread that made this.
#[derive(Debug)]
pub struct Sandbox {
    directory: PathBuf,
}

impl Sandbox {
    /// Gives the calling thread, and all threads and processes that it makes from now on, private
    /// mounts. A thread that is in a sandbox gets one inside that.
    pub fn enter() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "root is needed for network namespaces and eBPF; run `cargo xtask test` as root"
        );
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .context("making the mounts private")?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=2g"))
            .context("mounting a tmpfs over /run")?;
        mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), Some("mode=700"))
            .context("mounting a BPF file system")?;
        let directory = PathBuf::from("/run/lab");
        std::fs::create_dir(&directory).context("making the lab's directory")?;
        Ok(Self { directory })
    }

    /// A directory for whatever the lab needs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}
