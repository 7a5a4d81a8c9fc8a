//! The limit of open files, getrlimit(2): here because a connection is a descriptor, and a shell's
//! limit of 1024 is far below the limit of connections. Never lowers it.

use nix::libc::{RLIMIT_NOFILE, getrlimit, rlimit, setrlimit};

/// Raises the limit as far as this process may.
pub(super) fn raise_limit() {
    let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one struct that they are given.
    let raised = unsafe {
        getrlimit(RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        tracing::warn!("the limit of descriptors could not be raised");
    }
}
