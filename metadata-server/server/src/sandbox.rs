//! Mounts that only one test sees, so that the names and pins which it makes go with it.
//!
//! A tmpfs hides `/run` and a BPF file system of its own hides `/sys/fs/bpf`. The kernel takes
//! both away with the last thread that sees them, after a SIGKILL too (mount_namespaces(7)).

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Gives the calling thread, and all that it starts from now on, such mounts. A test that needs
/// them fails without root: one that can't run must not be taken for one that passed.
pub(crate) fn enter() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "root is needed for network namespaces and eBPF; run this test as root"
    );
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for (kind, place) in [("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), none).unwrap();
    }
}
