//! What this machine must be before anything is begun: Debian 12, root, a kernel with tcx.
//!
//! Each thing that is missing is one clear sentence, and nothing has been touched by then.

use std::{fs, os::fd::RawFd};

use anyhow::{Context, Result, bail, ensure};

/// Whether the machine can do what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Packages can be installed.
    Packages,
    /// Besides, namespaces can be made and programs attached at tcx.
    DataPath,
}

/// Refuses a machine that lacks something, in one sentence.
pub(crate) fn check(need: Need) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    ensure!(
        field("ID") == "debian" && field("VERSION_ID") == "12",
        "The set-up knows Debian 12 only, and this is {}.",
        field("PRETTY_NAME")
    );
    ensure!(
        nix::unistd::geteuid().is_root(),
        "Root is needed, to install packages, make network namespaces and load eBPF programs: \
         run this as root or with sudo."
    );
    if need == Need::DataPath {
        ensure_tcx()?;
    }
    Ok(())
}

/// Asks the kernel which programs are attached at the loopback device's tcx ingress. A kernel
/// older than 6.6 does not know that place (linux/bpf.h: BPF_PROG_QUERY, BPF_TCX_INGRESS).
fn ensure_tcx() -> Result<()> {
    const BPF_PROG_QUERY: nix::libc::c_long = 16;
    const BPF_TCX_INGRESS: u32 = 46;
    /// The part of `union bpf_attr` that a query reads; the kernel takes zeroes for the rest.
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        program_ids: u64,
        count: u32,
        padding: u32,
        attach_flag_array: u64,
        link_ids: u64,
        link_flags: u64,
        revision: u64,
    }
    let loopback: RawFd = 1;
    let mut query = Query {
        ifindex: loopback.unsigned_abs(),
        attach_type: BPF_TCX_INGRESS,
        ..Query::default()
    };
    // SAFETY: `query` outlives the call, and its size is passed along with it.
    let answer = unsafe {
        nix::libc::syscall(nix::libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>())
    };
    match nix::errno::Errno::result(answer) {
        // No entry: the place is known and nothing is attached there.
        Ok(_) | Err(nix::errno::Errno::ENOENT) => Ok(()),
        Err(nix::errno::Errno::EPERM) => {
            bail!("This root may not use eBPF (bpf(2) is refused: a container without CAP_BPF?).")
        }
        Err(error) => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            bail!(
                "A kernel with tcx is needed, Linux 6.6 or newer; this is {} ({}).",
                release.trim(),
                error.desc()
            )
        }
    }
}
